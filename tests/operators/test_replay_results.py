"""Results of a replay, written to a table or a file by its tasks."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk import DAG, Asset

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_replay_dag, load_dags
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.airflow_runs import FinishedRun, run_dag
from tests.operators.clearing import run_again
from tests.operators.flows import action, flow, write_responses
from tests.operators.one_action import Failures, new_dag_id
from tests.servers.postgres import PostgresServer
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

Connect = Callable[..., None]


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database that doesn't exist yet; the connection ``warehouse`` leads to it."""
    pytest.importorskip("airflow.providers.sqlite", reason="apache-airflow-providers-sqlite is not installed")
    file = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    return file


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return write_responses(tmp_path, 4)


TABLE = {"connection": "warehouse", "table": "sync_log"}
CREATE = action("Create", body="{{ contact }}")


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def states(file: Path) -> list[tuple[str, int]]:
    return rows(file, "SELECT state, count(*) FROM sync_log_contacts GROUP BY state ORDER BY state")


def operator_dag(**arguments: Any) -> tuple[DAG, Failures]:
    failures = Failures()
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(task_id="replay", **failures.callbacks, **arguments)
    return dag, failures


def refuse(server: RecordingServer, *numbers: int) -> None:
    said = Answer.json({"error": "no such list", "by": "ana@example.com"}, 422)
    phones = [f"+52555000{number:04}".encode() for number in numbers]
    server._script = lambda request: said if any(one in request.content for one in phones) else Answer.json({"id": 1})


