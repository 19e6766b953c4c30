"""Claims of ``only_once``: who was sent a step, and for which response. The only writer of the claims table.

A claim is committed with the intent, so if two senders want the same person at once, one is refused. It is deleted
when the attempt's outcome proves that nothing was applied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, or_, select

from airflow_whatsapp_flows.errors import OnceClaimedError
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.ledger.applied import may_have_been_applied
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.locks import lock_number
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, Intent, OnceClaim, Subject
from airflow_whatsapp_flows.ledger.schema import attempts, once
from airflow_whatsapp_flows.ledger.statements import insert_statement

_PAGE = 500
ADD_CLAIMS = insert_statement(once, ("flow_id", "step_id", "identifier", "response_id"), or_nothing=True)
MAY_BE_RELEASED = (Fate.NOT_SENT, Fate.ANSWERED)
"""Fates of an attempt that may not have been applied."""
ONCE_CLAIMED = "only_once: another response of this person was sent"

Key = tuple[str, str, str]
"""Flow, step and identifier."""


def claim_once(connection: Connection, intents: Sequence[Intent]) -> set[int]:
    """Claim a step for the people of some intents.

    Args:
        connection: in a transaction.
        intents: with the marks to claim.

    Returns:
        The ``id()`` of intents whose person was claimed for another response, also under an earlier identity of the
        step: these must not be recorded.
    """
    lock_claims(connection, {intent.subject.flow_id for intent in intents})
    holders = _holders(connection, [key for intent in intents for key in (*keys_of(intent), *_earlier_keys(intent))])
    refused: set[int] = set()
    new: list[tuple[str, str, str, str]] = []
    for intent in intents:
        keys, own = keys_of(intent), intent.subject.response_id
        if any(holders.get(key, own) != own for key in (*keys, *_earlier_keys(intent))):
            refused.add(id(intent))
            continue
        new += [(*key, own) for key in keys if key not in holders]
        holders.update((key, own) for key in keys)
    ADD_CLAIMS.run(connection, new)
    return refused


def release_once(connection: Connection, intents: Iterable[Intent]) -> None:
    """Delete the claims of intents without effect, unless another attempt for the response may have been applied.

    Args:
        connection: in a transaction, after the ends of the attempts are written.
        intents: with the marks that were claimed.
    """
    for intent in sorted(intents, key=lambda one: one.subject):
        if intent.once is not None:
            known = {intent.once.step_id, *intent.once.earlier, intent.step_id or intent.step}
            free_person(connection, intent.subject, intent.step, known)


def free_person(connection: Connection, subject: Subject, step: str, identities: Collection[str]) -> None:
    """Delete the claims of a response on a step, unless an attempt at it may have been applied.

    Args:
        connection: in a transaction.
        subject: flow and response.
        step: name of the step that its attempts were recorded under.
        identities: of the step, earlier ones included.
    """
    lock_claims(connection, [subject.flow_id])
    own = (attempts.c.response_id == subject.response_id, attempts.c.flow_id == subject.flow_id)
    # A request sent under an earlier name has that name, or the identity at that time.
    same = or_(attempts.c.step.in_({step, *identities}), attempts.c.step_id.in_(identities))
    applied = select(attempts.c.id).where(*own, same, may_have_been_applied())
    mine = (once.c.flow_id == subject.flow_id, once.c.response_id == subject.response_id)
    connection.execute(delete(once).where(*mine, once.c.step_id.in_(identities), ~applied.exists()))


def once_of(step: Action, marks: tuple[str, ...], known: Iterable[str] = ()) -> OnceClaim | None:
    """Return what a request of an action claims for a person.

    Args:
        step: the action; one that changes nothing claims nothing.
        known: identities of the step, earlier ones included.
        marks: of the person; empty if the flow has no ``only_once``, or the person cannot be identified.
    """
    if not marks or step.plan.method in SAFE_METHODS:
        return None
    return OnceClaim(step.identity, marks, tuple(one for one in known if one != step.identity))


def keys_of(intent: Intent) -> list[Key]:
    """Return what an intent claims."""
    claimed = intent.once
    return [] if claimed is None else [(intent.subject.flow_id, claimed.step_id, mark) for mark in claimed.marks]


def _earlier_keys(intent: Intent) -> list[Key]:
    claimed = intent.once
    if claimed is None:
        return []
    return [(intent.subject.flow_id, known, mark) for known in claimed.earlier for mark in claimed.marks]


def lock_of(flow_id: str) -> int:
    """Return the number of the lock for a flow's claims."""
    return lock_number("once", flow_id)


