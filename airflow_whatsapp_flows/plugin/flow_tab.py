"""The tab "Flow" of a DAG: the flow drawn, with the ways that contacts took, and each step's request and errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Query, Request, Response
from markupsafe import Markup

from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX
from airflow_whatsapp_flows.drawing import page_style
from airflow_whatsapp_flows.flow.concealing import mask_secrets
from airflow_whatsapp_flows.flow.inspect.graph import graph_of
from airflow_whatsapp_flows.flow.model import Action, Conditional, Flow, Step, exits_of
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.groups import ErrorGroup, error_groups
from airflow_whatsapp_flows.ledger.paths import MOST_ROWS, PathCounts, count_paths
from airflow_whatsapp_flows.ledger.reader import MissingLedgerError
from airflow_whatsapp_flows.ledger.recent_replays import RecentReplay, recent_replays
from airflow_whatsapp_flows.ledger.replays import find_replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.step_latencies import Latencies, step_latencies
from airflow_whatsapp_flows.operators.step_display import step_for_display
from airflow_whatsapp_flows.plugin.access import CurrentUser, may_see_import_errors, require
from airflow_whatsapp_flows.plugin.addresses import name_in_path
from airflow_whatsapp_flows.plugin.airflow_tasks import is_flow_dag
from airflow_whatsapp_flows.plugin.flow_drawing import draw_flow
from airflow_whatsapp_flows.plugin.flow_sources import FoundFlow, find_faults, find_flows, load_stored_flow
from airflow_whatsapp_flows.plugin.ledger_access import open_ledger
from airflow_whatsapp_flows.plugin.rendering import page, query_of, text_block
from airflow_whatsapp_flows.quantities import plural
from airflow_whatsapp_flows.replay.report import label_of

router = APIRouter()

_REPLAYS = 10
_ERRORS = 50
_FAULTS = 20
_BODY = 8000  # characters
_KEYS = ("query_params", "headers", "body")
_NOT_SHOWN = frozenset(
    {"name", "type", "method", "url", "connection", "next", "on_success", "on_error", "paths", "options", *_KEYS}
)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What replays know of a flow.

    Attributes:
        replays: the last ones.
        chosen: the one that counts and errors are of; ``None`` if there is none.
        paths: the ways of its contacts.
        errors: most frequent first.
        flow: the flow file at the time of the chosen one, JSON.
        latencies: of the step to show, in the chosen one, or without one in runs of the DAG.
    """

    replays: Sequence[RecentReplay] = ()
    chosen: RecentReplay | None = None
    paths: PathCounts | None = None
    errors: Sequence[ErrorGroup] = ()
    flow: str = ""
    latencies: Latencies | None = None

    @property
    def step_names(self) -> frozenset[str]:
        """The steps that the flow had then."""
        written = msgspec.json.decode(self.flow) if self.flow else {}
        return frozenset(step["name"] for step in written.get("steps", ()))


@dataclass(frozen=True, slots=True)
class ShownStep:
    """A step, as its flow's file says it.

    Attributes:
        name: of the step.
        type: of the step.
        request: method and URL of an action; empty for other steps.
        connection: of an action, if any.
        parts: names and texts of its templates.
        settings: other keys, and their values.
        exits: labels, and the names of the next steps; ``None`` is the end.
        conditions: paths of a conditional, and when they are taken.
        contacts: number of counted contacts that came to it; ``None`` if none were counted.
        ends: numbers of those whose walk ended there, in words.
        errors: labels of its errors, with the groups.
    """

    name: str
    type: str
    request: str
    connection: str | None
    parts: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, str]]
    exits: Sequence[tuple[str, str | None]]
    conditions: Sequence[tuple[str, str]]
    contacts: int | None
    ends: Sequence[str]
    errors: Sequence[tuple[str, ErrorGroup]]


@router.get("/flow.css")
def style(_user: Any = CurrentUser) -> Response:
    """Return the style sheet of drawings."""
    return Response(page_style(":root.dark"), media_type="text/css")


@router.get("/flows/{dag_id}")
def show_flow(
    request: Request,
    dag_id: str = name_in_path("dag_id"),
    replay: str = Query("", max_length=1000),
    step: str = Query("", max_length=200),
    user: Any = CurrentUser,
) -> Response:
    """Show the flow of a DAG, or of a replay DAG.

    Args:
        request: the request.
        dag_id: id of the DAG.
        replay: name of the replay to count contacts of; the last one by default.
        step: name of the step to show.
        user: the logged-in user.
    """
    require(user, dag_id)
    flow_id = dag_id.removesuffix(REPLAY_SUFFIX)
    require(user, flow_id)
    try:
        with open_ledger() as ledger:
            flows, replayed = find_flows(ledger, flow_id), _read_replays(ledger, flow_id, *_clean(replay, step))
    except MissingLedgerError:
        flows, replayed = find_flows(None, flow_id), Replayed()
    faults = () if flows and flows[0].is_file else find_faults(flow_id)
    if replay and replayed.chosen:  # as it was then: its steps may have other names now
        flows = load_stored_flow(replayed.chosen.id, replayed.flow) or flows
    found = flows[0] if flows else None
    drawing, why_not = _draw(found, replayed, replay)
    return page(
        request,
        "flow.html",
        dag_id=dag_id,
        flow_id=flow_id,
        found=found,
        flow_name="" if found is None else mask_secrets(found.flow.name),
        is_flow=found is not None or replayed.chosen is not None or bool(faults) or is_flow_dag(flow_id),
        has_faults=bool(faults),
        faults=[mask_secrets(f"{one.where()}: {one.message}") for one in faults[:_FAULTS]]
        if may_see_import_errors(user)
        else [],
        has_changed=found is not None and bool(replayed.flow) and set(found.flow.steps) != replayed.step_names,
        shown_names={} if found is None else {one: mask_secrets(one) for one in found.flow.steps},
        drawing=drawing,
        not_drawn=why_not,
        steps=[] if found is None else list(found.flow.steps),
        types={} if found is None else _types(found.flow),
        step=_show_step(found, step, replayed) if found is not None and step else None,
        replay=replay,
        replayed=replayed,
        counted=_describe_counts(replayed),
    )


