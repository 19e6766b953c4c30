"""The tab of a DAG: the flow drawn, the ways of contacts, and each step's request and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from airflow_whatsapp_flows.errors import MissingExtraError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.plugin import flow_drawing, flow_sources, flow_tab
from tests.ledger.filling import a_replay, attempt, end, response
from tests.plugin.pages import client_of, mount_pages, text_of

pytestmark = pytest.mark.usefixtures("airflow")

PAGE = "/whatsapp-flows/flows/lead"
HOSTILE = "\"'><script>alert(1)</script>\u202e"
CANARY = "s3cret-canary-7291-Zq"
FLOW: dict[str, Any] = {
    "flow_format": 1,
    "id": "lead",
    "name": f"Leads {HOSTILE}",
    "steps": [
        {"name": "Ask name", "type": "question", "body": "Who are you?", "next": "Create"},
        {
            "name": "Create", "type": "action", "connection": "crm", "method": "PUT",
            "url": f"/hooks/catch/{CANARY}77aB90/x?api_key={CANARY}", "headers": {"X-Api-Key": f"{CANARY}"},
            "body": {"name": "{{ step.Ask name }}"}, "on_success": "Thanks", "on_error": f"Sorry {HOSTILE}",
        },
        {"name": "Thanks", "type": "message", "body": "Thank you"},
        {"name": f"Sorry {HOSTILE}", "type": "message", "body": "Sorry"},
    ],
    "not_secret": ["X-Api-Key", "api_key"],
}  # fmt: skip
ERROR = {"step": "Create", "kind": "status", "message": "the server answered 503", "sent": "yes", "status_code": 503}


@pytest.fixture
def replay(ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]) -> Replay:
    """Three contacts: two went to the end, and one was refused."""
    use_ledger(ledger_url)
    found = a_replay(ledger, [response(number) for number in range(3)], flow=FLOW)
    end(ledger, found, [ContactState.COMPLETED] * 2, path=json.dumps(["Ask name", "Create", "Thanks"]))
    refused = {"error": json.dumps({**ERROR, "host": "crm.example"}), "fingerprint": "f-503"}
    ids = [ContactState.COMPLETED, ContactState.COMPLETED, ContactState.FAILED]
    path = json.dumps(["Ask name", "Create", f"Sorry {HOSTILE}"])
    with ledger.write() as connection:
        from sqlalchemy import update

        from airflow_whatsapp_flows.ledger.schema import contacts
        from tests.ledger.filling import forget_counts

        last = update(contacts).where(contacts.c.response_id == "r-2")
        connection.execute(last.values(state=ids[-1].value, path=path, ended_at=1000.0, **refused))
        forget_counts(connection)
    return found


def find_drawing(page: Any) -> ElementTree.Element:
    [found] = re.findall(r"<svg xmlns.*?</svg>", page.text, re.DOTALL)
    return ElementTree.fromstring(found)


def labels(page: Any) -> list[str]:
    return ["".join(one.itertext()).strip() for one in find_drawing(page).iter() if one.tag.endswith("}title")]


def test_draws_the_flow_with_the_ways_of_its_contacts(client: TestClient, replay: Replay) -> None:
    page = client.get(PAGE)
    assert page.status_code == 200
    shown = labels(page)
    for wanted in ("3 contacts", "success · 2 contacts", "error · 1 contact"):
        assert wanted in shown
    text = text_of(page)
    assert "3 of 3 contacts of first" in text
    assert "From the flow of the replay first" in text


def test_every_step_is_a_link(client: TestClient, replay: Replay) -> None:
    links = [one.get("href") or "" for one in find_drawing(client.get(PAGE)).iter() if one.tag.endswith("}a")]
    assert len(links) == len(FLOW["steps"])
    for link in links:
        page = client.get(PAGE + link.partition("#")[0])
        assert page.status_code == 200
        assert 'id="step"' in page.text


def test_a_step_shows_its_template_and_its_errors(client: TestClient, replay: Replay) -> None:
    page = client.get(f"{PAGE}?step=Create")
    text = text_of(page)
    for shown in (
        "PUT",
        "/hooks/catch/",
        "{{ step.Ask name }}",
        "crm",
        "3 contacts reached this step",
        "503",
        "1 contact",
    ):
        assert shown in text, shown
    assert "/whatsapp-flows/replays/first?fingerprint=f-503#contacts" in page.text
    assert "/whatsapp-flows/replays/first?step=Create#contacts" in page.text


def test_a_step_shows_how_long_its_replies_took(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    assert "Replies:" not in text_of(client.get(f"{PAGE}?step=Create"))
    for number in range(3):
        ended = {"begun_at": 900.0, "ended_at": 900.1 + number, "status_code": 200}
        attempt(ledger, f"r-{number}", Fate.SUCCEEDED, replay, **ended)
    text = text_of(client.get(f"{PAGE}?step=Create"))
    assert "Replies: half within 1.1 s95 % within 2.1 s99 % within 2.1 sof the last 3 replies of the replay" in text
    assert "Replies:" not in text_of(client.get(f"{PAGE}?step=Ask name"))


def test_a_secret_in_the_name_of_a_flow_is_hidden(
    client: TestClient, ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]
) -> None:
    use_ledger(ledger_url)
    a_replay(ledger, [response(1)], flow={**FLOW, "name": f"https://hooks.example/catch?api_key={CANARY}"})
    page = client.get(PAGE)
    assert "hooks.example" in page.text
    assert CANARY not in page.text


def test_a_secret_is_in_no_part_of_the_page(client: TestClient, replay: Replay) -> None:
    for query in ("", "?step=Create"):
        assert "canary" not in client.get(PAGE + query).text


def test_the_flow_file_comes_first(
    client: TestClient, replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flows").mkdir()
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    monkeypatch.setattr(flow_sources, "file_of_dag", lambda _: str(tmp_path / "dags.py"))
    newer = {**FLOW, "name": "Newer"}
    (tmp_path / "flows" / "lead.json").write_text(json.dumps(newer), encoding="utf-8")
    page = client.get(f"{PAGE}?step=Create")
    assert "<h1>Newer</h1>" in page.text
    assert "canary" not in page.text


def test_hostile_names_are_texts(client: TestClient, replay: Replay) -> None:
    for query in ("", "?step=Create"):
        page = client.get(PAGE + query)
        assert "<script>alert" not in page.text
        assert "\u202e" not in page.text


def test_a_page_has_no_style_of_its_own(client: TestClient, replay: Replay) -> None:
    page = client.get(PAGE)
    assert "<style" not in page.text
    assert " style=" not in page.text
    sheet = client.get("/whatsapp-flows/flow.css")
    assert sheet.headers["content-type"].startswith("text/css")
    assert ":root.dark .whatsapp-flow" in sheet.text


def test_without_the_extra_the_steps_are_a_list(
    client: TestClient, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> str:
        raise MissingExtraError("an SVG drawing", "graphlay", "draw")

    monkeypatch.setattr(flow_drawing, "draw", fail)
    page = client.get(PAGE)
    assert "pip install 'airflow-whatsapp-flows[draw]'" in text_of(page)
    assert "<svg xmlns" not in page.text
    assert '<details open class="steps">' in page.text
    assert "Ask name" in text_of(page)


@pytest.mark.parametrize("steps", [50, 51, 1000])
def test_a_page_of_many_steps_stays_small(
    client: TestClient, ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None], steps: int
) -> None:
    use_ledger(ledger_url)
    written = [
        {
            "name": f"Step {number} of many", "type": "action", "url": "https://crm.example/x",
            "on_success": f"Step {number + 1} of many", "on_error": f"Step {steps} of many",
        }
        for number in range(1, steps)
    ]  # fmt: skip
    last = {"name": f"Step {steps} of many", "type": "message", "body": "x"}
    a_replay(ledger, [response(1)], flow={"flow_format": 1, "id": "lead", "steps": [*written, last]})
    page = client.get(PAGE)
    assert page.status_code == 200
    assert len(page.content) < 200_000
    assert ("<svg xmlns" in page.text) == (steps == 50)


def test_a_flow_of_many_exits_is_not_drawn(
    client: TestClient, ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None], monkeypatch: Any
) -> None:
    use_ledger(ledger_url)
    names = [f"Menu {number}" for number in range(41)]
    menus = [
        {"name": name, "type": "menu", "body": "x", "options": {"on": following, "last": names[-1], "end": None}}
        for name, following in pairwise(names)
    ]
    menus.append({"name": names[-1], "type": "menu", "body": "x", "options": {"end": None}})
    a_replay(ledger, [response(1)], flow={"flow_format": 1, "id": "lead", "steps": menus})
    monkeypatch.setattr(flow_drawing, "draw", lambda *_: pytest.fail("it is drawn"))
    page = client.get(PAGE)
    assert "The flow has 41 steps and" in text_of(page)
    assert '<details open class="steps">' in page.text


def test_counts_are_of_the_chosen_replay(client: TestClient, ledger: Ledger, replay: Replay) -> None:
    a_replay(ledger, [response(9)], "second", flow=FLOW)
    assert "no contact walked yet of second" in text_of(client.get(PAGE))
    page = client.get(f"{PAGE}?replay=first&step=Create")
    assert "success · 2 contacts" in labels(page)
    assert "replay=first" in page.text
    assert client.get(f"{PAGE}?replay=none%00").status_code == 404
    assert client.get(f"{PAGE}?step=none").status_code == 404


def write_file(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "flows").mkdir()
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(folder))
    monkeypatch.setattr(flow_sources, "file_of_dag", lambda _: str(folder / "dags.py"))
    (folder / "flows" / "lead.json").write_text(text, encoding="utf-8")


def test_a_renamed_step_has_no_number_and_a_chosen_replay_shows_its_own_flow(
    client: TestClient, replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(
        tmp_path, monkeypatch, json.dumps(FLOW).replace('"Ask name"', '"Ask"').replace("step.Ask name", "step.Ask")
    )
    page = client.get(PAGE)
    assert "have changed since this replay" in text_of(page)
    assert re.search(r">Ask</a> <small>question</small>", page.text)
    assert "3 contacts" not in labels(page)
    assert "success · 2 contacts" in labels(page)
    then = client.get(f"{PAGE}?replay=first&step=Ask name")
    assert "have changed" not in text_of(then)
    assert "3 contacts reached this step" in text_of(then)


def test_a_flow_file_with_faults_is_said_to_have_them(
    client: TestClient, replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path, monkeypatch, json.dumps({**FLOW, "stepz": [f"password={CANARY}"]}))
    text = text_of(client.get(PAGE))
    assert "The flow file has faults. This is the flow of the replay first." in text
    assert "stepz" in text
    assert "canary" not in text
    monkeypatch.setattr(flow_tab, "may_see_import_errors", lambda _: False)
    text = text_of(client.get(PAGE))
    assert "The flow file has faults" in text
    assert "stepz" not in text
    other = text_of(client.get(PAGE.replace("lead", "other")))
    assert "does not belong" in other


def test_says_where_contacts_ended_and_stopped(client: TestClient, replay: Replay) -> None:
    text = text_of(client.get(f"{PAGE}?step=Thanks"))
    assert "2 contacts ended here" in text
    assert "stopped here" not in text
    text = text_of(client.get(PAGE, params={"step": f"Sorry {HOSTILE}"}))
    assert "1 contact stopped here (1 failed)" in text
    assert "ended here" not in text


def test_a_conditional_shows_its_conditions_and_names_are_masked(
    client: TestClient, ledger: Ledger, ledger_url: str, use_ledger: Callable[[str], None]
) -> None:
    use_ledger(ledger_url)
    secret = f"Bearer {CANARY}77aB90"
    steps = [
        {"name": "Menu", "type": "menu", "body": "x", "options": {secret: "Which?", "b": "Which?"}},
        {
            "name": "Which?", "type": "conditional",
            "paths": [{"next": secret, "conditions": [
                {"field": "step.Menu", "comparison": "exact", "value": "x"},
                {"field": "contact.note", "comparison": "exact", "value": secret}]}],
        },
        {"name": secret, "type": "message", "body": "x"},
    ]  # fmt: skip
    a_replay(ledger, [response(1)], flow={"flow_format": 1, "id": "lead", "steps": steps})
    page = client.get(f"{PAGE}?step=Which?")
    assert 'step.Menu exact "x" and contact.note exact' in text_of(page)
    for query in ("?step=Which?", "?step=Menu", ""):
        assert "canary" not in text_of(client.get(PAGE + query))


def test_the_replay_dag_has_the_same_flow(client: TestClient, replay: Replay) -> None:
    assert "success · 2 contacts" in labels(client.get(f"{PAGE}__replay"))


def test_another_dag_has_no_flow(client: TestClient, replay: Replay) -> None:
    assert "does not belong to a WhatsApp flow" in text_of(client.get("/whatsapp-flows/flows/other%2F%00x"[:-4]))


def test_works_without_a_ledger(client: TestClient, use_ledger: Callable[[str], None], tmp_path: Path) -> None:
    use_ledger(f"sqlite:///{tmp_path / 'none.db'}")
    assert client.get(PAGE).status_code == 200


def test_asks_who_is_not_logged_in_to_log_in(client_as: Callable[[str], TestClient]) -> None:
    assert client_as("anonymous").get(PAGE).status_code == 401
    assert client_as("viewer").get("/whatsapp-flows/flow.css").status_code == 200


def test_links_start_with_the_base_path_of_airflow(replay: Replay, tokens: dict[str, str]) -> None:
    client = client_of(mount_pages("/team/airflow"), tokens["viewer"])
    page = client.get(f"/team/airflow{PAGE}?step=Create")
    assert page.status_code == 200
    assert 'href="/team/airflow/whatsapp-flows/flow.css?' in page.text
    assert 'href="/team/airflow/whatsapp-flows/replays/first?fingerprint=f-503#contacts"' in page.text
    assert 'href="/whatsapp-flows' not in page.text
