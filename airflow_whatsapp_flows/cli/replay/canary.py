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
from airflow_whatsapp_flows.ledger.locks import find_running_replays
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
    never_held = all(hold_of(replay, kind) is None for kind in KINDS)
    if never_held and tally(ledger, replay.no).states[ContactState.PENDING]:
        raise ReplayError(
            f"--release: the replay {replay.id!r} has no canary; leave out --release to send its pending contacts"
        )


def hold_or_release(ledger: Ledger, replay: Replay, options: argparse.Namespace) -> Replay:
    """Hold or release contacts as the options of the command say; return the replay as it is then.

    Raises:
        ReplayError: another process is sending all of them, so none would be held.
        LedgerError: the canary already has more contacts, or the ledger cannot be written.
    """
    if options.canary is not None:
        _check_not_sent(ledger, replay)
        if tally(ledger, replay.no).states[ContactState.PENDING]:  # otherwise there is nobody to hold, nor at a retry
            hold_after(ledger, replay.no, "canary", options.canary)
    elif options.release:
        release(ledger, replay)
    return get_replay(ledger, replay.id)


def _check_not_sent(ledger: Ledger, replay: Replay) -> None:
    """Check that no run started without a canary, or after its release: it goes on with what it has begun."""
    if last_sendable(replay) is not None:
        return
    with ledger.read() as connection:
        running = find_running_replays(connection, ledger.file)
    if replay.id in running:
        raise ReplayError(
            f"--canary: the replay {replay.id!r} is running, and sends all of its contacts: stop it, or let it end"
        )


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
