"""The Slack app manifest: what this version really uses, no more (facts/slack.md §2.7)."""

from typing import Any
from urllib.parse import urlsplit

SCOPES: dict[str, tuple[str, ...]] = {
    "auth.test": (),
    "chat.postMessage": ("chat:write", "chat:write.public"),
    "chat.update": ("chat:write",),
    "chat.delete": ("chat:write",),
    "chat.postEphemeral": ("chat:write",),
    "files.getUploadURLExternal": ("files:write",),
    "files.completeUploadExternal": ("files:write",),
    "conversations.list": ("channels:read", "groups:read"),
    "conversations.join": ("channels:join",),
    "conversations.open": ("im:write",),
    "conversations.history": ("channels:history", "groups:history", "im:history"),
    "conversations.replies": ("channels:history", "groups:history", "im:history"),
    "users.info": ("users:read",),
    "users.lookupByEmail": ("users:read.email",),
    "usergroups.list": ("usergroups:read",),
    "usergroups.users.list": ("usergroups:read",),
    "views.open": (),
    "views.publish": (),
    "apps.connections.open": (),
}
"""Every Web API method that the bot calls, and the bot scopes that it needs for it."""

COMMANDS: dict[str, tuple[str, str]] = {
    "/incident": (
        "What is open; declare, take and resolve incidents",
        "declare P1 TITLE | list | ack | resolve",
    ),
    "/deploy": (
        "Deploy on Cloud Run: approved, judged, taken back if worse",
        "SERVICE IMAGE | status | rollback SERVICE | help",
    ),
    "/toban": (
        "How services are, what is unusual, how they grow",
        "health | anomalies | capacity SERVICE | jobs",
    ),
}


def why_not(url: str | None) -> str | None:
    """Why Slack could not call this address; ``None`` where it could, and for Socket Mode."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or "." not in parts.hostname:
        return f"{url} is no address that Slack can call. Give one such as https://toban.example.com."
    if parts.query or parts.fragment:
        return f"{url}: give the address alone, without what stands behind ? or #."
    return None


def manifest(url: str | None) -> dict[str, Any]:
    """The manifest. With ``url`` Slack calls us at ``URL/slack/events``; without, by Socket Mode."""
    endpoint = f"{url.rstrip('/')}/slack/events" if url else None
    scopes = sorted({"commands", *(scope for needed in SCOPES.values() for scope in needed)})
    commands = [
        {"command": name, "description": text, "usage_hint": hint, "should_escape": False}
        | ({"url": endpoint} if endpoint else {})
        for name, (text, hint) in COMMANDS.items()
    ]
    interactivity: dict[str, Any] = {"is_enabled": True}
    events: dict[str, Any] = {"bot_events": ["app_home_opened", "user_change"]}
    if endpoint:
        interactivity["request_url"] = endpoint
        interactivity["message_menu_options_url"] = endpoint  # For the tags in the form of /deploy.
        events["request_url"] = endpoint
    return {
        "display_information": {
            "name": "Toban",
            "description": "On duty: alerts become threads, people are paged until someone answers.",
            "background_color": "#1f3a5f",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": True,  # Pages are answered by their buttons.
            },
            "bot_user": {"display_name": "Toban", "always_online": True},
            "slash_commands": commands,
        },
        "oauth_config": {"scopes": {"bot": scopes}},
        "settings": {
            "event_subscriptions": events,
            "interactivity": interactivity,
            "org_deploy_enabled": False,
            "socket_mode_enabled": endpoint is None,
            "token_rotation_enabled": False,
        },
    }
