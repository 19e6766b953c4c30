"""The page of a replay: progress, errors with what to do, filters, search, and downloads."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from airflow_whatsapp_flows.dag_factory.replay_dag import build_replay_dag
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.schema import contacts, replays
from tests.airflow_runs import run_dag
from tests.ledger.filling import FLOW_ID, a_replay, attempt, change, end, response, result
from tests.operators.flows import action, flow
from tests.plugin.pages import HOSTILE, follow_next, text_of
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

PAGES = "/whatsapp-flows/replays"
STATES = [ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT, ContactState.FAILED]


def _error(kind: str, status: int | None) -> str:
    return json.dumps(
        {"step": "Create", "kind": kind, "status_code": status, "host": "crm:443", "message": "no", "sent": "yes"}
    )


@pytest.fixture
def full_ledger(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Ledger:
    """Six contacts: completed, failed, in doubt, failed, pending, rejected."""
    use_ledger(ledger_url)
    replay = a_replay(ledger, [*(response(number) for number in range(5)), None])
    ids = end(ledger, replay, STATES)
    change(ledger, ids[1], fingerprint="f-422", error=_error("status", 422), reason="Create: 422")
    change(ledger, ids[3], fingerprint="f-422", error=_error("status", 422), reason="Create: 422")
    change(ledger, ids[2], fingerprint="f-lost", error=_error("interrupted", None), reason="in doubt")
    refused = result({"error": "call +525512345678"}, outcome="error", status_code=422)
    attempt(ledger, "r-1", Fate.ANSWERED, replay, status_code=422, error_kind="status", result=refused, ended_at=902.0)
    attempt(ledger, "r-2", Fate.UNKNOWN, replay)
    return ledger


def _ids_in(page: Any) -> list[str]:
    table = page.text.partition('id="contacts"')[2]
    return re.findall(r"/contacts/([^?\"]+)\?row=", table)


def test_shows_how_many_contacts_are_in_each_state(client: TestClient, full_ledger: Ledger) -> None:
    page = client.get(f"{PAGES}/first")
    assert page.status_code == 200
    tiles = re.findall(r'id="tile-(\w+)"[^>]*><b>(\d+)</b>', page.text)
    expected = {"completed": "1", "failed": "2", "in_doubt": "1", "rejected": "1", "pending": "1", "skipped": "0"}
    assert dict(tiles) == expected
    assert _ids_in(page) == [f"r-{number}" for number in range(5)]
    assert "without an id" in page.text


def test_shows_errors_with_the_next_step_and_its_command(client: TestClient, full_ledger: Ledger) -> None:
    text = text_of(client.get(f"{PAGES}/first"))
    assert "Create · status 422 · crm:443 · no" in text
    assert "the server rejected the data" in text
    assert "whatsapp-flows replay retry --fingerprint f-422 first" in text
    assert "whatsapp-flows replay resolve --fingerprint f-lost --as not_sent first" in text
    assert "retry --state in_doubt" not in text  # a POST at most once
    assert '{"error":"call +52…78"}' in text
    assert "+525512345678" not in text
    assert "+5255" not in text


def test_commands_name_the_replay_safely(client: TestClient, full_ledger: Ledger) -> None:
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(id="a b; rm -rf $HOME"))
    assert "replay retry 'a b; rm -rf $HOME'" in text_of(client.get(f"{PAGES}/a%20b%3B%20rm%20-rf%20%24HOME"))


def test_no_command_has_a_replay_as_its_option(client: TestClient, full_ledger: Ledger) -> None:
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(id="--accept-duplicates"))
    page = client.get(f"{PAGES}/--accept-duplicates").text
    commands = [unescape(one) for one in re.findall(r"whatsapp-flows replay (?:retry|resolve|results) [^<]*", page)]
    assert len(commands) == 7
    for command in commands:
        assert command.count("--accept-duplicates") == 1
        assert " -- --accept-duplicates" in command


@pytest.mark.parametrize("id_", ["a\x1bb", "a\u202eb", "x" * 201])
def test_a_replay_that_cannot_be_seen_whole_has_no_command(client: TestClient, full_ledger: Ledger, id_: str) -> None:
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(id=id_))
    text = text_of(client.get(f"{PAGES}/{quote(id_, safe='')}"))
    assert "there is no command to copy" in text
    assert "whatsapp-flows replay" not in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=failed", ["r-1", "r-3"]),
        ("fingerprint=f-lost", ["r-2"]),
        ("q=422", ["r-1", "r-3"]),
        ("step=Create&state=completed", ["r-0"]),
        ("step=Tell", []),
        ("handled=1", []),
        ("find=r-4", ["r-4"]),
        ("find=%2B52%2055%200000%200003", ["r-3"]),
        ("find=nobody", []),
        ("state=", [f"r-{number}" for number in range(5)]),
    ],
)
def test_filters_and_finds_contacts(client: TestClient, full_ledger: Ledger, query: str, expected: list[str]) -> None:
    page = client.get(f"{PAGES}/first?{query}")
    assert page.status_code == 200
    assert _ids_in(page) == expected


@pytest.mark.parametrize(
    "query",
    [
        "state=none",
        "after=x",
        "after=1.x",
        "fingerprint=a%20b",
        f"find={'x' * 201}",
        "handled=perhaps",
    ],
)
def test_a_parameter_that_is_not_valid_is_refused(client: TestClient, full_ledger: Ledger, query: str) -> None:
    assert client.get(f"{PAGES}/first?{query}").status_code == 422


def test_a_number_that_no_replay_can_have_is_refused(client: TestClient, full_ledger: Ledger) -> None:
    for after in ("9999999999.9", "2147483648.9", "-2147483649.1", "1.9999999999999999999"):
        assert client.get(f"{PAGES}/first?after={after}").status_code == 422
    assert client.get(f"{PAGES}?before=2147483647").status_code == 200
    assert client.get(f"{PAGES}?before=2147483648").status_code == 422
    assert client.get(f"{PAGES}/first?after=2147483647.{2**63 - 1}").status_code == 200


@pytest.mark.parametrize("text", ["%00", "%F0%9F%98%80", "%25", "%27%3B--", "%E2%80%AE", "%FF"])
def test_any_text_can_be_searched_for(client: TestClient, full_ledger: Ledger, text: str) -> None:
    for parameter in ("q", "find", "step"):
        assert client.get(f"{PAGES}/first?{parameter}={text}").status_code == 200
    assert client.get(f"{PAGES}?q={text}").status_code == 200
    assert client.get(f"/whatsapp-flows/?q={text}").status_code == 200
    assert client.get(f"{PAGES}/{text}").status_code == 404
    assert client.get(f"{PAGES}/first/contacts/{text}").status_code == 404


def test_contacts_are_paged(client: TestClient, full_ledger: Ledger) -> None:
    a_replay(full_ledger, [response(number) for number in range(100, 220)], "large", chunk_size=30)
    pages = list(follow_next(client, f"{PAGES}/large?q=r-"))
    assert all("q=r-" in str(page.url) for page in pages)
    found = [id_ for page in pages for id_ in _ids_in(page)]
    assert found == [f"r-{number}" for number in range(100, 220)]


def test_progress_is_a_part_that_ends_with_the_replay(client: TestClient, full_ledger: Ledger) -> None:
    assert 'data-refresh="/whatsapp-flows/replays/first/progress"' in client.get(f"{PAGES}/first").text
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(started_at=900.0, ended_at=None))
    part = client.get(f"{PAGES}/first/progress")
    assert '<svg class="chart"' not in part.text, "all have ended at one moment"
    assert "<html" not in part.text
    with full_ledger.write() as connection:
        connection.execute(contacts.update().where(contacts.c.response_id == "r-0").values(ended_at=1030.0))
    for path in ("/first", "/first/progress"):
        shown = client.get(f"{PAGES}{path}").text
        assert '<svg class="chart"' in shown
        assert "When contacts ended, 1 s per bar: 4 contacts, 3 of them with errors" in shown
    assert "data-ended" not in part.text
    assert "left" in part.text
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(ended_at=1000.0))
    ended = client.get(f"{PAGES}/first/progress").text
    assert "data-ended" in ended
    assert "The replay has stopped." in ended  # a contact is pending
    assert "data-refresh" not in client.get(f"{PAGES}/first").text
    with full_ledger.write() as connection:
        connection.execute(contacts.delete().where(contacts.c.state == ContactState.PENDING.value))
    assert "The replay has ended." in client.get(f"{PAGES}/first/progress").text


def test_downloads_are_what_the_command_prints(
    client: TestClient, full_ledger: Ledger, ledger_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow_whatsapp_flows.cli import main

    for kind in ("jsonl", "csv"):
        page = client.get(f"{PAGES}/first/results.{kind}")
        assert page.status_code == 200
        assert page.headers["content-disposition"] == f'attachment; filename="first.{kind}"'
        main(["replay", "results", "first", "--format", kind, "--ledger", ledger_url])
        assert page.text == capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(client.get(f"{PAGES}/first/results.csv?state=failed").text)))
    assert [row["id"] for row in rows] == ["r-1", "r-3"]
    assert client.get(f"{PAGES}/first/results.exe").status_code == 422


def test_a_name_of_a_file_is_harmless(client: TestClient, full_ledger: Ledger) -> None:
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(id='../x"; filename=y'))
    page = client.get(f"{PAGES}/..%2Fx%22%3B%20filename%3Dy/results.csv")
    assert page.headers["content-disposition"] == 'attachment; filename=".._x___filename_y.csv"'


def test_a_run_of_the_replay_dag_is_linked(
    client: TestClient, full_ledger: Ledger, server: RecordingServer, tmp_path: Path
) -> None:
    source = tmp_path / "responses.jsonl"
    source.write_text(json.dumps(response(9)), encoding="utf-8")
    run = run_dag(build_replay_dag(load_flow(flow(action("Create"), id=FLOW_ID, replay={"source": str(source)}))))
    assert run.state == "success"
    page = client.get(f"{PAGES}/{quote(f'{FLOW_ID}__{run.run_id}', safe='')}")
    assert f'href="/dags/{FLOW_ID}__replay/runs/{quote(run.run_id, safe="")}" data-airflow' in page.text


def test_a_replay_with_the_name_of_no_run_links_to_none(client: TestClient, full_ledger: Ledger) -> None:
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(id=f"{FLOW_ID}__second-try"))
    page = client.get(f"{PAGES}/{FLOW_ID}__second-try")
    assert page.status_code == 200
    assert "/runs/" not in page.text


def test_texts_of_any_kind_and_length_are_shown_as_text(client: TestClient, full_ledger: Ledger) -> None:
    long = HOSTILE + "x" * 1_000_000
    hostile = HOSTILE if full_ledger.is_sqlite else HOSTILE.replace("\0", "")
    with full_ledger.write() as connection:
        connection.execute(replays.update().values(note=long, source=long, id=f"a/b {hostile}"))
        error = json.dumps({**json.loads(_error("status", 422)), "message": long, "host": hostile, "step": hostile})
        connection.execute(contacts.update().where(contacts.c.fingerprint.is_not(None)).values(error=error))
        connection.execute(contacts.update().values(reason=long, place=hostile))
        held = {"id": "r-1", "contact": {"phone": "+525500000001", HOSTILE: long}, "step": {HOSTILE: long}}
        connection.execute(contacts.update().where(contacts.c.state == "failed").values(response=json.dumps(held)))
    listed = client.get(PAGES)
    [path] = set(re.findall(r'<td class="main"><a href="([^"]+)"', listed.text))
    page = client.get(unescape(path))
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert "\x01" not in page.text
    assert len(page.content) < 200_000


def test_a_page_of_fifty_long_rows_stays_small(client: TestClient, full_ledger: Ledger) -> None:
    replay = a_replay(full_ledger, [response(number, id=f"{number}{'é<' * 120}") for number in range(60)], "long")
    ids = end(full_ledger, replay, [ContactState.FAILED] * 60)
    with full_ledger.write() as connection:
        connection.execute(contacts.update().where(contacts.c.id.in_(ids)).values(reason="<é" * 5000, place="é<" * 500))
        for number, one in enumerate(ids):
            values = {"fingerprint": f"f{number}", "error": _error("status", 500)}
            connection.execute(contacts.update().where(contacts.c.id == one).values(**values))
    assert len(client.get(f"{PAGES}/long").content) < 200_000


def test_a_replay_that_no_longer_exists_is_named(client: TestClient, full_ledger: Ledger) -> None:
    for path in ("gone", "gone/progress", "gone/results.csv", "gone/contacts/r-1"):
        page = client.get(f"{PAGES}/{path}")
        assert page.status_code == 404
        assert "gone" in page.text


def test_who_may_not_see_a_replay_does_not_learn_that_it_exists(
    client: TestClient, full_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_whatsapp_flows.plugin.replay_page.may", lambda user, dag_id, method="GET": False)
    for path in ("", "/progress", "/results.csv", "/contacts/r-1"):
        hidden, missing = client.get(f"{PAGES}/first{path}"), client.get(f"{PAGES}/other{path}")
        assert hidden.status_code == missing.status_code == 404
        assert hidden.text.replace("first", "other") == missing.text


def test_what_somebody_searched_for_stays_in_the_form(client: TestClient, full_ledger: Ledger) -> None:
    page = client.get(f"{PAGES}/first", params={"q": '"><b>', "state": "failed"})
    assert 'value="&#34;&gt;&lt;b&gt;"' in page.text
    assert '<option value="failed" selected>' in page.text


def test_a_secret_is_on_no_page(client: TestClient, full_ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "c4nary-9f8e7d6c5b4a"
    monkeypatch.setenv("AIRFLOW_CONN_CRM", f"http://ana:{canary}@crm.example")
    action = {"name": "Create", "type": "action", "url": "https://crm.example/x", "headers": {"X-Api-Key": canary}}
    flow = {"flow_format": 1, "id": "lead", "steps": [{**action, "query_params": {"token": canary}}]}
    replay = a_replay(full_ledger, [response(number) for number in range(300, 303)], "secret", flow=flow)
    ids = end(full_ledger, replay, [ContactState.FAILED] * 3)
    for one in ids:
        change(full_ledger, one, fingerprint="f-1", error=_error("status", 401))
    reply = {"error": "no", "token": canary, "nested": {"password": canary}, "url": f"https://a:{canary}@crm.example"}
    refused = result(reply, outcome="error", status_code=401, url="https://crm.example/x?***", error=None)
    attempt(full_ledger, "r-300", Fate.ANSWERED, replay, status_code=401, result=refused)
    attempt(full_ledger, "r-301", Fate.SUCCEEDED, replay, status_code=200, result=result(reply))
    paths = ["", "/secret", "/secret/progress", "/secret/results.csv", "/secret/results.jsonl"]
    paths += ["/secret/contacts/r-300", "/secret/contacts/r-301", "/secret?find=r-300"]
    for path in ["/whatsapp-flows/", *(f"{PAGES}{path}" for path in paths)]:
        page = client.get(path)
        assert page.status_code == 200
        assert canary not in page.text, path
    assert '"token": "***"' in text_of(client.get(f"{PAGES}/secret/contacts/r-301"))
