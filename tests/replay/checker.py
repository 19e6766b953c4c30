"""Compares the ledger with the server's log.

Two lists come from the ledger, one from the server's log; ``violations()`` returns every promise that they break. A
request of a ``keyed`` step is matched by its Idempotency-Key, any other by contact and step. Either is called a *unit*:
everything sent and recorded for one thing that should happen once.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypedDict

from typing_extensions import NotRequired

from tests.servers.crm_log import Logged

FINAL = frozenset({"completed", "failed", "rejected", "in_doubt", "skipped"})
SECOND = 1_000_000_000
# Fates with which the ledger shows that the server may have applied the attempt.
KNOWN = frozenset({"succeeded", "applied", "answered"})

Unit = tuple[str, ...]


class Action(TypedDict):
    """One visit of an action, as recorded in the contact's row."""

    step: str
    visit: int
    attempts: int
    status_code: int | None
    outcome: str | None
    idempotency_key: str | None
    fate: str | None


class Contact(TypedDict):
    """One row of the input and its state."""

    id: str
    phone: str | None
    state: str
    handled_errors: int
    actions: list[Action]


class Attempt(TypedDict):
    """One intent in the ledger; ``fate`` is None while it is unknown."""

    key: str
    number: int
    response_id: str
    step: str
    visit: int
    digest: str
    fate: str | None
    begun_at: float
    epoch: NotRequired[int]  # of the response's content


@dataclass(frozen=True)
class History:
    """The data to compare.

    Attributes:
        contacts: the ledger's contacts.
        attempts: the ledger's attempts, of all replays that sent to this server.
        log: the server's log.
        steps: the step that each path of the server belongs to.
        delivery: mode of each step.
        total: rows of the input.
        declared: statuses of each ``at_most_once`` step that mean "not processed". Default: 429.
        safe: steps whose method changes nothing (GET, HEAD, OPTIONS).
        finished: whether the replay says that it ended; then nothing may be pending.
        rate: requests that no second may exceed.
        kills: processes killed; None when doubt is not to be counted.
        concurrency: of each of them.
        contents: hashes of the bodies that a contact's contents make, in the order they came, by contact; each is to be
            applied once, in that order. Empty when contents do not change.
    """

    contacts: Sequence[Contact]
    attempts: Sequence[Attempt]
    log: Sequence[Logged]
    steps: Mapping[str, str]
    delivery: Mapping[str, str]
    total: int
    declared: Mapping[str, frozenset[int]] = field(default_factory=dict)
    safe: frozenset[str] = frozenset()
    finished: bool = True
    rate: int | None = None
    kills: int | None = None
    concurrency: int = 64
    contents: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def contact_of(self) -> dict[str, Contact]:
        """Contacts by id; a rejected row that repeats the id of another does not count."""
        ordered = sorted(self.contacts, key=lambda contact: contact["state"] != "rejected")
        return {contact["id"]: contact for contact in ordered}

    @cached_property
    def attempts_of(self) -> dict[Unit, list[Attempt]]:
        """Attempts by unit, in the order they were begun."""
        units: dict[Unit, list[Attempt]] = defaultdict(list)
        for attempt in sorted(self.attempts, key=lambda attempt: (attempt["begun_at"], attempt["number"])):
            units[self.unit_of_attempt(attempt)].append(attempt)
        return units

    @cached_property
    def requests_of(self) -> dict[Unit, list[Logged]]:
        """Requests by unit, in the order they were complete."""
        units: dict[Unit, list[Logged]] = defaultdict(list)
        for entry in sorted(self.log, key=lambda entry: entry.t):
            units[self.unit_of_request(entry)].append(entry)
        return units

    def unit_of_attempt(self, attempt: Attempt) -> Unit:
        """The unit of an attempt."""
        if self.delivery[attempt["step"]] == "keyed":
            return ("key", attempt["key"])
        contact = self.contact_of.get(attempt["response_id"])
        return (attempt["step"], str(contact and contact["phone"]))

    def unit_of_request(self, entry: Logged) -> Unit:
        """The unit of a request."""
        step = self.steps.get(entry.path)
        if step is None:
            return ("unknown path", entry.path)
        if self.delivery[step] == "keyed":
            return ("key", str(entry.key))
        return (step, str(entry.contact))


def violations(history: History) -> list[str]:
    """Every broken promise, with its contact or request; empty for a correct ledger."""
    checks = (
        states_partition_the_input,
        succeeded_was_applied,
        applied_is_accounted_for,
        uncertain_is_called_in_doubt,
        at_most_once_is_kept,
        keys_and_bytes_are_stable,
        attempts_cover_requests,
        rate_is_kept,
        doubt_is_bounded,
        newest_content_is_there,
    )
    return [text for check in checks for text in check(history)]


