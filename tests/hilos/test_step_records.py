"""Complete flows: which records are read, and the order and names of their steps."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.walk.perform import build_request
from airflow_whatsapp_flows.hilos import read_step_records
from tests.hilos.samples import VERSION, crm_records, executions, gpt_records, notes, only, read, step, steps_of, uuid


def test_the_polling_guide_becomes_a_flow_that_loads() -> None:
    imported = read_step_records(gpt_records(), flow_id="gpt")

    flow = load_flow(imported.flow)
    assert imported.loads
    assert (flow.id, flow.name, flow.start) == ("gpt", "ChatGPT", "Ask question")
    assert {name: [(way.label, way.target) for way in one.exits] for name, one in flow.steps.items()} == {
        "Ask question": [("next", "Start GPT thread")],
        "Start GPT thread": [("success", "Keep it"), ("error", "Sorry")],
        "Keep it": [("next", "Add message")],
        "Add message": [("success", "Run"), ("error", "Sorry")],
        "Run": [("success", "Get generated GPT response"), ("error", "Sorry")],
        "Get generated GPT response": [("success", "Is it ready"), ("error", "Sorry")],
        "Is it ready": [("path 1", "Answer"), ("otherwise", "Wait")],
        "Answer": [("next", None)],
        "Sorry": [("next", None)],
        "Wait": [("next", "Ask again")],
        "Ask again": [("next", "Get generated GPT response")],
    }
    assert imported.flow["imported"] == {"from": "hilos", "flow_version": VERSION}


def test_the_requests_of_the_polling_guide_are_sent_as_recorded() -> None:
    flow = load_flow(read_step_records(gpt_records(), flow_id="gpt").flow)
    values = {"contact": {"gpt_response": "41"}, "step": {"Start GPT thread": {"response": {"id": "thread_7"}}}}

    def request_parts(name: str) -> tuple[str, str, bytes]:
        action = flow.steps[name]
        assert isinstance(action, Action)
        request = build_request(action, values)
        return request.method, request.url, request.content or b""

    assert request_parts("Start GPT thread") == ("POST", "/v1/threads", b"{}")
    assert request_parts("Add message") == ("POST", "/v1/threads/thread_7/messages", b'{"role":"user","content":"41"}')
    assert request_parts("Get generated GPT response") == ("GET", "/v1/threads/thread_7/messages", b"")


def test_activecampaigns_dialect_is_merged_from_several_contacts() -> None:
    imported = read_step_records(crm_records(), flow_id="crm", syntax="activecampaign")

    assert imported.loads
    assert list(imported.flow) == [
        "flow_format", "id", "name", "syntax", "sensitive", "imported", "variables", "steps",
    ]  # fmt: skip
    assert [one["name"] for one in steps_of(imported)] == [
        "Ask name", "Ask age", "Plan", "Save", "Upsert", "Tag", "Call you",
    ]  # fmt: skip
    plan = steps_of(imported)[2]
    assert plan["options"] == {"Basic": "Save", "Pro": "Save", "None": None}
    assert [note.field for note in notes(imported, "dangling", "Tag")] == ["next_step_default"]


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda one: [one], id="a list of steps"),
        pytest.param(lambda one: one, id="one step"),
        pytest.param(lambda one: [{"step": one, "status": "COMPLETED"}], id="execution steps"),
        pytest.param(lambda one: executions(one), id="one execution"),
        pytest.param(lambda one: [executions(one), executions(one)], id="executions"),
        pytest.param(lambda one: {"count": 1, "next": None, "results": [executions(one)]}, id="a page"),
    ],
)
def test_every_shape_of_records_is_read(wrap: Any) -> None:
    imported = read_step_records(wrap(step(1, "Hello", "MESSAGE", body="Hi")), flow_id="a_flow")

    assert steps_of(imported) == [{"name": "Hello", "type": "message", "body": "Hi", "platform_id": uuid(1)}]


@pytest.mark.parametrize("records", [[], {}, None, "steps", [1], {"results": [{"id": "x", "contact": {}}]}])
def test_records_without_a_step_are_refused(records: object) -> None:
    with pytest.raises(SourceError, match="the records contain no steps; expected steps"):
        read_step_records(records, flow_id="a_flow")


@pytest.mark.parametrize("flow_id", ["", "Lead to CRM", "../x", "a" * 101, "é"])
def test_refuses_an_invalid_flow_id(flow_id: str) -> None:
    with pytest.raises(SourceError, match="cannot be the id of a flow: use lowercase letters"):
        read_step_records([step(1, "A")], flow_id=flow_id)


def test_imports_the_newest_version_and_reports_others() -> None:
    old = step(1, "Old", "MESSAGE", body="old", flow_version="v-old")
    new = step(1, "New", "MESSAGE", body="new", flow_version="v-new")

    imported = read_step_records(
        [
            executions(new, created_on="2026-11-02T00:00:00Z"),
            executions(old, old, created_on="2026-11-02T00:30:00+01:00"),
        ],
        flow_id="a_flow",
    )

    assert [one["name"] for one in steps_of(imported)] == ["New"]
    assert imported.flow["imported"] == {"from": "hilos", "flow_version": "v-new"}
    assert "v-old" in notes(imported, "lost", None)[0].message


def test_the_platforms_current_version_is_the_newest() -> None:
    live = step(1, "Live", "MESSAGE", body="x", flow_version="v1")
    draft = step(1, "Draft", "MESSAGE", body="x", flow_version="v2")

    imported = read_step_records(
        [
            executions(draft, created_on="2026-11-09T00:00:00Z"),
            executions(live, created_on="2026-11-01T00:00:00Z", flow_version={"id": "v1", "is_current_version": True}),
        ],
        flow_id="a_flow",
    )

    assert [one["name"] for one in steps_of(imported)] == ["Live"]


def test_merges_two_records_of_one_step() -> None:
    first, second = step(1, "A", "MESSAGE", body=None, next_step_default=uuid(2)), step(1, "A", "MESSAGE", body="Hi")

    imported = read(first, second, step(2, "B", "MESSAGE", body="x"))

    assert steps_of(imported)[0] == {
        "name": "A", "type": "message", "body": "Hi", "next": "B", "platform_id": uuid(1),
    }  # fmt: skip


def test_orders_steps_by_position_then_by_appearance() -> None:
    def message_at(name: str, number: int, index: object, then: int | None) -> dict[str, Any]:
        way = uuid(then) if then else None
        return step(number, name, "MESSAGE", body="x", ordering_idx=index, next_step_default=way)

    imported = read(
        message_at("C", 3, None, None), message_at("D", 4, None, 3), message_at("B", 2, 7, 4), message_at("A", 1, 2, 2)
    )

    assert [one["name"] for one in steps_of(imported)] == ["A", "B", "C", "D"]
    assert "start" not in imported.flow


def test_the_start_is_the_step_that_nothing_leads_to() -> None:
    first = step(5, "First", "MESSAGE", body="x", next_step_default=uuid(1))

    imported = read(step(1, "Second", "MESSAGE", body="y"), first)

    assert imported.flow["start"] == "First"
    assert notes(imported, "inferred", None) == []


def test_reports_exits_to_unrecorded_steps_as_ends() -> None:
    imported = read(step(1, "Ask", "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(2)))

    assert "next" not in steps_of(imported)[0]
    assert [(note.step, note.field) for note in notes(imported, "dangling")] == [("Ask", "next_step_default")]
    assert imported.loads


def test_positions_are_used_if_ids_are_absent() -> None:
    imported = read(
        step(1, "A", "MESSAGE", body="x", next_step_default=None, next_step_default_idx=2),
        step(2, "B", "MENU", answer_options=["x", "y"], next_steps_for_options=[], next_steps_for_options_idx=[3, 9]),
        step(3, "C", "MESSAGE", body="x"),
    )

    first, second, _ = steps_of(imported)
    assert (first["next"], second["options"]) == ("B", {"x": "C", "y": None})
    assert [note.field for note in notes(imported, "inferred", "A")] == ["next_step_default"]
    assert [note.field for note in notes(imported, "dangling", "B")] == ["next_steps_for_options[1]"]


def test_reports_an_option_without_a_target() -> None:
    options = {
        "answer_options": ["x", "y"],
        "next_steps_for_options": [uuid(2)],
        "next_steps_for_options_idx": [None, 2],
    }

    found = only(step(1, "Menu", "MENU", **options), step(2, "B", "MESSAGE", body="x"))

    assert found["options"] == {"x": None, "y": "B"}


def test_renames_duplicate_and_similar_steps_and_their_references() -> None:
    imported = read(
        step(1, "Ask name", "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(2)),
        step(2, "ask_name ", "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(3)),
        step(3, "Ask name", "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(4)),
        step(4, "Say", "MESSAGE", body="{{ step.ask_name }} {{step.Ask name}} step.ask_name"),
    )

    assert imported.loads
    assert [one["name"] for one in steps_of(imported)] == ["Ask name", "ask_name 2", "Ask name 3", "Say"]
    assert steps_of(imported)[3]["body"] == "{{ step.ask_name 2 }} {{step.Ask name}} step.ask_name"
    assert [note.step for note in notes(imported, "renamed") if note.field == "name"] == ["ask_name 2", "Ask name 3"]


def test_keeps_distinct_names() -> None:
    imported = read(
        step(1, "Ask name", "MESSAGE", body="?", next_step_default=uuid(2)), step(2, "Askname", "MESSAGE", body="?")
    )

    assert imported.loads
    assert [one["name"] for one in steps_of(imported)] == ["Ask name", "Askname"]


def test_fixes_long_names_and_control_characters() -> None:
    long = "What is " + "very " * 30 + "important?"

    imported = read(
        step(1, long, "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(2)),
        step(2, "Two\nlines", "MESSAGE", body=f"{{{{step.{long}}}}}"),
    )

    first, second = steps_of(imported)
    assert imported.loads
    assert (len(first["name"]), second["name"]) == (100, "Two lines")
    assert second["body"] == f"{{{{step.{first['name']}}}}}"


def test_a_reference_is_read_as_the_longest_name_that_fits() -> None:
    imported = read(
        step(1, "Ask", "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(2)),
        step(2, "ASK", "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(3)),
        step(3, "ASK name", "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(4)),
        step(4, "Say", "MESSAGE", body="{{step.ASK name}} {{step.ASK}}"),
    )

    assert steps_of(imported)[3]["body"] == "{{step.ASK name}} {{step.ASK 2}}"


def test_drops_values_that_json_cannot_represent() -> None:
    variables = {"1": float("nan"), "2": "\ud800", "3": object()}

    imported = read(step(1, "Say", "TEMPLATE", whatsapp_template="t", whatsapp_template_variables=variables))

    assert steps_of(imported)[0]["whatsapp_template_variables"] == {"1": None, "2": "?", "3": None}


def test_a_name_with_another_spelling_is_found_and_reported() -> None:
    imported = read(
        step(1, "Ask name", "QUESTION", body="?", answer_type="ANY", next_step_default=uuid(2)),
        step(2, "Say", "MESSAGE", body='{{step.ask_name}} {{ step["ASK NAME"] | upper }}'),
    )

    assert imported.loads
    assert steps_of(imported)[1]["body"] == '{{step.Ask name}} {{ step["Ask name"] | upper }}'
    assert [note.field for note in notes(imported, "renamed", "Say")] == ["body"]


def test_reports_fields_that_a_step_type_lacks_except_defaults() -> None:
    imported = read(
        step(1, "Say", "MESSAGE", body="Hi", save_contact_answer=True, answer_instructions="Type!", new_field=3)
    )

    assert {note.field for note in notes(imported, "lost")} == {
        "save_contact_answer",
        "answer_instructions",
        "new_field",
    }
    assert read(step(1, "Say", "MESSAGE", body="Hi")).report == ()


def test_reports_and_omits_wrong_types() -> None:
    fields = {"body": ["x"], "contact_tags": "vip", "append_tags": False}
    imported = read(step(1, "Tag", "TAG", **{**fields, "contact_tags": ["vip", 3, None]}))

    assert steps_of(imported)[0] == {
        "name": "Tag", "type": "tag", "contact_tags": ["vip"], "append_tags": False, "platform_id": uuid(1),
    }  # fmt: skip
    assert {note.field for note in notes(imported, "lost")} == {"body", "contact_tags[1]"}


def test_reports_remaining_faults_with_their_location() -> None:
    imported = read(step(1, "Say", "MESSAGE", body="{{ step.Nobody }}"))

    assert not imported.loads
    (fault,) = notes(imported, "fault")
    assert (fault.step, fault.field) == ("Say", "steps[0].body")
    assert "there is no step named 'Nobody'" in fault.message


def test_omits_an_overlong_platform_id() -> None:
    assert "platform_id" not in only({**step(1, "Say", "MESSAGE", body="x"), "id": "x" * 101})
