"""Runs migrations on the connection that ``storage.migrating`` hands over."""

from typing import Any, Literal

from alembic import context

from storage.tables import metadata


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write our own column types as the plain types that the database sees."""
    if kind == "type":
        name = type(item).__name__
        if name == "EpochMillis":
            return "sa.BigInteger()"
        if name == "Json":
            return "sa.Text()"
        if name == "Instant":
            return "sa.DateTime(timezone=True)"
        if name == "_Word":
            return f"sa.String(length={item.impl.length})"
        if name == "AutoString":
            return f"sa.String(length={item.length})" if item.length else "sa.String()"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
