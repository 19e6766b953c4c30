"""Headers: an answer is a value of printable ASCII or refused, and never adds a header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.request.headers import MAX_VALUE, check_name, check_value, parse_headers
from airflow_whatsapp_flows.flow.request.messages import Headers
from airflow_whatsapp_flows.flow.template.language import TreeFault
from airflow_whatsapp_flows.flow.template.variables import Variables
from tests.flow.samples import language


def build(headers: dict[str, object], answer: object = None) -> Headers:
    return parse_headers(headers, language()).build(Variables(contact={"a": answer}))  # type: ignore[dict-item]


def test_values_become_text_and_null_omits_a_header() -> None:
    headers = {"X-A": "a {{ contact.a }}", "X-B": 1, "X-C": True, "X-D": None, "X-E": "{{ contact.a }}", "X-F": " b\t"}

    assert build(headers, 7) == (("X-A", "a 7"), ("X-B", "1"), ("X-C", "true"), ("X-E", "7"), ("X-F", "b"))
    assert build({"X-E": "{{ contact.a }}"}, None) == ()
    assert parse_headers(None, language()).fields == ()


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Keep-Alive",
        "Expect",
        "Content-Encoding",
        "Proxy-Authorization",
        "proxy-connection",
    ],
)
def test_rejects_framing_and_routing_headers(name: str) -> None:
    with pytest.raises(TreeFault, match="set by the HTTP client") as caught:
        parse_headers({name: "x"}, language())
    assert caught.value.path == (name,)


@pytest.mark.parametrize("name", ["", " ", "X A", "X:A", "X\nA", "X\x00", "é", "{{ contact.a }}", "(x)"], ids=ascii)
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(TreeFault, match="is not a header name"):
        parse_headers({name: "x"}, language())


def test_a_name_occurs_once_in_any_case() -> None:
    with pytest.raises(TreeFault, match="appears twice"):
        parse_headers({"X-A": "1", "x-a": "2"}, language())


@pytest.mark.parametrize("value", [[], {}, {"a": 1}, ["x"]], ids=str)
def test_a_value_is_text(value: object) -> None:
    with pytest.raises(TreeFault, match="the value of a header must be text"):
        parse_headers({"X": value}, language())


@pytest.mark.parametrize(
    "text",
    ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "a\x0bb", "a\x7fb", "a\x85b", "é", "😀", "\u2028", "\ud800"],
    ids=ascii,
)
def test_rejects_control_and_non_ascii_characters(text: str) -> None:
    with pytest.raises(TreeFault, match="a header cannot contain"):
        parse_headers({"X-Name": text}, language())
    with pytest.raises(RenderError, match="a header cannot contain") as caught:
        build({"X-Name": "{{ contact.a }}"}, text)
    assert caught.value.where == "headers.X-Name"


def test_limits_the_length_of_a_value() -> None:
    assert check_value("a" * MAX_VALUE)
    with pytest.raises(RenderError, match="at most 8,000"):
        check_value("a" * (MAX_VALUE + 1))


@given(st.text())
def test_no_answer_adds_a_field(answer: str) -> None:
    try:
        fields = build({"X-A": "{{ contact.a }}", "X-B": "2"}, answer)
    except RenderError:
        return
    assert fields == (("X-A", answer.strip(" \t")), ("X-B", "2"))
    assert all(" " <= character <= "~" or character == "\t" for character in fields[0][1])


def test_naughty_strings_are_sent_as_they_are_or_refused(naughty_strings: list[str]) -> None:
    for text in naughty_strings:
        try:
            assert build({"X": "{{ contact.a }}"}, text) == (("X", text.strip(" \t")),)
        except RenderError:
            assert not text.isascii() or not text.isprintable()


def test_literals_are_checked_at_load() -> None:
    plan = parse_headers({"Content-Type": "text/csv", "X": "{{ contact.a }}"}, language())

    assert (plan.literal("content-type"), plan.literal("x"), plan.literal("y")) == ("text/csv", None, None)
    assert [template.text for template in plan.templates] == ["{{ contact.a }}"]


@pytest.mark.parametrize(
    ("name", "message"), [("X A", "is not a header name"), ("", "is not a header name"), ("Host", "by the HTTP client")]
)
def test_a_name_can_be_checked_alone(name: str, message: str) -> None:
    with pytest.raises(RenderError, match=message):
        check_name(name)
    check_name("X-A")
