"""Of an alert group: when its sender says that it began, since when it is silent, what a person closed.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alert_group", sa.Column("began_at", sa.BigInteger(), nullable=True))
    op.add_column("alert_group", sa.Column("silent_at", sa.BigInteger(), nullable=True))
    op.add_column("alert_group", sa.Column("closed_firing", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("alert_group", schema=None) as batch_op:
        for name in ("closed_firing", "silent_at", "began_at"):
            batch_op.drop_column(name)
