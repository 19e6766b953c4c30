"""DAGs of flow files, run in a real Airflow."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows import FlowFileError, build_dag, load_flow
from airflow_whatsapp_flows.dag_factory import load_dags, raise_faults, task_ids_of
from airflow_whatsapp_flows.dag_factory.replay_dag import build_replay_dag
from airflow_whatsapp_flows.operators.placeholder import FlowFaultOperator
from tests.airflow_runs import run_dag
from tests.operators.flows import action, flow, message, question
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")


def lead() -> dict[str, Any]:
    return flow(
        question("Ask name", next="Create contact"),
        action("Create contact", body={"n": "{{ step.Ask name }}"}, on_success="Thanks", on_error="Sales"),
        message("Thanks", body="You are number {{ step.Create contact.response.id }}", next="Bye"),
        action("Sales", body={"s": "{{ step.Create contact.status_code }}"}, on_success="Bye"),
        message("Bye"),
    )


def test_a_flow_has_one_task_per_step_and_branches_for_error_exits() -> None:
    dag = build_dag(lead())
    beside = {"create_contact__exit", "create_contact__in_doubt"}
    assert set(dag.task_dict) == {"ask_name", "create_contact", "thanks", "sales", "bye"} | beside
    assert dag.task_dict["create_contact"].downstream_task_ids == {"create_contact__exit"}
    exits = {"thanks", "sales", "create_contact__in_doubt"}
    assert dag.task_dict["create_contact__exit"].downstream_task_ids == exits
    assert dag.get_edge_info("create_contact__exit", "sales") == {"label": "error"}
    assert dag.get_edge_info("create_contact__exit", "create_contact__in_doubt") == {"label": "outcome unknown"}
    assert dag.task_dict["create_contact__in_doubt"].task_display_name == "Create contact: outcome unknown"
    assert dag.task_dict["bye"].trigger_rule == "none_failed_min_one_success"
    assert dag.task_dict["thanks"].trigger_rule == "all_success"
    assert dag.render_template_as_native_obj is False
    assert dag.max_active_runs == 1


def test_the_display_name_of_a_dag_starts_with_its_id() -> None:
    named = load_flow({**lead(), "id": "lead_to_crm", "name": "Lead to CRM"})
    plain = load_flow({**lead(), "id": "lead_to_crm"})
    assert build_dag(named).dag_display_name == "lead_to_crm: Lead to CRM"
    assert build_replay_dag(named).dag_display_name == "lead_to_crm__replay: Lead to CRM"
    assert build_dag(plain).dag_display_name == "lead_to_crm"
    assert build_replay_dag(plain).dag_display_name.startswith("lead_to_crm__replay")


def test_both_exits_are_walked(server: RecordingServer) -> None:
    good = run_dag(build_dag(lead()), {"step": {"Ask name": "{{ 7*7 }}"}})
    assert (good.state, good.states["thanks"], good.states["sales"], good.states["bye"]) == (
        "success", "success", "skipped", "success",
    )  # fmt: skip
    assert server.received[0].content == b'{"n":"{{ 7*7 }}"}'
    assert good.result("thanks")["text"] == "You are number 1"
    server.queued = [Answer(500)]
    bad = run_dag(build_dag(lead()), {"step.Ask name": "Ana"})
    assert (bad.state, bad.states["thanks"], bad.states["sales"], bad.states["bye"]) == (
        "success", "skipped", "success", "success",
    )  # fmt: skip
    assert server.received[-1].content == b'{"s":500}'


def test_an_unanswered_question_ends_green_and_skips_the_rest(server: RecordingServer) -> None:
    run = run_dag(build_dag(lead()))
    assert run.state == "success"
    assert {name for name, state in run.states.items() if state == "success"} == {"ask_name"}
    assert server.received == []


@pytest.mark.parametrize("status", [200, 500])
def test_both_exits_may_lead_to_one_step(server: RecordingServer, status: int) -> None:
    server.queued = [Answer(status)]
    dag = build_dag(flow(action("A", on_success="B", on_error="B"), message("B")))
    assert dag.get_edge_info("a__exit", "b") == {"label": "success, error"}
    assert run_dag(dag).states["b"] == "success"


def test_a_target_not_reached_by_the_walk_is_skipped(server: RecordingServer) -> None:
    dag = build_dag(flow(action("A", on_success="Q", on_error="Z"), question("Q", next="Z"), action("Z", url="/z")))
    run = run_dag(dag)
    assert run.state == "success"
    assert (run.states["q"], run.states["z"]) == ("success", "skipped")
    assert [request.target for request in server.received] == ["/c"]


def test_a_menu_follows_the_option_chosen() -> None:
    made = flow({"name": "M", "type": "menu", "options": {"Sales": "S", "Help": "H"}}, message("S"), message("H"))
    states = run_dag(build_dag(made), {"step": {"M": "help"}}).states
    assert (states["s"], states["h"]) == ("skipped", "success")


@pytest.mark.parametrize(("plan", "done"), [("pro", "success"), ("free", "skipped")])
def test_a_conditional_that_ends_the_walk_skips_the_rest(plan: str, done: str) -> None:
    condition = {"field": "contact.plan", "comparison": "exact", "value": "pro"}
    made = flow({"name": "C", "type": "conditional", "paths": [{"conditions": [condition], "next": "P"}]}, message("P"))
    run = run_dag(build_dag(made), {"contact": {"plan": plan}})
    assert (run.state, run.states["p"]) == ("success", done)


def test_misfit_answers_failed_ends_and_unhandled_errors_are_red(server: RecordingServer) -> None:
    misfit = flow({"name": "Age", "type": "question", "answer_type": "NUMBER"})
    assert run_dag(build_dag(misfit), {"step": {"Age": "abc"}}).state == "failed"
    ended = flow(message("M", next="E"), {"name": "E", "type": "end", "state": "failed", "reason": "no"})
    assert run_dag(build_dag(ended)).states == {"m": "success", "e": "failed"}
    server.queued = [Answer(500)]
    assert run_dag(build_dag(flow(action("A", on_success="B"), message("B")))).states["a"] == "failed"


def test_a_misspelled_conf_key_is_red() -> None:
    assert run_dag(build_dag(flow(message("M"))), {"contacts": {}}).state == "failed"


@pytest.mark.parametrize("text", ["{{ conn.x.password }}", "{{ var.value.x }}", "{{ macros.time }}"])
def test_airflows_context_is_not_available_to_a_flow(text: str) -> None:
    with pytest.raises(FlowFileError):
        build_dag(flow(action("A", body={"a": text})))


def test_read_only_actions_have_no_task_for_an_unknown_outcome() -> None:
    dag = build_dag(flow(action("Look", method="GET", on_success="M", on_error="M"), message("M")))
    assert set(dag.task_dict) == {"look", "look__exit", "m"}


def test_task_ids_are_readable_and_never_collide() -> None:
    names = ["Pregunta Ñandú", "🎉", "A b", "a-B", "A", "A exit", "A-exit", "Create contact", "Create contact exit"]
    steps = [action(name, on_success=after, on_error=after) for name, after in itertools.pairwise(names)]
    made = load_flow(flow(*steps, message(names[-1])))
    ids = task_ids_of(made)
    assert (ids["Pregunta Ñandú"], ids["🎉"], ids["A b"], ids["a-B"]) == ("pregunta_nandu", "step_2", "a_b", "a_b_2")
    dag = build_dag(made)
    assert len(dag.task_dict) == len(names) + 2 * (len(names) - 1)
    assert all(re.fullmatch(r"[a-z0-9_]+", task_id) for task_id in dag.task_dict)


def test_a_dag_with_every_answer_type_serializes() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    types = ["ANY", "FREE_TEXT", "NUMBER", "BOOL", "DATE", "EMAIL", "PHONE", "FILE", "LOCATION"]
    known = [kind for kind in types if kind in json.dumps(_answer_types())]
    steps = [
        {"name": f"Q {kind}", "type": "question", "answer_type": kind, **({"next": f"Q {after}"} if after else {})}
        for kind, after in zip(known, [*known[1:], None], strict=True)
    ]
    dag = build_dag(flow(*steps))
    data = DagSerialization.to_dict(dag)
    json.dumps(data)
    assert set(DagSerialization.from_dict(data).task_dict) == set(dag.task_dict)
    dag.params.validate()
    nested, dotted = {"contact": {"phone": "1"}, "step": {"Q ANY": "a"}}, {"contact.phone": "1", "step.Q ANY": "a"}
    for conf in (nested, dotted):
        assert run_dag(dag, conf).states["q_any"] == "success"
        assert run_dag(dag, conf).result("q_any")["exit"] == "next"


def _answer_types() -> list[str]:
    from typing import get_args

    from airflow_whatsapp_flows.flow.format import AnswerType

    return list(get_args(AnswerType))


# Folders of flow files.


def _write(folder: Path, made: dict[str, Any], name: str | None = None) -> str:
    (folder / (name or f"{made['id']}.json")).write_text(json.dumps(made), encoding="utf-8")
    return str(made["id"])


def test_a_bad_file_hides_no_other_and_reports_all_faults(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    good = [_write(folder, flow(message("M"))) for _ in range(2)]
    _write(folder, flow(message("M", next="Nope"), id="faulty"))
    _write(folder, flow(message("A", next="A"), id="looping"))
    (folder / "nobodys.json").write_text('{"steps": []}', encoding="utf-8")
    _write(folder, flow(message("M"), id="right"), "wrong.json")
    (folder / "syntax.json").write_text("{", encoding="utf-8")
    (folder / "latin.json").write_bytes(b'{"id": "\xe9"}')
    (folder / "folder.json").mkdir()
    (tmp_path / "outside.json").write_text(json.dumps(flow(message("M"), id="outside")), encoding="utf-8")
    (folder / "outside.json").symlink_to(tmp_path / "outside.json")
    (folder / "dangling.json").symlink_to(folder / "nowhere.json")
    dags = load_dags(folder)
    assert sorted(dags) == sorted([*good, "faulty", "looping"])
    assert set(good) == {dag_id for dag_id, dag in dags.items() if not isinstance(dag.tasks[0], FlowFaultOperator)}
    with pytest.raises(FlowFileError) as raised:
        raise_faults(folder)
    for name in ("faulty", "looping", "nobodys", "wrong", "syntax", "latin", "folder", "dangling"):
        assert any(line.startswith(f"{folder / name}.json:") for line in str(raised.value).splitlines())
    assert len(raised.value.faults) >= 7


def test_a_missing_folder_makes_no_dags_and_is_reported(tmp_path: Path) -> None:
    assert load_dags(tmp_path / "nope") == {}
    with pytest.raises(FlowFileError, match="nope"):
        raise_faults(tmp_path / "nope")


def test_a_relative_folder_is_relative_to_the_file_that_calls(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    dag_id = _write(tmp_path / "flows", flow(message("M")))
    names: dict[str, Any] = {"__file__": str(tmp_path / "dags.py")}
    exec("from airflow_whatsapp_flows import load_dags\nglobals().update(load_dags('flows'))", names)
    assert names[dag_id].dag_id == dag_id
