"""Finds what was last sent for responses and their people, for ``send_when: changed``.

What counts is the last walk in which the server may have carried out anything, in the order of the ledger. If part of
it did not succeed, is in doubt, or was erased, or if another walk of the same person overlaps it, there is nothing to
compare with, and the contact is sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, case, func, select

from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.identity import PHONE, Identity
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.unchanged import SentWalk, SettledRequest
from airflow_whatsapp_flows.ledger.applied import may_have_been_applied
from airflow_whatsapp_flows.ledger.attempts import OVERTAKEN
from airflow_whatsapp_flows.ledger.epochs import run_id_of
from airflow_whatsapp_flows.ledger.pages import slices
from airflow_whatsapp_flows.ledger.schema import (
    attempts,
    contacts,
    has_replay,
    identifiers,
    replays,
    stands_for_its_person,
)

_PAGE = 500

Execute = Callable[[Select[Any]], Iterable[Sequence[Any]]]
"""Runs a query in the caller's transaction."""
People = Sequence[tuple[str, Identity]]
"""Responses with the identifiers of their contacts."""


class _Row(NamedTuple):
    id: int
    response_id: str
    step: str
    step_id: str | None
    visit: int
    key: str
    digest: str
    method: str
    fate: str | None
    status_code: int | None
    result: str | None
    begun_at: float
    origin: str | None
    replay_id: str | None
    is_applied: int


class _Walk(NamedTuple):
    first: int  # number of its first attempt with effect
    sent: SentWalk


def find_sent_walks(execute: Execute, flow_id: str, people: People, steps: StepIdentities) -> dict[str, SentWalk]:
    """Find what was last sent for some responses, or for the same people under other ids.

    Args:
        execute: runs a query.
        flow_id: id of the flow.
        people: the responses.
        steps: identities of the flow's steps.

    Returns:
        By response id. Responses are left out for which nothing was sent, or nothing that can be compared.
    """
    related = _find_related(execute, flow_id, people)
    latest = _find_latest(execute, flow_id, sorted({one for ids in related.values() for one in ids}))
    # For each response the last attempt of its person, and that of the person's next response.
    last_two: dict[str, list[int]] = {}
    for response_id, ids in related.items():
        last_two[response_id] = sorted((latest[one] for one in ids if one in latest), reverse=True)[:2]
    wanted = sorted({numbers[0] for numbers in last_two.values() if numbers})
    walks = {last: _walk_of(rows, steps) for last, rows in _read_walks(execute, flow_id, wanted)}
    found: dict[str, SentWalk] = {}
    for response_id, numbers in last_two.items():
        walk = walks.get(numbers[0]) if numbers else None
        if walk is not None and walk.first > max(numbers[1:], default=0):
            found[response_id] = walk.sent
    return found


def _find_related(execute: Execute, flow_id: str, people: People) -> dict[str, set[str]]:
    """Map each response to those of the same person, itself included."""
    related = {response_id: {response_id} for response_id, _ in people}
    owners: dict[str, set[str]] = defaultdict(set)
    for response_id, identity in people:
        for mark in identity.marks:
            owners[mark].add(response_id)
    for mark, other in _find_responses(execute, flow_id, owners):
        for response_id in owners.get(mark, ()):
            related[response_id].add(other)
    return related


