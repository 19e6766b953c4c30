"""How long the replies to an action took, in a sample of the latest ones: a page takes as long for a million."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.paths import walked_chunks
from airflow_whatsapp_flows.ledger.schema import attempts, chunks, contacts

MOST_REPLIES = 1000
_MOST_CONTACTS = 2000  # whose requests are looked at
_MOST_CHUNKS = 20
_MOST_ATTEMPTS = 5000  # of all flows, among which those of a flow without replays are looked for


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from a request to its reply.

    Attributes:
        replies: number of replies in the sample.
        p50: half of them took no longer.
        p95: 95 of 100 took no longer.
        p99: 99 of 100 took no longer.
    """

    replies: int
    p50: float
    p95: float
    p99: float


def step_latencies(ledger: Ledger, flow_id: str, step: str, replay_no: int | None) -> Latencies | None:
    """Measure the latest replies to an action; ``None`` if there are none.

    Args:
        ledger: the ledger.
        flow_id: id of the flow.
        step: name of the action.
        replay_no: number of the replay whose requests to look at; ``None`` for the latest of any kind.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    of_step = (attempts.c.flow_id == flow_id, attempts.c.step == step)
    with ledger.read() as connection:
        if replay_no is None:
            newest = select(attempts.c.id).order_by(attempts.c.id.desc()).limit(_MOST_ATTEMPTS).subquery()
            query = _replies(*of_step).join(newest, newest.c.id == attempts.c.id)
        else:
            walked = walked_chunks(replay_no).order_by(chunks.c.chunk.desc()).limit(_MOST_CHUNKS)
            numbers = connection.scalars(walked).all()
            sample = _sample(replay_no, numbers).subquery()
            query = _replies(*of_step, attempts.c.replay_no == replay_no, sample.c.digest.is_not(None))
            query = query.join(sample, sample.c.response_id == attempts.c.response_id)
        rows = connection.execute(query).all()
    seconds = sorted(max(0.0, ended_at - begun_at) for begun_at, ended_at in rows)
    if not seconds:
        return None
    return Latencies(len(seconds), *(_percentile(seconds, share) for share in (0.5, 0.95, 0.99)))


def _replies(*conditions: ColumnElement[bool]) -> Select[Any]:
    replied = (attempts.c.status_code.is_not(None), attempts.c.ended_at.is_not(None))
    query = select(attempts.c.begun_at, attempts.c.ended_at).where(*conditions, *replied)
    return query.order_by(attempts.c.id.desc()).limit(MOST_REPLIES)


def _sample(replay_no: int, numbers: Sequence[Any]) -> Select[Any]:
    """Return the query for the last contacts in some chunks of a replay."""
    return (
        select(contacts.c.response_id, contacts.c.digest)
        .where(contacts.c.replay_no == replay_no, contacts.c.chunk.in_(list(numbers)))
        .order_by(contacts.c.chunk.desc(), contacts.c.id.desc())
        .limit(_MOST_CONTACTS)
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
