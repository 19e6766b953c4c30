"""Plans a replay: reads every row and walks every contact, without sending or writing anything."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from airflow_whatsapp_flows.flow.format.replay import OnChanged
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.response import ContactResponse, read_response
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.flow.walk.unchanged import SentWalk
from airflow_whatsapp_flows.ledger.database import Connection, Ledger
from airflow_whatsapp_flows.ledger.epochs import KnownResponse, find_known_responses
from airflow_whatsapp_flows.ledger.pages import batches
from airflow_whatsapp_flows.ledger.person_history import recent_latencies
from airflow_whatsapp_flows.ledger.records import PendingContact, ResponseRecord, read_records
from airflow_whatsapp_flows.ledger.renames import SentNames, step_identities
from airflow_whatsapp_flows.ledger.replays import Replay, tally
from airflow_whatsapp_flows.ledger.retry import SelectedContacts
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.seen_rows import SeenRows
from airflow_whatsapp_flows.replay.comparison import UNCHANGED_ROWS, comparison_of
from airflow_whatsapp_flows.replay.estimate import DEPENDS, Counts, Estimate
from airflow_whatsapp_flows.replay.guards import Guards, Later, Skip, guard_rules
from airflow_whatsapp_flows.replay.host_limits import ANY_HOST
from airflow_whatsapp_flows.replay.planned_contacts import NEW_REPLAY, ContactPages
from airflow_whatsapp_flows.replay.prior_sends import NotWalked, Postponed, PriorFindings, PriorSends
from airflow_whatsapp_flows.replay.rates import rate_for
from airflow_whatsapp_flows.replay.renames import check_names, load_step_identities
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.snapshot import ReadRow, classify_row, read_row, size_of_row
from airflow_whatsapp_flows.replay.source_warnings import SourceWarnings, empty_means, rows_or_error
from airflow_whatsapp_flows.replay.sources import Row
from airflow_whatsapp_flows.sender import RequestSender

ASSUMED_LATENCY = 0.2
"""Assumed seconds of a reply if the ledger has none from the host."""
REJECTIONS = 10
"""Number of rejected rows shown."""
ONLY_ONCE = "only_once: an earlier response of this person is in the source"

_BATCH = 500
_HERE = 0  # replays count from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What to plan.

    Attributes:
        rows: rows of the source, or the source itself; not read if ``replay`` already has them.
        run: settings of the run.
        replay: the replay to resume; ``None`` for a new one.
        selected: contacts of the replay that would be walked again.
        on_changed: what to do with a response whose id is known with different content.
        renamed: renames of steps that are not in the ledger; see :mod:`~airflow_whatsapp_flows.replay.renames`.
    """

    flow: Flow
    rows: Iterable[Row]
    request_sender: RequestSender
    run: RunSettings
    replay: Replay | None = None
    selected: SelectedContacts | None = None
    limit: int | None = None
    on_changed: OnChanged = "reject"
    renamed: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """The expected load of one host.

    Attributes:
        rate: maximum requests per second; ``None`` for no limit.
        latency: seconds for one reply.
        seen: whether the latency comes from replies in the ledger; otherwise it is :data:`ASSUMED_LATENCY`.
        seconds: total duration of the calls.
    """

    host: str
    calls: int
    rate: float | None
    latency: float
    seen: bool
    seconds: float


@dataclass(slots=True)
class Plan:
    """What a replay would do.

    Attributes:
        done: number of contacts that had already ended in a resumed replay.
        rejections: location and reason of the first rejected rows.
        skipped: number of contacts for which nothing is sent, by reason.
        in_doubt: number of contacts in doubt in an earlier replay; nothing is sent for them.
        postponed: number of contacts that would wait, by reason.
        changed: number of rows whose id is known with different content; rejected or sent, depending on ``on_changed``.
        counts: what the other contacts would do.
        loads: the load of each host, longest first.
        warnings: warnings about the source.
    """

    rows: int = 0
    done: int = 0
    rejected: int = 0
    rejections: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    in_doubt: int = 0
    postponed: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    counts: Counts = field(default_factory=Counts)
    loads: list[Load] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def valid(self) -> int:
        """Number of rows that are valid responses."""
        return self.rows - self.rejected

    @property
    def total_walked(self) -> int:
        """Number of contacts that would be walked."""
        return sum(self.counts.ends.values())

    @property
    def calls(self) -> int:
        """Minimum total of requests, without retries and what depends on replies."""
        return sum(self.counts.calls.values())

    @property
    def seconds(self) -> float:
        """Estimated duration; hosts are served in parallel, and contacts wait in parallel."""
        return max((load.seconds for load in self.loads), default=0.0) + self.counts.longest_wait


