"""Identity of the ledger and of steps, epochs of content, identifiers, claims of ``only_once``, and renames."""

from __future__ import annotations

import json
import uuid

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateSequence

from airflow_whatsapp_flows.flow.phones import phone_key

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and columns of version 2; no row is changed or lost."""
    _columns()
    if op.get_bind().dialect.name != "sqlite":
        op.execute(CreateSequence(sa.Sequence("whatsapp_flows_commits")))
    _tables()
    _indexes()
    _claims()
    ledger = sa.table("whatsapp_flows_ledger", sa.column("version"), sa.column("ledger_id"))
    op.execute(ledger.update().values(version=2, ledger_id=uuid.uuid4().hex))


def _columns() -> None:
    op.add_column("whatsapp_flows_ledger", sa.Column("ledger_id", sa.Text))
    op.add_column("whatsapp_flows_ledger", _counter_column("commits", sa.BigInteger(), 0))
    op.add_column("whatsapp_flows_contacts", _counter_column("epoch", sa.Integer(), 1))
    op.add_column("whatsapp_flows_attempts", sa.Column("step_id", sa.Text))
    op.add_column("whatsapp_flows_attempts", _counter_column("epoch", sa.Integer(), 1))
    op.add_column("whatsapp_flows_attempts", sa.Column("content", sa.Text))
    op.add_column("whatsapp_flows_chunks", sa.Column("cleared_by", sa.Text))


def _counter_column(name: str, kind: sa.types.TypeEngine[int], first: int) -> sa.Column[int]:
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


def _claims() -> None:
    """Add ``only_once`` claims for what version 1 has sent to a phone number: tasks check only the claims.

    Version 1 did not record the flow of a DAG run, so a DAG run of a flow that was never replayed may be included.
    """
    bind = op.get_bind()
    only_once: dict[str, bool] = {}
    for flow_id, text in bind.execute(sa.text("SELECT flow_id, flow FROM whatsapp_flows_replays ORDER BY no")):
        flow = json.loads(text)
        only_once[flow_id] = bool((flow.get("replay") or {}).get("only_once"))
    query = sa.text(
        "SELECT a.id, a.flow_id, a.step, a.response_id, COALESCE(a.phone, c.phone) AS phone "
        "FROM whatsapp_flows_attempts a LEFT JOIN whatsapp_flows_contacts c "
        "ON c.response_id = a.response_id AND c.replay_no = a.replay_no AND c.state NOT IN ('rejected', 'skipped') "
        "WHERE a.id > :after AND a.method NOT IN ('GET', 'HEAD', 'OPTIONS') "
        "AND (a.fate IS NULL OR a.fate IN ('succeeded', 'applied', 'unknown') OR (a.fate = 'answered' AND "
        "(a.status_code >= 500 OR a.status_code = 408 OR a.status_code BETWEEN 200 AND 299))) "
        "ORDER BY a.id LIMIT 5000"
    )
    claim = sa.text(
        "INSERT INTO whatsapp_flows_once (flow_id, step_id, identifier, response_id) "
        "VALUES (:flow_id, :step, :identifier, :response_id) ON CONFLICT DO NOTHING"
    )
    after = 0
    while rows := bind.execute(query, {"after": after}).all():
        after = rows[-1].id
        claims = [
            {"flow_id": row.flow_id, "step": row.step, "identifier": f"phone:{key}", "response_id": row.response_id}
            for row in rows
            if only_once.get(row.flow_id, True) and row.phone and (key := phone_key(row.phone)) is not None
        ]
        if claims:
            bind.execute(claim, claims)
