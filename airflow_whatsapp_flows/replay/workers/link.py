"""The worker's end: connects an engine to the command that started its process."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.replay.engine import Engine
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.run import stop_engine
from airflow_whatsapp_flows.replay.workers.messages import (
    Channel,
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
    ToWorker,
)

_REPORT_SECONDS = 0.25
_GONE = "the command that started this worker has ended"


class WorkerLink:
    """Gives an engine its chunks, reports its progress, and stops it when the command says so or has ended.

    It is also the engine's budget: it reports failures at once, and the command decides whether there are too many.

    Args:
        channel: to the command.
    """

    def __init__(self, channel: Channel[ToWorker]) -> None:
        self._channel = channel
        self._engine: Engine | None = None
        self._ledger: Ledger | None = None
        self._stop: Stop | None = None
        self._early: list[StepAccepted | HostAnswered] = []  # received before there was an engine
        self._given: asyncio.Future[int | None] | None = None
        self._handled = 0  # contacts that completed through an error exit
        self._due = asyncio.Event()

    def attach(self, engine: Engine, ledger: Ledger) -> None:
        """Connect an engine that has not run yet."""
        self._engine, self._ledger = engine, ledger
        engine.chunks = engine.budget = self
        send, refusals = self._channel.send, engine.sender.refusals
        engine.sender.limits.on_answered = lambda host: send(HostAnswered(host))
        if refusals is not None:
            refusals.on_accepted = lambda step: send(StepAccepted(step))
            refusals.on_credentials_accepted = lambda account: send(CredentialsAccepted(account))
            refusals.on_refused = lambda refusal: send(Refused(refusal))
        for success in self._early:
            self._note_success(success)
        if self._stop is not None:
            self._do_stop(self._stop)

    async def run(self) -> None:
        """Follow the command and report to it, until cancelled."""
        try:
            await asyncio.gather(self._listen(), self._report())
        except Exception as error:
            self._do_stop(Stop(f"the connection to the command failed: {error!r}", hurried=True))
            raise

    def end(self, error: BaseException | None = None) -> None:
        """Send the last message.

        Args:
            error: why the worker failed, if it did.
        """
        text = None if error is None else str(error) or type(error).__name__
        self._channel.send(Ended(self._status(), text, type(error).__name__ if error else ""))

    async def take(self) -> int | None:
        """Ask the command for a chunk."""
        self._given = asyncio.get_running_loop().create_future()
        self._channel.send(ChunkWanted())
        return await self._given

    def give_back(self, chunk: int) -> None:
        """Tell the command that a process of another command owns a chunk."""
        self._channel.send(ChunkBusy(chunk))

    def note_failed(self) -> None:
        """Report a failure without delay."""
        self._due.set()

    def note_handled(self) -> None:
        """Report a handled error without delay."""
        self._handled += 1
        self._due.set()

    @property
    def stop_reason(self) -> None:
        """Nothing: the command counts the failures of all workers."""
        return None

    async def _listen(self) -> None:
        while (message := await self._channel.receive()) is not None:
            match message:
                case ChunkGiven():
                    if self._given is not None and not self._given.done():
                        self._given.set_result(message.chunk)
                case StepAccepted() | HostAnswered():
                    self._note_success(message)
                case Stop():
                    self._do_stop(message)
        self._do_stop(Stop(_GONE, hurried=True))

    def _note_success(self, success: StepAccepted | HostAnswered) -> None:
        if self._engine is None:
            self._early.append(success)
        elif isinstance(success, HostAnswered):
            self._engine.sender.limits.note_answered(success.host)
        elif self._engine.sender.refusals is not None:
            self._engine.sender.refusals.accept(success.step)

    def _do_stop(self, stop: Stop) -> None:
        self._stop = stop
        if self._engine is None or self._ledger is None:
            return
        if stop.refused is not None and self._engine.sender.refusals is not None:
            self._engine.sender.refusals.turn_away(stop.refused)
        if stop.hurried:
            stop_engine(self._engine, self._ledger, stop.reason)
        else:
            self._engine.stop(stop.reason, hurried=False)

    async def _report(self) -> None:
        while True:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._due.wait(), _REPORT_SECONDS)
            self._due.clear()
            if self._engine is not None:
                self._channel.send(self._status())

    def _status(self) -> Report:
        engine = self._engine
        refusals = engine.sender.refusals if engine is not None else None
        progress = engine.progress if engine is not None else Progress()
        return Report(
            ended=dict(progress.ended),
            postponed=dict(progress.postponed),
            until=list(progress.until.items()),
            cut_off=dict(progress.cut_off),
            stopped=progress.stopped,
            needs_help=progress.needs_help,
            handled=self._handled,
            in_flight=engine.in_flight if engine is not None else 0,
            delayed=engine.delayed_count if engine is not None else 0,
            refused=refusals.refused_account if refusals is not None else None,
        )
