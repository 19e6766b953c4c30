"""Counts of contacts and requests for each chunk, and an index of phones with an unusual spelling."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the counts of version 3; nobody owns a chunk during an upgrade, so all of them can be counted."""
    op.add_column("whatsapp_flows_chunks", sa.Column("requests", sa.Integer))
    op.create_table(
        "whatsapp_flows_counts",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("replay_no", sa.Integer, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text),
        sa.Column("code", sa.Text),
        sa.Column("contacts", sa.Integer, nullable=False),
        sa.Column("handled_errors", sa.Integer, nullable=False),
        sa.Column("handled", sa.Integer, nullable=False),
        sa.Column("unanswered", sa.Integer, nullable=False),
        sa.Column("first_ended_at", sa.Float),
        sa.Column("last_ended_at", sa.Float),
        sa.Column("first_id", sa.BigInteger, nullable=False),
    )
    op.create_index("whatsapp_flows_counts_chunk", "whatsapp_flows_counts", ["replay_no", "chunk"])
    unusual = sa.text("rtrim(phone, '0123456789') != '+'")
    for table in ("whatsapp_flows_contacts", "whatsapp_flows_attempts"):
        name = f"{table}_unusual_phone"
        op.create_index(name, table, ["phone"], sqlite_where=unusual, postgresql_where=unusual)
    _count_contacts()
    _count_requests()
    ledger = sa.table("whatsapp_flows_ledger", sa.column("version"))
    op.execute(ledger.update().values(version=3))


def _count_contacts() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    code = "substr(c.reason, 1, instr(c.reason || ':', ':') - 1)" if is_sqlite else "split_part(c.reason, ':', 1)"
    op.execute(
        sa.text(
            "INSERT INTO whatsapp_flows_counts (replay_no, chunk, state, fingerprint, code, contacts, handled_errors, "  # noqa: S608
            "handled, unanswered, first_ended_at, last_ended_at, first_id) "
            "SELECT replay_no, chunk, state, fingerprint, code, count(*), sum(handled_errors), "
            "sum(CASE WHEN handled_errors > 0 THEN 1 ELSE 0 END), sum(CASE WHEN unanswered THEN 1 ELSE 0 END), "
            "min(ended_at), max(ended_at), min(id) FROM ("
            "SELECT c.replay_no, c.chunk, c.state, c.fingerprint, c.handled_errors, c.unanswered, c.ended_at, c.id, "
            f"CASE WHEN c.state IN ('rejected', 'skipped') THEN {code} END AS code "
            "FROM whatsapp_flows_contacts c JOIN whatsapp_flows_replays r ON r.no = c.replay_no "
            "WHERE r.sealed) AS found "
            "GROUP BY replay_no, chunk, state, fingerprint, code"
        )
    )


def _count_requests() -> None:
    """Count the requests that may have reached a server; a response that has two rows in a replay counts once."""
    sent = "{0}.digest IS NOT NULL AND ({0}.state <> 'rejected' OR {0}.ended_at IS NOT NULL)"
    op.execute(
        sa.text(
            "UPDATE whatsapp_flows_chunks SET requests = 0 "
            "WHERE replay_no IN (SELECT no FROM whatsapp_flows_replays WHERE sealed)"
        )
    )
    op.execute(
        sa.text(
            "UPDATE whatsapp_flows_chunks SET requests = sent.requests FROM ("  # noqa: S608
            "SELECT c.replay_no, c.chunk, count(*) AS requests FROM whatsapp_flows_contacts c "
            "JOIN whatsapp_flows_attempts a ON a.response_id = c.response_id AND a.replay_no = c.replay_no "
            "WHERE (a.fate IS NULL OR a.fate <> 'not_sent' OR a.origin LIKE '%\"resolved\":%') "
            f"AND {sent.format('c')} AND ((c.round = 1 AND c.state <> 'skipped') OR NOT EXISTS ("
            "SELECT 1 FROM whatsapp_flows_contacts e WHERE e.response_id = c.response_id "
            f"AND e.replay_no = c.replay_no AND e.id < c.id AND {sent.format('e')})) "
            "GROUP BY c.replay_no, c.chunk) AS sent "
            "WHERE sent.replay_no = whatsapp_flows_chunks.replay_no AND sent.chunk = whatsapp_flows_chunks.chunk"
        )
    )
