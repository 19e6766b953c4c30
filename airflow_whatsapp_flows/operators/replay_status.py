"""Progress of a replay or some of its chunks: what its tasks log, and when they fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_whatsapp_flows.ledger.groups import ErrorGroup
from airflow_whatsapp_flows.ledger.replays import Tally
from airflow_whatsapp_flows.ledger.retry import RetryResult
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.budget import too_many_handled
from airflow_whatsapp_flows.replay.commands import replay_command
from airflow_whatsapp_flows.replay.option_checks import HandledErrors
from airflow_whatsapp_flows.replay.report import error_lines


def status_line(status: Mapping[str, Any]) -> str:
    """Format a status as one line for the log."""
    names = [state.value for state in ContactState if status[state.value]]
    states = ", ".join(f"{status[name]:,} {name.replace('_', ' ')}" for name in names)
    handled = f" ({status['handled']:,} by an error exit)" if status["handled"] else ""
    return f"{status['total']:,} contacts: {states or 'none'}{handled}; {status['requests']:,} requests"


def ended_text(own: Tally) -> str:
    """Format how the contacts of a retry ended, such as ``12 contacts: 10 completed, 2 failed``."""
    states = ", ".join(f"{count:,} {state.value.replace('_', ' ')}" for state, count in own.states.items() if count)
    return f"{own.total:,} contacts: {states or 'none'}"


def task_label(chunks: Sequence[int] | None, status: Mapping[str, Any] | None) -> str:
    """Format what a task runs and how its contacts ended, such as ``chunk 3: 985 done, 12 failed, 3 in doubt``.

    Args:
        chunks: numbers of its chunks; ``None`` for a whole replay.
        status: of their contacts; ``None`` until they were walked.
    """
    return ": ".join(part for part in (_chunks_text(chunks), status and _short_status(status)) if part)


def _chunks_text(chunks: Sequence[int] | None) -> str:
    if chunks is None:
        return ""
    if len(chunks) == 1:
        return f"chunk {chunks[0]}"
    if not chunks:
        return "no chunk"
    gapless = chunks[-1] - chunks[0] == len(chunks) - 1
    return f"chunks {chunks[0]}–{chunks[-1]}" if gapless else f"{len(chunks)} chunks, {chunks[0]}–{chunks[-1]}"


def _short_status(status: Mapping[str, Any]) -> str:
    handled = f" ({status['handled']:,} by an error exit)" if status["handled"] else ""
    words = {
        ContactState.COMPLETED: f"done{handled}",
        ContactState.FAILED: "failed",
        ContactState.IN_DOUBT: "in doubt",
        ContactState.REJECTED: "rejected",
        ContactState.SKIPPED: "skipped",
        ContactState.PENDING: "pending",
    }
    counts = [f"{status[state.value]:,} {word}" for state, word in words.items() if status[state.value]]
    return ", ".join(counts) or "no contacts"


def what_is_wrong(
    tally: Tally, fail_when: str, max_failures: int | None, max_handled_errors: HandledErrors | None
) -> str | None:
    """Return why the final states of contacts fail a task; ``None`` if they do not.

    Args:
        tally: of the contacts.
        fail_when: ``any`` contact failed, in doubt or rejected, or more than ``budget`` allows; ``never``.
        max_failures: contacts that may fail.
        max_handled_errors: contacts that may take an error exit; ``None``: not all of them.
    """
    if fail_when == "never":
        return None
    counts = tally.states
    failed = counts[ContactState.FAILED] + counts[ContactState.IN_DOUBT]
    if fail_when == "any" and failed + counts[ContactState.REJECTED]:
        states = (ContactState.FAILED, ContactState.IN_DOUBT, ContactState.REJECTED)
        return ", ".join(f"{counts[state]:,} {state.value.replace('_', ' ')}" for state in states if counts[state])
    if fail_when == "budget" and max_failures is not None and failed > max_failures:
        return f"{failed:,} contacts failed or are in doubt, and max_failures allows {max_failures:,}"
    return too_many_handled(max_handled_errors, tally)


SHOWN_ERRORS = 10
"""Maximum number of error groups in a task's log and XCom."""


def log_errors(log: Any, groups: Sequence[ErrorGroup]) -> None:
    """Write groups of errors to a task's log."""
    for group in groups:
        for line in error_lines(group):
            log.warning("%s", line)


def log_left_out(log: Any, chosen: RetryResult) -> None:
    """Log which contacts a task does not walk again, and why."""
    if chosen.left_out:
        requests = ", ".join(f"{step}: {came} ({count:,})" for (step, came), count in chosen.unconfirmed.items())
        log.warning(
            "%s left out: the request may have been applied, and is not sent again (%s); check at "
            "the server whether it arrived, and record what you find with `whatsapp-flows replay resolve` (with "
            "--handled for an error that an error exit handled), or see `replay retry --accept-duplicates`",
            plural(chosen.left_out, "contact"),
            requests,
        )


def where_to_look(status: Mapping[str, Any]) -> str:
    """Return the command that shows each contact's result."""
    return f"see them with `whatsapp-flows {replay_command('results', status['replay_id'])}`"
