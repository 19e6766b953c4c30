"""The load time of any flow file is bounded."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.json_source import MAX_BYTES
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.loading.placeholder_limits import MAX_CHARACTERS, MAX_PLACEHOLDERS
from airflow_whatsapp_flows.flow.template.caged import MAX_IN_TEXT
from airflow_whatsapp_flows.flow.template.placeholders import MAX_PLACEHOLDER


def messages(*texts: str, **keys: Any) -> dict[str, Any]:
    steps = [{"name": f"s{index}", "type": "message", "body": text} for index, text in enumerate(texts)]
    return chain_steps(steps, "next", **keys)


def actions(*bodies: Any, **keys: Any) -> dict[str, Any]:
    steps = [
        {"name": f"s{index}", "type": "action", "url": "https://crm.example/", "body": body, **keys}
        for index, body in enumerate(bodies)
    ]
    return chain_steps(steps, "on_success")


def chain_steps(steps: list[dict[str, Any]], key: str, **keys: Any) -> dict[str, Any]:
    for step, after in itertools.pairwise(steps):
        step[key] = after["name"]
    return {"flow_format": 1, "id": "slow", "steps": steps, **keys}


TAGS_ON_LINES = "<r>" + "<a>{{ contact.a }}</a>\n" * 900 + "<a>x</a>\n" * 4_000 + "</r>"
SLOW: dict[str, dict[str, Any]] = {
    "expressions": messages(*["{{ '%}' }}" * 6_300] * 16),
    "expressions within the limit of a text": messages(*["{{ '%}' }}" * MAX_IN_TEXT] * 60),
    "long expressions": messages(*["{{[" + "1," * 31_000 + "1]}}"] * 16),
    "quotes that hide the end": messages(*["{{'}}'" * 10_000] * 16),
    "quotes without a pair": messages(*["{{ 'a }} \"" * 6_000] * 15),
    "braces without an end": messages(*["{{" * 30_000] * 16),
    "percent signs": messages(*["%contact.a" * 6_000] * 16, syntax="activecampaign"),
    "JSON text": actions(*["[" + ",".join(["{{contact.x}}"] * 4_600) + "]"] * 14, body_type="json"),
    "JSON text with quotes": actions(*["[" + ",".join(['"{{ x | d(\\"a\\") }}"'] * 2_500) + "]"] * 12),
    "XML on many lines": actions(*[TAGS_ON_LINES] * 10, body_type="xml"),
    "XML nested": actions(*["<a>\n" * 250 + "x" + "</a>" * 250] * 16, body_type="xml"),
    "YAML": actions(*["\n".join(f"k{n}: v" for n in range(5_000))] * 16, body_type="yaml"),
    "YAML brackets": actions(*["[" * 60_000] * 16, body_type="yaml"),
    "YAML with placeholders": actions(*["\n".join(f"k{n}: '{{{{ contact.a }}}}'" for n in range(900))] * 16),
    "forms": actions(*["&".join(["a={{contact.x}}"] * 3_400)] * 16, body_type="form"),
    "headers": actions("x", headers={f"h{number}": "1" for number in range(60_000)}),
    "leaves": actions({f"k{number}": "{{contact.x}}" for number in range(30_000)}),
    "results": actions(*["x"] * 400, success_when="status_code in [" + "1," * 900 + "1]"),
    "YAML that is none": actions(*["\n".join(f"k{n}: v" for n in range(5_000)) + "\n}"] * 16, body_type="yaml"),
    "unknown keys": messages(*["x"] * 500, **{f"k{number}": 1 for number in range(50_000)}),
    "unknown keys of steps": actions(*["x"] * 400, **{f"k{number}": 1 for number in range(200)}),
    "too many steps": messages(*["{{ step.s1 }}"] * 12_000),
    "lists": actions({"a": [[]] * 200_000}),
    "objects": actions({f"k{number}": {} for number in range(70_000)}, body_type="xml"),
    "options": {
        "flow_format": 1,
        "id": "slow",
        "steps": [{"name": "m", "type": "menu", "options": {f"o{number}": f"s{number}" for number in range(40_000)}}],
    },
    "conditions": {
        "flow_format": 1,
        "id": "slow",
        "steps": [
            {
                "name": "c",
                "type": "conditional",
                "paths": [{"conditions": [{"field": "contact.a", "comparison": "exact", "value": "1"}] * 13_000}],
            }
        ],
    },
    "query": actions("x", query_params=[["{{ contact.a }}", "1"]] * 40_000),
    "parts": actions([{"name": "a", "value": "b"}] * 30_000, body_type="multipart"),
    "variables": messages("x", variables={f"v{number}": {"type": "text"} for number in range(30_000)}),
    "tests": messages("x", tests=[{"name": f"t{number}", "response": {"x": 1}} for number in range(15_000)]),
    "faults": messages(*["x" * 60_000 + "{{ nope }}" * 30] * 16),
    "steps": messages(*["{{ step.s0.response }} {{ step.s10 | upper }}" * 20] * 500),
}

LOAD = """
import resource, sys
from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.json_source import MAX_BYTES
from airflow_whatsapp_flows.flow.loading.load import load_flow
text = sys.stdin.read()
resource.setrlimit(resource.RLIMIT_CPU, (6, 6))
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    load_flow(text)
except FlowFileError as error:
    assert str(error)
