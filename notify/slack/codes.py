"""What Slack's error codes mean for a message. A code that is not listed here can be mended by people."""

from domain.errors import Outage, Undeliverable

PASSING = frozenset(
    {"ratelimited", "rate_limited", "service_unavailable", "team_added_to_org", "accesslimited"}
)
"""Wait as long as Slack says, and try again."""

UNKNOWN = frozenset({"internal_error", "fatal_error", "request_timeout"})
"""The call may have taken effect."""

TOKEN = frozenset({"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"})
"""Nothing gets through until somebody has mended the token."""

GONE = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})
"""The message to change, or the one to reply to, is not there any more."""

CLOSED = frozenset({"channel_not_found", "is_archived", "is_inactive", "not_in_channel"})
"""The conversation cannot be written to."""

RESTRICTED = frozenset(
    {
        "restricted_action",
        "restricted_action_read_only_channel",
        "restricted_action_thread_only_channel",
        "ekm_access_denied",
        "posting_to_channel_denied",
        "channel_is_limited_access",
    }
)
"""A setting of this conversation forbids it: elsewhere it can be said now, and here once that is changed."""

THREADLESS = frozenset({"cannot_reply_to_message", "restricted_action_thread_locked"})
"""The conversation takes messages, but no reply to this one."""

UNTHREADED = frozenset({"restricted_action_non_threadable_channel"})
"""The conversation takes messages, but no reply to any."""

MALFORMED = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "block_mismatch",
        "invalid_attachments",
        "too_many_attachments",
        "attachment_payload_limit_exceeded",
        "markdown_text_conflict",
        "too_many_contact_cards",
        "invalid_metadata_format",
        "invalid_metadata_schema",
        "metadata_too_large",
        "metadata_must_be_sent_from_app",
        "missing_file_data",
        "invalid_arguments",
        "invalid_arg_name",
        "invalid_array_arg",
        "invalid_charset",
        "invalid_form_data",
        "json_not_object",
        "invalid_json",
    }
)
"""The message itself is at fault: the same again cannot succeed, a plainer one can."""

PERSON = frozenset(
    {
        "users_not_found",
        "user_not_found",
        "user_not_visible",
        "user_disabled",
        "user_not_in_channel",
        "cannot_dm_bot",
    }
)
"""The person cannot be reached in Slack: the next one on the ladder is paged."""

SPENT = frozenset(
    {
        "expired_trigger_id",
        "exchanged_trigger_id",
        "invalid_trigger_id",
        "trigger_expired",
        "trigger_exchanged",
        "hash_conflict",
        "push_limit_reached",
        "view_too_large",
        "duplicate_external_id",
        "not_found",
        "already_in_channel",
        "message_already_deleted",
        "cant_delete_message",
        "compliance_exports_prevent_deletion",
    }
)
"""This very call can never succeed: its trigger, its form or its message is past. Nobody has to mend it."""


def meaning(code: str) -> Outage | Undeliverable:
    """What a refusal with this code means. Limits and lost answers are ``Outage``."""
    if code in UNKNOWN or not code:
        return Outage(f"slack: {code}", unknown=True)
    if code in TOKEN:
        return Outage(f"slack: {code}")
    known = code in GONE | CLOSED | MALFORMED | PERSON | SPENT
    return Undeliverable(
        code,
        gone=code in GONE,
        homeless=code in CLOSED | RESTRICTED,
        threadless=code in THREADLESS,
        unthreaded=code in UNTHREADED,
        malformed=code in MALFORMED,
        mendable=not known,
    )