def lock_claims(connection: Connection, flow_ids: Iterable[str]) -> None:
    """Prevent other transactions from changing the claims of some flows until this one ends."""
    for flow_id in sorted(flow_ids):
        dialect_of(connection).lock_until_commit(connection, lock_of(flow_id))


def _holders(connection: Connection, keys: Sequence[Key]) -> dict[Key, str]:
    by_step: dict[tuple[str, str], set[str]] = {}
    for flow_id, step_id, mark in keys:
        by_step.setdefault((flow_id, step_id), set()).add(mark)
    found: dict[Key, str] = {}
    for (flow_id, step_id), marks in by_step.items():
        these = sorted(marks)
        for start in range(0, len(these), _PAGE):
            query = select(once.c.identifier, once.c.response_id).where(
                once.c.flow_id == flow_id,
                once.c.step_id == step_id,
                once.c.identifier.in_(these[start : start + _PAGE]),
            )
            found.update(((flow_id, step_id, mark), holder) for mark, holder in connection.execute(query))
    return found


# For Airflow tasks: both drivers run the same text, and every name in it is ours.
_CLAIM_OF = "WHERE flow_id = :flow_id AND step_id = :step_id"
_APPLIED = may_have_been_applied().compile(compile_kwargs={"literal_binds": True})
_HOLDER = f"SELECT response_id FROM {once.name} {_CLAIM_OF} AND identifier = :identifier"  # noqa: S608
_CLAIM = (
    f"INSERT INTO {once.name} (flow_id, step_id, identifier, response_id) "  # noqa: S608
    "VALUES (:flow_id, :step_id, :identifier, :response_id)"
)
_RELEASE = f"DELETE FROM {once.name} {_CLAIM_OF} AND response_id = :response_id"  # noqa: S608
_MAY_BE_APPLIED = (
    f"SELECT 1 FROM {attempts.name} WHERE response_id = :response_id AND flow_id = :flow_id "  # noqa: S608
    f"AND (step = :step_id OR step_id = :step_id) AND ({_APPLIED})"
)


class TaskClaims:
    """Claims of an Airflow task, within its transaction.

    Args:
        execute: runs a statement with named parameters and returns its rows.
        lock: holds the lock of a number until the end of the transaction.
    """

    def __init__(self, execute: Callable[[str, Mapping[str, Any]], list[Any]], lock: Callable[[int], None]) -> None:
        self._execute = execute
        self._lock_until_commit = lock

    def claim(self, intent: Intent) -> None:
        """Claim the step for the intent's person, if it claims anything.

        Raises:
            OnceClaimedError: another response has claimed it.
        """
        for flow_id, step_id, mark in self._lock(intent):
            names = {"flow_id": flow_id, "step_id": step_id, "identifier": mark}
            earlier = intent.once.earlier if intent.once else ()
            for known in (*earlier, step_id):
                holder = self._execute(_HOLDER, {**names, "step_id": known})
                if holder and holder[0][0] != intent.subject.response_id:
                    raise OnceClaimedError(ONCE_CLAIMED)
            if not holder:
                self._execute(_CLAIM, {**names, "response_id": intent.subject.response_id})

    def release(self, end: AttemptEnd) -> None:
        """Delete the claims of an attempt without effect, like :func:`free_person`."""
        intent = end.intent
        if end.fate not in MAY_BE_RELEASED or not self._lock(intent) or intent.once is None:
            return
        known = {intent.once.step_id, *intent.once.earlier, intent.step_id or intent.step, intent.step}
        names = intent.subject._asdict()
        if not any(self._execute(_MAY_BE_APPLIED, {**names, "step_id": one}) for one in sorted(known)):
            for one in sorted(known):
                self._execute(_RELEASE, {**names, "step_id": one})

    def _lock(self, intent: Intent) -> list[Key]:
        keys = keys_of(intent)
        if keys:
            self._lock_until_commit(lock_of(intent.subject.flow_id))
        return keys
