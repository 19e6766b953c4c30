"""How far a replay, or some chunks of it, has come: what its tasks leave in XCom."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select

from airflow_whatsapp_flows.flow.delivery import Fate
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts


def replay_status(
    ledger: Ledger, replay: Replay, chunks: Sequence[int] | None = None, elapsed: float | None = None
) -> dict[str, Any]:
    """The states of contacts, what else was counted, and the time it took.

    Args:
        ledger: where the replay is.
        replay: which one.
        chunks: of these chunks alone; of all by default.
        elapsed: seconds; by default those for which the replay ran.
    """
    chosen = contacts.c.replay_no == replay.no
    if chunks is not None:
        chosen &= contacts.c.chunk.in_(list(chunks))
    unanswered = func.sum(func.cast(contacts.c.unanswered, attempts.c.number.type))
    query = (
        select(contacts.c.state, func.count(), func.sum(contacts.c.handled_errors), unanswered)
        .where(chosen)
        .group_by(contacts.c.state)
    )
    reached = (
        select(func.count())
        .select_from(contacts.join(attempts, attempts.c.response_id == contacts.c.response_id))
        .where(chosen, attempts.c.replay_no == replay.no, attempts.c.flow_id == replay.flow_id)
        .where(func.coalesce(attempts.c.fate, "") != Fate.NOT_SENT.value)
        # A row that was rejected or skipped may have the id of one that was sent.
        .where(contacts.c.state.not_in([ContactState.REJECTED.value, ContactState.SKIPPED.value]))
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
        requests = connection.execute(reached).scalar_one()
    counted = {state: count for state, count, _, _ in rows}
    if elapsed is None:
        elapsed = replay.running_time(time.time())
    return {
        "replay_id": replay.id,
        "flow_id": replay.flow_id,
        "total": sum(counted.values()),
        **{state: counted.get(state, 0) for state in _STATES},
        "handled_errors": sum(row[2] or 0 for row in rows),
        "unanswered": sum(row[3] or 0 for row in rows),
        "requests": requests,
        "elapsed_s": round(max(0.0, elapsed), 3),
    }


_STATES = ("pending", "completed", "failed", "rejected", "in_doubt", "skipped")


def status_line(status: Mapping[str, Any]) -> str:
    """A status as one line for the log."""
    states = ", ".join(f"{status[state]:,} {state.replace('_', ' ')}" for state in _STATES if status[state])
    return f"{status['total']:,} contacts: {states or 'none'}; {status['requests']:,} requests"


def what_is_wrong(status: Mapping[str, Any], fail_when: str, max_failures: int | None) -> str | None:
    """Why contacts that ended make a task fail; ``None`` when they do not.

    Args:
        status: from :func:`replay_status`.
        fail_when: ``any`` contact failed, in doubt or rejected; more than the ``budget``; ``never``.
        max_failures: the budget.
    """
    failed = status["failed"] + status["in_doubt"]
    if fail_when == "any" and failed + status["rejected"]:
        parts = [f"{status[state]:,} {state.replace('_', ' ')}" for state in ("failed", "in_doubt", "rejected")]
        which = ", ".join(part for part in parts if not part.startswith("0 "))
        return f"{which}; see them with `whatsapp-flows replay results {status['replay_id']}`"
    if fail_when == "budget" and max_failures is not None and failed > max_failures:
        return f"{failed:,} contacts failed or are in doubt, and max_failures allows {max_failures:,}"
    return None
