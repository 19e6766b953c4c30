"""Identity of the ledger and of steps, epochs of content, identifiers, claims of ``only_once``, and renames."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateSequence

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what version 2 has; no row is changed or lost."""
    _columns()
    if op.get_bind().dialect.name != "sqlite":
        op.execute(CreateSequence(sa.Sequence("whatsapp_flows_commits")))
    _tables()
    _indexes()
    ledger = sa.table("whatsapp_flows_ledger", sa.column("version"), sa.column("ledger_id"))
    op.execute(ledger.update().values(version=2, ledger_id=uuid.uuid4().hex))


def _columns() -> None:
    op.add_column("whatsapp_flows_ledger", sa.Column("ledger_id", sa.Text))
    op.add_column("whatsapp_flows_ledger", _counting("commits", sa.BigInteger(), 0))
    op.add_column("whatsapp_flows_contacts", _counting("epoch", sa.Integer(), 1))
    op.add_column("whatsapp_flows_attempts", sa.Column("step_id", sa.Text))
    op.add_column("whatsapp_flows_attempts", _counting("epoch", sa.Integer(), 1))
    op.add_column("whatsapp_flows_attempts", sa.Column("content", sa.Text))
    op.add_column("whatsapp_flows_chunks", sa.Column("cleared_by", sa.Text))


def _counting(name: str, kind: sa.types.TypeEngine[int], first: int) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, server_default=str(first))


def _indexes() -> None:
    for name, column, known in (("response", "response_id", "digest"), ("phone", "phone", "phone")):
        index, table, where = (
            f"whatsapp_flows_contacts_{name}",
            "whatsapp_flows_contacts",
            sa.text(f"{known} IS NOT NULL"),
        )
        op.drop_index(index, table)
        op.create_index(index, table, [column], sqlite_where=where, postgresql_where=where)


def _tables() -> None:
    op.create_table(
        "whatsapp_flows_identifiers",
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("flow_id", sa.Text, primary_key=True),
        sa.Column("response_id", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "whatsapp_flows_once",
        sa.Column("flow_id", sa.Text, primary_key=True),
        sa.Column("step_id", sa.Text, primary_key=True),
        sa.Column("identifier", sa.Text, primary_key=True),
        sa.Column("response_id", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "whatsapp_flows_renames",
        sa.Column("flow_id", sa.Text, primary_key=True),
        sa.Column("old", sa.Text, primary_key=True),
        sa.Column("new", sa.Text),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("by", sa.Text),
    )
