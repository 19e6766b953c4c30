"""One attempt of a contact's action: an open connection, the committed intent, and the request, in this order."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import Delivery, Fate
from airflow_whatsapp_flows.flow.request.messages import Reply, TransportFailure
from airflow_whatsapp_flows.flow.walk.deliver import Delivering, Intend, advance
from airflow_whatsapp_flows.ledger.once import once_of
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, Intent
from airflow_whatsapp_flows.ledger.waiting_entries import Then
from airflow_whatsapp_flows.replay.contact_run import ContactRun
from airflow_whatsapp_flows.replay.host_limits import FIRST_PAUSE
from airflow_whatsapp_flows.replay.routes import Route
from airflow_whatsapp_flows.transport import Write

if TYPE_CHECKING:
    from airflow_whatsapp_flows.replay.send import ContactSender


class StoppedError(Exception):
    """The run was stopped; no more requests start."""


class _HostClosedError(Exception):
    """The host was closed while the intent was committed."""


class RequestAttempt:
    """Sends a request; its intent is committed when a connection is open, and before the first byte.

    Args:
        sender: of the engine.
        run: the contact.
        route: of the action.
        delivering: yielded ``intend``.
        intend: what to send.
        is_probe: whether the host was down, and this request tests whether it is back.
    """

    def __init__(
        self,
        sender: ContactSender,
        run: ContactRun,
        route: Route,
        delivering: Delivering,
        intend: Intend,
        *,
        is_probe: bool,
    ) -> None:
        self._sender = sender
        self._run = run
        self._route = route
        self._delivering = delivering
        self._intend = intend
        self._is_probe = is_probe
        self._limiter = sender.limits.of(route.host)
        self._was_open = self._limiter.is_open
        self._begun_at = sender.clock()
        self._intent: Intent | None = None

    async def send(self) -> tuple[Intent, Reply | None]:
        """Send the request.

        Returns:
            The intent, and the reply; ``None`` if the host was closed during the commit, and nothing was sent.

        Raises:
            StoppedError: the run was stopped before the request could be sent.
            LedgerError: the intent cannot be committed; nothing was sent.
            OnceClaimedError: under ``only_once`` another response of this person has claimed the step.
        """
        try:
            reply = await self._exchange()
            # Without a connection, nothing was sent; the attempt is recorded all the same.
            return self._intent or await self._commit(), reply
        except _HostClosedError:
            return self._intent or await self._commit(), None
        except BaseException:
            if not self._run.under_way:
                self._withdraw()
            raise

    async def _exchange(self) -> Reply:
        pause, entered = FIRST_PAUSE, time.monotonic()
        while True:
            reply = await self._route.send(self._intend.request, self._permit)
            if not (isinstance(reply, TransportFailure) and reply.is_local):
                return reply
            # No descriptor is free. That is no fault of server or contact, and other requests end meanwhile.
            self._run.under_way, self._run.sent_as = False, None
            if self._sender.stopped:
                raise StoppedError
            pause = await self._sender.shortage.wait(reply.message, pause)
            await self._limiter.settle(entered)
            entered = time.monotonic()

    async def _permit(self, write: Write) -> None:
        """Commit the intent; after that, the request is written."""
        begun = time.monotonic()

        def write_now(done: asyncio.Future[None]) -> bool:
            if self._sender.stopped or self._has_closed() or self._limiter.is_late(begun):
                return False
            self._note_writing()  # first: if writing fails half-way, the request may have arrived
            if write(done):
                return True
            self._run.sent_as, self._run.under_way = None, False
            return False

        if self._intent is None:
            await self._commit(write_now)
            if self._run.sent_as is not None:  # it is written, and its exchange is over
                return
            if self._has_closed() and not self._sender.stopped:
                raise _HostClosedError
        await self._limiter.settle(begun)
        if self._sender.stopped:
            raise StoppedError
        self._note_writing()

    def _has_closed(self) -> bool:
        return self._limiter.has_closed(was_open=self._was_open, probe=self._is_probe)

    def _note_writing(self) -> None:
        safe = self._intend.request.method in SAFE_METHODS
        self._run.sent_as = Delivery.IDEMPOTENT if safe else self._intend.effect.step.retry.delivery
        self._run.under_way = True

    async def _commit(self, then: Then | None = None) -> Intent:
        """Commit the intent; the request may be sent from then on.

        Args:
            then: called as soon as it is committed, before anything else in the event loop runs; see
                :meth:`Journal.add`.
        """
        if self._sender.stopped:
            raise StoppedError
        intent = self._intent = self._new_intent()
        self._run.under_way = True
        try:
            await self._sender.journal.add(intent, then)
        except Exception:
            self._intent = None  # it was refused; if the wait is cancelled, its commit may still succeed
            raise
        finally:
            self._run.under_way = self._run.sent_as is not None
        advance(self._delivering, intent.begun_at)
        return intent

    def _new_intent(self) -> Intent:
        run, sender, step = self._run, self._sender, self._intend.effect.step
        return Intent.of(
            self._intend,
            run.subject,
            self._route.host,
            moment=run.walk_started_at,
            begun_at=self._begun_at,
            replay_no=run.replay_no,
            round=run.round,
            once=once_of(step, run.once, sender.steps.names_and_ids(step.name) if run.once else ()),
            epoch=run.epoch,
        )

    def _withdraw(self) -> None:
        """Record that an intended request was not sent."""
        if self._intent is not None:
            end = AttemptEnd(self._intent, Fate.NOT_SENT, None, None, None, self._sender.clock())
            with suppress(LedgerError):  # it stays in doubt
                self._sender.journal.note(end)
