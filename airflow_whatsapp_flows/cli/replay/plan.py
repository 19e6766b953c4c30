"""``whatsapp-flows replay plan``: shows what a replay would send; sends and writes nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from airflow_whatsapp_flows.cli.ledger_access import ledger_url, open_ledger
from airflow_whatsapp_flows.cli.replay.progress import show_reading
from airflow_whatsapp_flows.cli.replay.settings import find_cursor_of, prepare, replay_request, source_spec
from airflow_whatsapp_flows.cli.tables import plain, table
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.engine import is_missing_file
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.quantities import duration, plural
from airflow_whatsapp_flows.replay.create import find_existing_replay
from airflow_whatsapp_flows.replay.estimate import DEPENDS
from airflow_whatsapp_flows.replay.plan import Load, Plan, PlanRequest
from airflow_whatsapp_flows.replay.plan import plan as make_plan
from airflow_whatsapp_flows.replay.renames import resolve_renames
from airflow_whatsapp_flows.replay.samples import Sample
from airflow_whatsapp_flows.replay.sources import open_source

_REASONS = 10


def plan(options: argparse.Namespace) -> int:
    """Print the plan; return 0."""
    flow = load_flow_file(options.flow)
    prepared = prepare(options, flow)
    cursor = find_cursor_of(options, flow)
    source = open_source(source_spec(options, flow, cursor), flow)
    with ExitStack() as stack:
        ledger = _ledger(options)
        if ledger is not None:
            stack.enter_context(ledger)
        asked = replay_request(options, flow, source, prepared, cursor)
        replay = find_existing_replay(ledger, asked) if ledger else None
        request = PlanRequest(
            flow=flow,
            rows=source,
            request_sender=prepared.request_sender,
            run=prepared.run,
            replay=replay,
            limit=options.limit,
            on_changed=asked.on_changed,
            renamed=resolve_renames(ledger, flow, options.renamed) if ledger else {},
        )
        with show_reading() as on_rows:
            planned = make_plan(request, ledger, on_rows)
        shown = ledger.display_url if ledger is not None else "none yet"
    if options.format == "json":
        print(json.dumps(as_json(planned, flow, source.name, replay), ensure_ascii=False, indent=2))
    else:
        print(f"ledger {shown}", file=sys.stderr)
        print(as_text(planned, flow, source.name, replay))
    return 0


def _ledger(options: argparse.Namespace) -> Ledger | None:
    """Open the ledger; ``None`` if its file does not exist, because a plan does not create one."""
    return None if is_missing_file(ledger_url(options)) else open_ledger(options)


def as_json(plan: Plan, flow: Flow, source: str, replay: Replay | None) -> dict[str, Any]:
    """Convert a plan to JSON; samples are masked."""
    counts = plan.counts
    return {
        "flow_id": flow.id,
        "source": source,
        "replay_id": replay.id if replay else None,
        "rows": plan.rows,
        "valid": plan.valid,
        "rejected": plan.rejected,
        "rejections": [{"place": place, "reason": reason} for place, reason in plan.rejections],
        "warnings": plan.warnings,
        "changed": plan.changed,
        "done": plan.done,
        "skipped": dict(plan.skipped),
        "in_doubt": plan.in_doubt,
        "postponed": dict(plan.postponed),
        "walked": plan.total_walked,
        "ends": dict(counts.ends),
        "reasons": dict(counts.reasons.most_common(_REASONS)),
        "exits": [{"step": step, "exit": exit_, "contacts": n} for (step, exit_), n in _in_order(counts.exits, flow)],
        "depends_on_reply": dict(counts.depends),
        "calls": plan.calls,
        "calls_by_step": dict(counts.calls),
        "recorded": dict(counts.recorded),
        "files": dict(counts.files),
        "hosts": [asdict(load) for load in plan.loads],
        "estimated_s": round(plan.seconds, 3),
        "samples": {step: [_sample_json(sample) for sample in samples] for step, samples in counts.samples.items()},
    }


def _sample_json(sample: Sample) -> dict[str, Any]:
    return {"method": sample.method, "url": sample.url, "headers": list(sample.headers), "body": sample.body}


def as_text(plan: Plan, flow: Flow, source: str, replay: Replay | None) -> str:
    """Format a plan for people; samples are masked."""
    goes_on = f", resuming the replay {replay.id}" if replay else ""
    lines = [f"plan of {flow.id}, {plural(plan.rows, 'row')} from {source}{goes_on}; nothing was sent"]
    lines += [plain(f"warning: {warning}") for warning in plan.warnings]
    lines.append("")
    lines.append(table(("contacts", "number"), list(_contact_rows(plan))))
    if plan.rejections:
        lines += ["", f"rejected rows (first {len(plan.rejections)}):"]
        lines += [plain(f"  {place}: {reason}") for place, reason in plan.rejections]
    if plan.counts.reasons:
        lines += ["", "cannot be completed:"]
        lines += [plain(f"  {n:,}: {reason}") for reason, n in plan.counts.reasons.most_common(_REASONS)]
    if plan.counts.exits:
        rows = [(step, exit_, n) for (step, exit_), n in _in_order(plan.counts.exits, flow)]
        lines += ["", table(("step", "exit", "contacts"), rows)]
    for step, n in plan.counts.depends.items():
        lines += ["", plain(f"{step}: the next steps of {plural(n, 'contact')} depend on a reply")]
    lines += ["", *_call_lines(plan), *_sample_lines(plan)]
    return "\n".join(lines)


def _contact_rows(plan: Plan) -> list[tuple[str, int]]:
    ends = plan.counts.ends
    rows = [("would be walked", plan.total_walked)]
    rows += [(f"  {_END.get(end, end)}", number) for end, number in ends.most_common()]
    rows += [("already ended", plan.done)] if plan.done else []
    rows += [(f"skipped: {reason}", number) for reason, number in plan.skipped.most_common()]
    rows += [(f"postponed: {reason}", number) for reason, number in plan.postponed.most_common()]
    rows += [("already in doubt", plan.in_doubt)] if plan.in_doubt else []
    rows += [("rejected", plan.rejected)] if plan.rejected else []
    rows += [("of these, changed since they were sent", plan.changed)] if plan.changed else []
    return rows


_END = {
    "completed": "completed, if every request succeeds",
    "in_doubt": "still in doubt",
    DEPENDS: "depends on a reply",
}


def _call_lines(plan: Plan) -> list[str]:
    lines = [f"{plural(plan.calls, 'request')}, without retries"]
    if plan.counts.recorded:
        known = sum(plan.counts.recorded.values())
        lines.append(f"{plural(known, 'action')} with a result in the ledger, not sent again")
    if plan.counts.files:
        lines.append(f"{plural(sum(plan.counts.files.values()), 'file')} to be fetched")
    if not plan.loads:
        return lines
    lines += ["", table(("step", "requests"), [(step, number) for step, number in plan.counts.calls.items()])]
    rows = [(load.host, load.calls, _rate(load), _latency(load), duration(load.seconds)) for load in plan.loads]
    lines += ["", table(("host", "requests", "at most", "a reply takes", "duration"), rows)]
    wait = plan.counts.longest_wait
    waiting = f", {duration(wait)} of which are delays of one contact" if wait else ""
    return [*lines, "", f"estimated duration: {duration(plan.seconds)}{waiting}"]


def _rate(load: Load) -> str:
    return "no limit" if load.rate is None else f"{load.rate:g}/s"


def _latency(load: Load) -> str:
    return f"{load.latency * 1000:.0f} ms ({'measured before' if load.seen else 'assumed'})"


def _sample_lines(plan: Plan) -> list[str]:
    lines = []
    for step, samples in plan.counts.samples.items():
        lines += ["", plain(f"{step}, for example (masked):")]
        for sample in samples:
            lines += ["", plain(f"  {sample.method} {sample.url}")]
            lines += [plain(f"  {name}: {value}") for name, value in sample.headers]
            lines += [f"  {plain(line)}" for line in sample.body.splitlines()]
    return lines


def _in_order(exits: Counter[tuple[str, str]], flow: Flow) -> list[tuple[tuple[str, str], int]]:
    order = {name: position for position, name in enumerate(flow.steps)}
    return sorted(exits.items(), key=lambda item: (order[item[0][0]], -item[1]))
