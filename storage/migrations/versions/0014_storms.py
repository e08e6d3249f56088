"""Finds by an index what a storm asks for again and again.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

DUE = sa.text("due_at IS NOT NULL")
OPEN = sa.text("status != 'resolved'")
TOP = sa.text("listed_in IS NULL AND means = 'slack'")

INDEXES = (
    ("ix_outbox_turn", "outbox", ["place", "priority", "id"], DUE),
    ("ix_incident_open", "incident", ["service"], OPEN),
    ("ix_page_top", "page", ["person"], TOP),
)


def upgrade() -> None:
    for name, table, columns, which in INDEXES:
        op.create_index(name, table, columns, sqlite_where=which, postgresql_where=which)


def downgrade() -> None:
    for name, table, _, which in INDEXES:
        op.drop_index(name, table_name=table, sqlite_where=which, postgresql_where=which)
