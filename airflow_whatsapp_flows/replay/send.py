"""Performs the effects of many walks: every attempt is recorded as intended before its first byte."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import msgspec

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.delivery.decision import Attempt, Rekey, Settled, next_move
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS, fate_of
from airflow_whatsapp_flows.flow.delivery.table import Delivery, Fate
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse, Reply, TransportFailure
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.journal import Journal
from airflow_whatsapp_flows.ledger.once import once_of
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, Intent
from airflow_whatsapp_flows.replay.breaker import BatchStoppedError
from airflow_whatsapp_flows.replay.contact_run import ContactRun
from airflow_whatsapp_flows.replay.host_limits import FIRST_PAUSE, HostLimits, Shortage
from airflow_whatsapp_flows.replay.refusals import Refusals
from airflow_whatsapp_flows.replay.routes import Route, Routes
from airflow_whatsapp_flows.sender import RequestSender, is_web_address

_READERS = 2
"""Threads that parse large replies; because of Python's GIL, more threads would only finish later."""
_LAST_READING_SECONDS = 1.0
"""Seconds for which a stopped run keeps parsing the large replies it has received."""
_LARGE_REPLY = 32_768
"""Larger replies are parsed in a thread: 50,000 elements of XML take a tenth of a second."""


class StoppedError(Exception):
    """The run was stopped; no more requests start."""


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
        stopped: whether no more requests may start.
        rest: waits for a delay of the flow.
        refusals: detects a server that refuses everything; ``None`` to continue regardless.
        give_up: called with the reason why the batch must stop.
        steps: identities of the flow's steps.
    """

    request_sender: RequestSender
    routes: Routes
    limits: HostLimits
    journal: Journal
    referenced: frozenset[str]
    clock: Callable[[], float] = time.time
    stopped: bool = False
    rest: Callable[[float], Awaitable[None]] = asyncio.sleep
    refusals: Refusals | None = None
    give_up: Callable[[BatchStoppedError], None] = lambda _: None
    steps: StepIdentities = field(default_factory=StepIdentities)
    _shortage: Shortage = field(default_factory=Shortage, init=False)
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
            return effect.veil.restore(settled)
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
            pause = await self._shortage.wait(file.message, pause)

    async def _deliver(self, run: ContactRun, effect: SendAction) -> ActionResult:
        route = await self.routes.of(effect.step, effect.request)
        base, record = effect.idempotency_key, run.record
        request = route.complete(effect.request)
        attempts, sent = record.attempts(effect, request, base), False
        while True:
            move = next_move(effect.step.retry, attempts, request, effect.idempotency_key, self.clock())
            if isinstance(move, Settled):
                if not sent:
                    run.arrive(min(_end_time(attempts[-1]), self.clock()))
                return self._note_result(run, effect, route, move.result)
            if isinstance(move, Rekey):
                effect = effect.with_key(move.key)
                request = route.complete(effect.request)
                attempts = record.attempts(effect, request, base)
                continue
            # Only here, because on resume the delays before recorded requests are over.
            delay = run.delay(self.clock())
            if delay > 0:
                await self.rest(delay)
                continue
            if move.wait:
                await asyncio.sleep(move.wait)
            attempt = await self._attempt(run, effect, request, route, move.number)
            attempts.append(attempt)
            record.add(effect, attempt)
            sent = True
            run.arrive(self.clock())

    def _over(self, effect: Wait, reached: float) -> float:
        over = effect.ends(_moment(reached))
        if effect.step.rule.windows:  # it may have closed since
            over = effect.step.rule.ends(_moment(self.clock()), over)
        return over.timestamp()

    async def _attempt(
        self, run: ContactRun, effect: SendAction, request: HttpRequest, route: Route, number: int
    ) -> Attempt:
        limiter = self.limits.of(route.host)
        # The slot at the host comes before the intent: a killed process leaves in doubt what it was sending, but no
        # request that was waiting for a slot.
        async with limiter.gate:
            probe, entered = await limiter.enter(), time.monotonic()
            was_open = limiter.is_open
            try:
                intent = await self._intend(run, effect, request, route, number)
                if was_open and not limiter.is_open and not self.stopped:
                    limiter.abandon(probe=probe)  # the host was closed during the commit: start over
                    return self._withdraw(intent)
                reply = await self._send(run, effect, route, request, intent, entered)
            except BaseException:
                run.under_way = False
                limiter.abandon(probe=probe)
                raise
            attempted = SentRequest(request, number, effect.idempotency_key)
            judge = partial(_classify, reply, attempted, effect, route, effect.step.name in self.referenced)
            if not isinstance(reply, HttpResponse) or len(reply.content) <= _LARGE_REPLY:
                return self._conclude(run, effect, intent, judge(), probe=probe)
            # Reading takes a while; other contacts continue meanwhile.
            reading = asyncio.ensure_future(self._read(judge))
            try:
                judged = await asyncio.shield(reading)
            except asyncio.CancelledError:  # the reply has arrived: a stopped run keeps what is read in time
                if await self._is_read_in_time(reading):
                    self._conclude(run, effect, intent, reading.result(), probe=probe)
                raise
            return self._conclude(run, effect, intent, judged, probe=probe)

    async def _read(self, judge: Callable[[], _ClassifiedReply]) -> _ClassifiedReply:
        async with self._readers:
            return await asyncio.to_thread(judge)

    async def _is_read_in_time(self, reading: asyncio.Future[_ClassifiedReply]) -> bool:
        """Wait until a reply is read, within the time that all replies share; after that, it is in doubt."""
        loop = asyncio.get_running_loop()
        if self._read_until is None:
            self._read_until = loop.time() + _LAST_READING_SECONDS
        done, _ = await asyncio.wait((reading,), timeout=max(0.0, self._read_until - loop.time()))
        if not done:
            reading.cancel()
        return bool(done) and not reading.cancelled() and reading.exception() is None

    async def _send(
        self, run: ContactRun, effect: SendAction, route: Route, request: HttpRequest, intent: Intent, entered: float
    ) -> Reply:
        """Send a request whose intent is committed."""
        limiter, pause = self.limits.of(route.host), FIRST_PAUSE
        try:
            while True:
                await limiter.settle(entered)
                if self.stopped:
                    raise StoppedError
                safe = request.method in SAFE_METHODS
                run.sent_as = Delivery.IDEMPOTENT if safe else effect.step.retry.delivery
                run.under_way = True
                reply = await route.send(request)
                if not (isinstance(reply, TransportFailure) and reply.is_local):
                    return reply
                # No descriptor is free. That is no fault of server or contact, and other requests end meanwhile.
                run.under_way, run.sent_as = False, None
                pause = await self._shortage.wait(reply.message, pause)
        except BaseException:
            if not run.under_way:
                with suppress(LedgerError):  # it stays in doubt
                    self._withdraw(intent)
            raise

    def _conclude(
        self, run: ContactRun, effect: SendAction, intent: Intent, judged: _ClassifiedReply, *, probe: bool
    ) -> Attempt:
        """Record the outcome of an attempt."""
        result, fate, kept = judged
        self.limits.of(intent.host).leave(result, effect.step.retry, probe=probe)
        kind = result.error.kind.value if result.error else None
        self.journal.note(AttemptEnd(intent, fate, result.status_code, kind, kept, self.clock()))
        run.under_way, run.sent_as = False, None
        if self.refusals is not None:
            stop = self.refusals.note(run.contact_id, intent.host, effect.step, result, intent.begun_at)
            if stop is not None:
                self.give_up(stop)
        return Attempt(intent.number, intent.digest, intent.begun_at, fate, result)

    async def _intend(
        self, run: ContactRun, effect: SendAction, request: HttpRequest, route: Route, number: int
    ) -> Intent:
        if self.stopped:
            raise StoppedError
        intent = Intent(
            subject=run.subject,
            step=effect.step.name,
            visit=effect.visit,
            key=effect.idempotency_key,
            number=number,
            digest=request.digest(),
            method=request.method,
            host=route.host,
            moment=run.walk_started_at,
            begun_at=self.clock(),
            replay_no=run.replay_no,
            round=run.round,
            step_id=effect.step_id,
            once=once_of(effect.step, run.once, self.steps.names_and_ids(effect.step.name) if run.once else ()),
            epoch=run.epoch,
        )
        run.under_way = True
        try:
            await self.journal.add(intent)
        except asyncio.CancelledError:
            with suppress(LedgerError):  # its commit may still succeed
                self._withdraw(intent)
            raise
        finally:
            run.under_way = False
        return intent

    def _withdraw(self, intent: Intent) -> Attempt:
        """Record that an intended request was not sent."""
        self.journal.note(AttemptEnd(intent, Fate.NOT_SENT, None, None, None, self.clock()))
        return Attempt(intent.number, intent.digest, intent.begun_at, Fate.NOT_SENT, None)

    def _note_result(self, run: ContactRun, effect: SendAction, route: Route, result: ActionResult) -> ActionResult:
        if result.error is not None:
            run.note_error(effect.step.name, route.host, effect.veil.hide(result))
        return result


class _ClassifiedReply(NamedTuple):
    """A reply with its result and its fate."""

    result: ActionResult
    fate: Fate
    kept: str
    """The result as the ledger stores it."""


def _classify(
    reply: Reply, attempted: SentRequest, effect: SendAction, route: Route, referenced: bool
) -> _ClassifiedReply:
    """Classify a reply; the content of a success is kept only if a later step reads it (``referenced``)."""
    result = route.conceal(classify(reply, attempted, effect.step.success_when))
    fate, value = fate_of(result, effect.step.retry), effect.veil.hide(result).as_value()
    if fate is Fate.SUCCEEDED and not referenced:
        value["response"], value["headers"] = None, {}
    return _ClassifiedReply(result, fate, msgspec.json.encode(value).decode())


def _end_time(attempt: Attempt) -> float:
    return attempt.begun_at + (attempt.result.elapsed_ms / 1000 if attempt.result else 0.0)


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