class TestOperator:
    def test_writes_a_table_by_connection(self, server: RecordingServer, responses: Path, warehouse: Path) -> None:
        written_to: list[Any] = []
        dag, _ = operator_dag(
            flow=flow(CREATE),
            source=str(responses),
            results_to=TABLE,
            on_success_callback=lambda context: written_to.append(context["task"].written_to),
        )
        run = run_dag(dag)
        assert run.states["replay"] == "success"
        assert [place for target in written_to for place in target.places] == [
            (f"sqlite:///{warehouse}", "sync_log"),
            (f"sqlite:///{warehouse}", "sync_log_contacts"),
        ]
        assert rows(warehouse, "SELECT DISTINCT dag_id, run_id, task_id, state FROM sync_log") == [
            (dag.dag_id, run.run_id, "replay", "completed")
        ]

    def test_failed_contacts_are_written_with_the_servers_words(
        self, server: RecordingServer, responses: Path, warehouse: Path
    ) -> None:
        refuse(server, 2)
        dag, failures = operator_dag(flow=flow(CREATE), source=str(responses), results_to=TABLE)
        assert run_dag(dag).states["replay"] == "failed"
        assert "1 failed" in str(failures.errors[0])
        assert rows(warehouse, "SELECT response_id, status_code, reply FROM sync_log WHERE state = 'failed'") == [
            ("r-2", 422, '{"error":"no such list","by":"a…@example.com"}')
        ]

    def test_clearing_replaces_the_rows_of_retried_contacts(
        self, server: RecordingServer, responses: Path, warehouse: Path
    ) -> None:
        refuse(server, 2)
        dag, _ = operator_dag(flow=flow(CREATE), source=str(responses), results_to=TABLE)
        run = run_dag(dag)
        assert states(warehouse) == [("completed", 3), ("failed", 1)]
        refuse(server)
        run_again(dag, run.run_id, "replay")
        assert states(warehouse) == [("completed", 4)]
        assert rows(warehouse, "SELECT count(*), sum(attempts) FROM sync_log") == [(4, 5)]

    def test_the_table_may_come_from_the_flow(self, server: RecordingServer, responses: Path, warehouse: Path) -> None:
        source = flow(CREATE, replay={"results_to": TABLE})
        run_dag(operator_dag(flow=source, source=str(responses))[0])
        assert states(warehouse) == [("completed", 4)]
        warehouse.unlink()
        run_dag(operator_dag(flow={**source, "id": "other"}, source=str(responses), results_to=False)[0])
        assert not warehouse.exists()

    def test_a_file_is_named_by_a_template(self, server: RecordingServer, responses: Path, tmp_path: Path) -> None:
        dag, _ = operator_dag(
            flow=flow(CREATE), source=str(responses), results_to=f"{tmp_path}/{{{{ ti.task_id }}}}.jsonl"
        )
        run_dag(dag)
        lines = (tmp_path / "replay_contacts.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["state"] for line in lines] == ["completed"] * 4

    def test_each_mapped_task_writes_its_own_chunks(
        self, server: RecordingServer, responses: Path, warehouse: Path
    ) -> None:
        with DAG(new_dag_id()) as dag:
            WhatsAppReplayOperator.partial(
                task_id="replay", flow=flow(CREATE), source=str(responses), chunk_size=2, replay_id="one",
                results_to=TABLE,
            ).expand(chunk=[0, 1])  # fmt: skip
        run_dag(dag)
        assert states(warehouse) == [("completed", 4)]
        assert rows(warehouse, "SELECT count(*) FROM sync_log") == [(4,)]

    def test_a_retry_writes_only_the_results(self, server: RecordingServer, responses: Path, warehouse: Path) -> None:
        with closing(sqlite3.connect(warehouse)) as connection:
            connection.execute("CREATE TABLE sync_log (name TEXT)")
        dag, failures = operator_dag(flow=flow(CREATE), source=str(responses), results_to=TABLE)
        run = run_dag(dag)
        assert run.states["replay"] == "failed"
        message = str(failures.errors[0])
        assert "everything was sent and is in the ledger, but its results could not be written" in message
        assert "already exists, without the columns replay_id" in message

        with closing(sqlite3.connect(warehouse)) as connection:
            connection.execute("DROP TABLE sync_log")
        assert run_again(dag, run.run_id, "replay")["completed"] == 4
        assert (len(server.received), states(warehouse)) == (4, [("completed", 4)])

    def test_a_failed_run_says_that_its_results_are_not_written_either(
        self, server: RecordingServer, responses: Path, warehouse: Path
    ) -> None:
        warehouse.write_bytes(b"no database at all, but more than one hundred bytes long " * 4)
        refuse(server, 1)
        dag, failures = operator_dag(flow=flow(CREATE), source=str(responses), results_to=TABLE)
        run_dag(dag)
        assert "1 failed; " in str(failures.errors[0])
        assert "its results could not be written either: the table 'sync_log' of sqlite" in str(failures.errors[0])

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"connection": "absent", "table": "t"}, "results_to: there is no Airflow connection 'absent'; create it"),
            ({"connection": "crm", "table": "t"}, "the connection 'crm' of type 'http' is not an SQL database"),
            ({"connection": "warehouse"}, 'results_to: it must be {"connection": "…", "table": "…"}, or'),
            ({"connection": "warehouse", "table": "{{ '' }}"}, "results_to: the connection or the table is empty"),
            ("results.xlsx", "must end with one of .jsonl, .csv, .parquet"),
        ],
    )
    def test_what_cannot_be_written_to_is_reported_before_anything_is_sent(
        self, server: RecordingServer, responses: Path, warehouse: Path, given: Any, words: str
    ) -> None:
        dag, failures = operator_dag(flow=flow(CREATE), source=str(responses), results_to=given)
        run_dag(dag)
        assert words in str(failures.errors[0])
        assert server.received == []


