"""Which way the contacts of a replay took through its flow, counted over a limited number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import msgspec
from sqlalchemy import case, null, select

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.pages import size_of
from airflow_whatsapp_flows.ledger.schema import contacts

MOST_CONTACTS = 1000
"""Contacts that are counted: a page takes as long for a million as for a thousand."""
_LONGEST_PATH = 4096  # bytes; the path of a loop may be longer


@dataclass(frozen=True, slots=True)
class PathCounts:
    """Contacts by the way that they took.

    Attributes:
        contacts: contacts that were counted, without those not walked yet.
        is_all: whether the replay has no others.
        steps: contacts that came to a step, by its name.
        ways: contacts that went from one step to another, by the names of both.
    """

    contacts: int
    is_all: bool
    steps: Mapping[str, int]
    ways: Mapping[tuple[str, str], int]


def count_paths(ledger: Ledger, replay_no: int) -> PathCounts:
    """Count the paths of the first contacts of a replay, in the order of its chunks.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    size = size_of(contacts.c.path)
    query = (
        select(case((size <= _LONGEST_PATH, contacts.c.path), else_=null()))
        .where(contacts.c.replay_no == replay_no)
        .order_by(contacts.c.chunk, contacts.c.id)
        .limit(MOST_CONTACTS + 1)
    )
    with ledger.read() as connection:
        found = connection.execute(query).scalars().all()
    steps: Counter[str] = Counter()
    ways: Counter[tuple[str, str]] = Counter()
    walked = 0
    for text in found[:MOST_CONTACTS]:
        path: list[str] = msgspec.json.decode(text) if text else []
        walked += bool(path)
        steps.update(set(path))
        ways.update(set(pairwise(path)))
    return PathCounts(walked, len(found) <= MOST_CONTACTS, steps, ways)
