"""The summary of a replay, as text and JSON: for ``status``, and at the end of ``run`` and ``retry``."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_whatsapp_flows.cli import STOPPED, UNFINISHED
from airflow_whatsapp_flows.cli.replay.canary import canary_lines
from airflow_whatsapp_flows.cli.tables import moment, plain, table
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.groups import (
    ErrorGroup,
    ReasonGroup,
    error_groups,
    oldest_in_doubt,
    reason_groups,
)
from airflow_whatsapp_flows.ledger.holds import count_sendable
from airflow_whatsapp_flows.ledger.replays import Replay, Tally, tally
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import duration, plural
from airflow_whatsapp_flows.replay.budget import too_many_handled
from airflow_whatsapp_flows.replay.canary import CanaryReport, canary_report
from airflow_whatsapp_flows.replay.cursor import cursor_json, cursor_text
from airflow_whatsapp_flows.replay.next_steps import SHOW_IN_DOUBT, next_steps
from airflow_whatsapp_flows.replay.report import (
    counts_of,
    deliveries_of,
    flow_of_replay,
    label_of,
    mask_response,
    suggestion_of,
)
from airflow_whatsapp_flows.replay.status import replay_status

_SAMPLE = 200  # characters
_ORDER = (
    ContactState.COMPLETED,
    ContactState.SKIPPED,
    ContactState.FAILED,
    ContactState.REJECTED,
    ContactState.IN_DOUBT,
    ContactState.PENDING,
)


@dataclass(frozen=True, slots=True)
class Summary:
    """Progress and results of a replay.

    Attributes:
        replay: the replay.
        tally: its contacts by state.
        errors: its errors by fingerprint.
        reasons: why rows were rejected or skipped.
        in_doubt: response id and end time of the contact in doubt for longest.
        too_many_handled: why it is not a success although its contacts completed.
        delivery: delivery of each action in its flow.
        held: number of pending contacts that are held.
        canary: what came of its canary, while contacts are held behind it.
        ledger_words: command-line arguments that name its ledger.
    """

    replay: Replay
    tally: Tally
    errors: list[ErrorGroup]
    reasons: list[ReasonGroup]
    in_doubt: tuple[str, float] | None
    too_many_handled: str | None
    delivery: Mapping[str, Delivery]
    held: int
    canary: CanaryReport | None
    flow: Flow | None
    ledger_words: str

    @property
    def exit_status(self) -> int:
        """0 every contact completed or skipped, 3 some failed, or too many took an error exit, 4 some pending."""
        states = self.tally.states
        if states[ContactState.PENDING] or not self.replay.sealed:
            return STOPPED
        unfinished = (ContactState.FAILED, ContactState.REJECTED, ContactState.IN_DOUBT)
        return UNFINISHED if self.too_many_handled or any(states[state] for state in unfinished) else 0

    @property
    def run_seconds(self) -> float:
        """Seconds it has run."""
        return self.replay.run_seconds(time.time())


def summary_of(ledger: Ledger, replay: Replay, options: argparse.Namespace) -> Summary:
    """Read the summary of a replay.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    flow, counted = flow_of_replay(replay), tally(ledger, replay.no)
    pending = counted.states[ContactState.PENDING]
    limit = options.max_handled_errors if hasattr(options, "max_handled_errors") else None
    limit = replay.options.get("max_handled_errors") if limit is None else limit
    if limit is None and flow is not None and flow.replay is not None:
        limit = flow.replay.max_handled_errors
    return Summary(
        replay=replay,
        tally=counted,
        errors=error_groups(ledger, replay),
        reasons=reason_groups(ledger, replay.no),
        in_doubt=oldest_in_doubt(ledger, replay.no),
        too_many_handled=too_many_handled(limit, counted),
        delivery=deliveries_of(flow),
        held=pending - count_sendable(ledger, replay, pending),
        canary=canary_report(ledger, replay),
        flow=flow,
        ledger_words=_ledger_words(ledger, options),
    )


def status_json(summary: Summary) -> dict[str, Any]:
    """Return the states of a replay's contacts, the other counts, the elapsed time, and its cursor if it has one."""
    cursor = cursor_json(summary.replay)
    return {**replay_status(summary.replay, summary.tally), **({} if cursor is None else {"cursor": cursor})}


def errors_json(summary: Summary) -> list[dict[str, Any]]:
    """Return errors by fingerprint, most frequent first; personal data in samples is masked."""
    return [
        {
            "fingerprint": group.fingerprint,
            "label": label_of(group),
            "count": group.count,
            "handled": group.handled,
            "in_doubt": group.in_doubt,
            "first_seen": _iso(group.first_seen),
            "last_seen": _iso(group.last_seen),
            "sample": {
                "id": group.sample.id,
                "place": group.sample.place,
                "response": mask_response(group, summary.flow),
            },
            "reply": group.reply,
            "suggestion": suggestion_of(group, summary.delivery),
        }
        for group in summary.errors
    ]


