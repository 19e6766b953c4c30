"""Performs the effects of many walks: every attempt is recorded as intended before its first byte."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.delivery.decision import Attempt
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import HttpResponse, Reply, TransportFailure
from airflow_whatsapp_flows.flow.template.sizes import least_size
from airflow_whatsapp_flows.flow.walk.deliver import (
    Answer,
    Delivering,
    Intend,
    Note,
    Pause,
    Prepare,
    Recall,
    Rest,
    advance,
    deliver,
)
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.journal import Journal
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, Intent
from airflow_whatsapp_flows.replay.breaker import BatchStoppedError
from airflow_whatsapp_flows.replay.contact_run import ContactRun
from airflow_whatsapp_flows.replay.host_limits import FIRST_PAUSE, HostLimits, Shortage
from airflow_whatsapp_flows.replay.refusals import Refusals
from airflow_whatsapp_flows.replay.request_attempt import RequestAttempt, StoppedError
from airflow_whatsapp_flows.replay.routes import Route, Routes
from airflow_whatsapp_flows.sender import RequestSender, is_web_address

_READERS = 2
"""Threads that parse large replies; because of Python's GIL, more threads would only finish later."""
_LAST_READING_SECONDS = 1.0
"""Seconds for which a stopped run keeps parsing the large replies it has received."""
_LARGE_REPLY = 32_768
"""Larger replies are parsed in a thread: 50,000 elements of XML take a tenth of a second."""


