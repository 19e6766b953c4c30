"""The tables of the ledger. Each change here also needs a revision under ``ledger/migrations``.

Names start with ``whatsapp_flows_``, so the ledger can share a database with other tables. Times are seconds since the
epoch. JSON is stored as text, which both databases preserve byte for byte.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
    or_,
)

SCHEMA_VERSION = 5
PREFIX = "whatsapp_flows_"
MIGRATIONS_TABLE = f"{PREFIX}alembic"

COMMITS = f"{PREFIX}commits"

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite autoincrements only columns declared INTEGER

versions = Table(
    f"{PREFIX}ledger",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("ledger_id", Text),  # random, assigned when the tables are created: differs for every ledger
    # Incremented with each commit, so an older copy has fewer. On a server a sequence does this, as a row would make
    # workers wait.
    Column("commits", BigInteger, nullable=False, default=0, server_default="0"),
)
Sequence(COMMITS, metadata=metadata)

alembic_versions = Table(
    MIGRATIONS_TABLE,
    metadata,
    # As alembic itself creates it. It follows `versions`, which every process checks.
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{MIGRATIONS_TABLE}_pkc"),
)

replays = Table(
    f"{PREFIX}replays",
    metadata,
    Column("no", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("flow_id", Text, nullable=False),
    Column("flow", Text, nullable=False),  # the flow file at the time, JSON
    Column("source", Text, nullable=False),  # as entered by the user
    Column("source_mark", Text),  # changes with the content of the source; null if unknown
    Column("options", Text, nullable=False),  # JSON: what `retry` needs to use the same settings
    Column("note", Text),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("sealed", Boolean, nullable=False, default=False),  # whether every row of the source is stored
)


def is_unusual_phone(phone: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a phone is more than a plus sign and digits; only earlier releases stored such ones."""
    # Literals, because a database uses an index of such rows only for its exact condition.
    return func.rtrim(phone, literal_column("'0123456789'")) != literal_column("'+'")


contacts = Table(
    f"{PREFIX}contacts",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("replay_no", Integer, nullable=False),
    Column("chunk", Integer, nullable=False),
    Column("place", Text, nullable=False),  # location of its row in the source
    Column("response_id", Text),
    Column("phone", Text),
    Column("digest", Text),  # of the response's content: the same id with different content is another response
    Column("response", Text),  # JSON; null for a rejected row, and after a purge
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("round", Integer, nullable=False, default=1),  # incremented with each retry
    Column("path", Text),  # JSON list of step names
    Column("error", Text),  # JSON, of the last action that failed
    Column("fingerprint", Text),
    Column("handled_errors", Integer, nullable=False, default=0),
    Column("unanswered", Boolean, nullable=False, default=False),
    Column("ended_at", Float),
    Column("epoch", Integer, nullable=False, default=1, server_default="1"),  # incremented with each change of content
    # Number of the retry by a DAG run that selected it last; negative until a task of that run makes it pending.
    Column("retry_no", Integer),
)


