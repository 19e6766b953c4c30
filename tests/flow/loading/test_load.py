"""A flow file gives a flow, or all its faults with their locations."""

from __future__ import annotations

import copy
import json
import time
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from tests.flow.samples import FLOW, action, faults_of, flow_of

TEXT = json.dumps(FLOW, indent=1)

MANY_FAULTS = """\
{
  "flow_format": 1,
  "id": "Bad Id",
  "timezone": "America/Mexiko",
  "timezone": "Mars/Olympus",
  "mising": "null",
  "steps": [
    {"name": "Ask", "type": "question", "answer_type": "NUMBR", "nxt": "Send"},
    {"name": "Ask", "type": "mesage", "body": "Hi"},
    {"name": "Say", "type": "message", "body": "Hi {{ conn.x.password }}", "next": "Sned"},
    {"name": "Send", "type": "action", "url": "https://{{ contact.host }}/", "timeout": "30",
     "headers": {"Host": "x"}, "body": {"a": "{{ step.Aks }}"}},
    {"name": "Send 2", "type": "action", "url": "https://crm.example/{{ contact.a | uper }}",
     "headers": {"Host": "x", "X-A": "a\\nb", "X-B": "{{ 7 ** 7 }}"},
     "body": {"a": ["ok", "é {{ contact.a"], "{{ b }}": 1}, "success_when": "respnse.ok"}
  ]
}
"""


def test_loads_a_flow_without_faults() -> None:
    flow = load_flow(TEXT, "lead_to_crm.json")

    assert isinstance(flow, Flow)
    assert (flow.id, flow.name, flow.start, flow.timezone) == (
        "lead_to_crm",
        "Lead to CRM",
        "Ask name",
        "America/Mexico_City",
    )
    assert list(flow.steps) == [step["name"] for step in FLOW["steps"]]
    assert flow.source == FLOW


def test_text_and_plain_data_give_the_same_flow() -> None:
    assert load_flow(FLOW).source == load_flow(TEXT).source == load_flow("\ufeff" + TEXT).source


def test_reports_all_faults_of_a_file_in_order() -> None:
    assert faults_of(MANY_FAULTS, "flows/bad.json") == [
        "flows/bad.json:3:9: 'Bad Id' is not an id: an id has 1 to 100 characters: a-z, 0-9, '_', and '-', "
        "starting with a letter or digit",
        "flows/bad.json:5:3: the key 'timezone' appears twice; only one of them would be used",
        "flows/bad.json:5:15: 'Mars/Olympus' is not a time zone; use an IANA name such as America/Mexico_City or UTC",
        "flows/bad.json:6:3: unknown key 'mising'; did you mean 'missing'?",
        "flows/bad.json:8:56: 'NUMBR' is not allowed; did you mean 'NUMBER'? "
        "Allowed: 'ANY', 'FREE_TEXT', 'SINGLE_OPTION', 'NUMBER', 'URL', "
        "'EMAIL', 'FILE', 'DOCUMENT', 'VIDEO', 'IMAGE', 'PHONE', 'DATE', 'TIME', 'DATETIME', 'BOOL' or 'LOCATION'",
        "flows/bad.json:8:65: unknown key 'nxt'; did you mean 'next'?",
        "flows/bad.json:9:5: there is no step type 'mesage'; did you mean 'message'?",
        "flows/bad.json:9:14: the name 'Ask' is already used on line 8",
        "flows/bad.json:10:52: 'conn' is not a variable of a flow; a flow never sees Airflow's connections, variables, "
        "macros or context; allowed: contact, flow_execution_variables, global, step",
        "flows/bad.json:10:84: there is no step named 'Sned'; did you mean 'Send'?",
        "flows/bad.json:11:47: scheme, host and port of a URL must be literal: a placeholder could send data anywhere",
        "flows/bad.json:11:89: must be a number; here it is '30'",
        "flows/bad.json:12:26: the header 'Host' is set by the HTTP client, and a flow cannot set it",
        "flows/bad.json:12:46: there is no step named 'Aks'; did you mean 'Ask'?",
        "flows/bad.json:13:70: there is no filter named 'uper'; did you mean 'upper'?",
        "flows/bad.json:14:26: the header 'Host' is set by the HTTP client, and a flow cannot set it",
        "flows/bad.json:14:38: a header cannot contain a line break or control character (U+000A); use | urlencode, or "
        "put it in the body",
        "flows/bad.json:14:53: '**' and '%' are not allowed in a flow",
        "flows/bad.json:15:30: '{{' is never closed; write '}}' after the name",
        "flows/bad.json:15:57: the key '{{ b }}' contains a placeholder; an answer may be a value, never a name",
        "flows/bad.json:15:77: 'respnse' is not known here; did you mean 'response'?",
    ]


