"""``record_url`` gives a link to a web page, or none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.reply.record_url import MAX_RECORD_URL, parse_record_url
from airflow_whatsapp_flows.flow.template.language import TemplateFault

RESULT: dict[str, Any] = {
    "status_code": 201,
    "headers": {"location": "https://crm.example.com/c/8"},
    "response": {"id": 7, "name": "a/b ?#&", "url": "https://crm.example.com/c/7", "none": None},
}


@pytest.mark.parametrize(
    ("text", "link"),
    [
        pytest.param("https://crm.example.com/c/{{ response.id }}", "https://crm.example.com/c/7", id="path"),
        pytest.param("HTTP://CRM.example.com/{{ response.id }}", "http://crm.example.com/7", id="capitals"),
        pytest.param(
            "https://crm.example.com/{{ response.name }}?q={{ response.name }}",
            "https://crm.example.com/a%2Fb%20%3F%23%26?q=a%2Fb%20%3F%23%26",
            id="encoded",
        ),
        pytest.param("https://crm.example.com/#/c/{{ response.id }}", "https://crm.example.com/#/c/7", id="fragment"),
        pytest.param(
            "https://crm.example.com/{{ '#' }}#a b", "https://crm.example.com/%23#a%20b", id="a-sign-in-a-placeholder"
        ),
        pytest.param("https://crm.example.com/all", "https://crm.example.com/all", id="without-placeholders"),
        pytest.param("{{ response.url }}", "https://crm.example.com/c/7", id="the-reply-has-it"),
        pytest.param("{{ headers.location }}", "https://crm.example.com/c/8", id="a-header-has-it"),
        pytest.param("https://crm.example.com/{{ response.missing }}", None, id="missing-value"),
        pytest.param("{{ response.missing }}", None, id="missing-url"),
        pytest.param("{{ response.none }}", None, id="null"),
        pytest.param("{{ response.id }}", None, id="number"),
    ],
)
def test_a_link_is_filled_from_the_reply(text: str, link: str | None) -> None:
    assert parse_record_url(text).build(RESULT) == link


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)//https://a.example/",
        " https://a.example/",
        "https://a.example/\n",
        "https://a.example/ b",
        "https://user@a.example/",
        "https://",
        "https:///path",
        "http:a.example",
        "//a.example/",
        "/path",
        "data:text/html,x",
        "ftp://a.example/",
        "https://[::1/",
        'https://a.example/"onclick="x',
        "https://a.example/<script>",
        "https://a.example/\u202e",
        "https://a.example/***{contact.email}***",
        "https://a.example/" + "x" * MAX_RECORD_URL,
        "",
    ],
)
def test_a_reply_can_give_only_a_web_address(url: str) -> None:
    assert parse_record_url("{{ response.url }}").build({"response": {"url": url}}) is None


def test_a_hidden_value_gives_no_link() -> None:
    found = parse_record_url("https://a.example/{{ response.id }}")
    assert found.build({"response": {"id": "***{contact.email}***"}}) is None


@given(st.text() | st.integers() | st.none() | st.lists(st.text(), max_size=3))
def test_any_value_stays_within_the_origin(value: Any) -> None:
    link = parse_record_url("https://a.example/c/{{ response }}?x={{ response }}#{{ response }}").build(
        {"response": value}
    )
    assert link is None or (link.startswith("https://a.example/c/") and link.isascii() and link.isprintable())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("javascript:alert(1)", "starts with https://", id="javascript"),
        pytest.param("/c/{{ response.id }}", "starts with https://", id="relative"),
        pytest.param("{{ response.url }}/x", "starts with https://", id="a-placeholder-and-more"),
        pytest.param("ftp://a.example/", "starts with https://", id="ftp"),
        pytest.param("https://{{ response.id }}.example.com/", "must be literal", id="host"),
        pytest.param("https://a@b.example/", "user name or password", id="user-name"),
        pytest.param("https://a.example/ b", "%20", id="space"),
        pytest.param("https://a.example/{{ contact.phone }}", "'contact' is not known here", id="contact"),
        pytest.param("https://a.example/{{ response.id", "never closed", id="unclosed"),
        pytest.param("https://a.example/#{{ range(9) }}", "calls are not allowed", id="call"),
    ],
)
def test_rejects_what_could_lead_anywhere(text: str, words: str) -> None:
    with pytest.raises(TemplateFault) as raised:
        parse_record_url(text)
    assert words in raised.value.message


def test_a_fault_of_the_fragment_has_its_place() -> None:
    with pytest.raises(TemplateFault) as raised:
        parse_record_url("https://a.example/#/{{ conn.x }}")
    assert raised.value.offset == len("https://a.example/#/")
