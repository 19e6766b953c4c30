"""The origin of a URL is literal; an answer is one segment or one query value."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.request.url import MAX_URL, UrlPlan, parse_parameters, parse_url
from airflow_whatsapp_flows.flow.template.language import Data, TemplateFault
from airflow_whatsapp_flows.flow.template.variables import Variables
from tests.flow.samples import language

ANSWERS = st.text(max_size=200)


def plan(text: str, *, has_connection: bool = False) -> UrlPlan:
    return parse_url(text, language(), has_connection=has_connection)


def build(text: str, answer: object = None, *, has_connection: bool = False) -> str:
    return plan(text, has_connection=has_connection).build(Variables(contact={"a": answer}))  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("https://crm.example", None, "https://crm.example/"),
        ("HTTPS://CRM.Example:8443/V1", None, "https://crm.example:8443/V1"),
        ("http://[::1]:8080/x", None, "http://[::1]:8080/x"),
        ("https://ñandú.mx/ñ", None, "https://xn--and-6ma2c.mx/%C3%B1"),
        ("https://x.test/v1/{{ contact.a }}/tags", "a b", "https://x.test/v1/a%20b/tags"),
        ("https://x.test/{{ contact.a }}.json", "..", "https://x.test/...json"),
        ("https://x.test/{{ contact.a }}", 41, "https://x.test/41"),
        ("https://x.test/{{ contact.a }}", "a/b", "https://x.test/a%2Fb"),
        ("https://x.test/{{ contact.a }}", "%2e%2e", "https://x.test/%252e%252e"),
        ("https://x.test/{{ contact.a }}", "?x#y\\;", "https://x.test/%3Fx%23y%5C%3B"),
        ("https://x.test/?phone={{ contact.a }}", "+52 1&x=y", "https://x.test/?phone=%2B52%201%26x%3Dy"),
        ("https://x.test/?a=b+c%20d&e&f=&a=2", None, "https://x.test/?a=b+c%20d&e&f=&a=2"),
        ("https://x.test/100%/%zz%41?q=50%", None, "https://x.test/100%25/%25zz%41?q=50%25"),
        ("https://x.test//a//", None, "https://x.test//a//"),
        ("https://x.test/?a={{ contact.a }}", None, "https://x.test/?a="),
        ("https://x.test/xwfx0z/{{ contact.a }}", "b", "https://x.test/xwfx0z/b"),
        ("https://x.test/?u=https://y/?z", None, "https://x.test/?u=https://y/?z"),
    ],
)
def test_builds_a_url_from_its_template(text: str, answer: object, expected: str) -> None:
    assert build(text, answer) == expected


@pytest.mark.parametrize("text", ["/v1/{{ contact.a }}", "v1/{{ contact.a }}"])
def test_a_connection_gives_the_origin(text: str) -> None:
    assert build(text, "x", has_connection=True) == "/v1/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("http://crm{{ contact.a }}/", "must be literal", id="host"),
        pytest.param("https://{{ contact.a }}/", "must be literal", id="whole host"),
        pytest.param("https://x.test:{{ contact.a }}/", "must be literal", id="port"),
        pytest.param("https://x.test:80{{ contact.a }}/", "must be literal", id="end of the port"),
        pytest.param("{{ contact.a }}://x.test/", "must be literal", id="scheme"),
        pytest.param("https://{{ contact.a }}@x.test/", "must be literal", id="user"),
        pytest.param("{{ contact.a }}", "cannot start with a placeholder", id="all of it"),
        pytest.param("https://user:pw@x.test/", "cannot contain a user name or password", id="userinfo"),
        pytest.param("https://x.test/#a", "never sent to a server", id="fragment"),
        pytest.param("https://x.test/#", "never sent to a server", id="empty fragment"),
        pytest.param("https://x.test/#{{ contact.a }}", "never sent to a server", id="an answer as fragment"),
        pytest.param("https://x.test/../a", "'.' and '..'", id=".."),
        pytest.param("https://x.test/a/./b", "'.' and '..'", id="."),
        pytest.param("https://x.test/%2e%2E/a", "'.' and '..'", id="encoded .."),
        pytest.param("https://x.test/a b", "cannot contain spaces", id="blank"),
        pytest.param("https://x.test/a\nb", "cannot contain spaces", id="line break"),
        pytest.param("https://x.test\\@evil.test/", "cannot contain spaces", id="backslash"),
        pytest.param("https://x.test/?{{ contact.a }}=1", "must be literal", id="query name"),
        pytest.param("https://x.test/?a{{ contact.a }}", "must be literal", id="query name without a value"),
        pytest.param("ftp://x.test/", "'ftp' is not allowed", id="ftp"),
        pytest.param("file:///etc/passwd", "'file' is not allowed", id="file"),
        pytest.param("javascript:alert(1)", "'javascript' is not allowed", id="javascript"),
        pytest.param("//x.test/", "an empty scheme is not allowed", id="no scheme"),
        pytest.param("/v1", "has no host", id="a path without a connection"),
        pytest.param("", "has no host", id="nothing"),
        pytest.param("https://", "not a host", id="no host"),
        pytest.param("https://x.test:99999/", "not a host", id="port too large"),
        pytest.param("https://x.test:0/", "not a host", id="port 0"),
        pytest.param("https://x.test:８０/", "not a host", id="port in wide digits"),
        pytest.param("https://a%2fb/", "not a host name", id="an escape in the host"),
        pytest.param("https://a％b/", "not a host name", id="a wide per cent sign"),
        pytest.param("https://a$b/", "not a host name", id="a sign in the host"),
        pytest.param("https://x..test/", "not a host name", id="an empty label"),
        pytest.param("https://a＠b/", "not a URL", id="a wide @"),
        pytest.param("https://[::1/", "not a URL", id="an open bracket"),
        pytest.param("https://x.test/{{ conn.x }}", "'conn' is not a variable", id="an unknown variable"),
    ],
)
def test_refuses_urls_that_could_change_the_host(text: str, message: str) -> None:
    with pytest.raises(TemplateFault, match=message):
        plan(text)


@pytest.mark.parametrize("text", ["//x.test/v1", "///x.test", "{{ contact.a }}/x", "#x", "/a/../b"])
def test_a_path_with_a_connection_stays_a_path(text: str) -> None:
    with pytest.raises(TemplateFault):
        plan(text, has_connection=True)


def test_a_fault_has_the_offset_of_its_placeholder() -> None:
    with pytest.raises(TemplateFault) as caught:
        plan("https://x.test/{{ contact.a }}/{{ y }}")

    assert caught.value.offset == 31


@pytest.mark.parametrize("answer", ["", ".", "..", None, "\ud800"], ids=ascii)
def test_an_answer_that_would_change_the_path_is_refused(answer: object) -> None:
    with pytest.raises(RenderError):
        build("https://x.test/a/{{ contact.a }}/b", answer)


@pytest.mark.parametrize("text", ["{{ contact.a }}{{ contact.a }}", "%2e{{ contact.a }}", ".{{ contact.a }}"])
def test_parts_cannot_combine_into_dot_segments(text: str) -> None:
    with pytest.raises(RenderError, match="would change the path"):
        build(f"https://x.test/a/{text}/b", ".")


@given(ANSWERS)
@example("../x")
@example("%2e%2e")
@example("a/b?c#d\\e;f")
def test_an_answer_in_the_path_is_one_segment_or_refused(answer: str) -> None:
    try:
        url = build("https://x.test/v1/{{ contact.a }}/tags?b=1", answer)
    except RenderError:
        return
    parts = urlsplit(url)
    first, second, segment, last = parts.path.split("/")
    assert (parts.netloc, first, second, last, parts.query) == ("x.test", "", "v1", "tags", "b=1")
    assert unquote(segment, errors="strict") == answer
    assert url.isascii()


@given(ANSWERS)
@example("+52 1")
@example("a&b=c#d")
def test_an_answer_in_the_query_is_one_value_or_refused(answer: str) -> None:
    text = "https://x.test/v1?a=1&b={{ contact.a }}&c=3"
    try:
        url = build(text, answer)
    except RenderError:
        assert any("\ud800" <= character <= "\udfff" for character in answer)
        return
    parts = urlsplit(url)
    assert parse_qsl(parts.query, keep_blank_values=True) == [("a", "1"), ("b", answer), ("c", "3")]
    assert (parts.path, parts.fragment) == ("/v1", "")


def test_naughty_strings_round_trip_in_path_and_query(naughty_strings: list[str]) -> None:
    for text in naughty_strings:
        if text not in ("", ".", ".."):
            assert unquote(build("https://x.test/{{ contact.a }}", text).rpartition("/")[2]) == text
        query = urlsplit(build("https://x.test/?a={{ contact.a }}", text)).query
        assert parse_qsl(query, keep_blank_values=True) == [("a", text)]


def test_limits_the_length_of_a_url() -> None:
    with pytest.raises(RenderError, match="at most 8,000"):
        build("https://x.test/{{ contact.a }}", "a" * MAX_URL)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(MissingValueError, match=r"contact\.b has no value"):
        build("https://x.test/{{ contact.b }}")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (None, ""),
        ({}, ""),
        ({"a": "{{ contact.a }}"}, "a=%2B52"),
        ({"a": None, "b": True, "c": 1.5, "d": ""}, "a=&b=true&c=1.5&d="),
        ({"a": ["x", 2, "{{ contact.a }}"], "b": []}, "a=x&a=2&a=%2B52"),
        ([["a", 1], ["b", 2], ["a", 3]], "a=1&b=2&a=3"),
        ({"a b&": "c d"}, "a%20b%26=c%20d"),
        (Data({"a": "{{ contact.a }}"}), "a=%7B%7B%20contact.a%20%7D%7D"),
    ],
    ids=str,
)
def test_query_parameters_are_pairs(parameters: object, expected: str) -> None:
    parsed = parse_parameters(parameters, language())
    url = UrlPlan("https://x.test", (("",),), (), parsed).build(Variables(contact={"a": "+52"}))

    assert url == "https://x.test/" + (f"?{expected}" if expected else "")


def test_query_parameters_join_those_of_the_url() -> None:
    parsed = plan("https://x.test/?a=1&b")
    joined = UrlPlan(parsed.origin, parsed.segments, parsed.query, parse_parameters({"a": 2}, language()))

    assert joined.build(Variables()) == "https://x.test/?a=1&b&a=2"


@pytest.mark.parametrize("parameters", [7, "a=b", [["a"]], [["a", 1, 2]], [[1, "a"]], ["ab"]], ids=str)
def test_refuses_values_that_are_not_pairs(parameters: object) -> None:
    with pytest.raises(TemplateFault, match="query parameters must be an object"):
        parse_parameters(parameters, language())


@pytest.mark.parametrize("value", [{"a": 1}, [[1]], [{"a": 1}], "{{ contact }}"], ids=str)
def test_rejects_objects_in_a_query(value: object) -> None:
    parsed = parse_parameters({"q": value}, language())

    with pytest.raises(RenderError, match="cannot be a query parameter") as caught:
        UrlPlan("https://x.test", (("",),), (), parsed).build(Variables(contact={"a": 1}))
    assert caught.value.where.startswith("query_params.q")


def test_every_bad_placeholder_of_a_url_is_reported() -> None:
    with pytest.raises(TemplateFault) as caught:
        parse_url("https://x.test/{{ a }}/{{ contact.b }}/?c={{ d }}", language(), has_connection=False)
    assert [fault.offset for fault in (caught.value, *caught.value.more)] == [15, 42]