@dataclass(slots=True)
class ContactSender:
    """Sends the requests of one engine.

    Attributes:
        request_sender: connections, settings and files.
        routes: where requests go.
        limits: when requests to a host may start.
        journal: writes to the ledger.
        referenced: actions whose reply a later step reads; the content of other successful replies is not kept.
        clock: epoch seconds.
        keeps_shapes: whether to keep the shape of a reply whose content is not kept.
        stopped: whether no more requests may start.
        rest: waits for a delay of the flow.
        refusals: detects a server that refuses everything; ``None`` to continue regardless.
        give_up: called with the reason why the batch must stop.
        steps: identities of the flow's steps.
        shortage: waits while no file descriptor is free.
        on_attempt: called with every request whose outcome is known.
    """

    request_sender: RequestSender
    routes: Routes
    limits: HostLimits
    journal: Journal
    referenced: frozenset[str]
    clock: Callable[[], float] = time.time
    keeps_shapes: bool = False
    stopped: bool = False
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep
    refusals: Refusals | None = None
    give_up: Callable[[BatchStoppedError], None] = lambda _: None
    steps: StepIdentities = field(default_factory=StepIdentities)
    on_attempt: Callable[[Attempt], None] | None = None
    shortage: Shortage = field(default_factory=Shortage, init=False)
    _readers: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, _READERS), init=False)
    _read_until: float | None = field(default=None, init=False)

    async def do(self, run: ContactRun, effect: Effect) -> EffectResult:
        """Perform an effect to its end, all attempts included.

        Raises:
            StoppedError: the run was stopped before the request could be sent.
            BatchStoppedError: the host was down for too long.
            LedgerError: the ledger cannot be written.
            OnceClaimedError: under ``only_once`` another response of this person has claimed the step.
            ConnectionConfigError: a connection does not exist or cannot be used.
        """
        if isinstance(effect, SendAction):
            return await self._deliver(run, effect)
        if isinstance(effect, Wait):
            if effect.waited_in_replay:
                run.wait_until = self._over(effect, run.wait_until or run.reached)
            return Waited()
        # If nothing will be sent, no file is needed.
        settled = run.record.find_settled_result(effect.step.name, effect.visit)
        if settled is not None:
            return _note_size(run, effect.veil.restore(settled))
        while (delay := run.delay(self.clock())) > 0:
            await self.rest(delay)
        file = await self._fetch(effect)
        run.arrive(self.clock())
        return file

    async def _fetch(self, effect: FetchFile) -> FileContent | TransportFailure:
        pause = FIRST_PAUSE
        while True:
            if is_web_address(effect.source):
                file = await self.routes.download(effect.source, effect.step.timeout)
            else:
                file = await asyncio.to_thread(self.request_sender.fetch, effect.source, effect.step.timeout)
            if not (isinstance(file, TransportFailure) and file.is_local):
                return file
            if self.stopped:
                raise StoppedError
            pause = await self.shortage.wait(file.message, pause)

    async def _deliver(self, run: ContactRun, effect: SendAction) -> ActionResult:
        route = await self.routes.of(effect.step, effect.request)
        delivering = deliver(
            effect,
            review=lambda result, _: route.conceal(result),
            delay=lambda: run.delay(self.clock()),
            clock=self.clock,
        )
        attempts: list[Attempt] = []
        answer: Answer = None
        sent = False
        while not isinstance(step := advance(delivering, answer), ActionResult):
            answer = None
            if isinstance(step, Prepare):
                answer = route.complete(step.effect.request)
            elif isinstance(step, Recall):
                answer = attempts = run.record.attempts(step.effect, step.request, step.base)
            elif isinstance(step, Intend):
                note = await self._attempt(run, route, delivering, step)
                run.record.add(note.effect, note.attempt)
                run.arrive(self.clock())
                sent = True
            elif isinstance(step, Rest):
                await self.rest(step.seconds)
            elif isinstance(step, Pause):
                if step.seconds:
                    await asyncio.sleep(step.seconds)
                answer = True
        if not sent:
            run.arrive(min(_end_time(attempts[-1]), self.clock()))
            _note_size(run, step)
        if step.error is not None:
            run.note_error(effect.step.name, route.host, effect.veil.hide(step))
        return step

    def _over(self, effect: Wait, reached: float) -> float:
        over = effect.ends(_moment(reached))
        if effect.step.rule.windows:  # it may have closed since
            over = effect.step.rule.ends(_moment(self.clock()), over)
        return over.timestamp()

    async def _attempt(self, run: ContactRun, route: Route, delivering: Delivering, intend: Intend) -> Note:
        limiter = self.limits.of(route.host)
        # The slot at the host and the connection come before the intent: a killed process leaves in doubt what it was
        # sending, but no request that was waiting to be sent.
        await limiter.gate.enter()
        try:
            probe = await limiter.enter()
            attempt = RequestAttempt(self, run, route, delivering, intend, is_probe=probe)
            try:
                intent, reply = await attempt.send()
            except BaseException:
                run.under_way = False
                limiter.abandon(probe=probe)
                raise
            judge = partial(self._judge, delivering, reply)
            if reply is None:  # the host was closed during the commit
                limiter.abandon(probe=probe)
                note, _ = judge()
                self.journal.note(AttemptEnd.of(intent, note.attempt, None, self.clock()))
                return note
            if not isinstance(reply, HttpResponse) or len(reply.content) <= _LARGE_REPLY:
                return self._conclude(run, intent, judge(), probe=probe)
            run.has_large_reply = True
            # Reading takes a while; other contacts continue meanwhile.
            reading = asyncio.ensure_future(self._read(judge))
            try:
                judged = await asyncio.shield(reading)
            except asyncio.CancelledError:  # the reply has arrived: a stopped run keeps what is read in time
                if await self._is_read_in_time(reading):
                    self._conclude(run, intent, reading.result(), probe=probe)
                raise
            return self._conclude(run, intent, judged, probe=probe)
        finally:
            limiter.gate.leave()

    def _judge(self, delivering: Delivering, reply: Reply | None) -> _Judged:
        """Classify a reply; the content of a success is kept only if a later step reads it."""
        note = advance(delivering, reply)
        if not isinstance(note, Note):
            raise TypeError("an exchange is followed by its note")
        keeps = note.effect.step.name in self.referenced
        return _Judged(note, note.result_for_ledger(keep_content=keeps, keep_shape=self.keeps_shapes))

    async def _read(self, judge: Callable[[], _Judged]) -> _Judged:
        async with self._readers:
            return await asyncio.to_thread(judge)

    async def _is_read_in_time(self, reading: asyncio.Future[_Judged]) -> bool:
        """Wait until a reply is read, within the time that all replies share; after that, it is in doubt."""
        loop = asyncio.get_running_loop()
        if self._read_until is None:
            self._read_until = loop.time() + _LAST_READING_SECONDS
        done, _ = await asyncio.wait((reading,), timeout=max(0.0, self._read_until - loop.time()))
        if not done:
            reading.cancel()
        return bool(done) and not reading.cancelled() and reading.exception() is None

    def _conclude(self, run: ContactRun, intent: Intent, judged: _Judged, *, probe: bool) -> Note:
        """Record the outcome of an attempt."""
        note, kept = judged
        result, step = note.attempt.result, note.effect.step
        if result is None:
            raise TypeError("an attempt with a reply has a result")
        self.limits.of(intent.host).leave(result, step.retry, probe=probe)
        self.journal.note(AttemptEnd.of(intent, note.attempt, kept, self.clock()))
        run.under_way, run.sent_as = False, None
        if self.on_attempt is not None:
            self.on_attempt(note.attempt)
        if self.refusals is not None:
            stop = self.refusals.note(run.contact_id, intent.host, step, result, intent.begun_at)
            if stop is not None:
                self.give_up(stop)
        return note


class _Judged(NamedTuple):
    """A reply, judged.

    Attributes:
        note: the outcome to record.
        kept: the result as the ledger stores it.
    """

    note: Note
    kept: str | None


def _note_size(run: ContactRun, recorded: ActionResult) -> ActionResult:
    run.has_large_reply |= least_size(recorded.response, _LARGE_REPLY) > _LARGE_REPLY
    return recorded


def _end_time(attempt: Attempt) -> float:
    return attempt.begun_at + (attempt.result.elapsed_ms / 1000 if attempt.result else 0.0)


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
