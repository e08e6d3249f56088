"""When a doubtful message may have arrived, and since when one fails.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TIMES = ("doubt_from", "doubt_until", "failing_since")


def upgrade() -> None:
    for name in TIMES:
        op.add_column("outbox", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        for name in reversed(TIMES):
            batch_op.drop_column(name)
