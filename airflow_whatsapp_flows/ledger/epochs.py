"""Versions of one response's content: which is the newest, and under which epoch each is sent.

A response whose content changes gets a new epoch, which is part of its idempotency keys: 1 for the first content in
the ledger, incremented with each change. Attempts of one epoch do not affect another, except that a new epoch starts
only when the fate of every earlier attempt is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection, and_, func, or_, select

from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import CARRIED_OUT_FATES, UNKNOWN_FATES, Fate
from airflow_whatsapp_flows.flow.walk.unchanged import UNCHANGED
from airflow_whatsapp_flows.ledger.dialects import dialect_of
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.schema import attempts, contacts, has_replay, replays


class KnownResponse(Struct, frozen=True):
    """A response that the ledger already holds for a flow.

    Attributes:
        replay_no: number of the replay that contains it; ``None`` for a DAG run that has sent something for it.
        replay_id: name of the replay, or id of the DAG run.
        digest: of the response's content; ``None`` if unknown.
        state: of the contact; ``None`` for a DAG run.
        epoch: of the content.
        walked: whether the contact was walked; an in-doubt contact that was not walked only refers to another one.
        sent: for a contact that was finally skipped: whether any of its content was sent before, or the server already
            has it.
    """

    replay_no: int | None
    replay_id: str
    digest: str | None
    state: ContactState | None
    epoch: int = 1
    walked: bool = True
    sent: bool = False

    @property
    def where(self) -> str:
        """The replay or DAG run, for people."""
        return f"the replay {self.replay_id}" if self.replay_no is not None else f"the DAG run {self.replay_id}"

    @property
    def is_evidence(self) -> bool:
        """Whether any of the content was sent or may be sent; false for a contact that a guard skipped."""
        return self.sent or self.state is not ContactState.SKIPPED


class AttemptSummary(NamedTuple):
    """The fields of an attempt that decide about content.

    Attributes:
        epoch: of the attempt.
        step: name of the action.
        visit: from 1.
        key: idempotency key.
        fate: ``None`` for an intent without an outcome.
        method: of the request.
        status_code: of the reply.
        replay_no: number of the replay; ``None`` in a DAG run.
        origin: JSON: dag, run and task.
        content: digest of the response's content, in a DAG run.
    """

    epoch: int
    step: str
    visit: int
    key: str
    fate: str | None
    method: str
    status_code: int | None
    replay_no: int | None
    origin: str | None
    content: str | None

    @property
    def run_id(self) -> str:
        """Id of the DAG run; empty for a replay's."""
        return run_id_of(self.origin)


class ContentMatch(NamedTuple):
    """How content compares with what the ledger knows.

    Attributes:
        epoch: epoch for sending it.
        other: holder of the content that it differs from; ``None`` if it is the first or equals the newest.
    """

    epoch: int
    other: KnownResponse | None


_UNCHANGED = f"{UNCHANGED}:%"
"""Pattern of the reasons of contacts whose content the server already has, though it was sent for other content."""


def run_id_of(origin: str | None) -> str:
    """Return the id of the DAG run in an attempt's ``origin``; empty if there is none."""
    return str((json.loads(origin) if origin else {}).get("run_id") or "")


def compare_content(known: Sequence[KnownResponse], is_same: Callable[[str | None], bool]) -> ContentMatch:
    """Compare content with what the ledger knows of the same response.

    Args:
        known: entries for the response, in any order.
        is_same: whether a digest matches the content.
    """
    top = max((one.epoch for one in known), default=0)
    bound = [one for one in known if one.is_evidence] or [one for one in known if one.epoch == top]
    if not bound:
        return ContentMatch(top + 1, None)
    newest = max(one.epoch for one in bound)
    of_newest = [one for one in bound if one.epoch == newest]
    comparable = [one for one in of_newest if one.digest is not None] or of_newest
    if any(is_same(one.digest) for one in comparable):
        return ContentMatch(newest, None)
    if not comparable[-1].is_evidence:
        return ContentMatch(top + 1, None)
    return ContentMatch(top + 1, comparable[-1])


def first_in_doubt(made: Sequence[AttemptSummary]) -> AttemptSummary | None:
    """Return the first attempt that is in doubt; ``None`` if the fate of all is known."""
    return next((one for one in made if _is_unknown(one) and not any(_settles(other, one) for other in made)), None)


def _is_unknown(one: AttemptSummary) -> bool:
    return one.fate in UNKNOWN_FATES and one.method not in SAFE_METHODS


def _settles(other: AttemptSummary, one: AttemptSummary) -> bool:
    """Whether ``other`` got a complete 2xx for the same visit or under the same key."""
    same = other.key == one.key or (other.step, other.visit) == (one.step, one.visit)
    complete = other.fate in CARRIED_OUT_FATES or (
        other.fate == Fate.ANSWERED.value and 200 <= (other.status_code or 0) < 300
    )
    return complete and same and other.epoch == one.epoch


