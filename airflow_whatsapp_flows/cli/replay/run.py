"""``whatsapp-flows replay run``: starts or resumes a batch of responses through a flow."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any

from airflow_whatsapp_flows.cli import STOPPED
from airflow_whatsapp_flows.cli.ledger_access import open_ledger, user_name
from airflow_whatsapp_flows.cli.replay.canary import check_release, hold_or_release, is_release_wanted, release
from airflow_whatsapp_flows.cli.replay.progress import Display, Runner, Watched, display, follow, show_reading
from airflow_whatsapp_flows.cli.replay.settings import Prepared, find_cursor_of, prepare, replay_request, source_spec
from airflow_whatsapp_flows.cli.replay.summary import Summary, errors_json, status_json, summary_of, summary_text
from airflow_whatsapp_flows.cli.replay.workers import count_workers, workers_of
from airflow_whatsapp_flows.errors import FlowsError, LedgerError, LedgerReplacedError, ReplayError
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.holds import count_sendable, find_sendable_chunks
from airflow_whatsapp_flows.ledger.replays import Replay, tally
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.canary import canary_value
from airflow_whatsapp_flows.replay.create import create_or_resume_replay
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.renames import rename_steps
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.sources import Source, open_source
from airflow_whatsapp_flows.replay.status import get_replay


def run(options: argparse.Namespace) -> int:
    """Start or resume the replay; return 0, 3, or 4 if contacts are pending."""
    flow = load_flow_file(options.flow)
    prepared = prepare(options, flow)
    cursor = find_cursor_of(options, flow)
    source = open_source(source_spec(options, flow, cursor), flow)
    with open_ledger(options) as ledger, interrupt_on_sigterm():
        ledger.check_writable()
        try:
            _say(f"ledger {ledger.display_url}")
            rename_steps(ledger, flow, options.renamed, user_name())
            request = replay_request(options, flow, source, prepared, cursor)
            if options.release:
                check_release(ledger, request)
            with show_reading() as on_rows:
                replay = create_or_resume_replay(ledger, request, on_rows)
            replay = hold_or_release(ledger, replay, options)
        except LedgerReplacedError:
            raise
        except LedgerError as error:
            _say(str(error))
            _say("nothing was sent; rerun the same command when the ledger is available again")
            return STOPPED
        except KeyboardInterrupt:
            _say("stopped while reading; nothing was sent; rerun the same command to read from the start")
            return STOPPED
        if cursor is not None and replay.started_at is not None:
            _say("resuming the replay that has not ended; run the command again to read newer rows")
        _check_content(ledger, replay, source)
        status, progress = send_pending(ledger, replay, flow, prepared, options)
        if is_release_wanted(ledger, replay, options, progress):
            release(ledger, replay)
            status, _ = send_pending(ledger, get_replay(ledger, replay.id), flow, prepared, options)
        return status


def _check_content(ledger: Ledger, replay: Replay, source: Source) -> None:
    """Warn that a source has changed since its replay read it: new content is not sent.

    Raises:
        ReplayError: the replay has ended, so nothing would be sent.
    """
    if source.mark is None or replay.source_mark in (None, source.mark):
        return
    what = f"{source.name} was rewritten since the replay {replay.id!r} read it"
    if not tally(ledger, replay.no).states[ContactState.PENDING]:
        raise ReplayError(
            f"{what}, and that replay has ended: no new rows would be sent. Run it under another --replay-id, or "
            "without one; completed responses are skipped"
        )
    _say(f"{what}: this run sends the rows that the replay has read; run new rows as a separate replay")


def send_pending(
    ledger: Ledger, replay: Replay, flow: Flow, prepared: Prepared, options: argparse.Namespace
) -> tuple[int, Progress]:
    """Send what is pending in a replay and not held, and print the summary.

    Args:
        ledger: the ledger that contains the replay.
        replay: a sealed replay, as it is in the ledger now.
        flow: its flow, or a fixed version.
        prepared: how to send.
        options: command-line options: ``format`` and ``ledger``.

    Returns:
        The exit status: 0 every contact completed or skipped, 3 some failed, rejected or in doubt, 4 some pending. And
        the progress of the run.
    """
    before = tally(ledger, replay.no)
    pending = before.states[ContactState.PENDING]
    sendable = count_sendable(ledger, replay, pending)
    progress = Progress()
    if sendable:
        ended, held = before.total - pending, pending - sendable
        parts = [f"{plural(sendable, 'contact')} to send"]
        parts += [f"{ended:,} ended before"] if ended else []
        parts += [f"{held:,} held"] if held else []
        _say(f"replay {replay.id}: {', '.join(parts)}")
        try:
            progress = _send(ledger, replay, flow, prepared, (before.total - held, sendable))
        except LedgerReplacedError as error:
            _say(str(error))
            _say("then rerun the same command: it sends what is pending")
            return STOPPED, progress
        except FlowsError as error:
            progress.stopped = str(error)
        except KeyboardInterrupt:
            progress.stopped = "interrupted"
    elif pending:
        _say(f"the canary of the replay {replay.id} has ended, and the others are held; nothing was sent")
    elif replay.started_at is not None or replay.ended_at is not None:
        _say(f"the replay {replay.id} has already ended; nothing was sent")
    return _print_summary(ledger, replay, progress, options), progress


def _send(ledger: Ledger, replay: Replay, flow: Flow, prepared: Prepared, counts: tuple[int, int]) -> Progress:
    total, pending = counts
    workers = count_workers(prepared, pending, len(find_sendable_chunks(ledger, replay)))
    settings = replace(prepared.run, force=replay.is_forced, workers=workers)

    async def send_all(where: Display) -> Progress:
        following: list[asyncio.Task[None]] = []

        def on_start(runner: Runner) -> None:
            watched = Watched(runner, total, total - pending)
            following.append(asyncio.create_task(follow(where, watched)))

        try:
            if workers == 1:
                return await run_replay(ledger, replay, flow, prepared.request_sender, settings, on_start)
            together = workers_of(ledger, replay, flow, prepared, settings)
            on_start(together)
            return await together.run()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    with display() as where:
        return asyncio.run(send_all(where))


def _print_summary(ledger: Ledger, replay: Replay, progress: Progress, options: argparse.Namespace) -> int:
    try:
        summary = summary_of(ledger, get_replay(ledger, replay.id), options)
    except LedgerError as error:
        for line in dict.fromkeys([progress.stopped or "", str(error)]):
            _say(line)
        _say("nothing more was sent; rerun the same command when the ledger is available again")
        return STOPPED
    shown = json.dumps(_as_json(summary, progress), ensure_ascii=False) if options.format == "json" else None
    with suppress(OSError):  # the reader may be gone; the exit status still reports the outcome
        print(shown or _as_text(summary, progress), flush=True)
    return summary.exit_status


def _as_text(summary: Summary, progress: Progress) -> str:
    parts = [summary_text(summary)]
    for reason, count in progress.postponed.most_common():
        parts.append(f"postponed: {plural(count, 'contact')}: {reason}")
    if progress.stopped:
        pending = plural(summary.tally.states[ContactState.PENDING], "contact")
        parts.append(f"stopped: {progress.stopped}; {pending} pending; rerun the same command to resume")
        if progress.cut_off_text:
            parts[-1] += f"\n{progress.cut_off_text}"
    elif progress.first_until is not None and progress.last_until is not None:
        last = progress.last_until
        later = f", the last of them until {last:%H:%M} UTC" if last != progress.first_until else ""
        number = plural(progress.until.total(), "contact")
        parts.append(f"{number} postponed until {progress.first_until:%H:%M} UTC{later}; rerun the same command then")
    return "\n\n".join(parts)


def _as_json(summary: Summary, progress: Progress) -> dict[str, Any]:
    return {
        **status_json(summary),
        "warnings": summary.replay.warnings,
        "stopped": progress.stopped,
        "too_many_handled": summary.too_many_handled,
        "postponed": dict(progress.postponed),
        "postponed_until": f"{progress.first_until:%Y-%m-%dT%H:%M:%SZ}" if progress.first_until else None,
        "errors": errors_json(summary),
        **({} if summary.canary is None else {"canary": canary_value(summary.canary)}),
    }


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C within the block, so that it ends with its own message and status."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    kept = None
    with suppress(ValueError):  # only the main thread can handle signals
        kept = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if kept is not None:
            signal.signal(signal.SIGTERM, kept)


def _say(line: str) -> None:
    with suppress(OSError):  # the reader is gone; the replay continues
        if line:
            print(line, file=sys.stderr, flush=True)
