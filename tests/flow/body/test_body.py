"""The type of a body is inferred, and no answer becomes structure or a template."""

from __future__ import annotations

import dataclasses

import pytest

from airflow_whatsapp_flows.flow.body import ABSENT, BodyType, infer_body_type, parse_body
from airflow_whatsapp_flows.flow.body.tokens import TokenText, find_spans
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import Data, TemplateFault, TreeFault, faults_under
from tests.flow.body.dict_language import LANGUAGE, content, fault_of

BODIES = [
    ("json", {"a": "{{ x }}"}),
    ("json", '{"a": {{ x }}}'),
    ("form", {"a": "{{ x }}"}),
    ("form", "a={{ x }}"),
    ("multipart", {"a": "{{ x }}"}),
    ("xml", "<a>{{ x }}</a>"),
    ("xml", {"a": "{{ x }}"}),
    ("yaml", "a: {{ x }}"),
    ("plain", "{{ x }}"),
]


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (ABSENT, None, "none"),
        (None, None, "none"),
        ("", None, "none"),
        (" \n", None, "none"),
        (ABSENT, "application/json", "none"),
        (None, "application/json", "none"),
        ("", "application/json", "json"),
        ({}, None, "json"),
        ([], None, "json"),
        (0, None, "json"),
        (False, None, "json"),
        (Data({}), None, "json"),
        (Data("<a/>"), None, "xml"),
        (' {"a": 1}', None, "json"),
        ("[1]", None, "json"),
        ("[{{ x }}]", None, "json"),
        ("\n<a/>", None, "xml"),
        ("hello", None, "plain"),
        ("{{ x }} says hi", None, "plain"),
        ("hello", "Application/JSON; charset=utf-8", "json"),
        ("x", "application/vnd.api+json", "json"),
        ("x", "text/xml", "xml"),
        ("x", "application/soap+xml; charset=utf-8", "xml"),
        ("x", "application/x-www-form-urlencoded", "form"),
        ({}, "multipart/form-data; boundary=x", "multipart"),
        ("x", "application/x-yaml", "yaml"),
        ("x", "text/csv", "plain"),
        ("<a/>", "text/html", "plain"),
        ({}, "application/octet-stream", "json"),
        ("{}", "{{ type }}", "json"),
        ("a=1&b=2", None, "form"),
        ("name={{ step.Ask name }}&tags%5B%5D=new&x=", None, "form"),
        ("token={{ contact.token | default('a b') }}", None, "form"),
        ("a=1&b=2", "text/plain", "plain"),
        ("a=1", "application/octet-stream", "form"),
        ("YWJj=", None, "plain"),
        ("YWJjZA==", None, "plain"),
        ("x = 1", None, "plain"),
        ("1 + 1 = 2 & more", None, "plain"),
        ("a=1\nb=2", None, "plain"),
        ("{{ contact.name }}", None, "plain"),
        ("a={{ open", None, "plain"),
        ("https://x.test/?a=1&b=2", None, "plain"),
    ],
)
def test_infer_body_type(body: object, content_type: str | None, expected: str) -> None:
    assert infer_body_type(body, content_type) is BodyType(expected)


@pytest.mark.parametrize("body_type", [kind.value for kind in BodyType if kind is not BodyType.NONE])
def test_an_absent_body_is_a_fault(body_type: str) -> None:
    assert "there is no body" in fault_of(body_type, ABSENT).message


@pytest.mark.parametrize(("body_type", "body"), BODIES)
def test_values_are_never_searched_for_tokens_or_templates(body_type: str, body: object) -> None:
    """A contact who knows the flow's text can compute its tokens; they stay text."""
    tokens = [TokenText(text, find_spans(text, LANGUAGE)).token(0) for text in (str(body), repr(body))]
    for answer in (*tokens, "{{ x }}", "{{ 7*7 }}", "{% x %}"):
        marked = content(body_type, body, x="MARK")
        sent = content(body_type, body, x=answer)
        plain = (
            sent.decode()
            .replace("%7B", "{")
            .replace("%7D", "}")
            .replace("%25", "%")
            .replace("%2A", "*")
            .replace("+", " ")
        )
        if body_type != "multipart":
            assert plain == marked.decode().replace("MARK", answer)
        else:
            assert answer.encode() in sent