def find_known_responses(
    connection: Connection,
    flow_id: str,
    response_ids: Sequence[str],
    *,
    reading: int | None = None,
    of_runs: bool = True,
    apart_from: int | None = None,
) -> dict[str, list[KnownResponse]]:
    """Find what the ledger holds for responses of a flow: first in replays, oldest first, then in DAG runs.

    Leaves out rejected rows and replays whose source was not read to the end, because they send nothing, and rows that
    only refer to another row.

    Args:
        connection: connection to the ledger.
        flow_id: id of the flow.
        response_ids: identities of the responses.
        reading: number of the replay whose source is being read; its rows are included.
        of_runs: whether to include DAG runs.
        apart_from: number of a replay whose rows are left out.
    """
    same = and_(attempts.c.response_id == contacts.c.response_id, attempts.c.epoch == contacts.c.epoch)
    sent = (
        select(attempts.c.id)
        .where(same, attempts.c.flow_id == flow_id, func.coalesce(attempts.c.fate, "") != Fate.NOT_SENT.value)
        .correlate(contacts)
        .exists()
    )
    query = (
        select(
            contacts.c.response_id, contacts.c.replay_no, replays.c.id, contacts.c.digest, contacts.c.state,
            contacts.c.epoch, contacts.c.path.is_not(None),
            and_(contacts.c.state == ContactState.SKIPPED.value, or_(sent, contacts.c.reason.like(_UNCHANGED))),
        )
        .join(replays, has_replay(replays.c.no))
        .where(dialect_of(connection).is_one_of(contacts.c.response_id, response_ids), contacts.c.digest.is_not(None))
        .where(replays.c.flow_id == flow_id, contacts.c.state != ContactState.REJECTED.value)
        .where(or_(replays.c.sealed, replays.c.no == reading))
        .order_by(contacts.c.id)
    )  # fmt: skip
    if apart_from is not None:
        query = query.where(contacts.c.replay_no != apart_from)
    found: dict[str, list[KnownResponse]] = {}
    for response_id, replay_no, replay_id, digest, state, epoch, walked, was_sent in connection.execute(query):
        one = KnownResponse(replay_no, replay_id, digest, ContactState(state), epoch, bool(walked), bool(was_sent))
        found.setdefault(response_id, []).append(one)
    if of_runs:
        for response_id, one in _find_known_to_runs(connection, flow_id, response_ids):
            found.setdefault(response_id, []).append(one)
    return found


def _find_known_to_runs(
    connection: Connection, flow_id: str, response_ids: Sequence[str]
) -> Iterable[tuple[str, KnownResponse]]:
    query = (
        select(attempts.c.response_id, attempts.c.epoch, attempts.c.content, attempts.c.origin)
        .where(dialect_of(connection).is_one_of(attempts.c.response_id, response_ids), attempts.c.flow_id == flow_id)
        .where(attempts.c.replay_no.is_(None))
        .order_by(attempts.c.id)
    )
    seen = set()
    for response_id, epoch, content, origin in connection.execute(query):
        if (response_id, epoch, content) not in seen:
            seen.add((response_id, epoch, content))
            yield response_id, KnownResponse(None, run_id_of(origin), content, None, epoch)


# Queries of tasks, which use the driver directly; they contain only our own names.
_CONTACTS_OF_SUBJECT = (
    f"FROM {contacts.name} c JOIN {replays.name} r ON r.no = c.replay_no "
    "WHERE c.response_id = :response_id AND c.digest IS NOT NULL AND r.flow_id = :flow_id AND r.sealed "
)
_IS_UNCHANGED = f"c.state = '{ContactState.SKIPPED.value}' AND COALESCE(c.reason, '') LIKE '{_UNCHANGED}'"
KNOWN_OF_SUBJECT = (
    f"SELECT c.replay_no, r.id, c.digest, c.state, c.epoch, c.path IS NOT NULL, {_IS_UNCHANGED} "
    f"{_CONTACTS_OF_SUBJECT} AND c.state <> '{ContactState.REJECTED.value}' ORDER BY c.id"
)
"""Contacts of one response, except rejected rows; parse a row with :func:`parse_known_row`."""

WAITING_SINCE = (
    f"SELECT c.replay_no, r.id, c.digest, c.state, c.epoch, c.path IS NOT NULL, {_IS_UNCHANGED} "
    f"{_CONTACTS_OF_SUBJECT} AND (c.state = '{ContactState.PENDING.value}' OR {_IS_UNCHANGED}) "
    # Under the first epoch a digest may come from an earlier version; the replay checks when it walks the contact.
    "AND (c.epoch > :epoch OR (c.epoch = :epoch AND c.epoch > 1 AND c.digest <> :content)) ORDER BY c.id LIMIT 1"
)
"""A contact whose content is newer than that of a DAG run, and is pending, or is what the server already has."""
SENT_SINCE = (
    "SELECT a.replay_no, r.id, a.content, a.epoch, a.origin "  # noqa: S608
    f"FROM {attempts.name} a LEFT JOIN {replays.name} r ON r.no = a.replay_no "
    "WHERE a.response_id = :response_id AND a.flow_id = :flow_id "
    "AND (a.epoch > :epoch OR (a.epoch = :epoch AND a.content <> :content)) ORDER BY a.id LIMIT 1"
)
"""An attempt with newer content than that of a DAG run; parse a row with :func:`parse_sent_row`."""


def parse_sent_row(row: Sequence[Any]) -> KnownResponse:
    """Parse a row of :data:`SENT_SINCE`."""
    replay_no, replay_id, content, epoch, origin = row
    return KnownResponse(replay_no, replay_id or run_id_of(origin), content, None, epoch)


def parse_known_row(row: Sequence[Any]) -> KnownResponse:
    """Parse a row of :data:`KNOWN_OF_SUBJECT`."""
    replay_no, replay_id, digest, state, epoch, walked, is_unchanged = row
    return KnownResponse(replay_no, replay_id, digest, ContactState(state), epoch, bool(walked), bool(is_unchanged))


def names_of(known: Iterable[KnownResponse]) -> Mapping[int, str]:
    """Map the numbers of replays to their names."""
    return {one.replay_no: one.replay_id for one in known if one.replay_no is not None}
