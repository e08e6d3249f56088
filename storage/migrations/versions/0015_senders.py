"""What senders say: who sent it, what it is called, its links, ends that are no recovery; lines for a channel.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alert_group", sa.Column("silent", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("alert_group", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("alert_group", sa.Column("sender", sa.String(length=64), nullable=True))
    op.add_column("alert_group", sa.Column("links", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("alert_group", sa.Column("ending", sa.String(length=32), nullable=True))
    op.add_column("alert", sa.Column("silent", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("outbox", sa.Column("broadcast", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_column("broadcast")
    with op.batch_alter_table("alert", schema=None) as batch_op:
        batch_op.drop_column("silent")
    with op.batch_alter_table("alert_group", schema=None) as batch_op:
        for name in ("ending", "links", "sender", "name", "silent"):
            batch_op.drop_column(name)
