"""Canary secrets: placed wherever secrets may be, echoed in every encoding, and found in no output."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, inspect, text

from airflow_whatsapp_flows.cli import main
from tests.flow.encodings import ENCODINGS
from tests.operators.conftest import TaskLog, task_log
from tests.servers.recording import Answer, Received, RecordingServer

__all__ = ["task_log"]

CONNECTIONS = {
    "password": "cnry/PW+one&more=",
    "header of the extra": 'cnry"KEY<two>/+',
    "path of the base URL": "cnryPATH0123456789abcdef",
    "login": "cnryLOGIN0123456789abcdef",
    "password of a plain connection": "cnry PW&three/+é",
    "extra of a plain connection": "cnrySIG+/four=5",
}
FLOW = {"token of a webhook": "cnryHOOK0123456789abcdefgh", "header of the flow": "cnryTRACE-0123456789-abcd"}
ANSWERS = {
    "email": "Cnry.Ana+q@shop.example",
    "phone": "+525512345678",
    "pin": "cnry pin & 'q' é/7",
    "token": "cnryFEV/+token==",
    "short": "q7x",
}
REPLY = {"session": "cnry session/é&7"}
URLS = {"ledger": "cnryLEDGERpw", "source": "cnrySOURCEpw"}
CONTACT = {**ANSWERS, **REPLY}


def spellings(name: str, value: str) -> dict[str, str]:
    """A value in every encoding; the operator's secrets in one case only, and a short one in one form."""
    if name == "short":
        return {"as it is": value}
    return {
        encoding: encode(value) for encoding, encode in ENCODINGS.items() if encoding != "upper case" or name in CONTACT
    }


CRM, OLD = (
    ("password", "header of the extra", "path of the base URL"),
    (
        "login",
        "password of a plain connection",
        "extra of a plain connection",
    ),
)


def echo(names: Sequence[str]) -> list[str]:
    """Everything a server knows about a request, in every encoding."""
    known = {name: CONNECTIONS[name] for name in names}
    return [
        f"{name} {encoding}: {written} ."
        for name, value in {**known, **FLOW, **CONTACT}.items()
        for encoding, written in spellings(name, value).items()
    ]


@dataclass
class Outputs:
    """All outputs, by their source."""

    texts: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, value: object) -> None:
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
        self.texts[where] = self.texts.get(where, "") + shown + "\n"

    def leaks(self, canaries: Mapping[str, str], but: Sequence[str] = ()) -> list[str]:
        """The canaries found in each output, in any case."""
        found = []
        for where, written in self.texts.items():
            if any(where.startswith(one) for one in but):
                continue
            # The output is JSON or a repr, so texts in it are escaped.
            folded = {
                written.casefold(),
                written.replace("\\\\", "\\").casefold(),
                written.replace('\\"', '"').casefold(),
            }
            for name, value in canaries.items():
                for encoding, spelt in spellings(name, value).items():
                    pattern = re.escape(spelt.casefold())
                    if name == "short":
                        pattern = rf"(?<!\w){pattern}(?!\w)"
                    if any(re.search(pattern, one) for one in folded):
                        found.append(f"{name}, {encoding}, in {where}")
        return found


def echoes(request: Received) -> Answer:
    """A server that echoes all secrets."""
    told = echo(OLD if "/old" in request.target else () if "/services/" in request.target else CRM)
    headers = {"X-Echo": ";".join(line for line in told if line.isascii())[:6000], "X-Got": request.target}
    got = {"echo": told, "got": request.target, "content": request.content.decode("utf-8", "replace")}
    keyed = dict.fromkeys(told[:40], 1)
    if request.target.endswith("/login"):
        return Answer.json({"session": REPLY["session"], **got}, 200, **headers)
    if "/services/" in request.target:
        page = f"<html><body>{html.escape(request.target)} {' '.join(told)}</body></html>"
        return Answer(422, page.encode(), {"Content-Type": "text/html; charset=utf-8", **headers})
    if "/old" in request.target:
        return Answer.json({**got, **keyed, "headers": dict(request.headers)}, 400, **headers)
    return Answer.json({**got, **keyed, "headers": dict(request.headers)}, 200, **headers)


