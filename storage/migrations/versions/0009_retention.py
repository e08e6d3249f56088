"""What a run did in words, and an index without which removing a group reads every finding.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job_run", sa.Column("result", sa.Text(), nullable=True))
    op.create_index("ix_finding_group_id", "finding", ["group_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_finding_group_id", table_name="finding")
    op.drop_column("job_run", "result")