"""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if number % 3 else []) for number, name in enumerate(SLOW)]
)
def test_loads_or_refuses_a_flow_of_a_mebibyte_within_seconds(name: str) -> None:
    text = json.dumps(SLOW[name])
    assert len(text) <= MAX_BYTES
    done = subprocess.run(
        [sys.executable, "-c", LOAD], input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]


def faults(flow: dict[str, Any]) -> list[str]:
    with pytest.raises(FlowFileError) as caught:
        load_flow(json.dumps(flow, indent=1))
    return [f"{fault.where()}: {fault.message}" for fault in caught.value.faults]


def test_limits_the_placeholders_of_a_text() -> None:
    load_flow(messages("{{contact.a}}" * MAX_IN_TEXT))
    (fault,) = faults(messages("{{contact.a}}" * (MAX_IN_TEXT + 1)))
    column = len('   "body": "') + 13 * MAX_IN_TEXT + 1
    assert fault == f"8:{column}: the text has more than {MAX_IN_TEXT:,} placeholders; split it, or send fewer values"


@pytest.mark.parametrize(
    ("opening", "keys"),
    [
        pytest.param(r"\u007b\u007bcontact.a}}", {}, id="escaped braces"),
        pytest.param("%contact.a%", {"syntax": "activecampaign"}, id="percent signs"),
        pytest.param(r"\u0025contact.a\u0025", {"syntax": "activecampaign"}, id="escaped percent signs"),
    ],
)
def test_counts_every_spelling_of_placeholders(opening: str, keys: dict[str, Any]) -> None:
    texts = ["HERE"] * (MAX_PLACEHOLDERS // MAX_IN_TEXT + 1)
    text = json.dumps(messages(*texts, **keys)).replace("HERE", opening * MAX_IN_TEXT)
    with pytest.raises(FlowFileError, match=f"the flow has more than {MAX_PLACEHOLDERS:,} placeholders"):
        load_flow(text)


def test_limits_the_placeholders_of_a_body_parsed_in_parts() -> None:
    body = "[" + ",".join(["{{contact.a}}"] * (MAX_IN_TEXT + 1)) + "]"
    (fault,) = faults(actions(body, body_type="json"))
    assert f"the text has more than {MAX_IN_TEXT:,} placeholders" in fault


def test_limits_the_length_of_a_placeholder() -> None:
    room = MAX_PLACEHOLDER - len("{{ '' }}")
    load_flow(messages("{{ '" + "a" * room + "' }}"))
    (fault,) = faults(messages("ok {{ '" + "a" * (room + 1) + "' }}"))
    assert "a placeholder can have at most 4,000 characters" in fault
    assert fault.startswith("8:16:")


def test_limits_the_placeholders_of_a_flow() -> None:
    text = "{{contact.a}}" * MAX_IN_TEXT
    load_flow(messages(*[text] * (MAX_PLACEHOLDERS // MAX_IN_TEXT)))
    (fault,) = faults(messages(*[text] * (MAX_PLACEHOLDERS // MAX_IN_TEXT), "a\n{{ contact.b }}"))
    assert f"the flow has more than {MAX_PLACEHOLDERS:,} placeholders" in fault
    assert f"at most {MAX_PLACEHOLDERS:,}" in fault or "split" in fault


def test_limits_the_size_of_all_placeholders() -> None:
    text = "{{ '" + "a" * 1_900 + "' }}"
    count = MAX_CHARACTERS // len(text)
    load_flow(messages(*[text] * count))
    (fault,) = faults(messages(*[text] * (count + 1)))
    assert f"the placeholders of the flow have more than {MAX_CHARACTERS:,} characters" in fault


def test_the_expressions_over_results_count_as_placeholders() -> None:
    flow = actions(*["x"] * 300, success_when="status_code in [" + "1," * 900 + "1]")
    (fault,) = faults(flow)
    assert f"the placeholders of the flow have more than {MAX_CHARACTERS:,} characters" in fault


def test_reports_other_faults_besides_too_many_placeholders() -> None:
    flow = messages(*["{{contact.a}}" * MAX_IN_TEXT] * 20, nmae="x")
    found = faults(flow)
    assert any("unknown key 'nmae'" in fault for fault in found)
    assert any("more than" in fault for fault in found)