def states_partition_the_input(history: History) -> Iterator[str]:
    """(a) Every row of the input is one contact in one state."""
    if len(history.contacts) != history.total:
        yield f"(a) the input has {history.total} rows, the ledger {len(history.contacts)} contacts"
    allowed = FINAL if history.finished else FINAL | {"pending"}
    for contact in history.contacts:
        if contact["state"] not in allowed:
            yield f"(a) contact {contact['id']} ended as {contact['state']!r}"
    counted = Counter(contact["id"] for contact in history.contacts if contact["state"] != "rejected")
    for identity, times in counted.items():
        if times > 1:
            yield f"(a) contact {identity} is in {times} states"


def succeeded_was_applied(history: History) -> Iterator[str]:
    """(b) The server applied each succeeded attempt, with a complete 2xx of its own."""
    for unit, attempts in history.attempts_of.items():
        claimed = sum(attempt["fate"] == "succeeded" for attempt in attempts)
        proven = sum(
            (entry.applied or entry.deduped) and 200 <= entry.status < 300 and entry.reply == "sent"
            for entry in history.requests_of.get(unit, [])
        )
        if claimed > proven:
            yield f"(b) {_name(unit)}: {claimed} attempts succeeded, {proven} at the server"
    begun = {(attempt["response_id"], attempt["step"], attempt["visit"]): attempt for attempt in history.attempts}
    for contact in history.contacts:
        for action in contact["actions"]:
            visit = (contact["id"], action["step"], action["visit"])
            if action["fate"] == "succeeded" and action["attempts"] and visit not in begun:
                yield f"(b) {_visit(*visit)} succeeded without an attempt in the ledger"


def applied_is_accounted_for(history: History) -> Iterator[str]:
    """(c) The contact of every applied request shows it."""
    for unit, requests in history.requests_of.items():
        if not any(entry.applied for entry in requests):
            continue
        attempts = history.attempts_of.get(unit, [])
        if not any(_shows(history, attempt) for attempt in attempts):
            states = sorted({_state(history, attempt) for attempt in attempts}) or ["unknown to the ledger"]
            fates = [attempt["fate"] for attempt in attempts]
            yield f"(c) {_name(unit)} was applied, but its contact is {', '.join(states)}, its attempts {fates}"


def _shows(history: History, attempt: Attempt) -> bool:
    """Whether the attempt and its contact's state allow that the server applied it."""
    state = _state(history, attempt)
    if state in ("rejected", "no contact"):
        return False
    if attempt["fate"] in KNOWN:
        return True
    if attempt["fate"] == "not_sent":
        return False
    # Unknown, or not ended yet.
    return state in ("in_doubt", "pending") or attempt["step"] in history.safe


def uncertain_is_called_in_doubt(history: History) -> Iterator[str]:
    """(c) A contact with a request of unknown fate is in doubt, unless the request changes nothing."""
    settled = {attempt["key"] for attempt in history.attempts if attempt["fate"] in ("succeeded", "applied")}
    for contact in history.contacts:
        # A complete 2xx that success_when rejects is answered, and still settles the visit.
        done = [action for action in contact["actions"] if 200 <= (action["status_code"] or 0) < 300]
        settled.update(str(action["idempotency_key"]) for action in done)
    for attempt in history.attempts:
        if attempt["fate"] not in (None, "unknown") or attempt["step"] in history.safe or attempt["key"] in settled:
            continue
        state = _state(history, attempt)
        if state not in ("in_doubt", "pending"):
            yield f"(c) {_visit(*_visit_of(attempt))}: its fate is unknown, yet the contact is {state}"


def at_most_once_is_kept(history: History) -> Iterator[str]:
    """(d) Under ``at_most_once`` a request is repeated only after a reply that means "not processed".

    A request that provably was not sent never reached the server, so it needs no allowance here.
    """
    for unit, requests in history.requests_of.items():
        step = history.steps.get(requests[0].path)
        if step is None or history.delivery[step] != "at_most_once":
            continue
        declared = history.declared.get(step, frozenset({429}))
        final = [entry for entry in requests[:-1] if entry.status not in declared or entry.reply != "sent"]
        visits = len({_visit_of(attempt) for attempt in history.attempts_of.get(unit, [])})
        if len(final) > max(visits - 1, 0):
            seen = ", ".join(f"{entry.status} {entry.reply}" for entry in requests)
            yield f"(d) {_name(unit)} was sent {len(requests)} times in {visits} visits: {seen}"


