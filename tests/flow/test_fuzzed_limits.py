"""Any text, filter, and file quickly gives data, a fault, or a package error, within the limits."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import FlowFileError, RenderError
from airflow_whatsapp_flows.flow.body import BodyType, parse_body
from airflow_whatsapp_flows.flow.body.encoded import MAX_CONTENT
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.filters import FILTERS, MAX_TEXT, json_text, text_of
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders
from airflow_whatsapp_flows.flow.template.sizes import least_size
from tests.flow.samples import FLOW

LARGE = st.sampled_from(
    ["a" * 600_000, "ß" * 400_000, "\x01" * 300_000, "😀" * 300_000, '"\\' * 200_000, ["a" * 9] * 60_000]
)
SMALL = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)
PIECES = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{#", "%contact.", "%", "'", '"', "\\", " ", "\n", "contact.a", "step.", "|", "upper", "~",
     "[", "]", "(", ")", "-", "&", "=", "<", ">", "/", "a: ", "- ", ",", ":", "x", "é", "1", "date('%s')", "{", "}",
     "<!--", "&amp;"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=40).map("".join)
CALLS = {"replace": "('a', 'bbbb')", "join": "(contact.u)", "e164": "('MX')", "default": "(contact.u)"}
CHAINS = st.lists(st.sampled_from(sorted(FILTERS)), min_size=1, max_size=4)
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def expression(names: list[str], value: str) -> str:
    return "{{ " + " | ".join([value, *(name + CALLS.get(name, "") for name in names)]) + " }}"


@FUZZ
@given(
    CHAINS, st.sampled_from(["contact.u", "[contact.u, contact.u]", "contact.u ~ contact.u", "contact.u[1:]"]), LARGE
)
def test_any_filter_chain_keeps_the_text_limit(names: list[str], value: str, answer: object) -> None:
    try:
        template = CagedLanguage().parse(expression(names, value))
        assert not isinstance(template, str)
        assert len(template.render({"contact": {"u": answer}})) <= MAX_TEXT
    except (TemplateFault, RenderError):
        pass


@FUZZ
@given(st.sampled_from(["json", "yaml", "form", "multipart", "xml"]), st.integers(1, 24), LARGE | SMALL)
def test_any_body_keeps_the_body_limit(kind: str, leaves: int, answer: object) -> None:
    fields: dict[str, Any] = {f"k{number}": "{{ contact.u }}" for number in range(leaves)}
    body = parse_body(BodyType(kind), {"r": fields} if kind == "xml" else fields, CagedLanguage())
    try:
        content = body.encode({"contact": {"u": answer}}).content
    except RenderError:
        return
    assert len(content) <= MAX_CONTENT + 200  # a boundary's last line


@given(SMALL)
def test_the_minimum_size_is_a_lower_bound(value: Any) -> None:
    written = json_text(value)
    assert least_size(value, len(written)) <= len(written)
    assert text_of(value) == (value if isinstance(value, str) else "" if value is None else written)


@given(TEXTS)
def test_any_text_has_ordered_placeholders_or_a_located_fault(text: str) -> None:
    at, unfinished = 0, len(text)
    found = find_placeholders(text, CagedLanguage(syntax="activecampaign"))
    while True:
        try:
            placeholder = next(found, None)
        except TemplateFault as fault:
            unfinished = fault.offset
            break
        if placeholder is None:
            break
        assert at <= placeholder.start < placeholder.end <= len(text)
        assert text[placeholder.start : placeholder.end] == placeholder.source
        at = placeholder.end
    assert at <= unfinished <= len(text)


@settings(FUZZ, max_examples=300)
@given(st.sampled_from([kind.value for kind in BodyType] + [None]), TEXTS, st.just("") | TEXTS, st.integers(1, 60))
def test_any_flow_texts_load_or_give_located_faults(kind: str | None, body: str, url: str, times: int) -> None:
    steps = [
        {"name": f"s{index}", "type": "action", "url": f"https://crm.example/{url}", "body": body * times}
        | ({} if kind is None else {"body_type": kind})
        | ({"on_success": f"s{index + 1}"} if index < 2 else {})
        for index in range(3)
    ]
    text = json.dumps({**FLOW, "steps": steps}, indent=1)
    lines = text.split("\n")
    try:
        load_flow(text)
    except FlowFileError as error:
        for fault in error.faults:
            assert fault.line is not None
            assert fault.column is not None
            assert 1 <= fault.line <= len(lines)
            assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1
