"""The Web API's methods about people and the workspace: users, user groups, team, bots, auth, api.test."""

from typing import Any

from sandbox.slack.blockkit import judge_blocks, judge_view
from sandbox.slack.call import Call
from sandbox.slack.docs import user_doc
from sandbox.slack.errors import ApiError
from sandbox.slack.ids import made_id
from sandbox.slack.paging import page
from sandbox.slack.records import User
from sandbox.slack.roster import Group

Json = dict[str, Any]


def api_test(call: Call) -> Json:
    """Echo the arguments; the argument ``error`` makes it fail with that code."""
    args = {key: value for key, value in call.params.values.items() if key != "token"}
    if "error" in args:
        raise ApiError(str(args["error"]), args=args)
    return {"ok": True, "args": args}


def auth_test(call: Call) -> Json:
    """Say who the bot is."""
    state = call.state
    return {
        "ok": True,
        "url": f"{call.site}/",
        "team": state.roster.team,
        "user": state.roster.bot_name,
        "team_id": state.team_id,
        "user_id": state.bot_user_id,
        "bot_id": state.bot_id,
        **({"enterprise_id": state.enterprise_id} if state.enterprise_id else {}),
        "is_enterprise_install": state.org_install,
    }


def open_connection(call: Call) -> Json:
    """Return a Socket Mode address that opens once."""
    return {"ok": True, "url": f"{call.site.replace('http', 'ws', 1)}/socket?ticket={call.ticket()}"}


def _doc(call: Call, user: User) -> Json:
    locale = call.params.flag("include_locale")
    return user_doc(call.state, user, email=call.has("users:read.email"), locale=locale)


def user_info(call: Call) -> Json:
    """Describe one member; ``include_locale`` adds the locale."""
    user = call.state.users.get(call.params.needed("user"))
    if user is None or user.unknown:
        raise ApiError("user_not_found")
    return {"ok": True, "user": _doc(call, user)}


def user_list(call: Call) -> Json:
    """List members, paged."""
    chosen, cursor = page(call.params, list(call.state.users.values()), default=1000)
    return {
        "ok": True,
        "members": [_doc(call, user) for user in chosen],
        "cache_ts": call.state.seconds(),
        "response_metadata": {"next_cursor": cursor},
    }


def lookup_by_email(call: Call) -> Json:
    """Find a member by email; people who left, and those of foreign workspaces, are not found."""
    user = call.state.user_mails.get(call.params.needed("email").lower())
    if user is not None and call.state.lookup_is_loose:
        return {"ok": True, "user": _doc(call, user)}
    if user is None or user.deleted or user.unknown:
        raise ApiError("users_not_found")
    if user.team and (not user.enterprise or user.enterprise != call.state.enterprise_id):
        raise ApiError("users_not_found")
    return {"ok": True, "user": _doc(call, user)}


def _groups(call: Call) -> dict[str, Group]:
    if not call.state.roster.paid:
        raise ApiError("plan_upgrade_required")
    return {made_id("S", 50 + index): group for index, group in enumerate(call.state.roster.groups)}


def group_list(call: Call) -> Json:
    """List user groups; free plans answer plan_upgrade_required."""
    state, docs = call.state, []
    for key, group in _groups(call).items():
        doc: Json = {
            "id": key,
            "team_id": state.team_id,
            "is_usergroup": True,
            "is_subteam": True,
            "name": group.name,
            "description": "",
            "handle": group.handle,
            "is_external": False,
            "date_create": 0,
            "date_update": 0,
            "date_delete": 0,
            "auto_type": None,
            "created_by": state.bot_user_id,
            "updated_by": state.bot_user_id,
            "deleted_by": None,
            "prefs": {"channels": [], "groups": []},
        }
        if call.params.flag("include_users"):
            doc["users"] = [state.user_names[name].id for name in group.members]
        if call.params.flag("include_count"):
            doc["user_count"] = len(group.members)
        docs.append(doc)
    return {"ok": True, "usergroups": docs}


def group_users(call: Call) -> Json:
    """List the members of a user group."""
    group = _groups(call).get(call.params.needed("usergroup"))
    if group is None:
        raise ApiError("no_such_subteam")
    users = [call.state.user_names[name] for name in group.members]
    return {"ok": True, "users": [user.id for user in users if not user.deleted]}


def team_info(call: Call) -> Json:
    """Describe the workspace."""
    state = call.state
    if call.params.text("team", state.team_id) != state.team_id:
        raise ApiError("team_not_found")
    icon: Json = {f"image_{size}": "https://a.slack-edge.com/team.png" for size in (34, 44, 68, 88, 102, 132)}
    team = {
        "id": state.team_id,
        "name": state.roster.team,
        "url": f"{call.site}/",
        "domain": state.roster.domain,
        "email_domain": f"{state.roster.domain}.example",
        "icon": {**icon, "image_default": True},
    }
    return {"ok": True, "team": team}


def bot_info(call: Call) -> Json:
    """Describe a bot by its B-id."""
    state = call.state
    if call.params.text("bot", state.bot_id) != state.bot_id:
        raise ApiError("bot_not_found")
    bot = {
        "id": state.bot_id,
        "deleted": False,
        "name": state.roster.bot_name,
        "updated": state.users[state.bot_user_id].updated,
        "app_id": state.app_id,
        "user_id": state.bot_user_id,
        "icons": {f"image_{size}": "https://a.slack-edge.com/bot.png" for size in (36, 48, 72)},
    }
    return {"ok": True, "bot": bot}


def validate_blocks(call: Call) -> Json:
    """Judge blocks, a view or a message without posting anything; needs no token."""
    given = [key for key in ("blocks", "view", "message") if call.params.has(key)]
    if len(given) != 1:
        messages = ["must provide exactly one of `blocks`, `view`, or `message`"]
        raise ApiError("invalid_arguments", response_metadata={"messages": messages})
    key = given[0]
    value = call.params.json(key, f"invalid_{key}")
    if key == "view":
        problems = judge_view(value)
    elif key == "message":
        blocks = value.get("blocks", []) if isinstance(value, dict) else value
        problems = judge_blocks(blocks, "message", "/blocks")
    else:
        problems = judge_blocks(value, "message")
    if problems:
        raise ApiError(f"invalid_{key}", errors=[problem.answer() for problem in problems])
    return {"ok": True}
