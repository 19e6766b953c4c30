"""The DAG that walks one contact through a flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict

from airflow_whatsapp_flows.dag_factory.airflow_block import (
    default_args,
    display_name,
    doc_md,
    max_active_runs,
    request_task_args,
    retry_args,
    tags,
)
from airflow_whatsapp_flows.dag_factory.params import build_params
from airflow_whatsapp_flows.dag_factory.task_ids import task_ids_of
from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX, loop_name
from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Action, Delay, Flow, exits_of
from airflow_whatsapp_flows.flow.walk.uncertain import may_leave_doubt
from airflow_whatsapp_flows.operators.delay import FlowDelayOperator
from airflow_whatsapp_flows.operators.flow_exits import IN_DOUBT_SUFFIX, FlowExitOperator, FlowInDoubtOperator
from airflow_whatsapp_flows.operators.flow_step import FlowStep
from airflow_whatsapp_flows.operators.flow_steps import FlowActionOperator, FlowStepOperator
from airflow_whatsapp_flows.operators.loop import FlowLoopOperator
from airflow_whatsapp_flows.operators.markdown import escape

JOIN = "none_failed_min_one_success"
_LONGEST_NAME = 200


def build_dag(flow: Flow | str | Mapping[str, object]) -> DAG:
    """Build the DAG of one flow.

    It has one task for each step and each loop. An action with an error exit also has a branch task and, if its request
    changes something, a task that fails if the outcome of the request is unknown.

    Args:
        flow: from :func:`~airflow_whatsapp_flows.flow.loading.load.load_flow`, or its JSON text or plain data.

    Raises:
        FlowFileError: the flow has faults, or settings that Airflow does not accept.
    """
    if not isinstance(flow, Flow):
        flow = load_flow(flow)
    if flow.id.endswith(REPLAY_SUFFIX):
        other = flow.id.removesuffix(REPLAY_SUFFIX)
        what = f"an id cannot end with {REPLAY_SUFFIX}: this is the id of the DAG that replays the flow in {other}.json"
        raise FlowFileError(flow.id, [Fault(what, ("id",))])
    sending = request_task_args(flow)
    with DAG(
        dag_id=flow.id,
        dag_display_name=display_name(flow.id, flow.name),
        schedule=None,
        # A run whose logical date is before its DAG's start_date has no tasks in Airflow, and succeeds immediately.
        start_date=None,
        catchup=False,
        tags=tags(flow),
        default_args=default_args(flow),
        doc_md=doc_md(flow, _documentation(flow)),
        max_active_runs=max_active_runs(flow),
        render_template_as_native_obj=False,
        # Airflow would give the DAG to whichever file is being parsed, raise_faults' among them.
        auto_register=False,
    ) as dag:
        _DagBuilder(flow, sending).add_tasks()
    # If passed earlier, every task would copy them for each of its classes, which takes half of the parse time.
    dag.params = ParamsDict(build_params(flow))
    return dag


class _DagBuilder:
    def __init__(self, flow: Flow, sending: Mapping[str, Any]) -> None:
        self._flow = flow
        self._sending = sending
        self._task_ids = task_ids_of(flow)
        self._heads: dict[str, str] = {}  # task id to its step, or to the first step of its loop
        for name, task_id in self._task_ids.items():
            self._heads.setdefault(task_id, name)
        self._exits: dict[str, list[tuple[str, str, str]]] = {}  # of each task

    def add_tasks(self) -> None:
        """Add one task for each step or loop, and the edges between them."""
        self._exits = {task_id: list(self._exits_of(task_id)) for task_id in self._heads}
        joined = self._find_joins()
        tasks = {task_id: self._task(name, task_id in joined) for task_id, name in self._heads.items()}
        for task_id, name in self._heads.items():
            self._connect(tasks, task_id, name)

    def _task(self, name: str, is_joined: bool) -> Any:
        step, loop = self._flow.steps[name], self._flow.loop_of(name)
        common: dict[str, Any] = {
            "task_id": self._task_ids[name],
            "task_display_name": _shorten(loop_name(loop)) if loop else name,
        }
        if is_joined:
            common["trigger_rule"] = JOIN
        sends = any(isinstance(self._flow.steps[own], Action) for own in loop or (name,))
        common |= self._sending if sends else retry_args(self._flow)
        place = FlowStep(flow=self._flow, name=name, task_ids=self._task_ids)
        if loop:
            return FlowLoopOperator.of_step(place, **common)
        if isinstance(step, Action):
            return FlowActionOperator.of_step(place, **common)
        task = (FlowDelayOperator if isinstance(step, Delay) else FlowStepOperator).of_step(place, **common)
        task.custom_operator_name = type(step).__name__
        return task

    def _exits_of(self, task_id: str) -> Iterator[tuple[str, str, str]]:
        """The exits of a task: step, label of the exit, id of the next task."""
        name = self._heads[task_id]
        for own in self._flow.loop_of(name) or (name,):
            step = self._flow.steps[own]
            for way in exits_of(step):
                if way.target is not None and self._task_ids[way.target] != task_id:
                    yield own, way.label, self._task_ids[way.target]

    def _find_joins(self) -> set[str]:
        """The tasks with more than one upstream task."""
        sources: dict[str, set[str]] = {}
        for task_id, exits in self._exits.items():
            for _, _, target in exits:
                sources.setdefault(target, set()).add(task_id)
        return {target for target, found in sources.items() if len(found) > 1}

    def _connect(self, tasks: Mapping[str, Any], task_id: str, name: str) -> None:
        source, step = tasks[task_id], self._flow.steps[name]
        is_loop = isinstance(source, FlowLoopOperator)
        in_doubt = self._in_doubt(source, name)
        if isinstance(step, Action) and step.has_error_exit and not is_loop:
            source = self._branch(source, step, in_doubt)
        labels: dict[str, list[str]] = {}
        for own, label, target in self._exits[task_id]:
            labels.setdefault(target, []).append(f"{own}: {label}" if is_loop else label)
        for target, names in labels.items():
            _add_edge(source, tasks[target], None if names == ["next"] else ", ".join(names))
        if in_doubt is not None:
            _add_edge(source, in_doubt, "outcome unknown")

    def _in_doubt(self, source: Any, name: str) -> Any:
        """The task that fails if the outcome of a request is unknown while the walk continues; ``None`` without one."""
        own = self._flow.loop_of(name) or (name,)
        actions = [step for step in map(self._flow.steps.__getitem__, own) if isinstance(step, Action)]
        handing_on = [step for step in actions if step.has_error_exit and may_leave_doubt(step)]
        if not handing_on:
            return None
        in_doubt = FlowInDoubtOperator(
            task_id=f"{source.task_id}{IN_DOUBT_SUFFIX}",
            task_display_name=f"{_shorten(', '.join(step.name for step in handing_on))}: outcome unknown",
            **retry_args(self._flow),
        )
        in_doubt.action = source.task_id
        in_doubt.resends = all(step.retry.delivery is not Delivery.AT_MOST_ONCE for step in handing_on)
        return in_doubt

    def _branch(self, source: Any, step: Action, in_doubt: Any) -> Any:
        branch = FlowExitOperator(
            task_id=f"{source.task_id}__exit",
            task_display_name=f"{step.name}: success or error",
            action=source.task_id,
            on_success=self._task_ids[step.on_success] if step.on_success else None,
            on_error=self._task_ids[step.on_error] if step.on_error else None,
            **retry_args(self._flow),
        )
        branch.in_doubt = None if in_doubt is None else in_doubt.task_id
        _add_edge(source, branch)
        return branch


def _add_edge(source: Any, target: Any, label: str | None = None) -> None:
    # As set_downstream() does for two tasks of one DAG, which it looks up and hashes for each edge.
    source.downstream_task_ids.add(target.task_id)
    target.upstream_task_ids.add(source.task_id)
    if label is not None:
        # As `source >> Label(label) >> target` does, in a third of the time.
        source.dag.set_edge_info(source.task_id, target.task_id, {"label": label})


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _documentation(flow: Flow) -> str:
    lines = [f"Walks one contact through the WhatsApp flow *{escape(flow.name)}* (`{flow.id}`).", ""]
    for step in flow.steps.values():
        exits = "; ".join(
            f"{escape(way.label)} → {'end' if way.target is None else escape(way.target)}" for way in exits_of(step)
        )
        lines.append(f"1. **{escape(step.name)}** ({type(step).__name__}){': ' if exits else ''}{exits}")
    return "\n".join(lines)
