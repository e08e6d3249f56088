"""Deliveries that wait have turns: people and emergencies first.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

PENDING = sa.text("status = 'pending'")


def upgrade() -> None:
    op.add_column("inbox", sa.Column("turn", sa.Integer(), nullable=False, server_default="3"))
    op.drop_index("ix_inbox_pending", table_name="inbox", sqlite_where=PENDING, postgresql_where=PENDING)
    op.create_index(
        "ix_inbox_pending", "inbox", ["turn", "id"], sqlite_where=PENDING, postgresql_where=PENDING
    )


def downgrade() -> None:
    op.drop_index("ix_inbox_pending", table_name="inbox", sqlite_where=PENDING, postgresql_where=PENDING)
    op.create_index("ix_inbox_pending", "inbox", ["id"], sqlite_where=PENDING, postgresql_where=PENDING)
    with op.batch_alter_table("inbox", schema=None) as batch_op:
        batch_op.drop_column("turn")