def test_tokens_differ_from_any_text_of_the_body() -> None:
    text = "<a>{{ x }}</a>"
    token = TokenText(text, find_spans(text, LANGUAGE)).token(0)
    assert content("xml", f"<a b='{token}'>{token}{{{{ x }}}}</a>", x="v") == f'<a b="{token}">{token}v</a>'.encode()
    assert content("form", f"a={token}{{{{ x }}}}", x="v") == f"a={token}v".encode()
    assert content("yaml", f"a: {token}{{{{ x }}}}", x="v") == f'"a": "{token}v"\n'.encode()


@pytest.mark.parametrize(("body_type", "body"), BODIES)
def test_bodies_are_immutable_and_deterministic(body_type: str, body: object) -> None:
    parsed = parse_body(BodyType(body_type), body, LANGUAGE)
    assert parsed.encode({"x": "v"}) == parsed.encode({"x": "v"})
    assert [template.text for template in parsed.templates] == ["{{ x }}"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(parsed, dataclasses.fields(parsed)[0].name, None)  # type: ignore[arg-type]


def test_offsets_lead_back_to_the_original() -> None:
    text = "AB{{ x\n }}CD\n{{ y }}E"
    tokens = TokenText(text, find_spans(text, LANGUAGE))
    for sign in "ABCDE":
        assert tokens.offset_of(tokens.text.index(sign)) == text.index(sign)
    assert tokens.offset_of(tokens.text.index(tokens.token(1)) + 5) == text.index("{{ y")


@pytest.mark.parametrize(
    ("body_type", "text"),
    [
        (BodyType.JSON, '{"a": "{{ conn.a }} {{ nope.b }}",\n "b": {{ var.c }}, "d": "{{ contact.d }}"}'),
        (BodyType.XML, "<r><a>{{ conn.a }} {{ nope.b }}</a>\n<b c='{{ var.c }}'>{{ contact.d }}</b></r>"),
        (BodyType.YAML, "a: '{{ conn.a }} {{ nope.b }}'\nb: {{ var.c }}\nd: {{ contact.d }}\n"),
        (BodyType.FORM, "a={{ conn.a }}{{ nope.b }}&c={{ var.c }}&d={{ contact.d }}"),
        (BodyType.PLAIN, "{{ conn.a }} {{ nope.b }}\n{{ var.c }} {{ contact.d }}"),
    ],
)
def test_every_bad_placeholder_of_a_text_is_reported(body_type: BodyType, text: str) -> None:
    with pytest.raises(TemplateFault) as caught:
        parse_body(body_type, text, CagedLanguage())
    assert [fault.offset for fault in (caught.value, *caught.value.more)] == [
        text.index(name) - 3 for name in ("conn", "nope", "var")
    ]


def test_an_escaped_placeholder_is_not_reported_with_another_fault() -> None:
    text = r'{"a": "{{ contact.a | default(\"x\") }}", "b": "{{ conn.b }}"}'
    with pytest.raises(TemplateFault) as caught:
        parse_body(BodyType.JSON, text, CagedLanguage())
    assert (caught.value.offset, caught.value.more) == (text.index("{{ conn"), ())


def test_every_fault_of_a_text_within_data_is_reported() -> None:
    with pytest.raises(TreeFault) as caught:
        parse_body(BodyType.JSON, {"a": ["{{ x }} {{ y }}"]}, CagedLanguage())
    assert [(fault.path, fault.offset) for fault in faults_under(caught.value)] == [(("a", 0), 0), (("a", 0), 8)]
