"""Running the pending contacts of a replay: one event loop, bounded in everything."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from airflow_whatsapp_flows.flow.delivery import Delivery
from airflow_whatsapp_flows.ledger.claims import Claim
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.journal import Journal
from airflow_whatsapp_flows.ledger.records import Page, PendingContact, pending_contacts
from airflow_whatsapp_flows.ledger.replays import pending_chunks
from airflow_whatsapp_flows.ledger.rows import ContactEnd, ContactState
from airflow_whatsapp_flows.replay.breaker import BatchStoppedError
from airflow_whatsapp_flows.replay.budget import FailureBudget
from airflow_whatsapp_flows.replay.screening import Held, Postponed, Screening
from airflow_whatsapp_flows.replay.sending import StoppedError
from airflow_whatsapp_flows.replay.walking import ContactWalker

PAGE = 256
_ENOUGH = PAGE
_LOOK_AGAIN_SECONDS = 0.5


@dataclass(slots=True)
class Progress:
    """What one run has done so far.

    Attributes:
        ended: contacts by the state they ended in.
        postponed: contacts that stay pending, by the reason.
        until: those of them that wait for a known moment, by that moment.
        fingerprints: errors by fingerprint.
        stopped: why the run was stopped before its end.
        spent: whether it was stopped since too many contacts failed.
        cut_off: requests that were on their way when it was stopped, by what may happen to them.
    """

    ended: Counter[ContactState] = field(default_factory=Counter)
    postponed: Counter[str] = field(default_factory=Counter)
    until: Counter[dt.datetime] = field(default_factory=Counter)
    fingerprints: Counter[str] = field(default_factory=Counter)
    stopped: str | None = None
    spent: bool = False
    cut_off: Counter[Delivery] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Contacts that ended."""
        return sum(self.ended.values())

    @property
    def first_until(self) -> dt.datetime | None:
        """When the first contact that was postponed may be walked, as far as that is known."""
        return min(self.until, default=None)

    @property
    def last_until(self) -> dt.datetime | None:
        """When the last one may be."""
        return max(self.until, default=None)

    @property
    def cut_off_told(self) -> str | None:
        """What becomes of the requests that were cut off, one sentence for people; ``None`` when there are none."""
        number, in_doubt = self.cut_off.total(), self.cut_off[Delivery.AT_MOST_ONCE]
        if not number:
            return None
        parts = [f"{in_doubt:,} will be in doubt, for they may have arrived"] if in_doubt else []
        parts += [f"{number - in_doubt:,} will be sent again, as their delivery allows"] if number > in_doubt else []
        return f"{'1 request was' if number == 1 else f'{number:,} requests were'} under way: {', '.join(parts)}"

    def postpone(self, held: Postponed) -> None:
        """Count one more contact that stays pending."""
        self.postponed[held.reason] += 1
        if held.until is not None:
            self.until[held.until] += 1


@dataclass(slots=True)
class _Chunk:
    claim: Claim
    outstanding: int = 0
    read: bool = False
    held: dict[int, Held] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # phone numbers; all responses of one are in the same chunk


