"""Runs the pending contacts of a replay in one event loop, with bounded resources."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from airflow_whatsapp_flows.ledger.claims import Claim
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.journal import Journal
from airflow_whatsapp_flows.ledger.pages import PAGE_BYTES
from airflow_whatsapp_flows.ledger.records import Page, PendingContact, read_pending_contacts
from airflow_whatsapp_flows.ledger.rows import ContactEnd, ContactState, NextRound
from airflow_whatsapp_flows.replay.breaker import BatchStoppedError
from airflow_whatsapp_flows.replay.budget import Budget, FailureBudget
from airflow_whatsapp_flows.replay.contact import ContactWalker
from airflow_whatsapp_flows.replay.gate import Gate
from airflow_whatsapp_flows.replay.order import PersonOrder, Turn
from airflow_whatsapp_flows.replay.pending_chunks import ChunkSource
from airflow_whatsapp_flows.replay.prior_sends import NotWalked, Postponed, PriorFindings, PriorSends
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.request_attempt import StoppedError
from airflow_whatsapp_flows.replay.send import ContactSender

PAGE = 256
_MOST_RESTING = 10_000
_WIND_DOWN_STEP = 0.02  # seconds


@dataclass(slots=True)
class _Chunk:
    claim: Claim
    outstanding: int = 0
    read: bool = False
    found: PriorFindings = field(default_factory=PriorFindings)
    order: PersonOrder = field(default_factory=PersonOrder)
    seen: set[str] = field(default_factory=set)  # identifiers; all responses of one person are in the same chunk


class Engine:
    """Runs the pending contacts of one replay.

    Attributes:
        chunks: where it gets its chunks.
        budget: counts failures, and stops the run if there are too many; by default any number may fail.
        grace: seconds that requests in flight have to finish when a run is stopped.
        last: row number behind which contacts are held; ``None`` if none are.
        progress: counts so far.

    Args:
        ledger: holds the contacts.
        journal: open; of this event loop.
        walker: walks one contact.
        prior_sends: finds contacts that must not be walked.
        chunks: where it gets its chunks.
        concurrency: maximum requests in flight; twice as many contacts are walked.
    """

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal,
        walker: ContactWalker,
        prior_sends: PriorSends,
        chunks: ChunkSource,
        concurrency: int,
    ) -> None:
        self.chunks = chunks
        self.budget: Budget = FailureBudget()
        self.grace = 7.0
        self.last: int | None = None
        self.progress = Progress()
        self._ledger = ledger
        self._journal = journal
        self._walker = walker
        self._prior_sends = prior_sends
        self._walkers = 2 * concurrency
        self._ready: deque[tuple[Turn, _Chunk]] = deque()
        self._waiting = 0
        self._waiting_bytes = 0
        self._places = Gate(self._walkers)  # of contacts that are walked and not waiting
        self._awake = 0  # workers whose contact is not waiting
        self._delayed_count = 0
        self._fed = False
        self._hurried = False  # whether the caller of stop() waits for the end
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._changed = asyncio.Event()
        self._more = asyncio.Event()
        self._hungry = asyncio.Event()
        self._stopping = asyncio.Event()
        walker.sender.rest = self._rest
        walker.sender.give_up = self._give_up

    @property
    def in_flight(self) -> int:
        """Number of requests in flight."""
        return self._walker.in_flight

    @property
    def delayed_count(self) -> int:
        """Number of contacts that wait for a delay of the flow."""
        return self._delayed_count

    @property
    def sender(self) -> ContactSender:
        """What sends the requests."""
        return self._walker.sender

    def stop(self, reason: str, *, hurried: bool = True) -> None:
        """Start no more requests; those in flight may finish within the grace period. The rest stays pending."""
        self._hurried |= hurried
        self._halt(reason)

    def _halt(self, reason: str) -> None:
        if self.progress.stopped is None:
            self.progress.stopped = reason
        self._walker.sender.stopped = True
        self._stopping.set()
        self._changed.set()

    def _give_up(self, error: BatchStoppedError) -> None:
        if self.progress.stopped is None:
            self.progress.needs_help = error.needs_help
        self._halt(error.reason)

    async def run(self) -> Progress:
        """Run until all contacts are done, or until stopped.

        Raises:
            FlowsError: the ledger cannot be written, or a connection cannot be used; the rest stays pending.
        """
        self._check_budget()  # an earlier run may have used it up
        feeder = self._start(self._queue_chunks(self.chunks))
        for _ in range(self._walkers):
            self._add_worker()
        try:
            while self._tasks and not self._stopping.is_set():
                await self._changed.wait()
                self._changed.clear()
            if self._stopping.is_set():
                await self._wind_down(feeder)
        finally:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await self._put_back()
        return self.progress

    async def _put_back(self) -> None:
        """Set contacts back to pending for which nothing was done, because the server refused the credentials."""
        refusals = self.sender.refusals
        turned_away = dict.fromkeys(refusals.turned_away if refusals is not None else ())
        if turned_away and self._journal.failure is None:
            await asyncio.gather(*(self._journal.add(NextRound(contact_id)) for contact_id in turned_away))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _add_worker(self) -> None:
        self._awake += 1
        self._start(self._work())

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._errors.append(error)
            self._halt(str(error))
        self._changed.set()

    async def _rest(self, seconds: float) -> None:
        """Let a contact wait, and walk another one in the meantime."""
        self._awake -= 1
        self._delayed_count += 1
        self._hungry.set()
        if self._awake < self._walkers and self._delayed_count <= _MOST_RESTING:
            self._add_worker()
        self._places.leave()
        try:
            await asyncio.sleep(seconds)
            # Many may wake at once; no more continue than may be in doubt.
            await self._places.enter()
        finally:
            self._awake += 1
            self._delayed_count -= 1

    async def _wind_down(self, feeder: asyncio.Task[None]) -> None:
        feeder.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.grace
        # One contact's error does not cut off the others' requests, unless their outcomes cannot be written either.
        while (self.in_flight or not self._journal.is_idle) and self._journal.failure is None:
            # Outcomes in memory that wait for the ledger's server are dropped only if the caller of stop() waits.
            if loop.time() >= deadline and (self._hurried or not self._ledger.outages.is_waiting):
                break
            await asyncio.sleep(_WIND_DOWN_STEP)
        if self._hurried:
            self._ledger.outages.end_waiting()
        self.progress.cut_off = self._walker.in_flight_by_delivery
        if self._errors:
            raise self._errors[0]
        if self._journal.failure is not None:
            raise self._journal.failure

    async def _work(self) -> None:
        try:
            # A contact that has waited continues beside the one that took its place; then there is one worker too many.
            while not self._stopping.is_set() and self._awake <= self._walkers:
                if self._ready:
                    turn, chunk = self._ready.popleft()
                    await self._places.enter()
                    try:
                        await self._end(turn, chunk)
                    finally:
                        self._places.leave()
                    del turn, chunk  # a worker that waits for another one has none
                    continue
                if self._fed and not self._waiting:
                    self._more.set()
                    return
                self._more.clear()
                await self._more.wait()
        except StoppedError:
            return  # it stays pending
        except BatchStoppedError as error:
            self._give_up(error)
        finally:
            self._awake -= 1

    async def _end(self, turn: Turn, chunk: _Chunk) -> None:
        end = await self._walk(turn.contact, chunk)
        if isinstance(end, Postponed):
            self.progress.postpone(end)
        else:
            # Whether the person's next contact is walked may depend on what is stored; and contacts that send nothing
            # must not fill the memory while a commit takes long.
            waits = self._prior_sends.only_once or (self._prior_sends.only_changes and bool(turn.behind))
            if waits or self._journal.backlog >= self._walkers:
                await self._journal.add(end)
            else:
                self._journal.note(end)
            self._count(end)
        await self._finish(turn, chunk)

    async def _walk(self, contact: PendingContact, chunk: _Chunk) -> NotWalked:
        held, sent = chunk.found.held.pop(contact.id, None), chunk.found.sent.pop(contact.id, None)
        if held is None and self._prior_sends.by_person:
            marks = contact.identity.marks
            if not chunk.seen.isdisjoint(marks):  # an earlier one's outcome was not known when the page was read
                found = await asyncio.to_thread(self._check_prior_sends, contact)
                held, sent = found.held.get(contact.id), found.sent.get(contact.id)
            chunk.seen.update(marks)
        return held or await self._walker.walk(contact, sent)

    def _check_prior_sends(self, contact: PendingContact) -> PriorFindings:
        def find() -> PriorFindings:
            with self._ledger.read() as connection:
                return self._prior_sends.find(connection, [contact], self._walker.steps)

        return self._ledger.outages.outlast(find)

    def _count(self, end: ContactEnd) -> None:
        self.progress.ended[end.state] += 1
        if end.state in (ContactState.FAILED, ContactState.IN_DOUBT):
            self.budget.note_failed()
            self._check_budget()
        elif end.handled_errors and end.state is ContactState.COMPLETED:
            self.budget.note_handled()
            self._check_budget()

    def _check_budget(self) -> None:
        reason = self.budget.stop_reason
        if reason is not None and self.progress.stopped is None:
            self.progress.spent = True
            self._halt(reason)

    async def _finish(self, turn: Turn, chunk: _Chunk) -> None:
        self._waiting -= 1
        self._waiting_bytes -= len(turn.contact.response)
        for other in chunk.order.finish(turn):
            self._ready.append((other, chunk))
            self._more.set()  # this worker may now be one too many
        if self._waiting - self._delayed_count < PAGE and self._waiting_bytes < PAGE_BYTES:
            self._hungry.set()
        chunk.outstanding -= 1
        if chunk.read and not chunk.outstanding:
            await self._journal.release(chunk.claim)
        if self._fed and not self._waiting:
            self._more.set()

    async def _queue_chunks(self, source: ChunkSource) -> None:
        while (chunk := await source.take()) is not None:
            claimed = await self._journal.claim(self._walker.replay_no, chunk)
            if claimed is None:
                source.give_back(chunk)
            else:
                await self._queue_chunk(claimed)
        self._fed = True
        self._more.set()

    async def _queue_chunk(self, claimed: Claim) -> None:
        chunk, after = _Chunk(claimed), 0
        while True:
            while self._waiting - self._delayed_count >= PAGE or self._waiting_bytes >= PAGE_BYTES:
                self._hungry.clear()
                await self._hungry.wait()
            forced = self._walker.epoch is not None
            flow, steps = self._walker.flow, self._walker.steps
            page = Page(
                flow.id, claimed.replay_no, claimed.chunk, after, PAGE, forced, flow.identity, steps, last=self.last
            )  # fmt: skip
            contacts, found = await asyncio.to_thread(self._read, page)
            if not contacts:
                break
            chunk.found.add(found)
            after = contacts[-1].id
            for contact in contacts:
                self._put(contact, chunk)
            del contacts, contact  # the next page is read when most of these are done
            self._more.set()
        chunk.read = True
        if not chunk.outstanding:
            await self._journal.release(claimed)

    def _read(self, page: Page) -> tuple[list[PendingContact], PriorFindings]:
        def read() -> tuple[list[PendingContact], PriorFindings]:
            with self._ledger.read() as connection:
                contacts = read_pending_contacts(connection, page)
                return contacts, self._prior_sends.find(connection, contacts, self._walker.steps)

        return self._ledger.outages.outlast(read)

    def _put(self, contact: PendingContact, chunk: _Chunk) -> None:
        self._waiting += 1
        self._waiting_bytes += len(contact.response)
        chunk.outstanding += 1
        turn = chunk.order.add(contact)
        if not turn.before:
            self._ready.append((turn, chunk))
