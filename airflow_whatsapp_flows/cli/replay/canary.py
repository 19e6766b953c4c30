"""``whatsapp-flows replay run --canary N`` and ``--release``: who is sent first, and who waits for a decision."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import suppress

from airflow_whatsapp_flows.cli.tables import table
from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.holds import KINDS, count_sendable, hold_after, hold_of, last_sendable, release_held
from airflow_whatsapp_flows.ledger.replays import Replay, tally
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.canary import EXIT_HEAD, REPLY_HEAD, CanaryReport
from airflow_whatsapp_flows.replay.create import ReplayRequest, find_existing_replay
from airflow_whatsapp_flows.replay.progress import Progress
from airflow_whatsapp_flows.replay.status import get_replay


def check_release(ledger: Ledger, request: ReplayRequest) -> None:
    """Check that there is something to release, before a new replay is created and sent as a whole.

    Raises:
        ReplayError: there is not.
    """
    replay = find_existing_replay(ledger, request)
    if replay is None:
        raise ReplayError(
            f"--release: there is no replay of these responses in the ledger {ledger.display_url}; send some with "
            "--canary N first, or leave out --release to send all of them"
        )
    if hold_of(replay, "canary") is None and tally(ledger, replay.no).states[ContactState.PENDING]:
        raise ReplayError(
            f"--release: the replay {replay.id!r} has no canary; leave out --release to send its pending contacts"
        )


def hold_or_release(ledger: Ledger, replay: Replay, options: argparse.Namespace) -> Replay:
    """Hold or release contacts as the options of the command say; return the replay as it is then."""
    if options.canary is not None:
        hold_after(ledger, replay.no, "canary", options.canary)
    elif options.release:
        release(ledger, replay)
    return get_replay(ledger, replay.id)


def release(ledger: Ledger, replay: Replay) -> None:
    """Release all contacts that are held."""
    for kind in KINDS:
        release_held(ledger, replay.no, kind)


def is_release_wanted(ledger: Ledger, replay: Replay, options: argparse.Namespace, progress: Progress) -> bool:
    """Ask on a terminal whether to send the contacts that are held, once the canary has ended."""
    if options.canary is None or options.format != "text" or progress.stopped:
        return False
    if last_sendable(replay) is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    pending = tally(ledger, replay.no).states[ContactState.PENDING]
    if count_sendable(ledger, replay, pending):
        return False
    with suppress(EOFError):
        answer = input(f"Release the other {plural(pending, 'contact')} now? [y/N] ")
        return answer.strip().lower() in ("y", "yes")
    return False


def canary_lines(report: CanaryReport) -> Iterator[str]:
    """Format what came of a canary."""
    yield f"canary: {report.headline}"
    for head, rows in ((EXIT_HEAD, report.exits), (REPLY_HEAD, report.replies)):
        if rows:
            yield ""
            yield from (f"  {line}" for line in table(head, rows).split("\n"))
    if report.remark:
        yield f"  ({report.remark})"