class Engine:
    """Runs the pending contacts of one replay.

    Attributes:
        grace: seconds that requests under way have to end when a run is stopped.
        progress: what was done so far.

    Args:
        ledger: where they are.
        journal: open, of this loop.
        walker: walks one contact.
        screening: finds contacts that are not to be walked.
        concurrency: requests that may be under way at once; twice as many contacts are walked.
        budget: how many contacts may fail.
    """

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal,
        walker: ContactWalker,
        screening: Screening,
        concurrency: int,
        budget: FailureBudget,
    ) -> None:
        self.grace = 7.0
        self.progress = Progress()
        self._ledger = ledger
        self._journal = journal
        self._walker = walker
        self._screening = screening
        self._walkers = 2 * concurrency
        self._budget = budget
        self._ready: deque[tuple[PendingContact, _Chunk]] = deque()
        self._behind: dict[str, deque[tuple[PendingContact, _Chunk]]] = {}
        self._waiting = 0
        self._fed = False
        self._more = asyncio.Event()
        self._hungry = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Requests that are on their way."""
        return self._walker.in_flight

    def stop(self, reason: str) -> None:
        """Begin no more requests; those under way may end. What is left stays pending."""
        if self.progress.stopped is None:
            self.progress.stopped = reason
        self._walker.sender.stopped = True
        self._stopping.set()

    async def run(self, chunks: Iterable[int] | None = None) -> Progress:
        """Run to the end, or until stopped.

        Args:
            chunks: of these chunks alone; of every chunk by default.

        Raises:
            FlowsError: the ledger cannot be written any more, a connection cannot be used; what is left stays pending.
        """
        self._check_budget()  # an earlier run may have spent it
        feeder = asyncio.create_task(self._feed(None if chunks is None else list(chunks)))
        workers = [asyncio.create_task(self._work()) for _ in range(self._walkers)]
        watcher = asyncio.create_task(self._watch())
        tasks = {feeder, *workers}
        try:
            pending = tasks
            while pending and not self._stopping.is_set():
                done, rest = await asyncio.wait({*pending, watcher}, return_when=asyncio.FIRST_COMPLETED)
                pending = rest - {watcher}
                error = next(_errors_of(done), None)
                if error is not None:
                    self.stop(str(error))
            if self._stopping.is_set():
                await self._wind_down(feeder, tasks)
        finally:
            for task in (*tasks, watcher):
                task.cancel()
            await asyncio.gather(*tasks, watcher, return_exceptions=True)
        return self.progress

    async def _watch(self) -> None:
        await self._stopping.wait()

    async def _wind_down(self, feeder: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        feeder.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.grace
        # What one contact met does not cut off the others' requests, unless their outcomes cannot be written either.
        while self.in_flight and loop.time() < deadline and self._journal.failure is None:
            await asyncio.wait(tasks, timeout=0.02)
        self.progress.cut_off = self._walker.on_their_way
        for error in _errors_of(task for task in tasks if task.done()):
            raise error

    async def _work(self) -> None:
        while not self._stopping.is_set():
            if not self._ready:
                if self._fed and not self._waiting:
                    self._more.set()
                    return
                self._more.clear()
                await self._more.wait()
                continue
            contact, chunk = self._ready.popleft()
            try:
                end = await self._held(contact, chunk) or await self._walker.walk(contact)
                if isinstance(end, Postponed):
                    self.progress.postpone(end)
                else:
                    await self._journal.add(end)
                    self._count(end)
            except StoppedError:
                return  # it stays pending
            except BatchStoppedError as error:
                self.stop(error.reason)
                return
            await self._finish(contact, chunk)

    async def _held(self, contact: PendingContact, chunk: _Chunk) -> Held | None:
        held = chunk.held.pop(contact.id, None)
        if held is None and self._screening.only_once and contact.phone:
            if contact.phone in chunk.seen:  # what its earlier response came to was not known when the page was read
                return (await asyncio.to_thread(self._screen, [contact])).get(contact.id)
            chunk.seen.add(contact.phone)
        return held

    def _screen(self, contacts: list[PendingContact]) -> dict[int, Held]:
        with self._ledger.read() as connection:
            return self._screening.hold(connection, contacts)

    def _count(self, end: ContactEnd) -> None:
        self.progress.ended[end.state] += 1
        if end.fingerprint is not None:
            self.progress.fingerprints[end.fingerprint] += 1
        if end.state in (ContactState.FAILED, ContactState.IN_DOUBT):
            self._budget.note_failed()
            self._check_budget()

    def _check_budget(self) -> None:
        if self._budget.stop_reason is not None:
            self.progress.spent = True
            self.stop(self._budget.stop_reason)

    async def _finish(self, contact: PendingContact, chunk: _Chunk) -> None:
        self._waiting -= 1
        line = self._behind.get(contact.phone) if contact.phone else None
        if line:
            self._ready.append(line.popleft())
        elif contact.phone:
            self._behind.pop(contact.phone, None)
        if self._waiting < _ENOUGH:
            self._hungry.set()
        chunk.outstanding -= 1
        if chunk.read and not chunk.outstanding:
            await self._journal.release(chunk.claim)
        if self._fed and not self._waiting:
            self._more.set()

    async def _feed(self, wanted: list[int] | None) -> None:
        done: set[int] = set()
        while True:
            left = await asyncio.to_thread(pending_chunks, self._ledger, self._walker.replay_no)
            left = [chunk for chunk in left if chunk not in done and (wanted is None or chunk in wanted)]
            if not left:
                break
            before = len(done)
            for chunk in left:
                claimed = await self._journal.claim(self._walker.replay_no, chunk)
                if claimed is not None:
                    await self._feed_chunk(claimed)
                    done.add(chunk)
            if len(done) == before:
                # Another living process owns what is left: it may end it, or end itself.
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        self._fed = True
        self._more.set()

    async def _feed_chunk(self, claimed: Claim) -> None:
        chunk, after = _Chunk(claimed), 0
        while True:
            while self._waiting >= _ENOUGH:
                self._hungry.clear()
                await self._hungry.wait()
            forced = self._walker.epoch is not None
            page = Page(self._walker.flow.id, claimed.replay_no, claimed.chunk, after, PAGE, alone=forced)
            contacts, held = await asyncio.to_thread(self._read, page)
            if not contacts:
                break
            chunk.held.update(held)
            after = contacts[-1].id
            for contact in contacts:
                self._put(contact, chunk)
            self._more.set()
        chunk.read = True
        if not chunk.outstanding:
            await self._journal.release(claimed)

    def _read(self, page: Page) -> tuple[list[PendingContact], dict[int, Held]]:
        with self._ledger.read() as connection:
            contacts = pending_contacts(connection, page)
            return contacts, self._screening.hold(connection, contacts)

    def _put(self, contact: PendingContact, chunk: _Chunk) -> None:
        self._waiting += 1
        chunk.outstanding += 1
        line = self._behind.get(contact.phone) if contact.phone else None
        if line is not None:
            line.append((contact, chunk))
            return
        if contact.phone:
            self._behind[contact.phone] = deque()
        self._ready.append((contact, chunk))


def _errors_of(tasks: Iterable[asyncio.Task[None]]) -> Iterator[BaseException]:
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            yield error