def keys_and_bytes_are_stable(history: History) -> Iterator[str]:
    """(e) The same bytes on every attempt of a key; a keyed visit changes its key only if nothing was applied."""
    visits: dict[tuple[str, str, int, int], list[Attempt]] = defaultdict(list)  # another content is another visit
    digests: dict[str, set[str]] = defaultdict(set)
    for attempt in itertools.chain.from_iterable(history.attempts_of.values()):
        digests[attempt["key"]].add(attempt["digest"])
        if history.delivery[attempt["step"]] == "keyed":
            visits[(*_visit_of(attempt), attempt.get("epoch", 1))].append(attempt)
    for (response_id, step, number, _), attempts in visits.items():
        last = max(attempts, key=lambda attempt: attempt["begun_at"])["key"]
        earlier = [attempt["fate"] for attempt in attempts if attempt["key"] != last]
        if any(fate not in ("not_sent", "answered") for fate in earlier):
            yield f"(e) {_visit(response_id, step, number)} got a new key after {', '.join(map(str, earlier))}"
    for key, found in digests.items():
        if len(found) > 1:
            yield f"(e) key {key} has {len(found)} digests in the ledger"
    for unit, requests in history.requests_of.items():
        bodies = {entry.body_hash for entry in requests}
        if unit[0] == "key" and len(bodies) > 1:
            yield f"(e) {_name(unit)} came with {len(bodies)} bodies"


def attempts_cover_requests(history: History) -> Iterator[str]:
    """(f) No request without an intent of its own."""
    for unit, requests in history.requests_of.items():
        attempts = [attempt for attempt in history.attempts_of.get(unit, []) if attempt["fate"] != "not_sent"]
        if len(requests) > len(attempts):
            yield f"(f) {_name(unit)}: {len(requests)} requests at the server, {len(attempts)} sent by the ledger"


def rate_is_kept(history: History) -> Iterator[str]:
    """(g) Never more than ``rate`` requests in any one second; the first breach is named."""
    if history.rate is None:
        return
    times = sorted(entry.t for entry in history.log)
    for first, beyond in zip(times, times[history.rate :], strict=False):
        if beyond - first < SECOND:
            within = sum(first <= t < first + SECOND for t in times)
            yield f"(g) {within} requests in one second from {first} ns; at most {history.rate} are allowed"
            return


def doubt_is_bounded(history: History) -> Iterator[str]:
    """(h) Doubt that no reply of the server explains: at most the concurrency for each kill."""
    if history.kills is None:
        return
    doubtful: dict[str, bool] = {}
    for unit, attempts in history.attempts_of.items():
        explained = any(_leaves_doubt(entry) for entry in history.requests_of.get(unit, []))
        for attempt in attempts:
            if attempt["fate"] in (None, "unknown") and _state(history, attempt) == "in_doubt":
                identity = attempt["response_id"]
                doubtful[identity] = doubtful.get(identity, True) and not explained
    unexplained = sum(doubtful.values())
    allowed = history.kills * history.concurrency
    if unexplained > allowed:
        yield f"(h) {unexplained} contacts are in doubt without a cause at the server; {allowed} may be"


def newest_content_is_there(history: History) -> Iterator[str]:
    """(i) Every content of a contact was applied once, in order, so the newest is last."""
    applied: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(history.log, key=lambda entry: entry.t):
        if not entry.applied or entry.path not in history.steps:
            continue
        found = applied[str(entry.contact)]
        # Under idempotent, twice is the same as once.
        if history.delivery[history.steps[entry.path]] != "idempotent" or found[-1:] != [entry.body_hash]:
            found.append(entry.body_hash)
    for contact, contents in history.contents.items():
        found = applied[contact]
        if found[-1:] != list(contents[-1:]):
            yield f"(i) contact {contact}: the CRM does not hold the newest of {len(contents)} contents"
        elif found != list(contents):
            yield f"(i) contact {contact}: {len(contents)} contents came, {len(found)} were applied"


def _leaves_doubt(entry: Logged) -> bool:
    return entry.reply == "dropped" or entry.status == 408 or entry.status >= 500


def _state(history: History, attempt: Attempt) -> str:
    contact = history.contact_of.get(attempt["response_id"])
    return contact["state"] if contact else "no contact"


def _visit_of(attempt: Attempt) -> tuple[str, str, int]:
    return attempt["response_id"], attempt["step"], attempt["visit"]


def _visit(response_id: str, step: str, visit: int) -> str:
    return f"contact {response_id}, step {step!r}, visit {visit}"


def _name(unit: Unit) -> str:
    return f"{unit[0]} {unit[1]}"