class TestReplayDag:
    def build(self, source: Path, **replay: Any) -> DAG:
        keys = {"chunk_size": 2, "source": str(source), "results_to": TABLE}
        return build_replay_dag(load_flow(flow(CREATE, replay={**keys, **replay})))

    def test_a_task_of_its_own_writes_also_what_failed(
        self, server: RecordingServer, responses: Path, warehouse: Path
    ) -> None:
        refuse(server, 3)
        dag = self.build(responses)
        run = run_dag(dag)
        assert (run.states["report"], run.states["results"], run.state) == ("failed", "success", "failed")
        assert states(warehouse) == [("completed", 3), ("failed", 1)]
        assert rows(warehouse, "SELECT DISTINCT task_id FROM sync_log") == [("results",)]
        assert {key: run.result("results")[key] for key in ("rows", "contacts")} == {"rows": 4, "contacts": 4}
        assert run.result("results")["to"] == f"the table 'sync_log' of sqlite:///{warehouse} (connection 'warehouse')"
        assert dag.get_task("results").outlets == [
            Asset(name=f"whatsapp_flows/{dag.dag_id.removesuffix('__replay')}/results",
                  uri=f"whatsapp-flows://{dag.dag_id.removesuffix('__replay')}/results")
        ]  # fmt: skip

    def test_a_run_that_retries_writes_only_the_contacts_that_it_retried(
        self, server: RecordingServer, responses: Path, warehouse: Path
    ) -> None:
        refuse(server, 3)
        dag = self.build(responses)
        first = run_dag(dag)
        refuse(server)
        again = run_dag(dag, {"retry_of": first.result("results")["replay_id"]})
        assert again.state == "success"
        assert rows(warehouse, "SELECT response_id, state, run_id FROM sync_log ORDER BY response_id") == [
            *((f"r-{number}", "completed", first.run_id) for number in range(3)), ("r-3", "completed", again.run_id),
        ]  # fmt: skip

    def test_a_dry_run_writes_nothing(self, server: RecordingServer, responses: Path, warehouse: Path) -> None:
        run = run_dag(self.build(responses), {"dry_run": True})
        assert (run.states["results"], warehouse.exists()) == ("skipped", False)

    def test_a_missing_connection_is_reported_by_the_plan(self, server: RecordingServer, responses: Path) -> None:
        run: FinishedRun = run_dag(self.build(responses, results_to={"connection": "absent", "table": "t"}))
        assert (run.states["plan"], server.received) == ("failed", [])

    def test_a_file_is_named_after_the_run(self, server: RecordingServer, responses: Path, tmp_path: Path) -> None:
        run = run_dag(self.build(responses, results_to=f"{tmp_path}/{{{{ run.run_id }}}}.csv"))
        assert run.states["results"] == "success", run.states
        assert (tmp_path / f"{run.run_id}_contacts.csv").exists()

    def test_the_placeholder_of_a_broken_flow_has_it_too(self, tmp_path: Path) -> None:
        broken = flow({**CREATE, "type": "nonsense"}, replay={"results_to": TABLE}, id="broken")
        (tmp_path / "broken.json").write_text(json.dumps(broken), encoding="utf-8")
        dag = load_dags(tmp_path)["broken__replay"]
        assert dag.get_task("results").upstream_task_ids == {"replay"}

    def test_there_is_no_such_task_without_results_to(self, responses: Path) -> None:
        dag = build_replay_dag(load_flow(flow(CREATE, replay={"source": str(responses)})))
        assert list(dag.task_dict) == ["plan", "approve", "replay", "report"]


@pytest.mark.long
def test_an_hourly_sync_of_postgresql_logs_each_hour_in_its_warehouse(
    server: RecordingServer, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("airflow.providers.postgres", reason="apache-airflow-providers-postgres is not installed")
    url = postgres.create_database().replace("+psycopg", "")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", url)
    start = dt.datetime(2026, 11, 20, 6, tzinfo=dt.timezone.utc)
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("CREATE SCHEMA crm; CREATE TABLE leads (id text, phone text, updated_at timestamptz)")
        for number in range(8):  # four an hour
            row = (f"r-{number}", f"+52555000{number:04}", start + number * dt.timedelta(minutes=15))
            session.execute("INSERT INTO leads VALUES (%s, %s, %s)", row)
    query = (
        'SELECT id, phone AS "contact.phone" FROM leads '
        "WHERE updated_at >= :data_interval_start AND updated_at < :data_interval_end"
    )
    log = {"connection": "warehouse", "table": "crm.lead_sync"}
    replay = {"schedule": "@hourly", "source": "warehouse", "query": query, "results_to": log}
    dag = build_replay_dag(load_flow(flow(CREATE, replay=replay, airflow={"start_date": "2026-11-20"})))
    refuse(server, 6)

    # A run that is triggered has the interval that ends then.
    runs = [run_dag(dag, logical_date=start + hour * dt.timedelta(hours=1)) for hour in (1, 2)]

    assert [run.states["results"] for run in runs] == ["success", "success"]
    with psycopg.connect(url) as session:
        found = session.execute(
            "SELECT data_interval_start, state, count(*), sum(requests) FROM crm.lead_sync_contacts "
            "GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
    second = start + dt.timedelta(hours=1)
    assert found == [(start, "completed", 4, 4), (second, "completed", 3, 3), (second, "failed", 1, 1)]
