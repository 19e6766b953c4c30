"""``whatsapp-flows replay retry``: walks selected contacts again from where they failed."""

from __future__ import annotations

import argparse
import sys

from airflow_whatsapp_flows.cli import USAGE
from airflow_whatsapp_flows.cli.ledger_access import open_ledger, user_name
from airflow_whatsapp_flows.cli.replay.run import interrupt_on_sigterm, send_pending
from airflow_whatsapp_flows.cli.replay.settings import prepare
from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.literal_secrets import lacks_secrets
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.retry import RetryResult, RetrySelection, walk_again
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.commands import replay_command
from airflow_whatsapp_flows.replay.renames import load_step_identities, rename_steps
from airflow_whatsapp_flows.replay.status import get_replay


def retry(options: argparse.Namespace) -> int:
    """Select contacts and run the replay; return 0, 3, or 4 if contacts are pending."""
    if options.outcome and not options.step:
        print("--outcome requires --step NAME", file=sys.stderr)
        return USAGE
    with open_ledger(options) as ledger, interrupt_on_sigterm():
        print(f"ledger {ledger.display_url}", file=sys.stderr)
        replay = get_replay(ledger, options.id)
        if not replay.sealed:
            raise ReplayError(f"the replay {replay.id!r} has not read all of its source: run `replay run` again")
        flow = _flow(replay, options)
        rename_steps(ledger, flow, options.renamed, user_name())
        is_other = flow.source_for_storage != replay.flow
        if is_other:
            load_step_identities(ledger, replay, flow, states=())
        prepared = prepare(options, flow, replay.options)
        choice = _choice(flow, options)
        chosen = walk_again(ledger, replay, choice, flow if is_other else None)
        print(_choice_text(chosen, choice, replay), file=sys.stderr, flush=True)
        return send_pending(ledger, get_replay(ledger, replay.id), flow, prepared, options)


def _flow(replay: Replay, options: argparse.Namespace) -> Flow:
    if options.flow is None:
        if lacks_secrets(replay.flow):
            raise ReplayError(
                f"the flow of the replay {replay.id!r} contains secrets, which the ledger does not store: pass its "
                "file with --flow FILE"
            )
        return load_flow(replay.flow, f"the flow of the replay {replay.id}")
    flow = load_flow_file(options.flow)
    if flow.id != replay.flow_id:
        raise ReplayError(
            f"{options.flow} is the flow {flow.id!r}, but the replay {replay.id!r} is of {replay.flow_id!r}: a fixed "
            "flow must keep its id, because every key depends on it"
        )
    return flow


def _choice(flow: Flow, options: argparse.Namespace) -> RetrySelection:
    if options.step is not None and not isinstance(flow.steps.get(options.step), Action):
        actions = [name for name, step in flow.steps.items() if isinstance(step, Action)]
        raise ReplayError(f"there is no action step named {options.step!r}{did_you_mean(options.step, actions)}")
    return RetrySelection(
        states=[ContactState(state) for state in options.state],
        step=options.step,
        handled_errors=options.handled,
        fingerprint=options.fingerprint,
        since=options.since,
        until=options.until,
        duplicates_accepted_by=user_name() if options.accept_duplicates else None,
    )


def _choice_text(chosen: RetryResult, choice: RetrySelection, replay: Replay) -> str:
    lines = [f"{plural(chosen.contacts, 'contact')} selected"]
    if chosen.purged:
        lines.append(f"{plural(chosen.purged, 'contact')} cannot be retried: the response has been purged")
    if chosen.left_out:
        lines += _skipped_contacts(chosen, choice, replay)
    given = (choice.step, choice.fingerprint, choice.since, choice.until)
    narrowed = choice.handled_errors or given != (None, None, None, None)
    others = {state: count for state, count in chosen.others.items() if state is not ContactState.REJECTED}
    if not chosen.contacts and narrowed and others:
        counted = ", ".join(f"{count:,} {state.value}" for state, count in others.items())
        lines.append(f"the same conditions match {counted}: select them with --state")
    return "\n".join(lines)


def _skipped_contacts(chosen: RetryResult, choice: RetrySelection, replay: Replay) -> list[str]:
    requests = ", ".join(f"{step}: {came} ({count:,})" for (step, came), count in sorted(chosen.unconfirmed.items()))
    lines = [
        f"{plural(chosen.left_out, 'contact')} left out: the request may have been applied, and is not sent again "
        f"({requests})"
    ]
    if choice.duplicates_accepted_by is not None:
        lines.append("another replay or a DAG run may still be sending it: try again in an hour")
        return lines
    again = replay_command("retry", replay.id, options="--accept-duplicates")
    lines.append(
        "check at the server whether it arrived, and record what you find with `whatsapp-flows replay resolve` (with "
        f"--handled for an error that an error exit handled). `whatsapp-flows {again}` "
        "sends it again, and it may be applied twice"
    )
    return lines
