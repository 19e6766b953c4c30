"""Where replays stopped reading their sources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of version 5; replays before it had no cursor."""
    op.create_table(
        "whatsapp_flows_cursors",
        sa.Column("flow_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("column", sa.Text, nullable=False),
        sa.Column("query", sa.Text),
        sa.Column("kind", sa.Text),
        sa.Column("value", sa.Text),
        sa.Column("edition", sa.Integer, nullable=False),
        sa.Column("replay_id", sa.Text),
        sa.Column("moved_at", sa.Float, nullable=False),
        sa.Column("moved_by", sa.Text),
    )
    ledger = sa.table("whatsapp_flows_ledger", sa.column("version"))
    op.execute(ledger.update().values(version=5))