def test_faults_of_plain_data_have_paths_instead_of_lines() -> None:
    with pytest.raises(FlowFileError) as caught:
        load_flow({**FLOW, "steps": [action(body={"a": ["{{ x.y }}"]}, on_error="Nowhere")]})

    assert [(fault.where(), fault.step) for fault in caught.value.faults] == [
        ("steps[0].body.a[0]", "Send"),
        ("steps[0].on_error", "Send"),
    ]
    assert caught.value.source == "<flow>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", ["<flow>:1:1: not JSON: expecting value"], id="empty"),
        pytest.param("null", ["<flow>:1:1: a flow must be a JSON object: { … }"], id="null"),
        pytest.param("[]", ["<flow>:1:1: a flow must be a JSON object: { … }"], id="a list"),
        pytest.param(
            "{}", [f"<flow>:1:1: the key '{key}' is missing" for key in ("flow_format", "id", "steps")], id="{}"
        ),
        pytest.param(
            '{"flow_format": 2, "id": "a", "steps": []}',
            [
                "<flow>:1:17: 2 is not allowed; allowed: 1",
                "<flow>:1:40: the list must have at least 1 item, not 0; here it is a list",
            ],
            id="another format, no step",
        ),
        pytest.param(TEXT[: len(TEXT) // 2], None, id="truncated"),
        pytest.param("[" * 1000, ["<flow>:1:66: nested deeper than 64 levels"], id="depth 1000"),
        pytest.param('{"id": "\x00"}', ["<flow>:1:9: not JSON: invalid control character at"], id="NUL"),
        pytest.param("\ufeff\ufeff{}", ["<flow>:1:1: not JSON: expecting value"], id="two byte order marks"),
        pytest.param(
            TEXT.replace("Lead to CRM", "a" * 1_048_576),
            ["<flow>:1:1: the file has more than 1,048,576 bytes"],
            id="1 MiB",
        ),
        pytest.param(
            '{"id": "\\ud800"}',
            ["<flow>:1:9: half of a surrogate pair is not a character and cannot be sent"],
            id="surrogate",
        ),
        pytest.param(TEXT.replace('"attempts": 2', f'"attempts": {"9" * 4000}'), None, id="a huge number"),
        pytest.param(
            TEXT.replace('"attempts": 2', f'"attempts": {"9" * 4400}'), None, id="a number of too many digits"
        ),
        pytest.param(TEXT.replace('"attempts": 2', '"attempts": NaN'), None, id="NaN"),
    ],
)
def test_a_broken_file_raises_only_flow_errors(text: str, expected: list[str] | None) -> None:
    found = faults_of(text)

    assert expected is None or found == expected


def test_500_steps_are_allowed_and_501_are_not() -> None:
    def chain(length: int) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = [{"name": str(n), "type": "message", "next": str(n + 1)} for n in range(length)]
        steps[-1]["next"] = None
        return steps

    assert len(flow_of(*chain(500)).steps) == 500
    assert faults_of({"flow_format": 1, "id": "a", "steps": chain(501)}) == [
        "<flow>:steps: the list must have at most 500 items, not 501; here it is a list"
    ]


def test_a_large_flow_in_reverse_order_loads_in_seconds() -> None:
    steps = [
        action(str(n), body={"last": f"{{{{ step.{n - 1}.status_code }}}}" if n else "x"}, on_success=str(n + 1))
        for n in range(500)
    ]
    del steps[-1]["on_success"]
    started = time.monotonic()

    assert len(flow_of(*reversed(steps), start="0").steps) == 500
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    "flow_id",
    ["", "..", ".", "a/b", "a b", "A", "é", "-a", "_a", "a\u0000", "a\n", "a" * 101, "a" * 300, None, 7, ["a"]],
    ids=ascii,
)
def test_an_id_is_a_slug(flow_id: object) -> None:
    assert any(":id: " in fault for fault in faults_of({**FLOW, "id": flow_id}))


@pytest.mark.parametrize("flow_id", ["a", "0", "lead-to_crm", "a" * 100])
def test_a_slug_is_an_id(flow_id: str) -> None:
    assert load_flow({**FLOW, "id": flow_id}).id == flow_id


@pytest.mark.parametrize(
    "timezone", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "America", "a\u0000b", "a" * 5000], ids=ascii
)
def test_an_unknown_time_zone_is_refused(timezone: str) -> None:
    assert "is not a time zone" in faults_of({**FLOW, "timezone": timezone})[0]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param({"steps": {1, 2}}, id="a set"),
        pytest.param({"steps": object()}, id="an object"),
        pytest.param(MappingProxyType({}), id="a mapping that is no dict"),
        pytest.param({("a",): 1}, id="a key that is a tuple"),
        pytest.param({"id": float("nan")}, id="NaN"),
        pytest.param({1: "a", "1": "b"}, id="the same key through types"),
    ],
)
def test_reports_values_that_are_not_plain_data(source: Any) -> None:
    assert faults_of(source)


