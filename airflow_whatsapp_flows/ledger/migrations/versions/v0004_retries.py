"""Which contacts a retry by a DAG run has selected."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column of version 4; retries that were planned before have selected no contact."""
    op.add_column("whatsapp_flows_contacts", sa.Column("retry_no", sa.Integer))
    is_selected = sa.text("retry_no IS NOT NULL")
    op.create_index(
        "whatsapp_flows_contacts_retry",
        "whatsapp_flows_contacts",
        ["replay_no", "retry_no"],
        sqlite_where=is_selected,
        postgresql_where=is_selected,
    )
    ledger = sa.table("whatsapp_flows_ledger", sa.column("version"))
    op.execute(ledger.update().values(version=4))
