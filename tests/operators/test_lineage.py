"""What OpenLineage learns of a replay: its source and the paths of the CRM, without secrets and data of contacts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_whatsapp_flows import WhatsAppReplayOperator
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.operators.lineage import crm_datasets, results_datasets, source_datasets
from airflow_whatsapp_flows.operators.replay_setup import request_sender_of
from airflow_whatsapp_flows.operators.replay_steps import ReplayResultsOperator
from airflow_whatsapp_flows.operators.results_target import ResultsTo, target_from_airflow
from tests.dag_factory.test_replay_dag import flow_source
from tests.ledger.filling import a_replay, response
from tests.operators.flows import write_responses
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def a_source(location: str, query: str | None = None) -> Any:
    return SimpleNamespace(source=location, options={"reading": {"source": location, "query": query}})


@pytest.mark.parametrize(
    ("location", "query", "expected"),
    [
        ("s3://my_conn@answers/2026/a.jsonl", None, [("s3://answers", "2026/a.jsonl")]),
        ("/data/answers_*.csv", None, [("file", "/data/answers_*.csv")]),
        ("-", None, []),
        (
            "postgresql+psycopg://ana:***@db.example:5432/shop",
            "SELECT * FROM public.leads l JOIN \"Big Orders\" o ON o.id = l.id WHERE note <> 'FROM secret' -- FROM x",
            [
                ("postgres://db.example:5432", "shop.public.leads"),
                ("postgres://db.example:5432", "shop.Big Orders"),
            ],
        ),
        ("sqlite:///data/shop.db", "select id from leads", [("sqlite:///data/shop.db", "leads")]),
    ],
    ids=["object storage", "files", "standard input", "PostgreSQL", "SQLite"],
)
def test_a_source_is_named_without_credentials(location: str, query: str | None, expected: Any) -> None:
    assert source_datasets(a_source(location, query)) == expected


def test_the_crm_is_named_by_its_origin_and_the_templates_of_paths(
    monkeypatch: pytest.MonkeyPatch, server: RecordingServer
) -> None:
    connection = {"conn_type": "http", "host": f"{server.url}/bot-hunter2hunter2", "password": "hunter3hunter3"}
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(connection))
    source = flow_source()
    step = source["steps"][0]
    source["steps"] = [
        {**step, "url": "/contacts/{{ contact.phone }}?source={{ contact.phone }}", "on_success": "Tell"},
        {**step, "name": "Tell", "connection": None, "url": "https://crm.example/v1/notes?kind=note"},
    ]
    flow = load_flow({**source, "steps": [{k: v for k, v in one.items() if v} for one in source["steps"]]})

    found = crm_datasets(flow, request_sender_of(flow))

    assert found == [(server.url, "/contacts/{{ contact.phone }}"), ("https://crm.example:443", "/v1/notes")]
    assert "hunter" not in str(found)


@pytest.mark.parametrize(
    ("results_to", "expected"),
    [
        (
            {"connection": "warehouse", "table": "crm.sync"},
            [
                ("postgres://db.example:5432", "dwh.crm.sync"),
                ("postgres://db.example:5432", "dwh.crm.sync_contacts"),
            ],
        ),
        (
            "s3://my_conn@exports/leads.parquet",
            [("s3://exports", "leads.parquet"), ("s3://exports", "leads_contacts.parquet")],
        ),
    ],
    ids=["table", "file"],
)
def test_results_are_named_without_credentials(
    monkeypatch: pytest.MonkeyPatch, results_to: ResultsTo, expected: Any
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgresql://ana:hunter2hunter2@db.example:5432/dwh")

    assert results_datasets(target_from_airflow(results_to)) == expected


@pytest.mark.usefixtures("provider")
def test_a_task_that_writes_results_has_them_as_outputs(tmp_path: Path) -> None:
    task = ReplayResultsOperator(task_id="results", flow=flow_source(), replay_id="first", plan_task="plan")
    assert task.get_openlineage_facets_on_complete(None).outputs == []
    task.written_to = target_from_airflow(str(tmp_path / "sync.csv"))

    outputs = task.get_openlineage_facets_on_complete(None).outputs

    names = [str(tmp_path / name) for name in ("sync.csv", "sync_contacts.csv")]
    assert [(one.namespace, one.name) for one in outputs] == [("file", name) for name in names]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's class as it is documented, if the provider is not installed."""
    try:
        import airflow.providers.openlineage.extractors  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        module: Any = ModuleType("airflow.providers.openlineage.extractors")
        module.OperatorLineage = SimpleNamespace
        monkeypatch.setitem(sys.modules, "airflow.providers.openlineage", ModuleType("openlineage"))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        facet: Any = ModuleType("airflow.providers.common.compat.openlineage.facet")
        facet.Dataset = SimpleNamespace
        monkeypatch.setitem(sys.modules, facet.__name__, facet)


@pytest.mark.usefixtures("provider")
def test_the_task_of_a_replay_has_inputs_and_outputs(
    server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", ledger_url)
    with Ledger(ledger_url) as ledger:
        a_replay(ledger, [response(1)], "first")
    task = WhatsAppReplayOperator(task_id="send", flow=flow_source(write_responses(tmp_path, 1)))
    task.linked_replay = "first"

    lineage = task.get_openlineage_facets_on_complete(None)

    assert [(one.namespace, one.name) for one in lineage.inputs] == [("file", "x")]
    assert [(one.namespace, one.name) for one in lineage.outputs] == [(server.url, "/contacts")]