def test_recursive_data_is_a_fault() -> None:
    flow: dict[str, Any] = dict(FLOW)
    flow["steps"] = [flow]

    assert "plain JSON data" in faults_of(flow)[0]


def test_a_flow_cannot_create_python_objects() -> None:
    """A flow can't turn on Jinja's native mode, which has no sandbox."""
    assert "render_template_as_native_obj" in faults_of({**FLOW, "render_template_as_native_obj": True})[0]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_text_change_loads_or_gives_located_faults(data: st.DataObject) -> None:
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.sampled_from([0, 1, 1, 5]))
        new = data.draw(st.text(max_size=2) | st.sampled_from(['"', "{", "}", "{{", "}}", "[", "null", "{%", "\\"]))
        text = text[:at] + new + text[at + cut :]

    _is_a_flow_or_has_places(text, with_lines=True)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["{{", "{{ step.Ask name }}", "{{ contact.x | upper }}", "Say thanks", "action", "json", "GET"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_data_change_loads_or_gives_located_faults(data: st.DataObject) -> None:
    value: Any = copy.deepcopy(FLOW)
    holder: Any = value
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys))
        inner = holder[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.integers(0, 3)) == 0:
            break
        holder = inner
    change = data.draw(st.sampled_from(["replace", "delete", "add"]))
    if change == "replace":
        holder[key] = data.draw(VALUES)
    elif change == "delete":
        del holder[key]
    elif isinstance(holder, dict):
        holder[data.draw(st.text(max_size=5) | st.sampled_from(["next", "type", "options", "paths"]))] = data.draw(
            VALUES
        )
    else:
        holder.insert(key, data.draw(VALUES))

    _is_a_flow_or_has_places(json.dumps(value), with_lines=True)
    _is_a_flow_or_has_places(value, with_lines=False)


def _is_a_flow_or_has_places(source: Any, *, with_lines: bool) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        flow = load_flow(source)
    except FlowFileError as error:
        flow, faults = None, error.faults
    assert isinstance(flow, Flow) or faults
    assert all(fault.message for fault in faults)
    assert not with_lines or all((fault.line or 0) >= 1 and (fault.column or 0) >= 1 for fault in faults)


def test_a_flow_configures_its_replay() -> None:
    replay = {
        "schedule": "0 6 * * *",
        "source": "postgresql://db/answers",
        "query": "SELECT * FROM answers",
        "send": "all",
        "on_changed": "update",
        "rate": {"crm.example": 5, "hooks.example": 0.5},
        "concurrency": 1,
        "chunk_size": 100_000,
        "approve_above": 0,
        "max_failures": 10,
        "max_handled_errors": 20,
        "stop_when_refused": False,
        "fail_when": "budget",
        "max_age": 86_400,
        "only_once": True,
        "send_when": "changed",
        "opt_out": ["+525512345678"],
        "quiet_hours": {"start": "21:00", "end": "08:00"},
        "effects": False,
        "approve": True,
        "cursor": None,
        "cursor_overlap": None,
        "results_to": None,
        "empty": None,
        "deadline": "30m",
    }
    loaded = flow_of(action(), replay=replay).replay
    assert loaded is not None
    assert msgspec.to_builtins(loaded) == replay
    assert flow_of(action()).replay is None


def test_a_replay_has_defaults() -> None:
    loaded = flow_of(action(), replay={"rate": 5}).replay
    assert loaded is not None
    assert (loaded.rate, loaded.concurrency, loaded.chunk_size) == (5.0, 64, 1000)
    assert (loaded.send, loaded.fail_when, loaded.only_once, loaded.opt_out) == ("failed", "any", False, [])
    rest = (loaded.schedule, loaded.source, loaded.approve_above, loaded.max_failures, loaded.max_age)
    assert (*rest, loaded.quiet_hours) == (None,) * 6


MORE = "there are more faults; only 200 are shown"
LONG_NAMES = [
    f"A name as long as those that people make of whole sentences, number {number:03}" for number in range(490)
]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [
                {"name": f"Menu {n}", "type": "menu", "options": {f"{k}": f"Menuu {n} {k}" for k in range(20)}}
                for n in range(490)
            ],
            id="targets",
        ),
        pytest.param(
            [
                {"name": name, "type": "message", "body": f"{{{{ step.{name[:40]}x{name[40:]} }}}}", "next": following}
                for name, following in zip(LONG_NAMES, [*LONG_NAMES[1:], None], strict=True)
            ],
            id="references",
        ),
        pytest.param([{"name": name, "type": "message", "bodi": "x"} for name in LONG_NAMES], id="keys"),
    ],
)
def test_reports_only_the_first_of_very_many_faults(steps: list[dict[str, Any]]) -> None:
    found = faults_of(json.dumps({"flow_format": 1, "id": "f", "steps": steps}, indent=1))

    assert len(found) == 201
    assert found[-1].endswith(MORE)
