"""WireMock's four network faults lead to the right state in each delivery mode."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, Write, action, flow
from tests.servers.foreign_programs import NotInstalledError, running_wiremock

pytestmark = pytest.mark.long

FAULTS = ["EMPTY_RESPONSE", "MALFORMED_RESPONSE_CHUNK", "RANDOM_DATA_THEN_CLOSE", "CONNECTION_RESET_BY_PEER"]


@pytest.fixture(scope="module")
def wiremock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with one path per fault, and one path that works after two faults."""
    folder: Path = tmp_path_factory.mktemp("wiremock")
    mappings = folder / "mappings"
    mappings.mkdir()
    for fault in FAULTS:
        _stub(mappings / f"{fault}.json", f"/always/{fault}", {"fault": fault})
        states = ("Started", "once", "twice")
        for state, following in zip(states, (*states[1:], "done"), strict=True):
            reply = {"fault": fault} if state != "twice" else {"status": 200, "jsonBody": {"id": 7}}
            scenario = {"scenarioName": fault, "requiredScenarioState": state, "newScenarioState": following}
            _stub(mappings / f"{fault}-{state}.json", f"/twice/{fault}", reply, scenario)
    try:
        with running_wiremock(folder) as url:
            yield url
    except NotInstalledError as missing:
        pytest.skip(str(missing))


def _stub(file: Path, path: str, reply: dict[str, Any], more: dict[str, str] | None = None) -> None:
    reply = {"headers": {"Content-Type": "application/json"}, **reply}
    stub = {"request": {"urlPath": path, "method": "ANY"}, "response": reply, **(more or {})}
    file.write_text(json.dumps(stub), encoding="utf-8")


@pytest.fixture(autouse=True)
def _crm_connection(wiremock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CRM", wiremock)
    with urllib.request.urlopen(urllib.request.Request(f"{wiremock}/__admin/scenarios/reset", method="POST")):
        pass


def _run(cli: Cli, write: Write, **keys: Any) -> dict[str, Any]:
    step = action("Call", retry={"attempts": 3, "wait": 0}, **keys)
    done = cli("run", write("f.json", flow(step)), "--response", write("r.json", {"id": "r-1"}), "--format", "json")
    shown: dict[str, Any] = json.loads(done.out)
    return shown


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("keys", "state", "attempts"),
    [
        pytest.param({"method": "POST"}, "in_doubt", 1, id="at_most_once"),
        pytest.param({"method": "POST", "delivery": "keyed"}, "in_doubt", 3, id="keyed"),
        pytest.param({"method": "PUT"}, "in_doubt", 3, id="idempotent"),
        pytest.param({"method": "GET"}, "failed", 3, id="changes nothing"),
    ],
)
def test_a_fault_leaves_the_fate_unknown(
    cli: Cli, write: Write, fault: str, keys: dict[str, str], state: str, attempts: int
) -> None:
    shown = _run(cli, write, url=f"/always/{fault}", **keys)

    (visit,) = shown["visits"]
    result = visit["result"]
    assert (shown["state"], result["outcome"], result["attempts"]) == (state, "error", attempts)
    assert result["error"]["sent"] == "unknown", result["error"]
    assert result["error"]["kind"] in ("interrupted", "protocol"), result["error"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("keys", [{"method": "POST", "delivery": "keyed"}, {"method": "PUT"}], ids=["keyed", "PUT"])
def test_a_complete_reply_after_faults_settles_the_fate(
    cli: Cli, write: Write, fault: str, keys: dict[str, str]
) -> None:
    shown = _run(cli, write, url=f"/twice/{fault}", **keys)

    (visit,) = shown["visits"]
    result = visit["result"]
    assert (shown["state"], result["response"], result["attempts"]) == ("completed", {"id": 7}, 3)
