"""The tables of version 1."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables; a ledger created by release 0.1.0.dev already has them and is only stamped."""
    op.create_table("whatsapp_flows_ledger", sa.Column("version", sa.Integer, primary_key=True))
    _replays()
    _contacts()
    _attempts()
    op.create_table(
        "whatsapp_flows_chunks",
        sa.Column("replay_no", sa.Integer, primary_key=True),
        sa.Column("chunk", sa.Integer, primary_key=True),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text),
    )
    op.create_table(
        "whatsapp_flows_slots",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("held_until", sa.Float, nullable=False),
    )
    op.execute("INSERT INTO whatsapp_flows_ledger (version) VALUES (1)")


def _replays() -> None:
    op.create_table(
        "whatsapp_flows_replays",
        sa.Column("no", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("flow_id", sa.Text, nullable=False),
        sa.Column("flow", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("source_mark", sa.Text),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("sealed", sa.Boolean, nullable=False),
    )


def _contacts() -> None:
    table = "whatsapp_flows_contacts"
    op.create_table(
        table,
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("replay_no", sa.Integer, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("response_id", sa.Text),
        sa.Column("phone", sa.Text),
        sa.Column("digest", sa.Text),
        sa.Column("response", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("path", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("fingerprint", sa.Text),
        sa.Column("handled_errors", sa.Integer, nullable=False),
        sa.Column("unanswered", sa.Boolean, nullable=False),
        sa.Column("ended_at", sa.Float),
    )
    op.create_index("whatsapp_flows_contacts_chunk", table, ["replay_no", "chunk", "id"])
    op.create_index("whatsapp_flows_contacts_response", table, ["response_id"])
    op.create_index("whatsapp_flows_contacts_phone", table, ["phone"])


def _attempts() -> None:
    table = "whatsapp_flows_attempts"
    key = ("response_id", "flow_id", "step", "visit", "key", "number")
    op.create_table(
        table,
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("response_id", sa.Text, nullable=False),
        sa.Column("flow_id", sa.Text, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("visit", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("phone", sa.Text),
        sa.Column("replay_no", sa.Integer),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("origin", sa.Text),
        sa.Column("moment", sa.Float, nullable=False),
        sa.Column("begun_at", sa.Float, nullable=False),
        sa.Column("fate", sa.Text),
        sa.Column("status_code", sa.Integer),
        sa.Column("error_kind", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("ended_at", sa.Float),
        sa.UniqueConstraint(*key, name="whatsapp_flows_attempts_key"),
    )
    known = sa.text("phone IS NOT NULL")
    op.create_index("whatsapp_flows_attempts_phone", table, ["phone"], sqlite_where=known, postgresql_where=known)
