"""The payloads of slash commands, clicks, modals and events, shaped as Slack shapes them."""

from typing import Any

from sandbox.slack.docs import post_doc, view_doc
from sandbox.slack.records import Post, Room, User, View
from sandbox.slack.state import State

Json = dict[str, Any]

VERIFICATION_TOKEN = "sandbox-legacy-verification-token"  # noqa: S105 - the deprecated field, never a secret.


def _enterprise(state: State) -> Json | None:
    return {"id": state.enterprise_id, "name": "Org"} if state.enterprise_id else None


def _team(state: State) -> Json | None:
    """The workspace that the app is installed in; null where that is a whole organisation."""
    if state.org_install:
        return None
    team = {"id": state.team_id, "domain": state.roster.domain}
    return team | (
        {"enterprise_id": state.enterprise_id, "enterprise_name": "Org"} if state.enterprise_id else {}
    )


def _user(state: State, user: User) -> Json:
    team = user.team or state.team_id
    return {"id": user.id, "username": user.name, "name": user.name, "team_id": team}


def _common(state: State, kind: str, user: User) -> Json:
    return {
        "type": kind,
        "team": _team(state),
        "user": _user(state, user),
        "api_app_id": state.app_id,
        "token": VERIFICATION_TOKEN,
        "enterprise": _enterprise(state),
        "is_enterprise_install": state.org_install,
    }


def _channel(room: Room) -> Json:
    return {"id": room.id, "name": "directmessage" if room.is_im else room.name}


def slash_command(
    state: State, user: User, room: Room, command: str, text: str, trigger: str, response_url: str
) -> Json:
    """Return the form of a slash command; every value is a string."""
    grid = {"enterprise_id": state.enterprise_id, "enterprise_name": "Org"} if state.enterprise_id else {}
    return {
        "token": VERIFICATION_TOKEN,
        "team_id": user.team or state.team_id,
        "team_domain": state.roster.domain,
        **grid,
        "channel_id": room.id,
        "channel_name": "directmessage" if room.is_im else room.name,
        "user_id": user.id,
        "user_name": user.name,
        "command": command,
        "text": text,
        "api_app_id": state.app_id,
        "is_enterprise_install": "true" if state.org_install else "false",
        "response_url": response_url,
        "trigger_id": trigger,
    }


def message_click(
    state: State,
    user: User,
    room: Room,
    post: Post,
    action: Json,
    values: Json,
    trigger: str,
    response_url: str,
) -> Json:
    """Return block_actions from a message; an ephemeral one carries no message, as in Slack."""
    container: Json = {
        "type": "message",
        "message_ts": post.ts,
        "channel_id": room.id,
        "is_ephemeral": bool(post.whisper_to),
    }
    if post.thread_ts:
        container["thread_ts"] = post.thread_ts
    payload = {
        **_common(state, "block_actions", user),
        "container": container,
        "trigger_id": trigger,
        "channel": _channel(room),
        "state": {"values": values},
        "response_url": response_url,
        "actions": [action],
    }
    if not post.whisper_to:
        payload["message"] = post_doc(state, post, metadata=True)
    return payload


def view_click(state: State, user: User, view: View, action: Json, trigger: str) -> Json:
    """Return block_actions from a modal or a Home tab."""
    return {
        **_common(state, "block_actions", user),
        "container": {"type": "view", "view_id": view.id},
        "trigger_id": trigger,
        "view": view_doc(state, view),
        "actions": [action],
    }


def view_submission(state: State, user: User, view: View, trigger: str) -> Json:
    """Return the submission of a modal."""
    return {
        **_common(state, "view_submission", user),
        "trigger_id": trigger,
        "view": view_doc(state, view),
        "response_urls": [],
    }


def view_closed(state: State, user: User, view: View, *, cleared: bool) -> Json:
    """Return the closing of a modal that asked to be told."""
    return {**_common(state, "view_closed", user), "view": view_doc(state, view), "is_cleared": cleared}


def message_shortcut(
    state: State, user: User, room: Room, post: Post, callback_id: str, trigger: str, response_url: str
) -> Json:
    """Return a message shortcut."""
    return {
        **_common(state, "message_action", user),
        "callback_id": callback_id,
        "trigger_id": trigger,
        "action_ts": state.stamps.next(),
        "message_ts": post.ts,
        "response_url": response_url,
        "channel": _channel(room),
        "message": post_doc(state, post, metadata=True),
    }


def global_shortcut(state: State, user: User, callback_id: str, trigger: str) -> Json:
    """Return a global shortcut."""
    return {
        **_common(state, "shortcut", user),
        "callback_id": callback_id,
        "trigger_id": trigger,
        "action_ts": state.stamps.next(),
    }


def block_suggestion(state: State, user: User, view: View, block: Json, element: Json, query: str) -> Json:
    """Return the request for options that an external select makes while a person types."""
    return {
        **_common(state, "block_suggestion", user),
        "action_id": element["action_id"],
        "block_id": block["block_id"],
        "value": query,
        "container": {"type": "view", "view_id": view.id},
        "view": view_doc(state, view),
    }


def event_callback(state: State, event: Json, number: str) -> Json:
    """Return the envelope of an event; ``number`` becomes its event_id."""
    return {
        "token": VERIFICATION_TOKEN,
        "team_id": state.team_id,
        **({"enterprise_id": state.enterprise_id} if state.enterprise_id else {}),
        "api_app_id": state.app_id,
        "event": event,
        "type": "event_callback",
        "event_id": number,
        "event_time": state.seconds(),
        "authorizations": [
            {
                "enterprise_id": state.enterprise_id or None,
                "team_id": None if state.org_install else state.team_id,
                "user_id": state.bot_user_id,
                "is_bot": True,
                "is_enterprise_install": state.org_install,
            }
        ],
        "is_ext_shared_channel": False,
        "event_context": f"4-{number}",
    }
