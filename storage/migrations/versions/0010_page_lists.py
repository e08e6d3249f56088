"""Messages that list many pages.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENTS = ("posted_at", "shown_at", "push_at")
PARTIAL = ("listed_in", "push_at")


def upgrade() -> None:
    op.add_column("page", sa.Column("listed_in", sa.Integer(), nullable=True))
    op.add_column("page", sa.Column("shown_to", sa.Integer(), nullable=True))
    for name in MOMENTS:
        op.add_column("page", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_index("ix_page_person", "page", ["person", "id"])
    for name in PARTIAL:
        known = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"ix_page_{name}", "page", [name], sqlite_where=known, postgresql_where=known)


def downgrade() -> None:
    for name in PARTIAL:
        op.drop_index(f"ix_page_{name}", "page")
    op.drop_index("ix_page_person", "page")
    for name in ("listed_in", "shown_to", *MOMENTS):
        op.drop_column("page", name)
