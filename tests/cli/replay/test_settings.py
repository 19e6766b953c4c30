"""Settings of a replay from the command line, the ledger, the flow, and the environment."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.cli import parser
from airflow_whatsapp_flows.cli.replay.settings import Prepared, prepare
from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.cli.replaying import LEADS

URL = "http://127.0.0.1:9"


def prepare_replay(*words: str, kept: dict[str, Any] | None = None, **block: Any) -> Prepared:
    flow = load_flow({**LEADS, "replay": block} if block else LEADS)
    options = parser().parse_args(["replay", "run", "x.json", "--responses", "x.jsonl", *words])
    return prepare(options, flow, kept)


def test_without_options_the_defaults_apply() -> None:
    run = prepare_replay("--connection", f"crm={URL}").run

    assert (run.concurrency, dict(run.rates), run.max_failures, run.resend, run.force) == (64, {}, None, False, False)


def test_the_flow_overrides_the_default() -> None:
    found = prepare_replay(
        "--connection", f"crm={URL}", concurrency=8, rate=5, max_failures=3, send="all", chunk_size=50
    )  # fmt: skip

    run = found.run
    assert (run.concurrency, dict(run.rates), run.max_failures, run.resend) == (8, {"": 5.0}, 3, True)
    assert found.chunk_size == 50


def test_the_command_line_overrides_the_ledger_and_the_ledger_the_flow() -> None:
    kept = {"concurrency": 16, "rates": {"": 7.0, "b": 2.0}, "send": "all", "connections": {"crm": URL}}

    run = prepare_replay("--rate", "9", kept=kept, concurrency=8, rate={"a": 1, "b": 1}).run
    told = prepare_replay("--concurrency", "4", "--send", "failed", kept=kept, concurrency=8).run

    assert (run.concurrency, dict(run.rates), run.resend) == (16, {"": 9.0, "a": 1.0, "b": 2.0}, True)
    assert (told.concurrency, told.resend) == (4, False)


def test_accepts_a_rate_for_one_host() -> None:
    words = ["--connection", f"crm={URL}", "--rate", "20", "--rate", "127.0.0.1=5", "--rate", "127.0.0.1:9=1.5"]

    assert dict(prepare_replay(*words).run.rates) == {"": 20.0, "127.0.0.1": 5.0, "127.0.0.1:9": 1.5}


def test_allowed_hosts_extend_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", "10.0.0.1")

    found = prepare_replay("--connection", f"crm={URL}", "--allow-host", "127.0.0.1:9", "--allow-host", "10.0.0.2")

    assert found.request_sender.settings.allowed_hosts == ("10.0.0.1", "127.0.0.1:9", "10.0.0.2")
    assert found.options["allow_hosts"] == ["127.0.0.1:9", "10.0.0.2"]


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("https://crm.example", "https://crm.example"),
        ("https://crm.example:8443/api/v3/", "https://crm.example:8443/api/v3"),
        ("http://me:p%40ss@[::1]:80/api?X-Tenant=a", "http://[::1]:80/api"),
        ("whatsapp-action://:token@crm.example", "https://crm.example"),
        ('{"conn_type": "http", "host": "https://crm.example/api"}', "https://crm.example/api"),
    ],
)
def test_a_connection_is_a_base_url_or_airflows_form(url: str, base_url: str) -> None:
    connection = prepare_replay("--connection", f"crm={url}").request_sender.find_connection("crm")

    assert connection.base_url == base_url


def test_a_command_line_connection_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", "https://other.example")

    request_sender = prepare_replay("--connection", f"crm={URL}").request_sender

    assert request_sender.find_connection("crm").base_url == URL


@pytest.mark.parametrize("url", ["http://me:secret@h", "http://h?token=secret", '{"host": "h", "password": "secret"}'])
def test_does_not_cache_secrets(url: str) -> None:
    assert prepare_replay("--connection", f"crm={url}").options["connections"] == {}
    assert prepare_replay("--connection", f"crm={URL}").options["connections"] == {"crm": URL}


def test_a_connection_that_is_missing_is_reported_immediately() -> None:
    with pytest.raises(ConnectionConfigError, match="connection 'crm' is not known"):
        prepare_replay()


@pytest.mark.parametrize("host", ["CRM.example", "crm.Example:443"])
def test_a_host_may_be_written_in_any_case(host: str) -> None:
    assert dict(prepare_replay("--connection", "crm=https://crm.example", "--rate", f"{host}=5").run.rates) == {
        host: 5.0
    }
