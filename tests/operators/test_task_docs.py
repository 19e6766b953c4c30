"""The documentation of a flow's tasks on Airflow's pages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows.dag_factory import build_dag
from airflow_whatsapp_flows.dag_factory.replay_dag import build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.operators import task_docs
from tests.airflow_runs import run_dag
from tests.operators.flows import action, flow, message, polling_flow, question, seconds, step

pytestmark = pytest.mark.usefixtures("airflow")


def plain(markdown: str) -> str:
    """The text as a reader sees it."""
    return re.sub(r"\\(.)", r"\1", markdown)


def docs(*steps: dict[str, Any], **keys: Any) -> dict[str, str]:
    return {task.task_id: plain(task.doc_md or "") for task in build_dag(flow(*steps, **keys)).tasks}


def test_an_action_shows_its_request_its_delivery_and_its_exits() -> None:
    found = docs(
        question("Ask name", next="Save"),
        action(
            "Save",
            method="PUT",
            url="/v1/leads/{{ contact.phone }}",
            headers={"X-Source": "whatsapp"},
            body={"name": "{{ step.Ask name }}"},
            retry={"attempts": 3},
            on_success="Thanks",
            on_error="Sorry",
        ),
        message("Thanks"),
        message("Sorry"),
    )
    about = found["save"]
    assert about.startswith(
        "Sends `PUT /v1/leads/{{ contact.phone }}` with the connection `crm`, at most 3 times; delivery `idempotent`."
    )
    assert '| headers | {"X-Source": "whatsapp"} |' in about
    assert '"name": "{{ step.Ask name }}"' in about
    assert "- success → Thanks\n- error → Sorry" in about
    assert found["save__exit"].startswith("Follows the exit that `save` takes:\n\n- success → `thanks`")


@pytest.mark.parametrize(
    ("kind", "keys", "words"),
    [
        pytest.param("question", {"answer_type": "NUMBER", "body": "How old?"}, ["NUMBER", "How old?"], id="question"),
        pytest.param("menu", {"options": {"Sales": None}}, ["Sales → the end"], id="menu"),
        pytest.param("message", {"body": "Hello"}, ["Hello", "Nothing is sent to WhatsApp"], id="message"),
        pytest.param("template", {"whatsapp_template": "welcome"}, ["welcome"], id="template"),
        pytest.param(
            "conditional",
            {
                "paths": [
                    {
                        "name": "adult",
                        "conditions": [{"field": "contact.age", "comparison": "gt", "value": 17}],
                        "next": None,
                    }
                ]
            },
            ["adult → the end", '"comparison": "gt"'],
            id="conditional",
        ),
        pytest.param("delay", {"amount": 5, "unit": "MINUTE"}, ["| amount | 5 |", "MINUTE"], id="delay"),
        pytest.param("contact_update", {"email": "{{ contact.phone }}"}, ["{{ contact.phone }}"], id="contact_update"),
        pytest.param("tag", {"contact_tags": ["vip"]}, ["vip"], id="tag"),
        pytest.param("assignation", {"assign_to_users": [7]}, ["[7]"], id="assignation"),
        pytest.param("trigger_flow", {"next_flow": "other"}, ["other"], id="trigger_flow"),
        pytest.param("end", {"state": "failed", "reason": "no stock"}, ["failed", "no stock"], id="end"),
    ],
)
def test_every_step_says_what_it_does(kind: str, keys: dict[str, Any], words: list[str]) -> None:
    [about] = docs(step(kind, "One", **keys)).values()
    assert all(word in about for word in words), about


def test_a_loop_describes_each_of_its_steps() -> None:
    found = {task.task_id: plain(task.doc_md or "") for task in build_dag(polling_flow()).tasks}
    about = found["get_reply"]
    assert about.startswith("Walks 4 steps")
    for name in ("**Get reply**", "**Is it ready?**", "**Wait**", "**Again**"):
        assert name in about
    assert "the server applied the request of `start`" not in about


SECRET = "x9Yk27abQz81mnPq4Rt6Uv"


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"url": f"/hooks/{SECRET}"}, id="path"),
        pytest.param({"url": f"/hooks?ref={SECRET}"}, id="query-of-the-url"),
        pytest.param({"headers": {"X-Ref": SECRET}}, id="header"),
        pytest.param({"query_params": {"ref": SECRET}}, id="query"),
        pytest.param({"query_params": [["ref", SECRET]]}, id="query-pairs"),
        pytest.param({"body": {"ref": SECRET}}, id="body"),
        pytest.param({"body_type": "form", "body": f"ref={SECRET}&a=1"}, id="form"),
    ],
)
def test_what_may_be_a_secret_is_hidden(keys: dict[str, Any]) -> None:
    [about] = docs(action("Save", **{"url": "/v1", **keys})).values()
    assert SECRET not in about
    assert "***" in about


def test_texts_of_a_flow_are_no_markup() -> None:
    [about] = [task.doc_md for task in build_dag(flow(message("One", body="<b>x</b> [a](b)"))).tasks]
    assert "`<b>x</b> [a](b)`" in str(about)


def test_a_long_body_is_cut() -> None:
    [about] = docs(message("One", body="x" * 60_000)).values()
    assert len(about) < 5_000


def test_every_task_of_a_replay_is_documented() -> None:
    dag = build_replay_dag(load_flow(flow(seconds("Wait", 1), replay={"source": "a.jsonl"})))
    assert all(task.doc_md for task in dag.tasks)


def test_airflow_stores_it_and_parsing_does_not_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    written: list[Any] = []
    original = task_docs.step_doc
    monkeypatch.setattr(
        "airflow_whatsapp_flows.operators.flow_steps.step_doc",
        lambda step: written.append(step.name) or original(step),
    )
    dag: DAG = build_dag(flow(message("One", body="Hello there")))
    assert written == []
    run_dag(dag)
    assert "One" in written
    with create_session() as session:
        stored = SerializedDagModel.get(dag.dag_id, session=session)
        assert stored is not None
        assert "Hello there" in json.dumps(stored.data)


def test_a_documentation_that_is_given_is_kept() -> None:
    [task] = build_dag(flow(message("One"))).tasks
    task.doc_md = "mine"
    assert task.doc_md == "mine"
