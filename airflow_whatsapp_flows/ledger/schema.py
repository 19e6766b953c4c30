"""The tables of the ledger. A change here goes into a revision under ``ledger/migrations`` too.

Names begin with ``whatsapp_flows_``, so the ledger may live in a database with other tables. Times are seconds since
the epoch. Texts that hold JSON end up as text, which both databases keep to the byte.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
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
)

SCHEMA_VERSION = 2
PREFIX = "whatsapp_flows_"
MIGRATIONS_TABLE = f"{PREFIX}alembic"

COMMITS = f"{PREFIX}commits"

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only what is declared INTEGER

versions = Table(
    f"{PREFIX}ledger",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("ledger_id", Text),  # random, given when the tables are made: another ledger has another
    # Counts up, so an older copy has fewer. On a server the sequence does, for a row would make workers wait.
    Column("commits", BigInteger, nullable=False, default=0, server_default="0"),
)
Sequence(COMMITS, metadata=metadata)

alembic_versions = Table(
    MIGRATIONS_TABLE,
    metadata,
    # As alembic itself makes it. It follows `versions`, which is what every process checks.
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{MIGRATIONS_TABLE}_pkc"),
)

replays = Table(
    f"{PREFIX}replays",
    metadata,
    Column("no", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("flow_id", Text, nullable=False),
    Column("flow", Text, nullable=False),  # the flow file as it was, JSON
    Column("source", Text, nullable=False),  # as the user wrote it
    Column("source_mark", Text),  # changes when the content of the source does; null when that cannot be known
    Column("options", Text, nullable=False),  # JSON: what `retry` needs to go on with the same settings
    Column("note", Text),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("sealed", Boolean, nullable=False, default=False),  # whether every row of the source is in it
)

contacts = Table(
    f"{PREFIX}contacts",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("replay_no", Integer, nullable=False),
    Column("chunk", Integer, nullable=False),
    Column("place", Text, nullable=False),  # where its row stands in the source
    Column("response_id", Text),
    Column("phone", Text),
    Column("digest", Text),  # of the response's content: the same id with other content is another response
    Column("response", Text),  # JSON; null for a rejected row, and after a purge
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("round", Integer, nullable=False, default=1),  # counts up with every retry
    Column("path", Text),  # JSON list of step names
    Column("error", Text),  # JSON, of the last action that failed
    Column("fingerprint", Text),
    Column("handled_errors", Integer, nullable=False, default=0),
    Column("unanswered", Boolean, nullable=False, default=False),
    Column("ended_at", Float),
    Column("epoch", Integer, nullable=False, default=1, server_default="1"),  # counts up with every changed content
)
Index(f"{PREFIX}contacts_chunk", contacts.c.replay_no, contacts.c.chunk, contacts.c.id)
# Rows that the ledger already held have no digest and no phone, and are in neither: a query by response id says
# `digest IS NOT NULL` to be answered by the first.
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
    Column("phone", Text),  # only of attempts outside a replay; a replay's are found through contacts
    Column("replay_no", Integer),
    Column("round", Integer, nullable=False, default=1),
    Column("origin", Text),  # JSON: dag, run, task, map index and try
    Column("moment", Float, nullable=False),  # when the walk began: what global.Date and its kin are made of
    Column("begun_at", Float, nullable=False),
    Column("fate", Text),  # null: an intent without an outcome
    Column("status_code", Integer),
    Column("error_kind", Text),
    Column("result", Text),  # JSON
    Column("ended_at", Float),
    Column("step_id", Text),  # identity of the step, which survives a rename; null: the name is the identity
    Column("epoch", Integer, nullable=False, default=1, server_default="1"),  # of the response's content
    Column("content", Text),  # digest of the response's content, where no replay holds it
    # The response's id comes first: rows of one batch stand together, and a contact's record is one range.
    UniqueConstraint("response_id", "flow_id", "step", "visit", "key", "number", name=f"{PREFIX}attempts_key"),
)
Index(
    f"{PREFIX}attempts_phone",
    attempts.c.phone,
    sqlite_where=attempts.c.phone.is_not(None),
    postgresql_where=attempts.c.phone.is_not(None),
)

identifiers = Table(
    f"{PREFIX}identifiers",
    metadata,
    # What a contact is known by beside its phone: `id`, `user_id`, `email`, and those that a flow lists.
    Column("value", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("flow_id", Text, primary_key=True),
    Column("response_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)

once = Table(
    f"{PREFIX}once",
    metadata,
    # Who has been sent a step under `only_once`. Committed with the intent, deleted when nothing was applied.
    Column("flow_id", Text, primary_key=True),
    Column("step_id", Text, primary_key=True),
    Column("identifier", Text, primary_key=True),  # kind and value
    Column("response_id", Text, nullable=False),
    sqlite_with_rowid=False,
)

renames = Table(
    f"{PREFIX}renames",
    metadata,
    # Steps that were sent under another identity, as somebody has confirmed.
    Column("flow_id", Text, primary_key=True),
    Column("old", Text, primary_key=True),
    Column("new", Text),  # null: removed, not renamed
    Column("at", Float, nullable=False),
    Column("by", Text),
)

chunks = Table(
    f"{PREFIX}chunks",
    metadata,
    Column("replay_no", Integer, primary_key=True),
    Column("chunk", Integer, primary_key=True),
    Column("size", Integer, nullable=False, default=0),
    Column("fence", Integer, nullable=False, default=0),  # counts up with every owner
    Column("owner", Text),
    Column("cleared_by", Text),  # the task, and the number of its clear, that last had its failed contacts sent again
)

slots = Table(
    f"{PREFIX}slots",
    metadata,
    Column("host", Text, primary_key=True),
    Column("next_at", Float, nullable=False),  # on the store's clock
    Column("held_until", Float, nullable=False),
)
