"""The edges of a flow's DAG are those that Airflow itself would set."""

from __future__ import annotations

from airflow.sdk import DAG, BaseOperator

from airflow_whatsapp_flows.dag_factory.flow_dag import _add_edge


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