def plan(request: PlanRequest, ledger: Ledger | None, on_rows: Callable[[int], None] = lambda _: None) -> Plan:
    """Plan a replay.

    The reply of an action is its recorded outcome in the ledger, else the one recorded in the response, else an assumed
    success without content. What depends on an assumed reply is counted as such.

    Args:
        request: the replay to plan.
        ledger: source of earlier results; ``None`` if there is none yet.
        on_rows: called with the number of rows read so far.

    Raises:
        ConnectionConfigError: a connection is missing or cannot be used.
        ReplayError: a step was sent under another name, and the rename is not confirmed.
        SourceError: the source cannot be read.
        LedgerError: the ledger cannot be read.
    """
    planner = _Planner(request, ledger)
    if request.replay is not None and request.replay.sealed and ledger is not None:
        planner.add_pending(ledger, request.replay)
    else:
        planner.add_source(on_rows)
    planner.compute_loads()
    return planner.plan


class _Planner:
    def __init__(self, request: PlanRequest, ledger: Ledger | None) -> None:
        self.plan = Plan()
        self._request, self._ledger = request, ledger
        self._now = time.time()
        self._walk_started_at = dt.datetime.fromtimestamp(self._now, dt.timezone.utc)
        self._guards = Guards(guard_rules(request.flow, force=request.run.force))
        replay = request.replay or NEW_REPLAY
        epoch = replay.id if request.run.force else None
        self._prior_sends = PriorSends(request.flow, replay, request.run.force)
        self._comparison = comparison_of(request.flow, request.request_sender, request.run)
        self._names = SentNames(request.flow.id)
        self._steps = StepIdentities.of(request.flow, {})
        self._estimate = Estimate(request.flow, request.request_sender, epoch=epoch, resend=request.run.resend)
        self.plan.counts = self._estimate.counts

    def add_source(self, on_rows: Callable[[int], None]) -> None:
        """Read the source, and walk the contacts of a new replay."""
        if self._ledger is not None:
            with self._ledger.read() as connection:
                self._steps = step_identities(connection, self._request.flow, self._request.renamed)
        empty = empty_means(self._request.flow, None)
        rows = islice(rows_or_error(self._request.rows, empty), self._request.limit)
        source_warnings = SourceWarnings(self._request.flow)
        with closing(SeenRows()) as seen:
            for batch in batches(map(read_row, rows), _BATCH, size_of_row):
                self._add_batch(batch, seen)
                for response in filter(None, (one.response for one in batch)):
                    source_warnings.check(response)
                self.plan.rows += len(batch)
                on_rows(self.plan.rows)
        if self._ledger is not None and not self._request.run.force:
            check_names(self._ledger, self._request.flow, self._names, self._request.renamed)
        ignored = getattr(self._request.rows, "ignored_columns", ())
        self.plan.warnings = source_warnings.warnings(self.plan.rows, ignored, empty)
        reading = getattr(self._request.rows, "cursor_reading", None)
        self.plan.warnings += [] if reading is None else reading.warnings()

    def add_pending(self, ledger: Ledger, replay: Replay) -> None:
        """Walk the pending contacts of a replay."""
        flow = self._request.flow
        which = (ContactState.PENDING,) if replay.flow == flow.source_for_storage else ()
        self._steps = load_step_identities(ledger, replay, flow, states=which, renamed=self._request.renamed)
        states = tally(ledger, replay.no).states
        self.plan.warnings = replay.warnings
        self.plan.rows = sum(states.values())
        self.plan.changed = replay.rows_changed
        self.plan.rejected = states[ContactState.REJECTED]
        self.plan.in_doubt = states[ContactState.IN_DOUBT]
        self.plan.done = states[ContactState.COMPLETED] + states[ContactState.FAILED] + states[ContactState.SKIPPED]
        self._exclude_selected()
        pages = ContactPages(ledger, flow, replay, self._steps, self._request.run.force, self._request.selected)
        for page in pages:
            with ledger.read() as connection:
                found = self._prior_sends.find(connection, page, self._steps)
            for contact in page:
                if contact.id in found.held:
                    self._count_held(found.held[contact.id])
                else:
                    response = read_response(msgspec.json.decode(contact.response))
                    self._walk(response, contact, found.sent.get(contact.id))

    def _exclude_selected(self) -> None:
        """Count contacts that would be walked again neither as ended nor as in doubt."""
        selected = self._request.selected
        if selected is None:
            return
        in_doubt = selected.states.get(ContactState.IN_DOUBT, 0)
        self.plan.in_doubt -= in_doubt
        self.plan.done -= selected.result.contacts - in_doubt
        if selected.known:  # their content is looked up when they are walked
            self.plan.counts.ends[DEPENDS] += selected.known

    def compute_loads(self) -> None:
        """Compute the load of each host."""
        calls: Counter[str] = Counter()
        for step, number in self.plan.counts.calls.items():
            calls[self._estimate.hosts[step]] += number
        latencies: dict[str, float] = {}
        if self._ledger is not None:
            with self._ledger.read() as connection:
                latencies = recent_latencies(connection, calls)
        loads = [self._load(host, number, latencies.get(host)) for host, number in calls.items()]
        self.plan.loads = sorted(loads, key=lambda load: -load.seconds)

    def _load(self, host: str, calls: int, seen: float | None) -> Load:
        run = self._request.run
        rate = rate_for(host, run.rates, run.rates.get(ANY_HOST))
        latency = ASSUMED_LATENCY if seen is None else seen
        # The last request still takes its latency.
        seconds = max(calls * latency / run.concurrency, min(calls, 1) * latency, calls / rate if rate else 0.0)
        return Load(host, calls, rate, latency, seen is not None, seconds)

    def _add_batch(self, batch: Sequence[ReadRow], seen: SeenRows) -> None:
        ids = [one.response.id for one in batch if one.response is not None and one.response.id is not None]
        with self._ledger.read() if self._ledger else nullcontext() as connection:
            known = find_known_responses(connection, self._request.flow.id, ids) if connection and ids else {}
            for response_id, digest, epoch in seen.contents(ids):
                known.setdefault(response_id, []).append(KnownResponse(_HERE, "", digest, ContactState.PENDING, epoch))
            admitted = [row for one in batch if (row := self._admit(one, known)) is not None]
            waiting = self._pending_contacts(None if self._request.run.force else connection, admitted)
            found = PriorFindings()
            if connection is not None:
                found = self._prior_sends.find(connection, waiting, self._steps)
                self._names.add(connection, [contact.response_id for contact in waiting])
        seen.add(
            (response_id, one.digest, one.epoch)
            for response_id, held_here in known.items()
            for one in held_here
            if one.replay_no == _HERE
        )
        for (response, _, _), contact in zip(admitted, waiting, strict=True):
            held = found.held.get(contact.id)
            is_first = held is not None or not self._prior_sends.by_person or seen.is_first(contact.identity.marks)
            if held is not None:
                self._count_held(held)
            elif self._prior_sends.only_once and not is_first:
                self.plan.skipped[ONLY_ONCE] += 1
            else:
                self._walk(response, contact, found.sent.get(contact.id) if is_first else None)

    def _pending_contacts(
        self, connection: Connection | None, admitted: Sequence[tuple[ContactResponse, ReadRow, int]]
    ) -> list[PendingContact]:
        flow = self._request.flow
        records: dict[str, ResponseRecord] = {}
        if connection is not None:
            epochs = {response.identity: epoch for response, _, epoch in admitted}
            records = read_records(connection, flow.id, dict.fromkeys(epochs, (None, 0)), self._steps, None, epochs)
        return [
            PendingContact(
                number, "", response.identity, None, "", 1, records.get(response.identity) or ResponseRecord(),
                flow.identity.of(response.contact, response.flow_execution_variables), epoch, one.digest,
            )
            for number, (response, one, epoch) in enumerate(admitted)
        ]  # fmt: skip

    def _admit(
        self, one: ReadRow, known: dict[str, list[KnownResponse]]
    ) -> tuple[ContactResponse, ReadRow, int] | None:
        """Return a response to walk, its row, and the epoch of its content; ``None`` if it is not walked."""
        earlier = known.setdefault(one.response.id, []) if one.response and one.response.id else []
        force, rule = self._request.run.force, self._request.on_changed
        state, reason, epoch, changed = classify_row(one, earlier, _HERE, force=force, on_changed=rule)
        self.plan.changed += changed
        if state is ContactState.REJECTED:
            self.plan.rejected += 1
            if len(self.plan.rejections) < REJECTIONS:
                self.plan.rejections.append((one.row.place, reason or ""))
            return None
        earlier.append(KnownResponse(_HERE, "", one.digest, state, epoch))
        if state is ContactState.SKIPPED:
            self.plan.skipped[reason or ""] += 1
        elif state is ContactState.IN_DOUBT:
            self.plan.in_doubt += 1
        return (one.response, one, epoch) if one.response and state is ContactState.PENDING else None

    def _count_held(self, found: NotWalked) -> None:
        if isinstance(found, Postponed):
            self.plan.postponed[found.reason] += 1
        elif found.state is ContactState.IN_DOUBT:
            self.plan.in_doubt += 1
        elif found.state is ContactState.REJECTED:
            self.plan.rejected += 1
        else:
            self.plan.skipped[found.reason] += 1

    def _walk(self, response: ContactResponse, contact: PendingContact, sent: SentWalk | None) -> None:
        verdict = self._guards.judge(response, self._walk_started_at)
        if isinstance(verdict, Skip):
            self.plan.skipped[str(verdict)] += 1
        elif self._comparison.is_unchanged(contact, response, sent, self._now):
            self.plan.skipped[UNCHANGED_ROWS] += 1
        elif isinstance(verdict, Later):
            self.plan.postponed[verdict.reason] += 1
        else:
            self._estimate.add(response, contact.record, self._now, contact.epoch)
