"""Runs a replay in several worker processes: gives them chunks, replaces those that die, and stops them together."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, cast

from airflow_whatsapp_flows import errors
from airflow_whatsapp_flows.errors import FlowsError, LedgerError, LedgerReplacedError, ReplayError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.holds import find_sendable_chunks
from airflow_whatsapp_flows.ledger.replays import Replay, tally
from airflow_whatsapp_flows.replay.budget import FailureBudget
from airflow_whatsapp_flows.replay.pending_chunks import LOOK_AGAIN_SECONDS
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.refusals import Account
from airflow_whatsapp_flows.replay.run import LAST_COMMITS_SECONDS, failure_budget, mark_run, stop_on_signals
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.workers.first_refusals import FirstRefusals
from airflow_whatsapp_flows.replay.workers.messages import (
    Assignment,
    ChunkBusy,
    ChunkGiven,
    ChunkWanted,
    CredentialsAccepted,
    Ended,
    HostAnswered,
    Refused,
    Report,
    StepAccepted,
    Stop,
    merge,
)
from airflow_whatsapp_flows.replay.workers.process import Worker, not_started

_log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_DEATHS = 5
"""Worker processes that may die in one run; then it stops. Each may leave requests in doubt."""

_KILL_SECONDS = 0.7  # after the last commits of a hurried stop


class Supervisor:
    """The worker processes of one command, which run one replay.

    Each gets its share of the concurrency, and chunk after chunk. A rate is shared through the ledger. Limits on
    failures are counted here. If this process dies, its workers notice that their channels have ended, and stop.

    Args:
        ledger: contains the replay.
        replay: a sealed replay.
        settings: settings of the whole run.
        assign: returns what a worker needs to start, given its share of the settings.
        command: arguments of Python that start a worker.
    """

    def __init__(
        self,
        ledger: Ledger,
        replay: Replay,
        settings: RunSettings,
        assign: Callable[[RunSettings], Assignment],
        command: list[str],
    ) -> None:
        self._ledger, self._replay, self._settings = ledger, replay, settings
        self._assign, self._command = assign, command
        self._workers: dict[int, Worker] = {}
        self._past: list[Report] = []  # of processes that have ended
        self._budget = FailureBudget()
        self._refusals = FirstRefusals(settings.workers)
        self._successes: list[StepAccepted | HostAnswered] = []  # the first of each step and host
        self._queue: deque[int] = deque()
        self._busy: set[int] = set()  # chunks that a process of another command owns
        self._looking: asyncio.Task[None] | None = None
        self._deaths = 0
        self._stop: Stop | None = None
        self._needs_help = self._spent = False
        self._errors: list[Exception] = []
        self._not_started: ReplayError | None = None

    @property
    def progress(self) -> Progress:
        """The progress of all workers together."""
        progress = merge(self._reports())
        progress.stopped = self._stop.reason if self._stop else None
        progress.needs_help, progress.spent = self._needs_help, self._spent
        return progress

    @property
    def in_flight(self) -> int:
        """Number of requests in flight."""
        return sum(report.in_flight for report in self._reports())

    @property
    def delayed_count(self) -> int:
        """Number of contacts that wait for a delay of the flow."""
        return sum(report.delayed for report in self._reports())

    async def run(self) -> Progress:
        """Run until all contacts are done, or until stopped; SIGTERM and SIGINT end it within 10 seconds.

        Raises:
            FlowsError: as the same replay in one process.
        """
        if self._settings.reconnect_timeout is not None:
            self._ledger.outages.begin(self._settings.reconnect_timeout)
        self._budget = await self._count()
        self._queue.extend(await self._find_pending())
        async with mark_run(self._ledger, self._replay.no), stop_on_signals(self._stop_hurried):
            self._check_budget()
            tasks = [asyncio.create_task(self._keep(number)) for number in range(self._settings.workers)]
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:
                self._stop_hurried("interrupted")
                await asyncio.wait(tasks)
                raise
            finally:
                if self._looking is not None:
                    self._looking.cancel()
            self._raise_error()
        return self.progress

    async def _keep(self, number: int) -> None:
        """Run one worker after the other, until one ends by itself or all must stop."""
        try:
            while self._stop is None:
                try:
                    worker = await self._start(number)
                except ReplayError as error:
                    self._note_not_started(error)
                    return
                has_ended = await self._follow(worker)
                status = await worker.await_exit()
                del self._workers[number]
                self._past.append(worker.report if has_ended else worker.report.without_pending())
                if has_ended or self._stop is not None:
                    return
                await self._note_death(worker, status)
        except Exception as error:
            self._fail(error)

    async def _start(self, number: int) -> Worker:
        name = f"whatsapp-flows replay worker {number + 1} of {self._settings.workers}: {self._replay.id}"
        worker = self._workers[number] = await Worker.start([*self._command, name])
        worker.channel.send(self._assign(share_of(self._settings, number)))
        for message in (*self._successes, *([self._stop] if self._stop is not None else ())):
            worker.channel.send(message)
        return worker

    async def _follow(self, worker: Worker) -> bool:
        """Answer a worker until its channel ends; return whether it has ended properly."""
        has_ended = False
        try:
            while (message := await worker.channel.receive()) is not None:
                match message:
                    case ChunkWanted():
                        worker.wants_chunk = True
                        self._hand_out()
                    case ChunkBusy():
                        worker.chunks.discard(message.chunk)
                        self._busy.add(message.chunk)
                    case StepAccepted() | HostAnswered():
                        self._note_success(worker, message)
                    case CredentialsAccepted():
                        self._refusals.accept(message.account)
                    case Refused():
                        self._refusals.note(message.refusal)
                        self._check_refusals()
                    case Report():
                        self._note_report(worker, message)
                    case Ended():
                        has_ended = True
                        self._refusals.leave()
                        self._check_refusals()
                        self._note_report(worker, message.report)
                        self._note_error(message)
        finally:
            await worker.channel.close()
        return has_ended

    def _hand_out(self) -> None:
        """Give chunks to the workers that wait for one."""
        for worker in self._workers.values():
            if not worker.wants_chunk or (not self._queue and self._busy):
                continue
            chunk = self._queue.popleft() if self._queue else None
            if chunk is not None:
                worker.chunks.add(chunk)
            worker.wants_chunk = False
            worker.channel.send(ChunkGiven(chunk))
        if self._busy and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_again())

    async def _look_again(self) -> None:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        try:
            pending = set(await self._find_pending())
        except Exception as error:
            self._fail(error)
            return
        self._queue.extend(sorted(self._busy & pending))
        self._busy.clear()
        asyncio.get_running_loop().call_soon(self._hand_out)

    def _note_success(self, worker: Worker, success: StepAccepted | HostAnswered) -> None:
        """Report a first success to the other workers, and to those that start later."""
        if isinstance(success, StepAccepted):
            self._refusals.accept(success.step)
        if success not in self._successes:
            self._successes.append(success)
            for other in self._workers.values():
                if other is not worker:
                    other.channel.send(success)

    def _check_refusals(self) -> None:
        refusal = self._refusals.due
        if refusal is not None and self._stop is None:
            stop = self._refusals.stop_for(refusal)
            self._needs_help = stop.needs_help
            self._halt(stop.reason, refusal.account if refusal.step is None else None)

    def _note_report(self, worker: Worker, report: Report) -> None:
        self._budget.failed += report.failures - worker.report.failures
        self._budget.handled += report.handled - worker.report.handled
        worker.report = report
        self._check_budget()
        if report.stopped is not None and self._stop is None:
            self._needs_help = report.needs_help
            self._halt(report.stopped, report.refused)

    def _note_error(self, ended: Ended) -> None:
        if ended.error is not None:
            self._fail(_error_of(ended.kind, ended.error))

    def _note_not_started(self, error: ReplayError) -> None:
        """The other workers do its part, if there are any."""
        self._not_started = error
        self._refusals.leave()
        _log.warning("%s", error)

    def _fail(self, error: Exception) -> None:
        self._errors.append(error)
        self._halt(str(error))

    async def _note_death(self, worker: Worker, status: int) -> None:
        self._deaths += 1
        if self._deaths >= MOST_DEATHS:
            how = f"by signal {-status}" if status < 0 else f"with exit status {status}"
            reason = f"worker processes died {self._deaths} times, the last one {how}"
            raise ReplayError(f"{reason}; rerun the same command to resume")
        counted, pending = await self._count(), await self._find_pending()
        self._budget.failed = max(self._budget.failed, counted.failed)  # what it had committed and not reported
        self._budget.handled = max(self._budget.handled, counted.handled)
        self._queue.extendleft(sorted(worker.chunks.intersection(pending)))
        self._hand_out()

    async def _count(self) -> FailureBudget:
        return failure_budget(await self._read(lambda: tally(self._ledger, self._replay.no)), self._settings)

    async def _find_pending(self) -> list[int]:
        return await self._read(lambda: find_sendable_chunks(self._ledger, self._replay))

    async def _read(self, work: Callable[[], T]) -> T:
        """Read from the ledger, when its server is there."""
        try:
            return await asyncio.to_thread(self._ledger.outages.outlast, work)
        except RuntimeError as error:  # no thread can be started
            raise not_started(error) from error

    def _check_budget(self) -> None:
        reason = self._budget.stop_reason
        if reason is not None and self._stop is None:
            self._spent = True
            self._halt(reason)

    def _stop_hurried(self, reason: str) -> None:
        self._halt(reason, hurried=True)
        grace = self._settings.grace + LAST_COMMITS_SECONDS
        self._ledger.outages.give_up_in(grace)
        asyncio.get_running_loop().call_later(grace + _KILL_SECONDS, self._kill)

    def _halt(self, reason: str, refused: Account | None = None, *, hurried: bool = False) -> None:
        """Stop all workers; the first reason is kept."""
        if self._stop is not None:
            if self._stop.hurried or not hurried:
                return
            reason, refused = self._stop.reason, self._stop.refused
        self._stop = Stop(reason, hurried, refused)
        for worker in self._workers.values():
            worker.channel.send(self._stop)

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()

    def _reports(self) -> list[Report]:
        return [*self._past, *(worker.report for worker in self._workers.values())]

    def _raise_error(self) -> None:
        """Raise what a worker failed with; if the ledger was replaced, what each of them says about it."""
        replaced = [str(error) for error in self._errors if isinstance(error, LedgerReplacedError)]
        if replaced:
            raise LedgerReplacedError("\n".join(dict.fromkeys(replaced)))
        if self._errors:
            raise self._errors[0]
        if self._not_started is not None and self._stop is None and (self._queue or self._busy):
            raise self._not_started


def share_of(settings: RunSettings, number: int) -> RunSettings:
    """Return the settings of one worker: its part of the concurrency, and no budget of its own.

    Args:
        settings: settings of the whole run.
        number: number of the worker, from 0.
    """
    part, rest = divmod(settings.concurrency, settings.workers)
    return replace(settings, concurrency=part + (number < rest), max_failures=None, max_handled_errors=None)


def _error_of(kind: str, text: str) -> Exception:
    found = getattr(errors, kind, None)
    simple = (LedgerError, LedgerReplacedError, errors.ConnectionConfigError, ReplayError)
    if found in simple:
        return cast("type[FlowsError]", found)(text)
    return FlowsError(text) if isinstance(found, type) else ReplayError(f"a worker failed: {kind}: {text}")
