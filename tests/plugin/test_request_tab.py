"""The tab of a task instance: what it sent, what came back, and what sends it again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from airflow.sdk import DAG
from fastapi.testclient import TestClient

from airflow_whatsapp_flows import WhatsAppActionOperator, build_replay_dag
from airflow_whatsapp_flows.dag_factory import build_dag
from airflow_whatsapp_flows.flow.inspect.rebuild import DIFFERS, HAS_FILE
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.plugin import flow_sources
from airflow_whatsapp_flows.plugin.request_tab import OWN_DAG
from airflow_whatsapp_flows.plugin.request_view import MAY_NOT_COPY, NO_FLOW, UNKNOWN_FORM
from tests.airflow_runs import FinishedRun, run_dag
from tests.ledger.filling import a_replay
from tests.operators.flows import action, flow, message, polling_flow, question, write_responses
from tests.operators.one_action import new_dag_id
from tests.plugin.pages import text_of
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

CANARY = "s3cret-canary-7291-Zq"
HOSTILE = "\"'><script>alert(1)</script>\u202e`id` $HOME it's"
ALIASES = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefg")
)
CONF = {"contact": {"phone": "+5215512345678"}, "step": {"Ask name": HOSTILE}}


@pytest.fixture
def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of DAGs with one of flows, which this API server has."""
    (tmp_path / "flows").mkdir()
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    monkeypatch.setattr(flow_sources, "file_of_dag", lambda _: str(tmp_path / "dags.py"))
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    return tmp_path