def has_replay(replay_no: int | ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a contact belongs to a replay, beside conditions that find few contacts.

    The sum keeps a database from using the index of chunks instead, which reads all contacts of the replay.
    """
    return (contacts.c.replay_no + 0) == replay_no


def stands_for_its_person() -> ColumnElement[bool]:
    """Return the condition that a contact was not rejected from the start: such a row may have the id of another."""
    return or_(contacts.c.state != "rejected", contacts.c.ended_at.is_not(None))


Index(f"{PREFIX}contacts_chunk", contacts.c.replay_no, contacts.c.chunk, contacts.c.id)
Index(
    f"{PREFIX}contacts_retry",
    contacts.c.replay_no,
    contacts.c.retry_no,
    sqlite_where=contacts.c.retry_no.is_not(None),
    postgresql_where=contacts.c.retry_no.is_not(None),
)
# Known rows have no digest and no phone, so they are in neither index: a query by response id needs
# `digest IS NOT NULL` to use the first.
Index(
    f"{PREFIX}contacts_response",
    contacts.c.response_id,
    sqlite_where=contacts.c.digest.is_not(None),
    postgresql_where=contacts.c.digest.is_not(None),
)
Index(
    f"{PREFIX}contacts_phone",
    contacts.c.phone,
    sqlite_where=contacts.c.phone.is_not(None),
    postgresql_where=contacts.c.phone.is_not(None),
)
Index(
    f"{PREFIX}contacts_unusual_phone",
    contacts.c.phone,
    sqlite_where=is_unusual_phone(contacts.c.phone),
    postgresql_where=is_unusual_phone(contacts.c.phone),
)

attempts = Table(
    f"{PREFIX}attempts",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("response_id", Text, nullable=False),
    Column("flow_id", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", Text, nullable=False),  # of the request; its content is not stored
    Column("method", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("phone", Text),  # only for attempts outside a replay; those of a replay are found through contacts
    Column("replay_no", Integer),
    Column("round", Integer, nullable=False, default=1),
    Column("origin", Text),  # JSON: dag, run, task, map index and try
    Column("moment", Float, nullable=False),  # when the walk started: the basis of global.Date and similar variables
    Column("begun_at", Float, nullable=False),
    Column("fate", Text),  # null for an intent without an outcome
    Column("status_code", Integer),
    Column("error_kind", Text),
    Column("result", Text),  # JSON
    Column("ended_at", Float),
    Column("step_id", Text),  # identity of the step, which survives a rename; null if it is the name
    Column("epoch", Integer, nullable=False, default=1, server_default="1"),  # of the response's content
    Column("content", Text),  # digest of the response's content, if no replay stores it
    # The response's id comes first: rows of one batch are adjacent, and a contact's record is one range.
    UniqueConstraint("response_id", "flow_id", "step", "visit", "key", "number", name=f"{PREFIX}attempts_key"),
)
Index(
    f"{PREFIX}attempts_phone",
    attempts.c.phone,
    sqlite_where=attempts.c.phone.is_not(None),
    postgresql_where=attempts.c.phone.is_not(None),
)
Index(
    f"{PREFIX}attempts_unusual_phone",
    attempts.c.phone,
    sqlite_where=is_unusual_phone(attempts.c.phone),
    postgresql_where=is_unusual_phone(attempts.c.phone),
)

identifiers = Table(
    f"{PREFIX}identifiers",
    metadata,
    # Identifiers of a contact besides its phone: `id`, `user_id`, `email`, and those that a flow lists.
    Column("value", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("flow_id", Text, primary_key=True),
    Column("response_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)

once = Table(
    f"{PREFIX}once",
    metadata,
    # Who was sent a step under `only_once`. Committed with the intent, deleted if nothing was applied.
    Column("flow_id", Text, primary_key=True),
    Column("step_id", Text, primary_key=True),
    Column("identifier", Text, primary_key=True),  # kind and value
    Column("response_id", Text, nullable=False),
    sqlite_with_rowid=False,
)

renames = Table(
    f"{PREFIX}renames",
    metadata,
    # Confirmed renames: steps that were sent under another identity.
    Column("flow_id", Text, primary_key=True),
    Column("old", Text, primary_key=True),
    Column("new", Text),  # null if removed, not renamed
    Column("at", Float, nullable=False),
    Column("by", Text),
)

chunks = Table(
    f"{PREFIX}chunks",
    metadata,
    Column("replay_no", Integer, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("size", Integer, nullable=False, default=0),
    Column("fence", Integer, nullable=False, default=0),  # incremented with each owner
    Column("owner", Text),
    Column("cleared_by", Text),  # the task, and number of its clear, that last had its failed contacts walked again
    # Attempts that may have reached a server; null while the chunk's counts are not stored.
    Column("requests", Integer),
)

counts = Table(
    f"{PREFIX}counts",
    metadata,
    # Contacts of a chunk by what a status shows, see `ledger/counts`.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("replay_no", Integer, nullable=False),
    Column("chunk", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("fingerprint", Text),
    Column("code", Text),  # of the reason why nothing was sent
    Column("contacts", Integer, nullable=False),
    Column("handled_errors", Integer, nullable=False),
    Column("handled", Integer, nullable=False),  # contacts with handled errors
    Column("unanswered", Integer, nullable=False),
    Column("first_ended_at", Float),
    Column("last_ended_at", Float),
    Column("first_id", BigInteger, nullable=False),  # row of the first contact
)
Index(f"{PREFIX}counts_chunk", counts.c.replay_no, counts.c.chunk)

cursors = Table(
    f"{PREFIX}cursors",
    metadata,
    # Where the replays of a flow stopped reading a source, see `ledger/watermarks`.
    Column("flow_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),  # digest of source and column, which may be long
    Column("source", Text, nullable=False),  # as the flow names it, before the terms of a run are filled in
    Column("column", Text, nullable=False),
    Column("query", Text),  # of the last replay that moved it
    Column("kind", Text),
    Column("value", Text),  # null: the next replay reads everything
    Column("edition", Integer, nullable=False),  # incremented when a person sets or clears it
    Column("replay_id", Text),  # the last replay that moved it; null if a person did
    Column("moved_at", Float, nullable=False),
    Column("moved_by", Text),  # the last person who set or cleared it
)

slots = Table(
    f"{PREFIX}slots",
    metadata,
    Column("host", Text, primary_key=True),
    Column("next_at", Float, nullable=False),  # on the store's clock
    Column("held_until", Float, nullable=False),
)
