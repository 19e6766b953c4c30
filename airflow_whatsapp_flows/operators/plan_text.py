"""A replay's plan as text for the task log and for the approval page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_whatsapp_flows.operators.markdown import code, escape, table
from airflow_whatsapp_flows.replay.cursor import cursor_text
from airflow_whatsapp_flows.replay.plan import Plan
from airflow_whatsapp_flows.replay.samples import Sample

_EXITS = 20
_SAMPLED_STEPS = 10
_BODY = 1000
"""Maximum characters of a sample's body: a plan is stored in XCom and shown on a page."""
_OTHERS = ("rejected", "skipped", "in_doubt", "done", "postponed")
_WORDS: Mapping[str, str] = {
    "rejected": "rejected",
    "skipped": "skipped",
    "in_doubt": "already in doubt",
    "done": "already ended",
    "postponed": "postponed",
}


def plan_value(planned: Plan, source: str, replay_id: str | None) -> dict[str, Any]:
    """A plan as plain data, for XCom; samples are masked."""
    exits = [{"step": step, "exit": label, "contacts": count} for (step, label), count in planned.counts.exits.items()]
    samples = list(planned.counts.samples.items())[:_SAMPLED_STEPS]
    return {
        "replay_id": replay_id,
        "source": source,
        "rows": planned.rows,
        "rejected": planned.rejected,
        "rejections": [f"{place}: {reason}" for place, reason in planned.rejections],
        "warnings": planned.warnings,
        "changed": planned.changed,
        "skipped": sum(planned.skipped.values()),
        "in_doubt": planned.in_doubt,
        "done": planned.done,
        "postponed": sum(planned.postponed.values()),
        "walked": planned.total_walked,
        "exits": exits[:_EXITS],
        "calls": {load.host: load.calls for load in planned.loads},
        "seconds": round(planned.seconds, 1),
        "samples": {step: _request_text(found[0]) for step, found in samples if found},
    }


def plan_text(planned: Mapping[str, Any]) -> str:
    """Format a plan for the log.

    Args:
        planned: from :func:`plan_value`.
    """
    others = "".join(f", {planned[name]:,} {name.replace('_', ' ')}" for name in _OTHERS if planned[name])
    lines = [
        f"source     {planned['source']}",
        f"responses  {planned['rows']:,}{others}",
        f"to send    {planned['walked']:,}",
    ]
    lines = [f"retry      {planned['retry']}", *lines] if planned.get("retry") else lines
    lines += [f"read       by the {cursor_text(planned['cursor'])}"] if planned.get("cursor") else []
    lines += [f"changed    {planned['changed']:,} since they were sent"] if planned.get("changed") else []
    lines += [f"           {host}: {calls:,} requests" for host, calls in planned["calls"].items()]
    lines += [f"duration   about {_duration(planned['seconds'])}"]
    lines += [f"{way['step']} → {way['exit']}: {way['contacts']:,}" for way in planned["exits"]]
    lines += [f"rejected   {reason}" for reason in planned["rejections"]]
    lines += [f"warning    {warning}" for warning in planned.get("warnings", ())]
    return "\n".join(lines)


def plan_markdown(planned: Mapping[str, Any]) -> str:
    """Format a plan as Markdown: what would be sent where, how long it takes, and one masked request for each step.

    Args:
        planned: from :func:`plan_value`.
    """
    return "\n\n".join(part for part in _parts(planned) if part)


def _parts(planned: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"**{planned['walked']:,} of {planned['rows']:,} responses would be sent** from {escape(planned['source'])}. "
        f"Estimated duration: {_duration(planned['seconds'])}."
    )
    yield f"Retry {escape(planned['retry'])}." if planned.get("retry") else ""
    rows: list[Sequence[str | int]] = [("to be sent", planned["walked"])]
    rows += [(_WORDS[name], planned[name]) for name in _OTHERS if planned[name]]
    rows += [("of these, changed since they were sent", planned["changed"])] if planned.get("changed") else []
    yield table(("Responses", "Number"), rows)
    yield table(("Host", "Requests, at least"), list(planned["calls"].items()))
    yield table(("Step", "Exit", "Contacts"), [(way["step"], way["exit"], way["contacts"]) for way in planned["exits"]])
    yield _bullet_list("Warnings", planned.get("warnings", ()))
    yield _bullet_list("First rejected rows", planned["rejections"])
    for step, request in planned.get("samples", {}).items():
        yield f"**{escape(step)}**, for example (masked):"
        yield code(request)


def _bullet_list(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"**{title}**", "", *(f"- {escape(line)}" for line in lines)]) if lines else ""


def _request_text(sample: Sample) -> str:
    body = sample.body if len(sample.body) <= _BODY else f"{sample.body[:_BODY]}…"
    lines = [f"{sample.method} {sample.url}", *(f"{name}: {value}" for name, value in sample.headers)]
    return "\n".join([*lines, *(["", body] if body else [])])


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