def _find_responses(execute: Execute, flow_id: str, marks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Find the responses with some identifiers, each with the mark that it has."""
    ordered = sorted(marks)
    phones = [mark.removeprefix(f"{PHONE}:") for mark in ordered if mark.startswith(f"{PHONE}:")]
    values = sorted({mark.partition(":")[2] for mark in ordered})
    # Another flow, or a row that was rejected, may have another person's response under the same id.
    of_replays: Select[Any] = (
        select(contacts.c.phone, contacts.c.response_id)
        .join(replays, has_replay(replays.c.no))
        .where(replays.c.flow_id == flow_id, stands_for_its_person())
        .distinct()
    )
    of_runs: Select[Any] = (
        select(attempts.c.phone, attempts.c.response_id).where(attempts.c.flow_id == flow_id).distinct()
    )
    for some in slices(phones, _PAGE):
        for by_phone in (of_replays.where(contacts.c.phone.in_(some)), of_runs.where(attempts.c.phone.in_(some))):
            for phone, response_id in execute(by_phone):
                if response_id is not None:
                    yield f"{PHONE}:{phone}", response_id
    for some in slices(values, _PAGE):
        columns = (identifiers.c.kind, identifiers.c.value, identifiers.c.response_id)
        query = select(*columns).where(identifiers.c.value.in_(some), identifiers.c.flow_id == flow_id)
        for kind, value, response_id in execute(query):
            yield f"{kind}:{value}", response_id


def _find_latest(execute: Execute, flow_id: str, response_ids: Sequence[str]) -> dict[str, int]:
    """Find the number of the last attempt for each response that the server may have carried out."""
    found: dict[str, int] = {}
    for some in slices(response_ids, _PAGE):
        query = (
            select(func.max(attempts.c.id), attempts.c.response_id)
            .where(attempts.c.response_id.in_(some), attempts.c.flow_id == flow_id)
            .where(attempts.c.method.not_in(sorted(SAFE_METHODS)), may_have_been_applied())
            .group_by(attempts.c.response_id)
        )
        found.update((response_id, number) for number, response_id in execute(query))
    return found


def _read_walks(execute: Execute, flow_id: str, last: Sequence[int]) -> Iterator[tuple[int, list[_Row]]]:
    """Read the walks that some attempts are of: all attempts of the same content of the same response."""
    final = attempts.alias("final")
    columns: list[Any] = [final.c.id, *(attempts.c[name] for name in _Row._fields if name in attempts.c)]
    query = (
        select(*columns, replays.c.id, case((may_have_been_applied(), 1), else_=0))
        .join(final, (final.c.response_id == attempts.c.response_id) & (final.c.flow_id == attempts.c.flow_id))
        .outerjoin(replays, replays.c.no == attempts.c.replay_no)
        .where(final.c.epoch == attempts.c.epoch, attempts.c.flow_id == flow_id)
        .order_by(attempts.c.id)
    )
    for some in slices(last, _PAGE):
        found: dict[int, list[_Row]] = defaultdict(list)
        for number, *row in execute(query.where(final.c.id.in_(some))):
            found[number].append(_Row(*row))
        yield from found.items()


def _walk_of(rows: Sequence[_Row], steps: StepIdentities) -> _Walk | None:
    """Return a walk; ``None`` if it cannot be compared."""
    if any(OVERTAKEN in (row.origin or "") for row in rows):
        return None
    visits: dict[tuple[str | None, int], list[_Row]] = defaultdict(list)
    for row in rows:
        visits[steps.owner(row.step, row.step_id), row.visit].append(row)
    requests: list[SettledRequest] = []
    sent: list[_Row] = []
    for (step, _), tried in visits.items():
        if tried[0].method in SAFE_METHODS:
            request = None if step is None else _read_request(step, tried[-1])
            requests += [] if request is None else [request]
            continue
        applied = [row for row in tried if row.is_applied]
        if not applied:  # it was refused; the walk that asks for it again finds no request to compare with
            continue
        last = applied[-1]
        is_one_request = {(row.key, row.digest) for row in applied} == {(last.key, last.digest)}
        request = None if step is None or not is_one_request else _read_request(step, last)
        if request is None or not request.succeeded:
            return None
        requests.append(request)
        sent += applied
    if not sent:
        return None
    last = max(sent)
    where = f"the replay {last.replay_id}" if last.replay_id else f"the DAG run {run_id_of(last.origin)}"
    return _Walk(min(sent).id, SentWalk(last.response_id, where, last.begun_at, tuple(requests)))


def _read_request(step: str, row: _Row) -> SettledRequest | None:
    # Without a result, its content was erased: nothing is compared with it any more.
    if row.result is None or row.fate not in (Fate.SUCCEEDED.value, Fate.ANSWERED.value):
        return None
    succeeded = row.fate == Fate.SUCCEEDED.value
    return SettledRequest(step, row.visit, row.key, row.digest, row.method, succeeded, row.result, row.status_code)
