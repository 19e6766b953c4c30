"""The DAG of a flow: the tasks of its steps, and the edges between them."""

from __future__ import annotations

from airflow.sdk import DAG, BaseOperator

from airflow_whatsapp_flows.dag_factory.flow_dag import _add_edge, build_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.operators.flows import action, flow, message, question, seconds


def test_an_edge_is_set_as_airflow_sets_it() -> None:
    def edges(by_airflow: bool) -> list[object]:
        with DAG("edges") as dag:
            first, second, third = (BaseOperator(task_id=name) for name in "abc")
            for source, target in ((first, second), (second, third), (first, third), (first, third)):
                if by_airflow:
                    source.set_downstream(target)
                else:
                    _add_edge(source, target)
        return [(task.task_id, task.upstream_task_ids, task.downstream_task_ids) for task in dag.tasks]

    assert edges(by_airflow=False) == edges(by_airflow=True)


def test_the_graph_names_kinds_of_steps_not_classes() -> None:
    steps = [
        question("Ask name", next="Create"),
        action("Create", on_success="Thank", on_error="Wait"),
        message("Thank"),
        seconds("Wait", 1, next="Thank"),
    ]

    tasks = build_dag(load_flow(flow(*steps))).tasks

    shown = {task.operator_name for task in tasks}
    assert shown == {"Question", "Action", "Exit", "Outcome unknown", "Message", "Delay"}
