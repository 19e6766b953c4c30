"""Runs a replay, given an open ledger."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from airflow_whatsapp_flows.errors import LedgerError, LedgerReplacedError
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.holds import find_sendable_chunks, last_sendable
from airflow_whatsapp_flows.ledger.journal import Journal
from airflow_whatsapp_flows.ledger.outages import is_away
from airflow_whatsapp_flows.ledger.replays import (
    Replay,
    Tally,
    find_accepted_steps,
    mark_ended,
    mark_started,
    tally,
)
from airflow_whatsapp_flows.ledger.retry_runs import tally_retry
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.slots import SharedSlots
from airflow_whatsapp_flows.replay.budget import FailureBudget, count_walked
from airflow_whatsapp_flows.replay.comparison import comparison_of
from airflow_whatsapp_flows.replay.contact import ContactWalker
from airflow_whatsapp_flows.replay.engine import Engine
from airflow_whatsapp_flows.replay.garbage_collection import reduce_gc
from airflow_whatsapp_flows.replay.guards import Guards, guard_rules
from airflow_whatsapp_flows.replay.host_limits import HostLimits
from airflow_whatsapp_flows.replay.pending_chunks import PendingChunks
from airflow_whatsapp_flows.replay.prior_sends import PriorSends
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.refusals import Refusals
from airflow_whatsapp_flows.replay.renames import load_step_identities
from airflow_whatsapp_flows.replay.routes import Routes
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.send import ContactSender
from airflow_whatsapp_flows.sender import RequestSender

LAST_COMMITS_SECONDS = 1.5
"""Seconds after the grace period for the ledger's server to accept the last outcomes.