def flow_file(server: RecordingServer) -> dict[str, Any]:
    return {
        "flow_format": 1,
        "id": "canary",
        "sensitive": [
            "contact.email", "contact.phone", "contact.short", "step.Ask pin", "flow_execution_variables.token",
            "step.Log in.response.session",
        ],
        "steps": [
            {"name": "Ask pin", "type": "question", "body": "{{ contact.email }}?", "next": "Log in"},
            {
                "name": "Log in", "type": "action", "connection": "crm", "url": "/login",
                "headers": {"X-Token": "{{ flow_execution_variables.token }}"},
                "body": {"pin": "{{ step.Ask pin }}"}, "on_success": "Save",
            },
            {
                "name": "Save", "type": "action", "connection": "crm", "method": "PUT",
                "url": "/contacts/{{ contact.email }}/{{ contact.short }}?phone={{ contact.phone }}",
                "headers": {"X-Session": "{{ step.Log in.response.session | urlencode }}"},
                "body": {"got": "{{ step.Log in.response.got }}", "mail": "{{ contact.email }}"}, "on_success": "Say",
            },
            {"name": "Say", "type": "message", "body": "{{ step.Save.response.echo }} {{ step.Save.headers.x-echo }}",
             "next": "Note"},
            {"name": "Note", "type": "contact_update", "meta": {"copy": "{{ step.Save.response.content }}"},
             "next": "Tag"},
            {"name": "Tag", "type": "tag", "contact_tags": ["{{ step.Ask pin }}"], "next": "Hook"},
            {
                "name": "Hook", "type": "action",
                "url": f"{server.url}/services/T1/{FLOW['token of a webhook']}/{{{{ contact.phone }}}}",
                "headers": {"X-Trace": FLOW["header of the flow"]}, "body": {"a": "{{ contact.copy }}"},
                "on_error": "Old",
            },
            {"name": "Old", "type": "action", "connection": "old", "url": "/old/{{ contact.phone }}",
             "body": {"pin": "{{ step.Ask pin }}"}},
        ],
    }  # fmt: skip


RESPONSE = {
    "id": "canary-1",
    "contact": {"email": ANSWERS["email"], "phone": ANSWERS["phone"], "meta": {"short": ANSWERS["short"]}},
    "step": {"Ask pin": ANSWERS["pin"]},
    "flow_execution_variables": {"token": ANSWERS["token"]},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingServer]:
    running = RecordingServer(echoes)
    crm = {
        "conn_type": "whatsapp_action",
        "host": f"{running.url}/{CONNECTIONS['path of the base URL']}",
        "password": CONNECTIONS["password"],
        "extra": {"auth": "bearer", "headers": {"X-Api-Key": CONNECTIONS["header of the extra"]}},
    }
    old = {
        "conn_type": "http",
        "host": running.url,
        "login": CONNECTIONS["login"],
        "password": CONNECTIONS["password of a plain connection"],
        "extra": {"X-Signature": CONNECTIONS["extra of a plain connection"]},
    }
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(crm))
    monkeypatch.setenv("AIRFLOW_CONN_OLD", json.dumps(old))
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", running.host)
    yield running
    running.close()


def check_received(server: RecordingServer) -> None:
    """Requests are not masked, and a later step sends the server's real reply."""
    saved = next(one for one in server.received if "/contacts/" in one.target)
    assert f"/{quote(ANSWERS['email'], safe='@+')}/" in saved.target.replace("%2B", "+").replace("%40", "@")
    assert saved.header("X-Session") == quote(REPLY["session"], safe="")
    assert saved.header("Authorization") == f"Bearer {CONNECTIONS['password']}"
    copied = json.loads(next(one for one in server.received if "/services/" in one.target).content)["a"]
    assert json.loads(copied)["mail"] == ANSWERS["email"]
    # Echoed secrets of a connection stay hidden; values of the contact are restored.
    assert not [one for one in server.received if b"***{" in one.content or "***" in one.target]


def dump(ledger_url: str, written: Outputs) -> None:
    """Add every cell of a database; cells needed for delivery are kept separate."""
    kept = {("contacts", "response"), ("contacts", "phone"), ("identifiers", "value"), ("once", "identifier"),
            ("attempts", "phone")}  # fmt: skip
    engine = create_engine(ledger_url)
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            if not table.startswith("whatsapp_flows_"):
                continue
            for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
                for column, value in row.items():
                    name = (table.removeprefix("whatsapp_flows_"), column)
                    of_login = name == ("attempts", "result") and row.get("step") == "Log in"
                    kind = "kept" if name in kept else "kept result" if of_login else "ledger"
                    written.add(f"{kind}: {'.'.join(name)}", str(value))
    engine.dispose()


