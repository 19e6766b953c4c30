"""Faults of keys, explained to the author of the flow file."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.flow.format import STEP_FORMATS
from tests.flow.samples import FLOW, action, faults_of


def faults(step: Any, **keys: Any) -> list[str]:
    return [fault.removeprefix("<flow>:") for fault in faults_of({**FLOW, **keys, "steps": [step]})]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(5, ["steps[0]: must be an object; here it is 5"], id="no object"),
        pytest.param(
            {"name": "a"}, [f"steps[0]: the key 'type' is missing; allowed: {', '.join(STEP_FORMATS)}"], id="no type"
        ),
        pytest.param(
            {"name": "a", "type": "acton"},
            ["steps[0]: there is no step type 'acton'; did you mean 'action'?"],
            id="type",
        ),
        pytest.param(
            {"type": "action"}, ["steps[0]: the key 'name' is missing", "steps[0]: the key 'url' is missing"], id="keys"
        ),
        pytest.param(
            action(method="FETCH"),
            [
                "steps[0].method: 'FETCH' is not allowed; "
                "allowed: 'GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD' or 'OPTIONS'"
            ],
            id="a word",
        ),
        pytest.param(
            action(timeout="30"), ["steps[0].timeout: must be a number; here it is '30'"], id="text for a number"
        ),
        pytest.param(action(timeout=0), ["steps[0].timeout: must be greater than 0; here it is 0"], id="too small"),
        pytest.param(
            action(max_visits=1.5), ["steps[0].max_visits: must be a whole number; here it is 1.5"], id="fraction"
        ),
        pytest.param(
            action(max_visits=True), ["steps[0].max_visits: must be a whole number; here it is true"], id="bool"
        ),
        pytest.param(action(headers=[]), ["steps[0].headers: must be an object; here it is a list"], id="list"),
        pytest.param(
            action(headers={"A": {}}), ["steps[0].headers.A: must be a text; here it is an object"], id="header"
        ),
        pytest.param(
            action(headers={"Accept": ["a/b", "c/d"]}),
            [
                "steps[0].headers.Accept: a header can appear only once and must be text: join several values with "
                "commas (RFC 9110 §5.3)"
            ],
            id="repeated header",
        ),
        pytest.param(action(query_params=7), ["steps[0].query_params: must be an object; here it is 7"], id="query"),
        pytest.param(
            action(on_sucess="x"), ["steps[0].on_sucess: unknown key 'on_sucess'; did you mean 'on_success'?"], id="key"
        ),
        pytest.param(
            action(retry={"attemps": 1}),
            ["steps[0].retry.attemps: unknown key 'attemps'; did you mean 'attempts'?"],
            id="key in retry",
        ),
        pytest.param(
            action(retry={"statuses": [200, 500]}),
            ["steps[0].retry.statuses[0]: must be greater than or equal to 300; here it is 200"],
            id="a 2xx is never retried",
        ),
        pytest.param(
            action(name=""), ["steps[0].name: the text must have at least 1 character; here it is ''"], id="no name"
        ),
        pytest.param(
            action(name="a" * 101),
            [f"steps[0].name: the text must have at most 100 characters; here it is '{'a' * 56}…"],
            id="long name",
        ),
        pytest.param(
            {"name": "m", "type": "menu", "options": {}},
            ["steps[0].options: the object must have at least 1 item, not 0; here it is an object"],
            id="no option",
        ),
        pytest.param(
            {
                "name": "c",
                "type": "conditional",
                "paths": [{"conditions": [{"field": "contact.a", "comparison": "eq", "val": 1}], "nxt": "c"}],
            },
            [
                "steps[0].paths[0].conditions[0].comparison: 'eq' is not allowed; "
                "allowed: 'exact', '!exact', 'gt', 'gte', 'lt', 'lte', "
                "'isnull', '!isnull', 'icontains' or '!icontains'",
                "steps[0].paths[0].conditions[0].val: unknown key 'val'; did you mean 'value'?",
                "steps[0].paths[0].nxt: unknown key 'nxt'; did you mean 'next'?",
            ],
            id="conditions",
        ),
        pytest.param(
            {"name": "e", "type": "end", "next": "e"},
            [
                "steps[0].next: unknown key 'next'; "
                "allowed: id, max_visits, name, on_max_visits, platform_id, reason, state, type"
            ],
            id="an end goes nowhere",
        ),
    ],
)
def test_a_fault_explains_what_is_allowed(step: Any, expected: list[str]) -> None:
    assert faults(step) == expected


def test_keys_of_the_flow_and_of_its_variables() -> None:
    found = faults(action(), variables={"a": {"typ": "text", "type": "txt"}}, max_visit=3)

    assert found == [
        "variables.a.typ: unknown key 'typ'; did you mean 'type'?",
        "variables.a.type: 'txt' is not allowed; did you mean 'text'? "
        "Allowed: 'text', 'number', 'bool', 'list' or 'object'",
        "max_visit: unknown key 'max_visit'; did you mean 'max_visits'?",
    ]


def test_keys_of_the_replay() -> None:
    replay = {"chunksize": 5, "effects": True, "quiet_hours": {"strat": "21:00", "start": "25:00", "end": "8:00"}}

    assert faults(action(), replay=replay) == [
        "replay.chunksize: unknown key 'chunksize'; did you mean 'chunk_size'?",
        "replay.effects: 'effects' cannot be turned on: this version sends nothing to WhatsApp or Hilos; "
        "remove it, or set it to false",
        "replay.quiet_hours.strat: unknown key 'strat'; did you mean 'start'?",
        "replay.quiet_hours.start: '25:00' is not a time of day such as 21:30",
        "replay.quiet_hours.end: '8:00' is not a time of day such as 21:30",
    ]


@pytest.mark.parametrize(
    ("replay", "expected"),
    [
        pytest.param({"rate": 0}, "replay.rate: must be greater than 0; here it is 0", id="rate"),
        pytest.param({"rate": True}, "replay.rate: must be a number; here it is true", id="no rate"),
        pytest.param(
            {"rate": {"crm.example": -1}},
            "replay.rate.crm.example: must be greater than 0; here it is -1",
            id="rate of a host",
        ),
        pytest.param(
            {"concurrency": 1025},
            "replay.concurrency: must be less than or equal to 1024; here it is 1025",
            id="concurrency",
        ),
        pytest.param(
            {"chunk_size": 0}, "replay.chunk_size: must be greater than or equal to 1; here it is 0", id="chunk_size"
        ),
        pytest.param({"max_age": "1d"}, "replay.max_age: must be a number; here it is '1d'", id="max_age"),
        pytest.param({"send": "some"}, "replay.send: 'some' is not allowed; allowed: 'failed' or 'all'", id="send"),
        pytest.param(
            {"fail_when": "all"},
            "replay.fail_when: 'all' is not allowed; allowed: 'any', 'budget' or 'never'",
            id="fail_when",
        ),
        pytest.param(
            {"opt_out": "+525512345678"}, "replay.opt_out: must be a list; here it is '+525512345678'", id="opt_out"
        ),
        pytest.param({"only_once": 1}, "replay.only_once: must be a boolean; here it is 1", id="only_once"),
        pytest.param([], "replay: must be an object; here it is a list", id="no object"),
    ],
)
def test_values_of_the_replay(replay: Any, expected: str) -> None:
    assert faults(action(), replay=replay) == [expected]


def test_a_long_value_is_not_repeated_whole() -> None:
    assert all(len(fault) < 400 for fault in faults(action(method="A" * 100_000)))
