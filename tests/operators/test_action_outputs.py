"""Single values of a result: ``op.output["response"]``."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_whatsapp_flows import WhatsAppActionOperator
from airflow_whatsapp_flows.operators.action_output import OUTPUT_KEYS
from tests.airflow_runs import run_dag
from tests.operators.one_action import new_dag_id
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def _keys(dag: DAG, run_id: str) -> set[str]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    where = (XComModel.dag_id == dag.dag_id, XComModel.run_id == run_id, XComModel.task_id == "act")
    with create_session() as session:
        return set(session.scalars(select(XComModel.key).where(*where)))


@task(multiple_outputs=False)
def read(reply: Any = None, status: Any = None, error: Any = None, whole: Any = None) -> dict[str, Any]:
    return {"reply": reply, "status": status, "error": error, "whole": whole}


def test_an_output_key_holds_the_value_of_the_result(server: RecordingServer) -> None:
    server.queued = [Answer.json({"id": 7}, 201)]
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail")
        read(reply=act.output["response"], status=act.output["status_code"], whole=act.output)
    run = run_dag(dag)
    assert run.result("read")["reply"] == {"id": 7}
    assert run.result("read")["status"] == 201
    assert run.result("read")["whole"]["outcome"] == "success"
    assert _keys(dag, run.run_id) == {"return_value"}, "a single value needs no row of its own"


def test_a_key_of_the_output_is_a_template_too(server: RecordingServer) -> None:
    from airflow.providers.standard.operators.bash import BashOperator

    server.queued = [Answer(202)]
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail")
        act >> BashOperator(task_id="shell", bash_command=f"echo {act.output['status_code']}")
    assert run_dag(dag).result("shell") == 202  # Airflow reads JSON where it finds it


def test_an_error_has_its_keys_too(server: RecordingServer) -> None:
    server.queued = [Answer(422)]
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="continue")
        read(status=act.output["status_code"], error=act.output["error"])
    found = run_dag(dag).result("read")
    assert (found["status"], found["error"]["kind"]) == (422, "status")


def test_a_failed_task_pushes_its_keys(server: RecordingServer) -> None:
    server.queued = [Answer(422)]
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail")

        @task(trigger_rule="all_done")
        def alert(status: int) -> int:
            return status

        alert(act.output["status_code"])
    assert run_dag(dag).result("alert") == 422


def test_rejects_an_unknown_output_key_at_parse_time() -> None:
    act = WhatsAppActionOperator(task_id="act", url="http://a/")
    with pytest.raises(ValueError, match=r"'respons'.*response"):
        act.output["respons"]


def test_output_accepts_every_key_of_a_result(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail")
        read(whole={name: act.output[name] for name in OUTPUT_KEYS})
    run = run_dag(dag)
    assert run.result("read")["whole"] == run.result("act"), "what has no value is None, error among it"


def test_a_mapped_action_pushes_every_key_on_request(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator.partial(
            task_id="act", url="/x", http_conn_id="crm", on_error="fail", multiple_outputs=True
        ).expand(body=[{"a": 1}, {"a": 2}])

        @task
        def count(statuses: Any) -> list[int]:
            return list(statuses)

        count(act.output["status_code"])
    assert run_dag(dag).result("count") == [200, 200]


def test_a_reply_too_large_for_xcom_is_read_from_the_ledger(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__XCOM_MAX_BYTES", "1024")
    server.queued = [Answer.json({"text": "x" * 5000})]
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", on_error="fail")
        read(reply=act.output["response"])
    run = run_dag(dag)
    assert run.result("act")["response"] is None
    assert run.result("read")["reply"] == {"text": "x" * 5000}


def test_in_a_mapped_task_group_each_task_reads_its_own_result(server: RecordingServer) -> None:
    from airflow.sdk import task_group

    server._script = lambda request: Answer.json({"got": int(request.content)})
    with DAG(new_dag_id()) as dag:

        @task_group
        def one(number: Any) -> None:
            act = WhatsAppActionOperator(
                task_id="act", url="/x", http_conn_id="crm", on_error="fail", body=number, body_type="json"
            )
            read(reply=act.output["response"])

        one.expand(number=[1, 2])
    run = run_dag(dag)
    assert [run.result("one.read", index)["reply"] for index in (0, 1)] == [{"got": 1}, {"got": 2}]


def test_without_a_result_the_reader_fails_and_reports_it(server: RecordingServer) -> None:
    with DAG(new_dag_id()) as dag:
        act = WhatsAppActionOperator(task_id="act", url="/x", http_conn_id="crm", body={"a": "{{ contact.nothing }}"})

        @task(trigger_rule="all_done")
        def late(reply: Any) -> None: ...

        late(act.output["response"])
    assert run_dag(dag).states == {"act": "failed", "late": "failed"}