@pytest.fixture
def crm(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> RecordingServer:
    """The server, behind a connection with a password."""
    monkeypatch.setenv("AIRFLOW_CONN_CRM", server.url.replace("://", f"://ana:{CANARY}@"))
    return server


def run_flow(written: dict[str, Any], dags: Path, conf: dict[str, Any] = CONF) -> FinishedRun:
    (dags / "flows" / f"{written['id']}.json").write_text(json.dumps(written), encoding="utf-8")
    return run_dag(build_dag(written), conf)


def address(dag_id: str, run: FinishedRun, task_id: str, index: str = "{MAP_INDEX}") -> str:
    return f"/whatsapp-flows/tasks/{quote(dag_id)}/{quote(run.run_id)}/{quote(task_id)}/{quote(index)}"


def code_of(page: Any, label: str) -> list[str]:
    return [unescape(found) for found in re.findall(rf'<pre[^>]* id="r\d+-{label}"[^>]*>(.*?)</pre>', page.text, re.S)]


def lead(**keys: Any) -> dict[str, Any]:
    body = {"name": "{{ step.Ask name }}", "phone": "{{ contact.phone }}"}
    create = action("Create", body=body, retry={"attempts": 2, "wait": 0}, delivery="keyed", on_error="Sorry")
    return flow(question("Ask name", next="Create"), create, message("Sorry"), **keys)


def test_shows_each_attempt_with_its_request_and_reply(client: TestClient, crm: RecordingServer, dags: Path) -> None:
    crm.queued += [
        Answer.json({"error": "busy", "echo": HOSTILE, "call": "+525512345678"}, 503),
        Answer.json({"id": 7}, 201),
    ]
    written = lead()
    run = run_flow(written, dags)
    page = client.get(address(written["id"], run, "create"))
    assert page.status_code == 200
    text = text_of(page)
    for shown in (
        "503", "the server answered 503", '"error": "busy"', "Success", "this task, try 1", "this task, try 2",
        crm.received[0].header("Idempotency-Key") or "", "POST", '"phone": "+52…78"', "What the contact answered",
    ):  # fmt: skip
        assert shown in text, shown
    assert text.index("busy") < text.index('"id": 7')
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert CANARY not in page.text


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_what_is_copied_sends_the_same_request(
    client: TestClient, crm: RecordingServer, dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = lead()
    run = run_flow(written, dags)
    page = client.get(address(written["id"], run, "create"))
    env = {"PATH": os.environ["PATH"], "WF_CRM_AUTHORIZATION": "Bearer mine"}
    subprocess.run(["sh", "-c", *code_of(page, "curl")], env=env, check=True, capture_output=True)
    monkeypatch.setenv("WF_CRM_AUTHORIZATION", "Bearer mine")
    exec(compile(code_of(page, "python")[0], "copied", "exec"), {"print": lambda *_: None})
    first, *others = crm.received
    assert json.loads(first.content)["name"] == HOSTILE
    for other in others:
        assert (other.method, other.target, other.content) == (first.method, first.target, first.content)
        for name in ("Content-Type", "Idempotency-Key"):
            assert other.header(name) == first.header(name)
        assert other.header("Authorization") == "Bearer mine"
    assert len(others) == 2


def test_a_later_step_is_made_of_an_earlier_reply(client: TestClient, crm: RecordingServer, dags: Path) -> None:
    written = flow(action("First", on_success="Second"), action("Second", url="/c/{{ step.First.response.id }}"))
    crm.queued += [Answer.json({"id": 4711})]
    run = run_flow(written, dags)
    [command] = code_of(client.get(address(written["id"], run, "second")), "curl")
    assert f"'{crm.url}/c/4711'" in command


def test_a_loop_shows_all_of_its_visits(client: TestClient, crm: RecordingServer, dags: Path) -> None:
    states = iter(["started", "queued", "done"])
    crm._script = lambda _: Answer.json({"id": len(crm.received), "state": next(states, "logged"), "text": "x"})
    written = polling_flow()
    run = run_flow(written, dags)
    text = text_of(client.get(address(written["id"], run, "get_reply")))
    assert "visit 2" in text
    assert text.count("GET ") >= 2


def test_only_who_may_edit_the_dag_can_copy(
    client_as: Callable[[str], TestClient], crm: RecordingServer, dags: Path
) -> None:
    written = lead()
    run = run_flow(written, dags)
    for role in ("viewer", "user", "op", "admin"):
        page = client_as(role).get(address(written["id"], run, "create"))
        assert page.status_code == 200
        assert bool(code_of(page, "curl")) == (role != "viewer")
        assert (MAY_NOT_COPY in text_of(page)) == (role == "viewer")
        if role == "viewer":
            assert "5512345678" not in page.text
            assert "alert(1)" not in page.text


def test_only_who_is_logged_in_reads_it_and_nobody_writes(client_as: Callable[[str], TestClient]) -> None:
    path = "/whatsapp-flows/tasks/a/b/c/-1"
    client = client_as("anonymous")
    assert client.get(path).status_code == 401
    client.cookies.set("_token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.")
    assert client.get(path).status_code in (401, 403)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert client_as("admin").request(method, path).status_code == 405


@pytest.mark.parametrize("index", ["-1", "{MAP_INDEX}", "7", "x" * 50])
def test_a_task_that_is_not_there_is_none(client: TestClient, index: str) -> None:
    page = client.get(f"/whatsapp-flows/tasks/none/run%2F1/t%00/{quote(index)}")
    assert page.status_code == 404


def test_a_task_that_sent_nothing_says_so(client: TestClient, crm: RecordingServer, dags: Path) -> None:
    written = flow(question("Ask name", next="Create"), action("Create", on_error="Sorry"), action("Sorry"))
    run = run_flow(written, dags)
    assert "does not come to this task" in text_of(client.get(address(written["id"], run, "sorry")))
    assert "This task sends no request" in text_of(client.get(address(written["id"], run, "ask_name")))


def test_says_where_the_request_cannot_be_shown(
    client: TestClient, crm: RecordingServer, dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.queued += [Answer.json({"note": "of the reply"})]
    written = lead()
    run = run_flow(written, dags)
    here = address(written["id"], run, "create")
    file = dags / "flows" / f"{written['id']}.json"
    file.write_text(file.read_text("utf-8").replace('"phone"', '"telephone"', 1), encoding="utf-8")
    page = client.get(here)
    assert DIFFERS in text_of(page)
    assert code_of(page, "curl") == []
    monkeypatch.setattr(flow_sources, "file_of_dag", lambda _: "/elsewhere/dags.py")
    page = client.get(here)
    assert NO_FLOW in text_of(page)
    assert "of the reply" not in page.text  # it may be what the flow calls sensitive
    with Ledger(f"sqlite:///{dags / 'ledger.db'}") as ledger:
        a_replay(ledger, [], flow=written)
    assert len(code_of(client.get(here), "curl")) == 1
    file.write_text("{", encoding="utf-8")
    monkeypatch.setattr(flow_sources, "file_of_dag", lambda _: str(dags / "dags.py"))
    assert len(code_of(client.get(here), "curl")) == 1


def test_a_request_with_a_file_is_not_shown(client: TestClient, dags: Path, crm: RecordingServer) -> None:
    send = action("Send", body_type="multipart", body=[{"name": "cv", "file": "{{ step.Ask name }}"}], on_error="Sorry")
    written = flow(question("Ask name", next="Send"), send, message("Sorry"))
    written["steps"][0]["answer_type"] = "DOCUMENT"
    os.environ["AIRFLOW__WHATSAPP_FLOWS__MEDIA_HOSTS"] = crm.host
    try:
        run = run_flow(written, dags, {**CONF, "step": {"Ask name": f"{crm.url}/a.pdf"}})
    finally:
        del os.environ["AIRFLOW__WHATSAPP_FLOWS__MEDIA_HOSTS"]
    assert HAS_FILE in text_of(client.get(address(written["id"], run, "send")))


def test_an_action_of_ones_own_dag(client: TestClient, crm: RecordingServer, dags: Path) -> None:
    with DAG(new_dag_id()) as dag:
        WhatsAppActionOperator.partial(task_id="act", http_conn_id="crm", url="/c").expand(body=[{"n": 1}, {"n": 2}])
    crm._script = lambda request: Answer.json({"got": json.loads(request.content)["n"]})
    run = run_dag(dag, CONF)
    for index in (0, 1):
        text = text_of(client.get(address(dag.dag_id, run, "act", str(index))))
        assert f'"got": {index + 1}' in text
        assert OWN_DAG in text
        assert "this task, try 1" in text


def test_a_chunk_of_a_replay_links_to_its_page(
    client: TestClient, client_as: Callable[[str], TestClient], crm: RecordingServer, dags: Path, tmp_path: Path
) -> None:
    block = {"source": str(write_responses(tmp_path, 3)), "chunk_size": 2}
    written = flow(action("Create"), replay=block)
    run = run_dag(build_replay_dag(load_flow(written)))
    [sends, *_] = [task for task in run.states if task.endswith("[0]")]
    page = client.get(address(f"{written['id']}__replay", run, sends.removesuffix("[0]"), "0"))
    replay = quote(f"{written['id']}__{run.run_id}", safe="~")
    assert f"/whatsapp-flows/replays/{replay}" in page.text
    assert "2 contacts and 2 requests of this task" in text_of(page)


def test_a_secret_is_in_no_part_of_the_page(client: TestClient, crm: RecordingServer, dags: Path) -> None:
    crm._script = lambda request: Answer.json({"echo": request.header("Authorization"), "pin": CANARY, "x": "y"})
    conf = {"contact": {"phone": "+521", "pin": f"{CANARY}-pin"}, "flow_execution_variables": {"token": f"{CANARY}-v"}}
    send = action(
        "Send",
        headers={"X-Api-Key": "{{ flow_execution_variables.token }}", "X-Plain": "with {{ contact.pin }} in it"},
        query_params={"api_key": "{{ flow_execution_variables.token }}", "q": "{{ contact.pin }}"},
        body={"pin": "{{ contact.pin }}", "password": "{{ flow_execution_variables.token }}"},
        on_success="Tell",
    )
    tell = action("Tell", body={"given": "{{ step.Send.response.pin }}"})
    sensitive = ["contact.pin", "flow_execution_variables.token", "step.Send.response.pin"]
    written = flow(send, tell, sensitive=sensitive, variables={"token": {"type": "text"}})
    run = run_flow(written, dags, conf)
    assert CANARY in crm.received[0].target
    for task in ("send", "tell"):
        page = client.get(address(written["id"], run, task))
        assert len(code_of(page, "curl")) == 1, text_of(page)
        assert "canary" not in page.text
    assert "${WF_X_API_KEY:?}" in code_of(client.get(address(written["id"], run, "send")), "curl")[0]


def test_long_values_are_shown_as_much_as_there_is_room_for(
    client: TestClient, crm: RecordingServer, dags: Path
) -> None:
    written = lead()
    run = run_flow(written, dags, {**CONF, "step": {"Ask name": "x" * 1_000_000}})
    page = client.get(address(written["id"], run, "create"))
    assert page.status_code == 200
    assert len(page.content) < 200_000
    assert "is too long" in text_of(page)


@pytest.mark.parametrize(
    ("media_type", "answer"),
    [
        ("application/json", "[" * 5000),
        ("application/yaml", "[" * 3000),
        ("application/yaml", "a: b: c"),
        ("application/yaml", "!!python/object:os.system x"),
        ("application/yaml", ALIASES),
    ],
    ids=["deep JSON", "deep YAML", "no YAML", "a tag", "aliases"],
)  # fmt: skip
def test_no_answer_makes_the_page_fail_or_slow(
    client: TestClient, crm: RecordingServer, dags: Path, media_type: str, answer: str
) -> None:
    send = action("Send", body="{{ step.Ask name }}", body_type="plain", headers={"Content-Type": media_type})
    written = flow(question("Ask name", next="Send"), send)
    run = run_flow(written, dags, {**CONF, "step": {"Ask name": answer}})
    assert len(crm.received) == 1
    client.get("/whatsapp-flows/")  # imports what pages need
    started = time.process_time()
    page = client.get(address(written["id"], run, "send"))
    assert page.status_code == 200
    assert time.process_time() - started < 2
    assert len(page.content) < 200_000


def test_hides_what_any_version_of_the_flow_calls_sensitive(
    client: TestClient, crm: RecordingServer, dags: Path
) -> None:
    written = lead(sensitive=["step.Ask name"])
    run = run_flow(written, dags, {**CONF, "step": {"Ask name": CANARY}})
    here = address(written["id"], run, "create")
    file = dags / "flows" / f"{written['id']}.json"
    file.write_text(json.dumps({**written, "sensitive": []}), encoding="utf-8")
    assert CANARY in client.get(here).text  # no version that is known says otherwise
    with Ledger(f"sqlite:///{dags / 'ledger.db'}") as ledger:
        a_replay(ledger, [], flow=written)
    page = client.get(here)
    assert CANARY not in page.text
    assert "WF_STEP_ASK_NAME" in page.text


def test_a_sensitive_value_in_an_unknown_form_is_not_shown(
    client: TestClient, crm: RecordingServer, dags: Path
) -> None:
    send = action("Send", body={"a": {"b": "{{ step.Ask name }}"}}, body_type="xml")
    written = flow(question("Ask name", next="Send"), send, sensitive=["step.Ask name"])
    run = run_flow(written, dags, {**CONF, "step": {"Ask name": f"O'Brien & Sons {CANARY}"}})
    page = client.get(address(written["id"], run, "send"))
    assert UNKNOWN_FORM in text_of(page)
    assert "canary" not in page.text
    assert "Brien" not in page.text


@pytest.mark.parametrize("index", ["x", "٣", "-5", "1.0", "9" * 20, "{map_index}"])
def test_a_map_index_that_is_no_number_is_not_found(
    client: TestClient, crm: RecordingServer, dags: Path, index: str
) -> None:
    written = flow(action("Create"))
    run = run_flow(written, dags)
    assert client.get(address(written["id"], run, "create")).status_code == 200
    assert client.get(address(written["id"], run, "create", index)).status_code == 404


def test_says_that_there_is_no_ledger(client: TestClient, crm: RecordingServer, dags: Path) -> None:
    written = flow(message("Hello", next="Create"), action("Create"))
    run = run_flow(written, dags)
    (dags / "ledger.db").rename(dags / "moved.db")
    assert "There is no ledger yet" in text_of(client.get(address(written["id"], run, "create")))
    assert "This task sends no request" in text_of(client.get(address(written["id"], run, "hello")))
