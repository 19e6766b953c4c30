"""The example DAGs load, and do in the demo CRM what they describe."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from tests.airflow_runs import FinishedRun, run_dag

REPOSITORY = Path(__file__).resolve().parents[1]
DAGS = REPOSITORY / "dags"
REPLAYED = {f"{name}__replay" for name in ("campaign_leads", "customer_sync", "loyalty_tiers")}
FLOWS = sorted(path.stem for path in (DAGS / "flows").glob("*.json"))
sys.path.insert(0, str(REPOSITORY / "docker"))

from demo_crm.process import running  # noqa: E402


def load(folder: Path) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=str(folder), bundle_name="dags-folder")


@pytest.fixture(scope="module")
def dag_bag(airflow: None) -> Any:
    return load(DAGS)


@pytest.fixture(scope="module")
def crm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("crm") / "crm.db") as url:
        yield url


@pytest.fixture
def crm(crm_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """The demo CRM of the connection ``crm``, with all switches off and an empty log."""
    monkeypatch.setenv("AIRFLOW_CONN_CRM", crm_url)
    for name in ("ALLOWED", "MEDIA"):
        monkeypatch.setenv(f"AIRFLOW__WHATSAPP_FLOWS__{name}_HOSTS", httpx.URL(crm_url).netloc.decode())
    with httpx.Client(base_url=crm_url, trust_env=False, timeout=20) as client:
        client.delete("/_switches")
        client.delete("/_requests")
        yield client
        client.delete("/_switches")


def log(crm: httpx.Client) -> list[tuple[str, str, int]]:
    return [(entry["method"], entry["path"], entry["status"]) for entry in crm.get("/_requests").json()]


def contact(number: int, **others: Any) -> dict[str, Any]:
    return {"phone": f"+5255000000{number:02}", "first_name": "Ana", **others}


def find_contacts(crm: httpx.Client, phone: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = crm.get("/v1/contacts", params={"phone": phone}).json()
    return found


def run(dag_bag: Any, dag_id: str, conf: dict[str, Any]) -> FinishedRun:
    return run_dag(dag_bag.dags[dag_id], conf)


def test_every_example_dag_file_loads_without_an_import_error(dag_bag: Any) -> None:
    assert dag_bag.import_errors == {}


def test_every_flow_file_has_its_dags(dag_bag: Any) -> None:
    assert set(dag_bag.dags) == {*FLOWS, *REPLAYED, "lead_by_hand", "customer_mart"}


def test_every_dag_file_passes_airflows_safe_mode() -> None:
    # Airflow silently skips a file whose text lacks either word.
    for file in DAGS.glob("*.py"):
        text = file.read_bytes().lower()
        assert b"airflow" in text, file.name
        assert b"dag" in text, file.name


def test_a_broken_flow_is_an_import_error_of_the_health_file_only(airflow: None, tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    for file in (*DAGS.glob("whatsapp_flows*.py"), DAGS / "flows" / "visit_note.json"):
        (tmp_path / file.relative_to(DAGS)).write_bytes(file.read_bytes())
    broken = '{"flow_format": 1, "id": "broken",\n "steps": [{"name": "Hi", "type": "message", "next": "Bye"}]}'
    (tmp_path / "flows" / "broken.json").write_text(broken)

    found = load(tmp_path)

    assert set(found.dags) == {"visit_note", "broken"}
    assert type(found.dags["broken"].get_task("hi")).__name__ == "FlowFaultOperator"
    assert [Path(file).name for file in found.import_errors] == ["whatsapp_flows_health.py"]
    assert "broken.json:2:" in next(iter(found.import_errors.values()))


class TestLeadToCrm:
    ANSWERS = {"Ask name": 'Ana "la Jefa" {{ 7*7 }}', "Ask age": "41"}  # noqa: RUF012

    def test_the_contact_is_in_the_crm_and_receives_its_number(self, dag_bag: Any, crm: httpx.Client) -> None:
        who = contact(1)

        finished = run(dag_bag, "lead_to_crm", {"contact": who, "step": self.ANSWERS})

        assert finished.state == "success"
        [kept] = find_contacts(crm, who["phone"])
        assert kept["name"] == 'Ana "la Jefa" {{ 7*7 }}'
        assert kept["age"] == 41
        assert kept["campaign"] == "organic"
        assert finished.result("say_thanks")["text"].endswith(f"you are customer number {kept['id']}.")
        assert finished.states["tell_sales"] == "skipped"

    def test_the_same_contact_twice_is_one_contact(self, dag_bag: Any, crm: httpx.Client) -> None:
        who = contact(2)

        for name in ("Ana", "Ana María"):
            run(dag_bag, "lead_to_crm", {"contact": who, "step": {"Ask name": name, "Ask age": 30}})

        assert [kept["name"] for kept in find_contacts(crm, who["phone"])] == ["Ana María"]

    def test_a_failing_crm_takes_the_error_exit_for_its_contact_alone(self, dag_bag: Any, crm: httpx.Client) -> None:
        unlucky, lucky = contact(3), contact(4)
        failing = {"method": "POST", "path": "/v1/contacts", "phones": [unlucky["phone"]], "status": 500}
        crm.put("/_switches", json=failing)

        runs = [run(dag_bag, "lead_to_crm", {"contact": who, "step": self.ANSWERS}) for who in (unlucky, lucky)]

        assert [finished.state for finished in runs] == ["success", "success"]
        assert find_contacts(crm, unlucky["phone"]) == []
        assert len(find_contacts(crm, lucky["phone"])) == 1
        assert runs[0].result("create_contact")["outcome"] == "error"
        assert runs[0].result("tell_sales")["response"]["fields"] == {
            "phone": unlucky["phone"],
            "name": self.ANSWERS["Ask name"],
            "reason": "the CRM answered 500",
        }
        assert runs[0].states["say_thanks"] == "skipped"
        assert runs[1].states["tell_sales"] == "skipped"
        posts = [entry for entry in log(crm) if entry[0] == "POST"]
        assert posts == [("POST", "/v1/contacts", 500), ("POST", "/v1/leads", 201), ("POST", "/v1/contacts", 201)]


@pytest.mark.parametrize(
    ("number", "step", "text"),
    [
        ("1001", "say_shipped", "Good news: order 1001 is with Estafeta."),
        ("1002", "say_pending", "Order 1002 (1280.50 MXN) is being packed."),
        ("1003", "say_status", "Order 1003 is delivered."),
        ("9999", "say_not_found", "I cannot find order 9999. Is the number right?"),
    ],
)
def test_the_crms_reply_about_an_order_decides_the_message(
    dag_bag: Any, crm: httpx.Client, number: str, step: str, text: str
) -> None:
    finished = run(dag_bag, "order_status", {"contact": contact(10), "step": {"Ask order number": number}})

    assert finished.state == "success"
    assert finished.result(step)["text"] == text
    others = {"say_shipped", "say_pending", "say_status", "say_not_found", "say_try_later"} - {step}
    assert {finished.states[other] for other in others} == {"skipped"}


def test_retries_a_failed_order_lookup_once(dag_bag: Any, crm: httpx.Client) -> None:
    crm.put("/_switches", json={"path": "/v1/orders", "status": 503})

    finished = run(dag_bag, "order_status", {"contact": contact(11), "step": {"Ask order number": "1001"}})

    assert finished.state == "success"
    assert finished.result("say_try_later")["text"].startswith("Our shop does not answer")
    assert log(crm) == [("GET", "/v1/orders/1001", 503)] * 2


def test_a_newsletter_reader_is_a_lead_of_the_crm(dag_bag: Any, crm: httpx.Client) -> None:
    answers = {"Ask email": "Ana@Shop.Example", "Ask topics": ["shoes & hats", "sale"]}

    finished = run(dag_bag, "newsletter_signup", {"contact": contact(20, meta={"plan": "pro"}), "step": answers})

    assert finished.state == "success"
    assert finished.result("sign_up")["response"]["fields"] == {
        "email": "ana@shop.example",
        "first_name": "Ana",
        "plan": "pro",
        "topic": ["shoes & hats", "sale"],
        "list": "newsletter",
    }


def test_a_receipt_is_fetched_and_uploaded_byte_for_byte(dag_bag: Any, crm: httpx.Client) -> None:
    receipt = crm.get("/media/receipt.pdf")
    answer = {"url": str(receipt.url), "filename": "factura marzo.pdf", "content_type": "application/pdf"}
    crm.delete("/_requests")

    finished = run(dag_bag, "document_upload", {"contact": contact(30), "step": {"Ask receipt": answer}})

    assert finished.state == "success"
    [kept] = finished.result("upload_receipt")["response"]["files"]
    assert (kept["name"], kept["content_type"]) == ("factura marzo.pdf", "application/pdf")
    assert kept["size"] == len(receipt.content)
    assert [entry[:2] for entry in log(crm)] == [("GET", "/media/receipt.pdf"), ("POST", "/v1/documents")]


def test_a_missing_receipt_uploads_nothing_and_asks_again(dag_bag: Any, crm: httpx.Client) -> None:
    url = str(crm.base_url.join("/media/gone.pdf"))

    finished = run(dag_bag, "document_upload", {"contact": contact(31), "step": {"Ask receipt": {"url": url}}})

    assert finished.state == "success"
    assert finished.result("upload_receipt")["error"]["kind"] == "file"
    assert finished.states["say_send_again"] == "success"
    assert log(crm) == [("GET", "/media/gone.pdf", 404)]


def test_a_ticket_is_opened_with_the_words_of_the_contact(dag_bag: Any, crm: httpx.Client) -> None:
    answers = {"Ask problem": "Sizes < 38 & > 44 are missing </problem><phone>1</phone>"}

    finished = run(dag_bag, "support_ticket", {"contact": contact(40), "step": answers})

    assert finished.state == "success"
    number = finished.result("say_ticket")["text"].removeprefix("Your ticket is number ").removesuffix(".")
    assert number.isdecimal()
    [sent] = crm.get("/_requests").json()
    envelope = ElementTree.fromstring(sent["body_text"])
    assert envelope.findtext(".//problem") == answers["Ask problem"]
    assert len(envelope.findall(".//phone")) == 1


def test_a_ticket_that_cannot_be_opened_ends_red(dag_bag: Any, crm: httpx.Client) -> None:
    crm.put("/_switches", json={"path": "/soap", "status": 500})

    finished = run(dag_bag, "support_ticket", {"contact": contact(41), "step": {"Ask problem": "No sound"}})

    assert finished.state == "failed"
    assert finished.states["hand_over"] == "failed"
    assert finished.states["open_ticket"] == "success"


def test_a_note_keeps_numbers_booleans_and_text_apart(dag_bag: Any, crm: httpx.Client) -> None:
    answers = {"Ask visited": "yes", "Ask stars": "5", "Ask remark": "no: yes\n- ~"}

    finished = run(dag_bag, "visit_note", {"contact": contact(50), "step": answers})

    assert finished.state == "success"
    note = finished.result("save_note")["response"]["note"]["visit"]
    assert (note["visited"], note["stars"], note["remark"]) == (True, 5, "no: yes\n- ~")
    assert (note["shop"], note["tags"]) == (None, ["visit", "no"])


def test_each_call_of_the_assistant_uses_the_reply_before(dag_bag: Any, crm: httpx.Client) -> None:
    question = 'Do you have "ñandú" boots?\nThanks 🥾'

    finished = run(dag_bag, "assistant_thread", {"contact": contact(60), "step": {"Ask question": question}})

    assert finished.state == "success"
    assert finished.result("say_answer")["text"] == f"You said: {question}"
    thread = finished.result("start_thread")["response"]["id"]
    paths = ["/v1/threads", *(f"/v1/threads/{thread}/{end}" for end in ("messages", "runs", "messages"))]
    assert [path for _, path, _ in log(crm)] == paths


def test_a_chain_stops_at_the_call_that_fails(dag_bag: Any, crm: httpx.Client) -> None:
    crm.put("/_switches", json={"path": "/v1/threads", "method": "POST", "status": 500, "every": 2})

    finished = run(dag_bag, "assistant_thread", {"contact": contact(61), "step": {"Ask question": "Hello?"}})

    assert finished.state == "success"
    assert finished.result("say_unavailable")["text"].startswith("Our assistant is taking a break")
    assert [status for _, _, status in log(crm)] == [201, 500]
    assert {finished.states[task] for task in ("run", "get_messages", "say_answer")} == {"skipped"}


@pytest.mark.parametrize(
    ("answers", "who", "team"),
    [
        ({"Main menu": "Buy", "Ask budget": "12000"}, {}, "premium"),
        ({"Main menu": "Buy", "Ask budget": "5000"}, {}, "sales"),
        ({"Main menu": "support"}, {"email": "ana@acme.example", "tags": ["company"], "plan": "pro"}, "support"),
    ],
)
def test_the_menu_hands_contacts_to_the_right_team(
    dag_bag: Any, crm: httpx.Client, answers: dict[str, str], who: dict[str, Any], team: str
) -> None:
    finished = run(dag_bag, "menu_router", {"contact": contact(70, **who), "step": answers})

    assert finished.state == "success"
    assert finished.result(f"route_to_{team}")["response"]["fields"]["team"] == team
    assert len(log(crm)) == 1


def test_the_recorded_responses_of_a_campaign_are_replayed(
    dag_bag: Any, crm: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    crm.put("/_switches", json={"path": "/v1/leads", "every": 7, "drop": "after"})

    finished = run(dag_bag, "campaign_leads__replay", {})

    assert finished.state == "success"
    report = finished.result("report")
    assert (report["total"], report["completed"]) == (20, 20)
    sent = [dict(entry["headers"])["idempotency-key"] for entry in crm.get("/_requests").json() if entry["applied"]]
    assert len(sent) == len(set(sent)) == 20


def test_an_approved_canary_of_customers_is_sent_before_the_others(
    dag_bag: Any, crm: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    sent: list[int] = []

    def approve(task: Any, context: Any) -> Any:
        sent.append(len(log(crm)))
        event = {"chosen_options": ["Approve"], "params_input": {}, "responded_by_user": None}
        return task.execute_complete(context, {**event, "responded_at": dt.datetime.now(dt.timezone.utc)})

    monkeypatch.setattr(ApprovalOperator, "execute", approve)
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")

    finished = run(dag_bag, "loyalty_tiers__replay", {})

    assert finished.state == "success"
    assert (sent, len(log(crm))) == ([0, 5], 20)


def test_a_table_that_is_built_is_sent_by_the_replay_that_its_asset_starts(
    dag_bag: Any, crm: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    warehouse = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(warehouse))
    with sqlite3.connect(tmp_path / "warehouse.db") as connection:
        connection.execute("CREATE TABLE orders (customer TEXT, phone TEXT, name TEXT)")
        rows = [(f"c-{number % 3}", f"+52551000000{number % 3}", "Ana") for number in range(6)]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    connection.close()
    mart, replay = dag_bag.dags["customer_mart"], dag_bag.dags["customer_sync__replay"]

    assert run(dag_bag, "customer_mart", {}).state == "success"
    assert {asset.uri for asset in mart.get_task("build_customers").outlets} == {
        asset.uri for asset in replay.timetable.asset_condition.objects
    }
    finished = run(dag_bag, "customer_sync__replay", {})

    assert finished.state == "success"
    assert len(log(crm)) == finished.result("report")["completed"] == 3


class TestLeadByHand:
    def test_context_results_and_answers_can_be_combined(self, dag_bag: Any, crm: httpx.Client) -> None:
        who = contact(80)
        answers = {"Ask name": "{{ 7*7 }}", "Ask interests": ["shoes", "{{ 7*7 }}"]}

        finished = run(dag_bag, "lead_by_hand", {"contact": who, "step": answers})

        assert finished.state == "success"
        [kept] = find_contacts(crm, who["phone"])
        assert (kept["name"], kept["score"]) == ("{{ 7*7 }}", 20)
        assert len(kept["seen_on"]) == len("2026-11-22")
        noted = [finished.result("note_interest", index)["response"]["fields"] for index in range(2)]
        assert [fields["interest"] for fields in noted] == ["shoes", "{{ 7*7 }}"]
        assert finished.result("report") == "success: 201"
        assert finished.states["tell_sales"] == "skipped"
        first = crm.get("/_requests").json()[0]
        assert ["x-dag", "lead_by_hand"] in [[name.lower(), value] for name, value in first["headers"]]

    def test_a_failing_crm_takes_the_error_exit(self, dag_bag: Any, crm: httpx.Client) -> None:
        who = contact(81)
        crm.put("/_switches", json={"path": "/v1/contacts", "phones": [who["phone"]], "status": 500})

        finished = run(dag_bag, "lead_by_hand", {"contact": who, "step": {"Ask name": "Ana"}})

        assert finished.state == "success"
        assert finished.result("tell_sales")["response"]["fields"] == {"phone": who["phone"], "status": "500"}
        assert finished.result("report") == "error: 500"
        assert finished.states["interests"] == "skipped"
