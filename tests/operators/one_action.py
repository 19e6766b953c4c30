"""A DAG of one action, run in a real Airflow, with the errors of its tries."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator
from tests.airflow_runs import FinishedRun, run_dag

_numbers = itertools.count()


@dataclass
class Failures:
    """The errors of tries, in order; pass its methods as callbacks."""

    errors: list[BaseException] = field(default_factory=list)

    def note(self, context: Any) -> None:
        self.errors.append(context["exception"])

    @property
    def callbacks(self) -> dict[str, Any]:
        return {"on_failure_callback": self.note, "on_retry_callback": self.note}


@dataclass(frozen=True)
class FinishedAction:
    """The result of one action."""

    run: FinishedRun
    errors: list[BaseException]
    dag: DAG

    @property
    def state(self) -> str | None:
        return self.run.states["act"]

    @property
    def result(self) -> Any:
        return self.run.result("act")

    @property
    def message(self) -> str:
        assert len(self.errors) == 1, self.errors
        return str(self.errors[0])


def new_dag_id() -> str:
    return f"dag_{next(_numbers)}"


def run_action(
    conf: dict[str, Any] | None = None, dag: dict[str, Any] | None = None, **arguments: Any
) -> FinishedAction:
    """Run an action; by default a POST to ``/contacts`` of the connection ``crm``."""
    failures = Failures()
    defaults: dict[str, Any] = {"http_conn_id": "crm", "on_error": "fail"}
    if "endpoint" not in arguments:
        defaults["url"] = "/contacts"
    with DAG(new_dag_id(), **(dag or {})) as made:
        WhatsAppActionOperator(task_id="act", **failures.callbacks, **{**defaults, **arguments})
    return FinishedAction(run_dag(made, conf), failures.errors, made)


def rendered_fields(dag_id: str, run_id: str, task_id: str = "act", map_index: int = -1) -> dict[str, Any]:
    """The template fields of a task as Airflow stored them for its pages."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session
    from sqlalchemy import select

    model = RenderedTaskInstanceFields
    query = select(model.rendered_fields).where(
        model.dag_id == dag_id, model.run_id == run_id, model.task_id == task_id, model.map_index == map_index
    )
    with create_session() as session:
        found = session.scalar(query)
    assert found is not None
    return dict(found)