def _clean(*texts: str) -> list[str]:
    return [text.replace("\0", "") for text in texts]


def _read_replays(ledger: Ledger, flow_id: str, name: str, step: str) -> Replayed:
    """Return what replays know of a flow.

    Raises:
        HTTPException: there is no replay of this name: 404.
    """
    recent = recent_replays(ledger, _REPLAYS, flow_ids={flow_id})
    if not recent and not name:
        return Replayed(latencies=step_latencies(ledger, flow_id, step, None) if step else None)
    chosen = next((one for one in recent if one.id == name), None) if name else recent[0]
    if chosen is None:
        raise HTTPException(404, f"{name!r} is not one of the last {_REPLAYS} replays of the flow {flow_id!r}.")
    whole = find_replay(ledger, chosen.id)
    errors = error_groups(ledger, whole, _ERRORS) if whole is not None else []
    return Replayed(
        recent,
        chosen,
        count_paths(ledger, chosen.no),
        errors,
        whole.flow if whole is not None else "",
        step_latencies(ledger, flow_id, step, chosen.no) if step else None,
    )


def _describe_counts(replayed: Replayed) -> str:
    """Return which contacts are counted, up to the name of their replay."""
    paths, chosen = replayed.paths, replayed.chosen
    if paths is None or chosen is None:
        return ""
    if not paths.contacts:
        return f"none of the first {MOST_ROWS:,} rows was walked of" if paths.has_unread else "no contact walked yet of"
    counted, whole = f"{paths.contacts:,}", plural(chosen.total, "contact")
    return f"{counted} of {whole} of" if paths.is_all and not paths.has_unread else f"the first {counted} of {whole} of"


def _types(flow: Flow) -> Mapping[str, str]:
    return {node.name: node.type.replace("_", " ") for node in graph_of(flow).nodes if node.name}


def _draw(found: FoundFlow | None, replayed: Replayed, replay: str) -> tuple[Markup | None, str]:
    """Return the drawing, or ``None`` and why there is none."""
    if found is None:
        return None, ""

    def link(step: str) -> str:
        return f"{query_of(replay=replay, step=step)}#step"

    return draw_flow(found.flow, replayed.paths, link, replayed.step_names)


def _show_step(found: FoundFlow, name: str, replayed: Replayed) -> ShownStep:
    """Return a step as the page shows it.

    Raises:
        HTTPException: the flow has no such step: 404.
    """
    flow, step = found.flow, found.flow.steps.get(name)
    if step is None:
        raise HTTPException(404, f"The flow {flow.id!r} has no step {name!r}.")
    written = step_for_display(flow, name)
    is_action = isinstance(step, Action)
    parts = [(key, _text(written[key])) for key in _KEYS if is_action and written.get(key) is not None]
    if not is_action and written.get("body") is not None:
        parts.append(("body", _text(written["body"])))
    return ShownStep(
        name=name,
        type=str(written["type"]).replace("_", " "),
        request=mask_secrets(f"{step.plan.method} {written['url']}") if isinstance(step, Action) else "",
        connection=step.plan.connection if isinstance(step, Action) else None,
        parts=parts,
        settings=[
            (key, _describe_setting(value))
            for key, value in written.items()
            if key not in _NOT_SHOWN and value is not None
        ],
        exits=[(mask_secrets(way.label), way.target) for way in exits_of(step)],
        conditions=_describe_conditions(step, written),
        ends=_describe_ends(replayed.paths, name) if replayed.paths else [],
        contacts=replayed.paths.steps.get(name, 0)
        if replayed.paths and replayed.paths.contacts and name in replayed.step_names
        else None,
        errors=[(label_of(one), one) for one in replayed.errors if (one.sample.error or {}).get("step") == name],
    )


def _describe_ends(paths: PathCounts, name: str) -> list[str]:
    completed = paths.ends.get((name, ContactState.COMPLETED), 0)
    stopped = [
        (state, number)
        for state in ContactState
        if state is not ContactState.COMPLETED and (number := paths.ends.get((name, state), 0))
    ]
    ends = [f"{plural(completed, 'contact')} ended here"] if completed else []
    if stopped:
        states = ", ".join(f"{number:,} {state.value.replace('_', ' ')}" for state, number in stopped)
        ends.append(f"{plural(sum(number for _, number in stopped), 'contact')} stopped here ({states})")
    return ends


def _describe_conditions(step: Step, written: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not isinstance(step, Conditional):
        return []
    labels = [path.label for path in step.paths]
    return [
        (mask_secrets(label), " and ".join(map(_describe_condition, path["conditions"])))
        for label, path in zip(labels, written["paths"], strict=True)
    ]


def _describe_condition(condition: Mapping[str, Any]) -> str:
    value = json.dumps(condition.get("value"), ensure_ascii=False)
    return _describe_setting(f"{condition['field']} {condition['comparison']} {value}")


def _text(value: object) -> str:
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return text_block(mask_secrets(written), _BODY)


def _describe_setting(value: object) -> str:
    """Return a setting in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_describe_setting(item)}" for key, item in value.items())
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(mask_secrets(written[:_BODY]).split())
