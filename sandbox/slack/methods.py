"""The table of contents of the Web API: every method with its function, scopes, token and rate tier."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.slack import methods_chat as chat
from sandbox.slack import methods_conversations as conversations
from sandbox.slack import methods_files as files
from sandbox.slack import methods_people as people
from sandbox.slack import methods_views as views
from sandbox.slack.call import Call


@dataclass(frozen=True, slots=True)
class Method:
    """One method: any one of ``scopes`` suffices; ``tier`` is the number of calls a minute, 0 for special."""

    run: Callable[[Call], dict[str, Any]]
    scopes: tuple[str, ...] = ()
    tier: int = 0
    token: Literal["bot", "app", "none"] = "bot"  # noqa: S105 - a kind of token, not a token.


_T2, _T3, _T4 = 20, 50, 100
_READ = ("channels:read", "groups:read", "im:read", "mpim:read")
_HISTORY = ("channels:history", "groups:history", "im:history", "mpim:history")
_MANAGE = ("channels:manage", "groups:write", "im:write", "mpim:write")

METHODS: Mapping[str, Method] = {
    "api.test": Method(people.api_test, tier=_T4, token="none"),  # noqa: S106
    "apps.connections.open": Method(people.open_connection, tier=_T3, token="app"),  # noqa: S106
    "auth.test": Method(people.auth_test),
    "blocks.validate": Method(people.validate_blocks, token="none"),  # noqa: S106
    "bots.info": Method(people.bot_info, ("users:read",), _T3),
    "chat.delete": Method(chat.delete, ("chat:write",), _T3),
    "chat.getPermalink": Method(chat.get_permalink),
    "chat.postEphemeral": Method(chat.post_ephemeral, ("chat:write",), _T4),
    "chat.postMessage": Method(chat.post_message, ("chat:write",)),
    "chat.update": Method(chat.update, ("chat:write",), _T3),
    "conversations.archive": Method(conversations.archive, _MANAGE, _T2),
    "conversations.create": Method(conversations.create, _MANAGE, _T2),
    "conversations.history": Method(conversations.history, _HISTORY, _T3),
    "conversations.info": Method(conversations.info, _READ, _T3),
    "conversations.invite": Method(
        conversations.invite, (*_MANAGE, "channels:write.invites", "groups:write.invites"), _T3
    ),
    "conversations.join": Method(conversations.join, ("channels:join",), _T3),
    "conversations.list": Method(conversations.list_all, _READ, _T2),
    "conversations.members": Method(conversations.members, _READ, _T4),
    "conversations.open": Method(conversations.open_im, _MANAGE, _T3),
    "conversations.replies": Method(conversations.replies, _HISTORY, _T3),
    "conversations.setTopic": Method(
        conversations.set_topic, (*_MANAGE, "channels:write.topic", "groups:write.topic"), _T2
    ),
    "files.completeUploadExternal": Method(files.complete_upload, ("files:write",), _T4),
    "files.delete": Method(files.delete, ("files:write",), _T3),
    "files.getUploadURLExternal": Method(files.get_upload_url, ("files:write",), _T4),
    "files.info": Method(files.file_info, ("files:read",), _T4),
    "pins.add": Method(chat.add_pin, ("pins:write",), _T2),
    "reactions.add": Method(chat.add_reaction, ("reactions:write",), _T3),
    "team.info": Method(people.team_info, ("team:read",), _T3),
    "usergroups.list": Method(people.group_list, ("usergroups:read",), _T2),
    "usergroups.users.list": Method(people.group_users, ("usergroups:read",), _T2),
    "users.conversations": Method(conversations.list_mine, _READ, _T3),
    "users.info": Method(people.user_info, ("users:read",), _T4),
    "users.list": Method(people.user_list, ("users:read",), _T2),
    "users.lookupByEmail": Method(people.lookup_by_email, ("users:read.email",), _T3),
    "views.open": Method(views.open_view, tier=_T4),
    "views.publish": Method(views.publish, tier=_T4),
    "views.push": Method(views.push, tier=_T4),
    "views.update": Method(views.update, tier=_T4),
}