Then it counts as not responding.
"""


async def run_replay(
    ledger: Ledger,
    replay: Replay,
    flow: Flow,
    request_sender: RequestSender,
    settings: RunSettings,
    on_engine: Callable[[Engine], None] = lambda _: None,
) -> Progress:
    """Run the pending contacts of a replay that are not held; SIGTERM and SIGINT end it within 10 seconds.

    Args:
        replay: a sealed replay, as it is in the ledger now.
        request_sender: connections and settings.
        settings: settings of the run.
        on_engine: called with the engine before it runs, for example to show progress.

    Raises:
        LedgerError: the ledger cannot be read or written; the remaining contacts stay pending.
        ConnectionConfigError: a connection is missing or invalid; the remaining contacts stay pending.
        ReplayError: requests were sent under the name of a step that the flow no longer has, and the rename is not
            confirmed; nothing was sent.
    """
    ledger.outages.begin(settings.reconnect_seconds(request_sender.settings))
    steps = await asyncio.to_thread(load_step_identities, ledger, replay, flow, chunks=settings.chunks)
    budget = failure_budget(await asyncio.to_thread(_count, ledger, replay, settings), settings)
    async with AsyncExitStack() as stack:
        if settings.workers == 1:
            await stack.enter_async_context(mark_run(ledger, replay.no))
        journal = await stack.enter_async_context(Journal(ledger))
        await stack.enter_async_context(_report_losses(ledger, journal))
        routes = await stack.enter_async_context(Routes(request_sender))
        limits = await stack.enter_async_context(_host_limits(ledger, settings))
        sender = ContactSender(request_sender, routes, limits, journal, flow.replies_read, steps=steps)
        if settings.stop_when_refused:
            accepted = await asyncio.to_thread(find_accepted_steps, ledger, replay.no)
            sender.refusals = Refusals(shows_reply=not flow.sensitive, accepted=accepted)
        walker = ContactWalker(
            flow=flow,
            replay_no=replay.no,
            sender=sender,
            guards=Guards(guard_rules(flow, force=settings.force)),
            epoch=replay.id if settings.force else None,
            resend=settings.resend,
            steps=steps,
            comparison=comparison_of(flow, request_sender, settings),
        )
        chunks = PendingChunks(partial(_find_chunks, ledger, replay), settings.chunks)
        engine = Engine(ledger, journal, walker, PriorSends(flow, replay, settings.force), chunks, settings.concurrency)
        engine.budget, engine.grace, engine.last = budget, settings.grace, last_sendable(replay)
        sender.keeps_shapes = engine.last is not None
        on_engine(engine)
        async with stop_on_signals(lambda reason: stop_engine(engine, ledger, reason)):
            with reduce_gc():
                progress = await engine.run()
    if journal.failure is not None and not is_away(journal.failure):
        raise journal.failure  # the last commits failed after the engine had ended
    return progress


def _host_limits(ledger: Ledger, settings: RunSettings) -> HostLimits:
    return HostLimits(
        SharedSlots(ledger),
        settings.rates,
        settings.concurrency,
        needs_credentials=settings.stop_when_refused,
        share=settings.workers,
    )


def _count(ledger: Ledger, replay: Replay, settings: RunSettings) -> Tally:
    """Count the contacts of the whole replay, including earlier runs, or of a retry."""
    if settings.retry_no is None:
        return tally(ledger, replay.no)
    return tally_retry(ledger, replay.no, settings.retry_no)


def _find_chunks(ledger: Ledger, replay: Replay) -> list[int]:
    return ledger.outages.outlast(lambda: find_sendable_chunks(ledger, replay))


def stop_engine(engine: Engine, ledger: Ledger, reason: str) -> None:
    """Stop an engine whose end somebody waits for."""
    engine.stop(reason)
    ledger.outages.give_up_in(engine.grace + LAST_COMMITS_SECONDS)


@asynccontextmanager
async def mark_run(ledger: Ledger, replay_no: int) -> AsyncIterator[None]:
    """Record in the ledger when the run starts and ends."""
    await asyncio.to_thread(mark_started, ledger, replay_no, time.time())

    def end() -> None:
        ledger.outages.outlast(lambda: mark_ended(ledger, replay_no, time.time()))

    try:
        yield
    except LedgerReplacedError:
        raise  # nothing can be recorded, and the error says what to do
    except BaseException:
        with suppress(LedgerError):  # the first error is more informative
            await asyncio.to_thread(end)
        raise
    await asyncio.to_thread(end)


@asynccontextmanager
async def _report_losses(ledger: Ledger, journal: Journal) -> AsyncIterator[None]:
    """If the ledger was replaced, report what had been sent, and save what was lost."""
    try:
        yield
        await asyncio.to_thread(ledger.check_identity)
    except LedgerError as error:
        try:
            await asyncio.to_thread(ledger.check_identity)  # other errors may be a consequence
        except LedgerReplacedError as replaced:
            found = error if isinstance(error, LedgerReplacedError) else replaced
            raise await asyncio.to_thread(journal.with_losses, found) from error
        raise


def failure_budget(before: Tally, settings: RunSettings) -> FailureBudget:
    """Return the limits on failures of a run.

    Args:
        before: counts of the whole replay, including earlier runs, or of a retry.
    """
    return FailureBudget(
        max_failures=settings.max_failures,
        failed=before.states[ContactState.FAILED] + before.states[ContactState.IN_DOUBT],
        max_handled_errors=settings.max_handled_errors,
        handled=before.handled,
        walked=count_walked(before),
    )


@asynccontextmanager
async def stop_on_signals(stop: Callable[[str], None]) -> AsyncIterator[None]:
    """Call a function with the reason when SIGTERM or SIGINT arrives."""
    loop = asyncio.get_running_loop()
    kept = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread can handle signals; elsewhere the owner of the loop must stop the engine.
        with suppress(ValueError, RuntimeError):
            kept[number] = signal.getsignal(number)
            loop.add_signal_handler(number, stop, f"stopped by {number.name}")
    try:
        yield
    finally:
        for number, handler in kept.items():
            with suppress(ValueError, RuntimeError):
                loop.remove_signal_handler(number)
                signal.signal(number, handler)
