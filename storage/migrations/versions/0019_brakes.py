"""Backups and drills: who holds one, what lets or keeps old ones from going, and what is known of copies.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("backup", sa.Column("fence", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("backup", sa.Column("warned_at", sa.BigInteger(), nullable=True))
    op.add_column("backup", sa.Column("read_at", sa.BigInteger(), nullable=True))
    op.add_column("backup", sa.Column("ahead", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("drill", sa.Column("places", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("drill", sa.Column("released_by", sa.Text(), nullable=True))
    op.add_column("drill", sa.Column("fence", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    for table, names in (
        ("drill", ("places", "released_by", "fence")),
        ("backup", ("read_at", "ahead", "warned_at", "fence")),
    ):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name in names:
                batch_op.drop_column(name)
