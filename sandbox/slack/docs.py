"""Slack's JSON documents for what the workspace remembers: messages, conversations, users, views."""

from typing import Any
from zoneinfo import ZoneInfo

from sandbox.slack.files import file_doc
from sandbox.slack.records import File, Post, Room, User, View
from sandbox.slack.state import State

Json = dict[str, Any]


def bot_profile(state: State) -> Json:
    """Return the app's face beside each of its messages."""
    icons = {f"image_{size}": "https://a.slack-edge.com/bot.png" for size in (36, 48, 72)}
    return {
        "id": state.bot_id,
        "deleted": False,
        "name": state.roster.bot_name,
        "updated": state.users[state.bot_user_id].updated,
        "app_id": state.app_id,
        "icons": icons,
        "team_id": state.team_id,
    }


def _attached(state: State, file: File) -> Json:
    """Return a file below a message; one that was deleted is only a tombstone."""
    return {"id": file.id, "mode": "tombstone"} if file.deleted else file_doc(state, file)


def post_doc(state: State, post: Post, *, metadata: bool) -> Json:
    """Return a message; ``metadata`` says whether its metadata is shown, as include_all_metadata asks."""
    doc: Json = {
        "type": "message",
        "user": post.user,
        "text": post.text,
        "ts": post.ts,
        "team": state.team_id,
    }
    if post.tombstone:
        doc |= {"subtype": "tombstone", "user": "USLACKBOT", "hidden": True}
    elif post.by_app:
        doc |= {"bot_id": state.bot_id, "app_id": state.app_id, "bot_profile": bot_profile(state)}
    if post.blocks:
        doc["blocks"] = post.blocks
    if post.attachments:
        doc["attachments"] = post.attachments
    if post.files:
        files = [state.files[key] for key in post.files]
        doc |= {"files": [_attached(state, file) for file in files], "upload": True}
    if post.edited:
        doc["edited"] = {"user": post.user, "ts": post.edited}
    if metadata and post.metadata:
        doc["metadata"] = post.metadata
    if post.reactions:
        doc["reactions"] = [
            {"name": name, "users": users, "count": len(users)} for name, users in post.reactions.items()
        ]
    if post.is_reply:
        parent = state.posts.get((post.channel, post.thread_ts))
        doc |= {"thread_ts": post.thread_ts, "parent_user_id": parent.user if parent else "USLACKBOT"}
        return doc
    replies = state.replies(post)
    if replies:
        users = list(dict.fromkeys(state.posts[post.channel, ts].user for ts in replies[:100]))
        doc |= {
            "thread_ts": post.ts,
            "reply_count": len(replies),
            "reply_users_count": len(users),
            "latest_reply": replies[-1],
            "reply_users": users[:5],
            "is_locked": False,
            "subscribed": post.by_app,
        }
    return doc


def room_doc(state: State, room: Room) -> Json:
    """Return a conversation as the bot sees it."""
    if room.is_im:
        return {
            "id": room.id,
            "created": room.created,
            "is_archived": room.archived,
            "is_im": True,
            "is_org_shared": False,
            "user": room.im_with,
            "is_user_deleted": state.users[room.im_with].deleted,
            "priority": 0,
        }
    return {
        "id": room.id,
        "name": room.name,
        "is_channel": not room.private,
        "is_group": room.private,
        "is_im": False,
        "is_mpim": False,
        "is_private": room.private,
        "created": room.created,
        "creator": room.creator,
        "is_archived": room.archived,
        "is_general": room.general,
        "unlinked": 0,
        "name_normalized": room.name,
        "is_shared": False,
        "is_org_shared": False,
        "is_ext_shared": False,
        "is_pending_ext_shared": False,
        "pending_shared": [],
        "context_team_id": state.team_id,
        "shared_team_ids": [state.team_id],
        "updated": room.created * 1000,
        "is_member": state.bot_user_id in room.members,
        "topic": {"value": room.topic, "creator": room.topic_by, "last_set": room.topic_at},
        "purpose": {"value": "", "creator": "", "last_set": 0},
        "previous_names": [],
    }


def user_doc(state: State, user: User, *, email: bool, locale: bool = False) -> Json:
    """Return a member; ``email`` and ``locale`` as scope and arguments allow."""
    zone = state.clock.now().astimezone(ZoneInfo(user.tz))
    offset = zone.utcoffset()
    profile: Json = {
        "title": user.title,
        "phone": "",
        "real_name": user.real_name,
        "real_name_normalized": user.real_name,
        "display_name": user.name,
        "display_name_normalized": user.name,
        "status_text": "",
        "status_emoji": "",
        "avatar_hash": "g" + user.id[-8:].lower(),
        "image_48": "https://a.slack-edge.com/avatar.png",
        "team": user.team or state.team_id,
    }
    if email and user.email:
        profile["email"] = user.email
    if user.is_bot:
        profile |= {"bot_id": state.bot_id, "api_app_id": state.app_id, "always_active": True}
    doc: Json = {
        "id": user.id,
        "team_id": user.team or state.team_id,
        "name": user.name,
        "deleted": user.deleted,
        "profile": profile,
        "is_bot": user.is_bot,
        "is_app_user": False,
        "updated": user.updated,
    }
    if not user.deleted:
        doc |= {
            "color": "9f69e7",
            "real_name": user.real_name,
            "tz": user.tz,
            "tz_label": zone.tzname() or user.tz,
            "tz_offset": int(offset.total_seconds()) if offset else 0,
            "is_admin": False,
            "is_owner": False,
            "is_primary_owner": False,
            "is_restricted": user.guest,
            "is_ultra_restricted": user.single,
            "is_email_confirmed": not user.unconfirmed,
            "who_can_share_contact_card": "EVERYONE",
        }
    enterprise = user.enterprise or (state.enterprise_id if not user.team else "")
    if enterprise:
        doc["enterprise_user"] = {
            "id": user.id,
            "enterprise_id": enterprise,
            "enterprise_name": "Org",
            "is_admin": False,
            "is_owner": False,
            "is_primary_owner": False,
            "teams": list(dict.fromkeys((user.team or state.team_id, state.team_id)))
            if enterprise == state.enterprise_id
            else [user.team],
        }
    if user.team and (not enterprise or enterprise != state.enterprise_id):
        doc["is_stranger"] = user.stranger
    if locale:
        doc["locale"] = user.locale
    return doc


def view_doc(state: State, view: View) -> Json:
    """Return a view as views.* answer it and as interaction payloads carry it."""
    doc = view.doc
    return {
        "id": view.id,
        "team_id": state.team_id,
        "type": doc["type"],
        "blocks": doc["blocks"],
        "private_metadata": doc.get("private_metadata", ""),
        "callback_id": doc.get("callback_id", ""),
        "state": {"values": view.values},
        "hash": view.hash,
        "title": doc.get("title") or {"type": "plain_text", "text": "View Title", "emoji": True},
        "clear_on_close": doc.get("clear_on_close", False),
        "notify_on_close": doc.get("notify_on_close", False),
        "close": doc.get("close"),
        "submit": doc.get("submit"),
        "previous_view_id": view.previous or None,
        "root_view_id": view.root,
        "app_id": state.app_id,
        "external_id": doc.get("external_id", ""),
        "app_installed_team_id": state.team_id,
        "bot_id": state.bot_id,
    }
