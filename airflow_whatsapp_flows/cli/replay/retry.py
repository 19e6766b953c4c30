"""``whatsapp-flows replay retry``: walks selected contacts again from where they failed."""

from __future__ import annotations

import argparse
import sys

from airflow_whatsapp_flows.cli import USAGE
from airflow_whatsapp_flows.cli.ledger_access import open_ledger, user_name
from airflow_whatsapp_flows.cli.replay.run import interrupt_on_sigterm, send_pending
from airflow_whatsapp_flows.cli.replay.settings import prepare
from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.literal_secrets import lacks_secrets
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.retry import RetryResult, RetrySelection, walk_again
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.renames import load_step_identities, rename_steps
from airflow_whatsapp_flows.replay.retry import (
    check_flow,
    check_selection,
    get_retriable_replay,
    how_to_include,
    left_out_text,
    others_text,
)
from airflow_whatsapp_flows.replay.status import get_replay


def retry(options: argparse.Namespace) -> int:
    """Select contacts and run the replay; return 0, 3, or 4 if contacts are pending."""
    if options.outcome and not options.step:
        print("--outcome requires --step NAME", file=sys.stderr)
        return USAGE
    with open_ledger(options) as ledger, interrupt_on_sigterm():
        print(f"ledger {ledger.display_url}", file=sys.stderr)
        replay = get_retriable_replay(ledger, options.id)
        flow = _flow(replay, options)
        rename_steps(ledger, flow, options.renamed, user_name())
        is_other = flow.source_for_storage != replay.flow
        if is_other:
            load_step_identities(ledger, replay, flow, states=())
        prepared = prepare(options, flow, replay.options)
        choice = _choice(options)
        check_selection(ledger, replay, flow, choice)
        chosen = walk_again(ledger, replay, choice, flow if is_other else None)
        print(_choice_text(chosen, choice, replay), file=sys.stderr, flush=True)
        status, _ = send_pending(ledger, get_replay(ledger, replay.id), flow, prepared, options)
        return status


def _flow(replay: Replay, options: argparse.Namespace) -> Flow:
    if options.flow is None:
        if lacks_secrets(replay.flow):
            raise ReplayError(
                f"the flow of the replay {replay.id!r} contains secrets, which the ledger does not store: pass its "
                "file with --flow FILE"
            )
        return load_flow(replay.flow, f"the flow of the replay {replay.id}")
    flow = load_flow_file(options.flow)
    check_flow(replay, flow, str(options.flow))
    return flow


def _choice(options: argparse.Namespace) -> RetrySelection:
    return RetrySelection(
        states=[ContactState(state) for state in options.state],
        steps=options.step,
        handled_errors=options.handled,
        fingerprint=options.fingerprint,
        responses=options.response,
        since=options.since,
        until=options.until,
        duplicates_accepted_by=user_name() if options.accept_duplicates else None,
    )


def _choice_text(chosen: RetryResult, choice: RetrySelection, replay: Replay) -> str:
    lines = [f"{plural(chosen.contacts, 'contact')} selected"]
    if chosen.purged:
        lines.append(f"{plural(chosen.purged, 'contact')} cannot be retried: the response has been purged")
    if chosen.left_out:
        lines.append(left_out_text(chosen))
        if choice.duplicates_accepted_by is None:
            lines.append(how_to_include(replay))
        else:
            lines.append("another replay or a DAG run may still be sending it: try again in an hour")
    given = (choice.fingerprint, choice.since, choice.until)
    narrowed = choice.steps or choice.responses or choice.handled_errors or given != (None, None, None)
    others = others_text(chosen, "--state") if not chosen.contacts and narrowed else ""
    return "\n".join([*lines, *([others] if others else [])])
