"""Which way the contacts of a replay took through its flow, counted over a limited number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
from sqlalchemy import Connection, Select, case, null, or_, select

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.pages import size_of
from airflow_whatsapp_flows.ledger.rows import NOTHING_SENT, ContactState
from airflow_whatsapp_flows.ledger.schema import chunks, contacts, counts

MOST_CONTACTS = 1000
"""Contacts that are counted: a page takes as long for a million as for a thousand."""
MOST_ROWS = 5000
"""Rows that they are looked for in, and chunks."""
_LONGEST_PATH = 4096  # bytes; the path of a loop may be longer


@dataclass(frozen=True, slots=True)
class PathCounts:
    """Contacts by the way that they took.

    Attributes:
        contacts: contacts that were counted.
        too_long: walked contacts that were not counted, because their path is very long.
        is_all: whether the replay has no others that were walked, as far as it was looked for them.
        has_unread: whether it was not looked for them in all rows.
        steps: contacts that came to a step, by its name.
        ways: contacts that went from one step to another, by the names of both.
        ends: contacts whose walk ended at a step, by its name and their state.
    """

    contacts: int = 0
    too_long: int = 0
    is_all: bool = True
    has_unread: bool = False
    steps: Mapping[str, int] = field(default_factory=dict)
    ways: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ends: Mapping[tuple[str, ContactState], int] = field(default_factory=dict)


def count_paths(ledger: Ledger, replay_no: int) -> PathCounts:
    """Count the paths of the first contacts of a replay that were walked, in the order of its chunks.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    steps: Counter[str] = Counter()
    ways: Counter[tuple[str, str]] = Counter()
    ends: Counter[tuple[str, ContactState]] = Counter()
    walked, too_long, is_all, has_unread = 0, 0, True, False
    with ledger.read() as connection:
        for found in _read(connection, replay_no):
            if found is None:
                has_unread = True
                break
            if walked + too_long == MOST_CONTACTS:
                is_all = False
                break
            text, state = found
            path: list[str] = msgspec.json.decode(text) if text else []
            if not path:
                too_long += text is None
                continue
            walked += 1
            steps.update(set(path))
            ways.update(set(pairwise(path)))
            if state is not ContactState.PENDING:
                ends[path[-1], state] += 1
    return PathCounts(walked, too_long, is_all, has_unread, steps, ways, ends)


def walked_chunks(replay_no: int) -> Select[tuple[int]]:
    """Return the query for the numbers of a replay's chunks that may have walked contacts."""
    own = (counts.c.replay_no == chunks.c.replay_no, counts.c.chunk == chunks.c.chunk)
    is_walked = counts.c.state.not_in([*NOTHING_SENT, ContactState.PENDING.value])
    has_walked = select(counts.c.id).where(*own, is_walked).correlate(chunks).exists()
    # The counts of a chunk in use are not stored.
    return select(chunks.c.chunk).where(chunks.c.replay_no == replay_no, or_(chunks.c.requests.is_(None), has_walked))


def _read(connection: Connection, replay_no: int) -> Iterator[tuple[str | None, ContactState] | None]:
    """Yield path and state of walked contacts, without a path that is too long, and ``None`` before rows not read."""
    path = case((size_of(contacts.c.path) <= _LONGEST_PATH, contacts.c.path), else_=null())
    left = MOST_ROWS
    for chunk in connection.scalars(walked_chunks(replay_no).order_by(chunks.c.chunk).limit(MOST_ROWS)).all():
        query = (
            select(contacts.c.path.is_not(None), path, contacts.c.state)
            .where(contacts.c.replay_no == replay_no, contacts.c.chunk == chunk)
            .order_by(contacts.c.id)
            .limit(left + 1)
        )
        for has_path, text, state in connection.execute(query):
            if not left:
                yield None
                return
            left -= 1
            if has_path:
                yield text, ContactState(state)