def check_ledger(written: Outputs) -> None:
    """A replay stores only the data that the documentation names."""
    assert "\n".join(written.leaks({**CONNECTIONS, **FLOW, **URLS})) == ""
    assert "\n".join(written.leaks(ANSWERS, but=["kept: "])) == ""
    assert "\n".join(written.leaks(REPLY, but=["kept: ", "kept result: "])) == ""


class Commands:
    """Runs commands and collects their output."""

    def __init__(self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, written: Outputs) -> None:
        self._capsys = capsys
        self._caplog = caplog
        self._written = written

    def __call__(self, *words: object) -> str:
        self._capsys.readouterr()
        with suppress(SystemExit):
            main([str(word) for word in words])
        captured = self._capsys.readouterr()
        name = " ".join(map(str, words[:2]))
        self._written.add(f"output of {name}", captured.out + captured.err)
        self._written.add(f"log of {name}", self._caplog.text)
        assert "Traceback" not in captured.err
        return captured.out


@pytest.fixture
def outputs() -> Outputs:
    return Outputs()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, outputs: Outputs) -> Commands:
    caplog.set_level("DEBUG")
    return Commands(capsys, caplog, outputs)


@pytest.fixture
def flow(server: RecordingServer, tmp_path: Path) -> Path:
    file = tmp_path / "canary.json"
    file.write_text(json.dumps(flow_file(server), indent=1), encoding="utf-8")
    return file


def test_nothing_leaks_when_one_contact_is_walked(
    server: RecordingServer, flow: Path, tmp_path: Path, run: Commands, outputs: Outputs
) -> None:
    response = tmp_path / "response.json"
    response.write_text(json.dumps(RESPONSE), encoding="utf-8")

    for format_ in ("text", "json"):
        server.received.clear()
        out = run("run", flow, "--response", response, "--format", format_)
        assert "Old" in out
        check_received(server)

    assert "\n".join(outputs.leaks({**CONNECTIONS, **FLOW, **CONTACT})) == ""


def test_rendered_requests_show_no_connection_secret(
    server: RecordingServer, flow: Path, tmp_path: Path, run: Commands, outputs: Outputs
) -> None:
    response = tmp_path / "response.json"
    response.write_text(json.dumps(RESPONSE), encoding="utf-8")

    for format_ in ("http", "curl", "json"):
        out = run("render", flow, "--response", response, "--step", "Log in", "--format", format_)
        assert "/login" in out

    assert "\n".join(outputs.leaks(CONNECTIONS)) == ""


def test_nothing_leaks_when_a_flow_is_inspected(
    server: RecordingServer, flow: Path, tmp_path: Path, run: Commands, outputs: Outputs
) -> None:
    other, faulty = tmp_path / "other" / "canary.json", tmp_path / "faulty.json"
    other.parent.mkdir()
    value = flow_file(server)
    other.write_text(json.dumps(value).replace("cnryHOOK", "cnryHOOKother").replace("cnryTRACE", "cnryTRACEother"))
    value["steps"][1]["headers"]["X-Api-Key"] = CONNECTIONS["password"]
    value["steps"][1]["body"]["password"] = CONNECTIONS["extra of a plain connection"]
    value["steps"][6]["url"] += "{{ contact.nothing"
    faulty.write_text(json.dumps(value, indent=1), encoding="utf-8")

    run("validate", flow)
    assert "contains a literal secret" in run("validate", faulty)
    run("validate", faulty, "--format", "json")
    run("validate", faulty, "--format", "github")
    run("graph", flow)
    run("graph", flow, "--format", "svg")
    assert "Hook" in run("diff", flow, other)
    run("diff", flow, other, "--format", "json")

    assert "\n".join(outputs.leaks({**CONNECTIONS, **FLOW})) == ""


