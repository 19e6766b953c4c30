"""The documentation of a flow's tasks on Airflow's pages: what a step does, its request, and its exits.

It is written when Airflow stores a DAG. A worker that parses the DAG to run one task doesn't write it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from airflow_whatsapp_flows.flow.concealing import mask_secrets
from airflow_whatsapp_flows.flow.model import Action, Flow, exits_of
from airflow_whatsapp_flows.operators.flow_step import FlowStep
from airflow_whatsapp_flows.operators.markdown import code, escape, table
from airflow_whatsapp_flows.operators.step_display import step_for_display

_WHAT = {
    "question": "Takes the recorded answer to a question.",
    "menu": "Takes the recorded answer; the option chooses the exit.",
    "message": "Renders a message into the record of the walk. Nothing is sent to WhatsApp.",
    "template": "Renders a message template into the record of the walk. Nothing is sent to WhatsApp.",
    "conditional": "Takes the first path whose conditions are all true.",
    "delay": "Waits.",
    "contact_update": "Changes the contact for later steps.",
    "tag": "Records tags.",
    "assignation": "Records who takes over.",
    "go_to": "Continues with another step.",
    "trigger_flow": "Records the flow that the contact continues in, and ends the walk.",
    "end": "Ends the walk.",
}
_NO_DETAILS = frozenset({"name", "type", "next", "on_success", "on_error", "connection", "method", "url", "body"})
_LONGEST_CELL = 300
_LONGEST_BODY = 4000


class _LazyDoc:
    """A ``doc_md`` that is written when it is read, unless one was given.

    Airflow sets it on every task that is created, and reads it only to store the DAG.
    """

    def __init__(self, write: Callable[[Any], str]) -> None:
        self._write = write

    def __get__(self, task: Any, owner: type) -> str | None:
        if task is None:
            return None
        given: str | None = task.__dict__.get("doc_md")
        return self._write(task) if given is None else given

    def __set__(self, task: Any, value: str | None) -> None:
        if value is not None:
            task.__dict__["doc_md"] = value


def lazy_doc(write: Callable[[Any], str]) -> str | None:
    """Return the attribute ``doc_md`` of a class of operators.

    A base class would not do: Airflow merges default arguments once more for each class with several.

    Args:
        write: the Markdown of a task.
    """
    return cast("str | None", _LazyDoc(write))


def step_doc(step: FlowStep) -> str:
    """Write the documentation of a step, or of each step of a loop.

    Args:
        step: of the task.
    """
    if len(step.own) == 1:
        return "\n\n".join(_parts(step.flow, step.name)) + "\n"
    parts = [f"Walks {len(step.own)} steps, over and over, until the contact leaves the loop."]
    for name in step.own:
        parts += [f"**{escape(name)}**", *_parts(step.flow, name)]
    return "\n\n".join(parts) + "\n"


def _parts(flow: Flow, name: str) -> Iterator[str]:
    step, written = flow.steps[name], step_for_display(flow, name)
    yield _request_text(step, written) if isinstance(step, Action) else _WHAT[written["type"]]
    rows = [(key, _shorten(_text(value), _LONGEST_CELL)) for key, value in _details(written)]
    if rows:
        yield table(("key", "value"), rows)
    if written.get("body") is not None:
        yield code(_shorten(_text(written["body"], indent=2), _LONGEST_BODY))
    exits = [
        f"- {escape(way.label)} → {'the end' if way.target is None else escape(way.target)}" for way in exits_of(step)
    ]
    if exits:
        yield "\n".join(exits)


def _request_text(step: Action, written: Mapping[str, Any]) -> str:
    request = code(mask_secrets(f"{step.plan.method} {written['url']}"))
    connection = f" with the connection {code(step.plan.connection)}" if step.plan.connection else ""
    attempts = step.retry.attempts
    again = f"at most {attempts} times" if attempts > 1 else "once"
    return f"Sends {request}{connection}, {again}; delivery {code(step.retry.delivery.value)}."


def _details(written: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in written.items() if key not in _NO_DETAILS and value is not None)


def _text(value: Any, indent: int | None = None) -> str:
    """Return a value as a person may read it."""
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=indent)
    return mask_secrets(written)


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
