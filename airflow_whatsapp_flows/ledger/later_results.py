"""What happened to the response of a contact after the contact ended in a replay."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger.epochs import run_id_of
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.resolutions import RESOLVED
from airflow_whatsapp_flows.ledger.rows import NOTHING_SENT, ContactState
from airflow_whatsapp_flows.ledger.schema import contacts

if TYPE_CHECKING:
    from airflow_whatsapp_flows.ledger.results import ActionRecord

States = Mapping[tuple[int, str, int], str]
"""States of contacts by replay, response and epoch of the content."""


@dataclass(frozen=True, slots=True)
class LaterResult:
    """What happened to a response after its contact ended in a replay: elsewhere, or by a person's decision.

    Attributes:
        where: ``the replay NAME``, ``the DAG run ID``, or who decided.
        came: the state of the contact in that replay, the outcome of a DAG run's last request, or the decision:
            ``resolved as sent``, ``resolved as not_sent``, ``duplicate accepted``.
        actions: requests sent after the contact ended, in order.
    """

    where: str
    came: str
    actions: list[ActionRecord]

    @property
    def text(self) -> str:
        """The result for people, such as ``completed in the replay second``."""
        return f"{self.came} {'by' if self.came in _DECISIONS.values() else 'in'} {self.where}"


_DECISIONS = {
    "sent": "resolved as sent",
    "not_sent": "resolved as not_sent",
    "duplicate_accepted": "duplicate accepted",
}


@dataclass(slots=True)
class AttemptsMade:
    """The attempts of one contact: those that its state reflects, as they were then, and those after it ended."""

    own: list[Any] = field(default_factory=list)
    later: list[Row[Any]] = field(default_factory=list)
    decision: dict[str, Any] | None = None

    @classmethod
    def of(cls, contact: Row[Any], attempted: Sequence[Row[Any]], replay: Replay) -> AttemptsMade:
        """Split the attempts for a response, in order, into those before and after a contact of a replay ended."""
        made = cls()
        # A contact held back while reading the source ended at that time.
        ended_at = contact.ended_at or replay.created_at
        if contact.state == ContactState.PENDING.value:
            ended_at = float("inf")
        for row in attempted:
            is_own = row.replay_no == replay.no
            if not is_own and row.begun_at > ended_at:
                made.later.append(row)
            elif is_own or not replay.is_forced:  # an intentional resend starts over
                origin = json.loads(row.origin) if row.origin and RESOLVED in row.origin else None
                if origin is None or origin["at"] <= ended_at:
                    made.own.append(row)
                else:
                    made.decision = origin
                    made.own.append(SimpleNamespace(**{**row._mapping, **origin["was"], "refused_result": None}))
        return made


def states_elsewhere(connection: Connection, made: Iterable[AttemptsMade]) -> States:
    """Find the states of contacts in the replay of their last later attempt."""
    last = [one.later[-1] for one in made if one.later and one.later[-1].replay_no is not None]
    query = select(contacts.c.replay_no, contacts.c.response_id, contacts.c.epoch, contacts.c.state).where(
        contacts.c.response_id.in_({row.response_id for row in last}),
        contacts.c.replay_no.in_({row.replay_no for row in last}),
        contacts.c.digest.is_not(None),
        contacts.c.state.not_in(NOTHING_SENT),
    )
    return {(row[0], row[1], row[2]): row[3] for row in (connection.execute(query) if last else ())}


def later_result(
    made: AttemptsMade, names: Mapping[int, str], states: States, actions: list[ActionRecord]
) -> LaterResult | None:
    """Return what happened after a contact ended.

    Args:
        made: its attempts.
        names: of replays, by number.
        states: see :func:`states_elsewhere`.
        actions: requests sent after it ended.
    """
    if made.later and (made.decision is None or made.decision["at"] < made.later[-1].begun_at):
        last = made.later[-1]
        if last.replay_no is None:
            return LaterResult(f"the DAG run {run_id_of(last.origin)}", outcome_of(last), actions)
        state = states.get((last.replay_no, last.response_id, last.epoch), outcome_of(last))
        return LaterResult(f"the replay {names.get(last.replay_no, last.replay_no)}", state, actions)
    if made.decision is not None:
        return LaterResult(str(made.decision["by"]), _DECISIONS[made.decision["resolved"]], actions)
    return None


def outcome_of(row: Any) -> str:
    """Return ``"success"``, ``"error"``, or ``"unknown"`` while the outcome of an attempt is unknown."""
    if row.fate is None:
        return "unknown"
    return "success" if row.fate == Fate.SUCCEEDED.value else "error"