def summary_text(summary: Summary) -> str:
    """Format states, counts, errors, and the next commands to run."""
    replay, totals = summary.replay, summary.tally
    states = [(state.value, totals.states[state]) for state in _ORDER if totals.states[state]]
    lines = [f"replay {replay.id} of {replay.flow_id}, {plural(totals.total, 'contact')} from {replay.source}"]
    if replay.note:
        lines.append(f"  note: {replay.note}")
    cursor = cursor_json(replay)
    if cursor is not None:
        lines.append(f"  {cursor_text(cursor)}")
    lines += [f"warning: {warning}" for warning in replay.warnings]
    if not replay.sealed:
        lines.append("  the source has not been read completely; nothing was sent")
    lines += ["", table(("state", "contacts"), states)] if states else []
    lines += ["", _counts(summary)]
    if summary.too_many_handled and not summary.tally.states[ContactState.PENDING]:
        lines += ["", f"not a success: {summary.too_many_handled}"]
    lines += [line for group in summary.reasons for line in _reason_lines(group)]
    lines += [line for group in summary.errors for line in _error_lines(summary, group)]
    lines += ["", *canary_lines(summary.canary)] if summary.canary is not None else []
    following = list(_next_lines(summary))
    if following:
        lines += ["", "next steps", *(f"  {line}" for line in following)]
    return "\n".join(plain(line) for text in lines for line in text.split("\n"))


def _counts(summary: Summary) -> str:
    totals = summary.tally
    counts = [plural(totals.requests, "request")]
    if totals.handled_errors:
        counts.append(
            f"{plural(totals.handled_errors, 'error')} handled by error exits ({plural(totals.handled, 'contact')})"
        )
    if totals.unanswered:
        counts.append(f"{totals.unanswered:,} unanswered")
    if summary.run_seconds:
        ended = totals.total - totals.states[ContactState.PENDING]
        counts.append(f"{duration(summary.run_seconds)} ({ended / summary.run_seconds:,.0f} contacts/s)")
    return ", ".join(counts)


def _reason_lines(group: ReasonGroup) -> Iterator[str]:
    yield ""
    yield f"{group.state.value}: {plural(group.count, 'row')} {group.code}".rstrip()
    if group.sample.reason and group.sample.reason != group.code:
        yield f"  first: {group.sample.reason}"


def _error_lines(summary: Summary, group: ErrorGroup) -> Iterator[str]:
    yield ""
    yield f"error {group.fingerprint}: {counts_of(group)}"
    yield f"  {label_of(group)}"
    yield f"  seen {moment(group.first_seen)} to {moment(group.last_seen)} UTC"
    response = mask_response(group, summary.flow)
    shown = json.dumps(response, ensure_ascii=False) if response is not None else "(purged)"
    yield f"  sample {group.sample.id}: {shown[:_SAMPLE]}{'…' if len(shown) > _SAMPLE else ''}"
    if group.reply is not None:
        yield f"  reply: {group.reply}"
    yield f"  → {suggestion_of(group, summary.delivery)}"


def _next_lines(summary: Summary) -> Iterator[str]:
    states, id_ = summary.tally.states, summary.replay.id
    sendable, named = states[ContactState.PENDING] - summary.held, shlex.quote(f"--replay-id={id_}")
    if sendable or not summary.replay.sealed:
        yield f"{plural(sendable, 'contact')} pending: rerun the same command with {named}"
    if summary.held:
        instead = "--release in place of --canary" if summary.canary is not None else "--release"
        yield f"{plural(summary.held, 'contact')} held: rerun the same command with {named} and {instead} to send them"
    for step in next_steps(summary.tally, summary.errors, summary.delivery):
        after = f", or {step.or_else}" if step.or_else else ""
        if step == SHOW_IN_DOUBT and summary.in_doubt:
            after = f"  (oldest: {summary.in_doubt[0]}, {moment(summary.in_doubt[1])} UTC)"
        yield f"{step.what + ':':26}{step.command(id_, summary.ledger_words)}{after}"
    if states[ContactState.REJECTED]:
        yield "fix them in the source, and run them as a separate replay"


def _ledger_words(ledger: Ledger, options: argparse.Namespace) -> str:
    return f"--ledger {shlex.quote(ledger.display_url)}" if options.ledger else ""


def _iso(epoch: float) -> str:
    return moment(epoch).replace(" ", "T") + "Z"
