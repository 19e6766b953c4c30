"""Faults of a flow's blocks other than its steps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flow.samples import action, faults_of, flow_of

OFF = "this version sends nothing to WhatsApp or Hilos; remove it, or set it to false"
MOMENT = "a date, or a date and time, is expected, such as 2026-11-22T16:04"


def faults(**keys: Any) -> list[str]:
    steps = [{"name": "Ask", "type": "question", "next": "Send"}, action()]
    found = faults_of({"flow_format": 1, "id": "f", "steps": steps, **keys})
    return [fault.removeprefix("<flow>:") for fault in found]


@pytest.mark.parametrize("effect", ["messages", "contact_updates", "tags", "flows"])
def test_effects_cannot_be_turned_on(effect: str) -> None:
    assert faults(effects={effect: True}) == [f"effects.{effect}: '{effect}' cannot be turned on: {OFF}"]


def test_disabled_effects_are_allowed() -> None:
    flow_of(action(), effects={"messages": False, "connection": "hilos"}, replay={"effects": False})


def test_effects_of_a_replay_cannot_be_turned_on() -> None:
    assert faults(replay={"effects": True}) == [f"replay.effects: 'effects' cannot be turned on: {OFF}"]


def test_sensitive_values_are_variables() -> None:
    flow = flow_of(
        {"name": "Ask", "type": "question", "next": "Send"},
        action(),
        sensitive=["contact.email", "{{ step.Ask }}", "contact.meta.id"],
    )

    assert [(found.scope, found.path) for found in flow.sensitive] == [
        ("contact", ("email",)),
        ("step", ("Ask",)),
        ("contact", ("meta", "id")),
    ]
    assert faults(sensitive=["contact.email", "step.Aks", "email"]) == [
        "sensitive[1]: there is no step named 'Aks'; did you mean 'Ask'?",
        "sensitive[2]: 'email' is not a variable of a flow; allowed: contact, flow_execution_variables, global, step",
    ]


def test_airflow_options_must_be_consistent() -> None:
    flow_of(action(), airflow={"start_date": "2026-11-22", "catchup": True, "tags": ["crm"], "retry_delay": 5})

    assert faults(airflow={"catchup": True}) == ["airflow.catchup: 'catchup' needs a 'start_date' to catch up from"]
    assert faults(airflow={"start_date": "in November"}) == [f"airflow.start_date: {MOMENT}"]
    assert faults(airflow={"schedule": "@daily"})[0].startswith("airflow.schedule: unknown key 'schedule'; allowed: ")


def test_tests_name_steps_that_exist() -> None:
    test = {
        "name": "t",
        "now": "today",
        "replies": [{"step": "Snd"}, {"step": "Ask"}],
        "expect": {
            "path": ["Ask", "Sned"],
            "requests": [{"step": "Send"}, {"step": "Aks"}],
            "variables": {"step.Ask": 1, "stp.Ask": 2},
        },
    }

    assert faults(tests=[test, {"name": "t", "expect": {}}]) == [
        f"tests[0].now: {MOMENT}",
        "tests[0].replies[0].step: 'Snd' is not a step; did you mean 'Send'?",
        "tests[0].replies[1].step: 'Ask' is not an action; allowed: Send",
        "tests[0].expect.path[1]: there is no step named 'Sned'; did you mean 'Send'?",
        "tests[0].expect.requests[1].step: 'Aks' is not a step; allowed: Send",
        "tests[0].expect.variables.stp.Ask: 'stp' is not a variable of a flow; "
        "allowed: contact, flow_execution_variables, global, step",
        "tests[1].name: a test called 't' already exists above",
    ]


@pytest.mark.parametrize(
    ("delay", "fault"),
    [
        pytest.param({}, "a delay needs 'amount' and 'unit', or 'until'", id="nothing"),
        pytest.param(
            {"amount": 1}, ".amount: an amount needs a 'unit'; allowed: SECOND, MINUTE, HOUR, DAY", id="no unit"
        ),
        pytest.param({"unit": "DAY", "until": "2026-11-22"}, ".unit: a unit needs an 'amount'", id="no amount"),
        pytest.param(
            {"amount": 1, "unit": "DAY", "until": "2026-11-22"},
            ".until: a delay cannot have both 'amount' and 'until'; remove one",
            id="both",
        ),
        pytest.param({"until": "tomorrow"}, f".until: {MOMENT}", id="no moment"),
        pytest.param(
            {"amount": 1, "unit": "DAY", "time_windows": [{"weekday": 0, "start_at": "17:00", "end_at": "09:00"}]},
            ".time_windows[0].end_at: a window must end after it starts; for one over midnight, write two windows "
            "with two weekdays",
            id="window",
        ),
        pytest.param(
            {"amount": 1, "unit": "WEEK"},
            ".unit: 'WEEK' is not allowed; allowed: 'SECOND', 'MINUTE', 'HOUR' or 'DAY'",
            id="unit",
        ),
    ],
)
def test_a_delay_reports_its_length(delay: dict[str, Any], fault: str) -> None:
    found = faults_of({"flow_format": 1, "id": "f", "steps": [{"name": "D", "type": "delay", **delay}]})

    assert fault in [line.removeprefix("<flow>:steps[0]").removeprefix(": ") for line in found]


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (
            {"answer_range": {"min": 1}},
            ".answer_range.min: an answer of type ANY has no range; allowed for: NUMBER, DATE, DATETIME, TIME",
        ),
        (
            {"answer_type": "NUMBER", "answer_range": {"max": "many"}},
            ".answer_range.max: a number is expected, such as 41 or 3.5",
        ),
        (
            {"answer_type": "PHONE", "answer_phone_default_country": "XX"},
            ".answer_phone_default_country: 'XX' is not a country; use its two-letter code (ISO 3166-1), such as MX",
        ),
        (
            {"answer_phone_default_country": "mx"},
            ".answer_phone_default_country: 'mx' is not a country code of two capital letters, such as MX",
        ),
        (
            {"options_from_variable": {"list": "reply.items", "value": "id"}},
            ".options_from_variable.list: 'reply' is not a variable of a flow; "
            "allowed: contact, flow_execution_variables, global, step",
        ),
        (
            {"options_from_variable": {"list": "step.Ask", "value": "id"}},
            ".options_from_variable.list: step.Ask: a step cannot read its own result",
        ),
    ],
)
def test_rejects_contradictory_question_constraints(keys: dict[str, Any], fault: str) -> None:
    found = faults_of({"flow_format": 1, "id": "f", "steps": [{"name": "Ask", "type": "question", **keys}]})

    assert [line.removeprefix("<flow>:steps[0]") for line in found] == [fault]


def test_an_opt_out_entry_that_never_matches_is_a_fault() -> None:
    entries = [
        "+525512345678",
        "ana@example.com",
        "BR.1502",
        "4711",
        "id:5512345678",
        "55 1234 5678",
        "+52",
        "@ana",
        "--",
    ]
    compared = "is not a phone number that can be compared: write it with + and its country code"
    assert faults(replay={"opt_out": entries}) == [
        f"replay.opt_out[5]: '55 1234 5678' {compared}, or set 'default_country'; "
        "if it is an ID, write 'id:55 1234 5678'",
        f"replay.opt_out[6]: '+52' {compared}, or set 'default_country'; if it is an ID, write 'id:+52'",
        "replay.opt_out[7]: '@ana' is not an e-mail address; if it is an ID, write 'id:@ana'",
        "replay.opt_out[8]: '--' does not identify anyone: an entry must be a phone number, an e-mail address, or an "
        "ID",
    ]
    several = "+525512345678, +525512345679"
    assert faults(default_country="MX", replay={"opt_out": ["55 1234 5678", several]}) == [
        f"replay.opt_out[1]: '{several}' contains several phone numbers; write each as a separate entry"
    ]


def test_contacts_are_identified_by_contact_or_flow_start_values() -> None:
    flow = flow_of(action(), default_country="MX", identifiers=["contact.meta.crm_id", "flow_execution_variables.lead"])
    assert flow.identity.country == "MX"
    assert [reference.path for reference in flow.identity.listed] == [("meta", "crm_id"), ("lead",)]
    allowed = "allowed: contact.… or flow_execution_variables.…"
    assert faults(default_country="Me") == [
        "default_country: 'Me' is not a country; use its two-letter code (ISO 3166-1), such as MX"
    ]
    assert faults(identifiers=["step.Ask", "global.Date", "crm_id"]) == [
        f"identifiers[0]: 'step.Ask' does not identify a contact; {allowed}",
        f"identifiers[1]: 'global.Date' does not identify a contact; {allowed}",
        "identifiers[2]: 'crm_id' is not a variable of a flow; "
        "allowed: contact, flow_execution_variables, global, step",
    ]


@pytest.mark.parametrize(
    ("results_to", "words"),
    [
        ({"connection": "postgresql://u:pw@host/db", "table": "t"}, ".connection: this must be the id of an Airflow"),
        ({"connection": "dwh", "table": "sync log"}, ".table: "),
        ("warehouse", "ends with .jsonl, .csv, or .parquet; for a table, write {"),
        ("s3://b/{{ run.day }}.csv", ": a run has no 'day'"),
    ],
)
def test_results_go_to_a_table_or_a_file(results_to: object, words: str) -> None:
    (fault,) = faults(replay={"results_to": results_to})
    assert fault.startswith("replay.results_to")
    assert words in fault
    assert "pw@" not in fault


@pytest.mark.parametrize(
    "results_to", [{"connection": "dwh", "table": "crm.sync_log"}, "s3://dwh@b/{{ run.run_id }}.parquet"]
)
def test_a_table_or_a_file_for_results_has_no_fault(results_to: object) -> None:
    flow_of(action(), replay={"results_to": results_to})