def test_nothing_leaks_when_records_are_imported(tmp_path: Path, run: Commands, outputs: Outputs) -> None:
    from tests.hilos.samples import CRM_KEY, OPENAI_KEY, crm_records, gpt_records

    canary = CONNECTIONS["path of the base URL"]
    output = tmp_path / "imported.json"
    for name, recorded in (("hilos", gpt_records()), ("activecampaign", crm_records())):
        records = tmp_path / f"{name}.json"
        text_ = json.dumps(recorded).replace(OPENAI_KEY, canary).replace(CRM_KEY, canary)
        assert canary in text_
        records.write_text(text_, encoding="utf-8")
        run("import", name, "--records", records, "-o", output, "--force")
        outputs.add("imported flow", output.read_text(encoding="utf-8"))

    assert "\n".join(outputs.leaks(CONNECTIONS)) == ""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_nothing_leaks_in_a_replay(
    server: RecordingServer,
    flow: Path,
    tmp_path: Path,
    run: Commands,
    outputs: Outputs,
    database: str,
    request: pytest.FixtureRequest,
) -> None:
    responses, ledger_url = tmp_path / "responses.jsonl", f"sqlite:///{tmp_path / 'ledger.db'}"
    responses.write_text(json.dumps(RESPONSE) + "\n", encoding="utf-8")
    source: list[object] = ["--responses", responses]
    if database == "postgres":
        plain: str = request.getfixturevalue("postgres").create_database()
        make_source(plain)
        ledger_url = plain.replace("://postgres@", f"://postgres:{URLS['ledger']}@")
        source = [
            "--responses",
            plain.replace("://postgres@", f"://postgres:{URLS['source']}@"),
            "--query",
            "SELECT * FROM answers",
        ]
    ledger = ["--ledger", ledger_url]

    run("replay", "plan", flow, *source, *ledger)
    run("replay", "plan", flow, *source, *ledger, "--format", "json")
    run("replay", "run", flow, *source, *ledger, "--replay-id", "r")
    check_received(server)
    run("replay", "retry", "r", *ledger)  # refused: the ledger does not have the flow's secrets
    run("replay", "retry", "r", *ledger, "--flow", flow, "--state", "in_doubt", "--accept-duplicates")
    run("replay", "list", *ledger)
    for format_ in ("text", "json"):
        run("replay", "status", "r", *ledger, "--format", format_)
    for format_ in ("jsonl", "csv"):
        out = run("replay", "results", "r", *ledger, "--format", format_)
        assert "canary-1" in out
        if format_ == "csv":
            assert list(csv.reader(io.StringIO(out)))
    run("replay", "status", "no-such-replay", *ledger)
    dump(ledger_url, outputs)

    check_ledger(outputs)


def make_source(url: str) -> None:
    """Create a table with the one response; its query contains no value of it."""
    row = {
        "id": "canary-1",
        "contact.email": ANSWERS["email"],
        "contact.phone": ANSWERS["phone"],
        "contact.meta.short": ANSWERS["short"],
        "step.Ask pin": ANSWERS["pin"],
        "flow_execution_variables.token": ANSWERS["token"],
    }
    columns = ", ".join(f'"{name}" text' for name in row)
    values = ", ".join(f":v{index}" for index in range(len(row)))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE answers ({columns})"))
        connection.execute(
            text(f"INSERT INTO answers VALUES ({values})"),
            {f"v{index}": value for index, value in enumerate(row.values())},
        )
    engine.dispose()


def test_nothing_leaks_in_a_dag(
    airflow: None,
    server: RecordingServer,
    tmp_path: Path,
    task_log: TaskLog,  # pytest finds the fixture by its name in this module
    outputs: Outputs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_whatsapp_flows import build_dag
    from tests.airflow_runs import run_dag

    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", ledger_url)
    dag = build_dag(flow_file(server))

    done = run_dag(dag, RESPONSE)

    assert done.state == "failed", "the last action has no error exit"
    check_received(server)
    outputs.add("log", task_log.text)
    for (task_id, _), value in done.xcoms.items():
        outputs.add(f"XCom of {task_id}", value)
    for place, value in done.other_xcoms.items():
        outputs.add(f"XCom {place}", value)
    with create_session() as session:
        fields = select(RenderedTaskInstanceFields).where(RenderedTaskInstanceFields.dag_id == dag.dag_id)
        for row in session.scalars(fields):
            outputs.add(f"rendered fields of {row.task_id}", row.rendered_fields)
        for serialized in session.scalars(select(SerializedDagModel).where(SerializedDagModel.dag_id == dag.dag_id)):
            outputs.add("serialized DAG", serialized.data)
    dump(ledger_url, outputs)

    assert {"log", "XCom of save", "serialized DAG"} <= outputs.texts.keys() | {"XCom of save"}
    check_ledger(outputs)
