"""``xml``: always well-formed, answers never become markup; checked with ElementTree, lxml, and xmltodict."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import xmltodict
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.body import BodyType, parse_body
from airflow_whatsapp_flows.flow.template.language import Data, TreeFault
from tests.flow.body.dict_language import INJECTIONS, LANGUAGE, content, encode, fault_of, naughty_strings

TEXTS = st.text(
    st.characters(
        exclude_categories=["Cs"], exclude_characters="".join(map(chr, {*range(32)} - {9, 10, 13})) + "\ufffe\uffff"
    )
)


@pytest.mark.parametrize(
    ("body", "values", "expected"),
    [
        (
            '<a b="{{ x }}">{{ y }}</a>',
            {"x": '"&<\t\r\n', "y": '"&<>\t\r\n'},
            b'<a b="&quot;&amp;&lt;&#9;&#13;&#10;">"&amp;&lt;&gt;\t&#13;\n</a>',
        ),
        ("<a>{{ x }}<b/>{{ y }}</a>", {"x": True, "y": None}, b"<a>true<b/></a>"),
        ("<a><![CDATA[<{{ x }}>]]></a>", {"x": "]]>"}, b"<a>&lt;]]&gt;&gt;</a>"),
        ('<a b="{{ x | default("q") }}"/>', {}, b'<a b="q"/>'),
        ('<a b="{{ x | default(&quot;q&quot;) }}"/>', {}, b'<a b="q"/>'),
        ("<a>{{ x | default('&amp;') }}</a>", {}, b"<a>&amp;</a>"),
        (
            '<?xml version="1.0" encoding="ISO-8859-1"?>\n<a>\u00f1</a>',
            {},
            '<?xml version="1.0" encoding="UTF-8"?>\n<a>ñ</a>'.encode(),
        ),
        (
            '<?xml version="1.0" standalone="yes"?><a/>',
            {},
            b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<a/>',
        ),
        (
            "<!--c--><?p q?><a xmlns='u'>\n  <b xmlns=''>1</b>\n</a>",
            {},
            b'<!--c--><?p q?><a xmlns="u">\n  <b xmlns="">1</b>\n</a>',
        ),
        (
            "<s:E xmlns:s='u' s:q='{{ x }}'><s:B>{{ x }}</s:B></s:E>",
            {"x": 1},
            b'<s:E xmlns:s="u" s:q="1"><s:B>1</s:B></s:E>',
        ),
        (
            {"lead": {"@id": "{{ x }}", "name": "{{ y }}", "tag": ["a", "b"], "no": None}},
            {"x": 7, "y": "<"},
            b'<lead id="7"><name>&lt;</name><tag>a</tag><tag>b</tag><no/></lead>',
        ),
        ({"a": {"#text": "{{ x }}", "@b": 1, "c": True}}, {"x": "t"}, b'<a b="1">t<c>true</c></a>'),
        ({"a": None}, {}, b"<a/>"),
        ({"a": "{{ x }}"}, {"x": ""}, b"<a></a>"),
        ({"a": []}, {}, None),
        (
            {"s:E": {"@xmlns:s": "u", "s:B": {"@xml:lang": "es", "#text": "x"}}},
            {},
            b'<s:E xmlns:s="u"><s:B xml:lang="es">x</s:B></s:E>',
        ),
        (Data({"a": {"b": ["{{ x }}", 1]}}), {}, b"<a><b>{{ x }}</b><b>1</b></a>"),
        ({"a": {"b": [Data("{{ x }}"), "{{ x }}"]}}, {"x": 1}, b"<a><b>{{ x }}</b><b>1</b></a>"),
        (Data("<a>{{ x }}</a>"), {}, b"<a>{{ x }}</a>"),
    ],
)
def test_golden_bytes(body: object, values: dict[str, object], expected: bytes | None) -> None:
    if expected is None:
        assert "one root" in fault_of("xml", body).message
        return
    encoded = encode("xml", body, values)
    assert encoded.content == expected
    assert encoded.content_type == "application/xml; charset=utf-8"
    ElementTree.fromstring(encoded.content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a>\n<b></a>", "line 2, column 8 of the body: not well-formed XML: Opening and ending tag mismatch"),
        ("<{{ x }}/>", "line 1, column 2 of the body: a placeholder is allowed in"),
        ("<a {{ x }}='1'/>", "column 4 of the body: a placeholder is allowed in"),
        ("<a {{ x }}/>", "not well-formed"),
        ("<a><!-- {{ x }} --></a>", "column 9 of the body: a placeholder is allowed in"),
        ("<!-- {{ x }} --><a/>", "column 6 of the body: a placeholder is allowed in"),
        ("<a><?p {{ x }}?></a>", "column 8 of the body: a placeholder is allowed in"),
        ("<a xmlns='{{ x }}'/>", "column 11 of the body: a placeholder is allowed in"),
        ("<a xmlns:p='u{{ x }}'/>", "column 14 of the body: a placeholder is allowed in"),
        ("<a xml:id='{{ x }}'/>", "column 12 of the body: a placeholder is allowed in"),
        ("<a>{{ x }}</a>\n{{ y }}", "not well-formed"),
        ("<a>\n {{ 1+1 }}</a>", "line 2, column 2 of the body: cannot read"),
        ("<a>{{ x</a>", "never closed"),
        ("<!DOCTYPE a><a/>", "a DOCTYPE is not allowed"),
        (
            "<?xml version='1.0'?>\n<!-- --> <!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
            "line 2, column 10 of the body: a DOCTYPE",
        ),
        ("<a>&nbsp;</a>", "not well-formed"),
        ("<p:a/>", "prefix p"),
        ("<1a/>", "not well-formed"),
        ("<a>\x08</a>", "not well-formed"),
        ("<a>\ud800</a>", "surrogate"),
        ("<?xml version='1.1'?><a/>", "only XML 1.0 can be sent"),
        ("hello", 'XML starts with "<"'),
        ("", "not well-formed"),
        ("<a>" * 300 + "</a>" * 300, "depth"),
    ],
)
def test_faults_in_text(text: str, message: str) -> None:
    assert message in fault_of("xml", text).message


def test_entities_cannot_be_declared() -> None:
    bomb = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    assert "DOCTYPE" in fault_of("xml", f'<!DOCTYPE a [<!ENTITY e0 "x">{bomb}]><a b="&e9;">&e9;</a>').message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "exactly one key"),
        ({"a": 1, "b": 2}, "exactly one key"),
        ({"a": [1, 2]}, "one root"),
        ([1], "XML text or an object"),
        ({"1a": 1}, "cannot be a name"),
        ({"": 1}, "cannot be a name"),
        ({"a b": 1}, "cannot be a name"),
        ({"a><evil": 1}, "cannot be a name"),
        ({"a\n": 1}, "cannot be a name"),
        ({"a:b:c": 1}, "cannot be a name"),
        ({"a": {"@": 1}}, "cannot be a name"),
        ({"a": {"#comment": 1}}, "cannot be a name"),
        ({"p:a": 1}, "the prefix 'p' is not declared"),
        ({"a": {"@p:q": 1}}, "the prefix 'p' is not declared"),
        ({"a": {"@xmlns:p": "{{ x }}"}}, "not a placeholder"),
        ({"a": {"@xmlns:p": ""}}, "not a placeholder"),
        ({"a": {"@xmlns:xml": "u"}}, "reserved"),
        ({"a": {"@xmlns:1": "u"}}, "cannot be a name"),
        ({"a": {"@xmlns:p": "u", "@xmlns:q": "u", "@p:x": 1, "@q:x": 2}}, "appears twice"),
        ({"a": {"@xml:id": "{{ x }}"}}, "xml:id"),
        ({"a": {"@b": {"c": 1}}}, "cannot be an attribute"),
        ({"a": {"b": [[1]]}}, "a list within a list"),
        ({"a": "\x08"}, "U+0008"),
        ({"a": "\ud800"}, "U+D800"),
        ({"a": float("nan")}, "NaN"),
        (Data({"a": {1: 2}}), "not text"),
    ],
)
def test_faults_in_objects(body: object, message: str) -> None:
    assert message in fault_of("xml", body).message


def test_faults_in_objects_have_the_path() -> None:
    fault = fault_of("xml", {"a": {"b": [{"@c d": 1}]}})
    assert isinstance(fault, TreeFault)
    assert fault.path == ("a", "b", 0, "@c d")


@pytest.mark.parametrize("value", ["\x00", "\x08", "\x1f", "\ufffe", "\uffff", "\ud800", [1], {"a": 1}, float("inf")])
def test_a_value_that_cannot_be_sent_is_named(value: object) -> None:
    for body, where in (
        ("<a><b c='{{ x }}'/></a>", "a.b.@c"),
        ("<a><b/>{{ x }}</a>", "a"),
        ({"a": {"b": "{{ x }}"}}, "a.b"),
    ):
        with pytest.raises(RenderError) as caught:
            content("xml", body, x=value)
        assert caught.value.where == where


def test_a_missing_value_is_named() -> None:
    with pytest.raises(MissingValueError) as caught:
        content("xml", "<a><b>{{ x }}</b></a>")
    assert caught.value.where == "a.b"


def test_templates() -> None:
    body = parse_body(BodyType.XML, "<a b='{{ x }}'>n {{ y }}</a>", LANGUAGE)
    assert [template.text for template in body.templates] == ["{{ x }}", "n {{ y }}"]


@pytest.mark.parametrize("value", INJECTIONS)
def test_an_answer_stays_text(value: str) -> None:
    _check_round_trip(value)


def test_naughty_strings() -> None:
    for value in naughty_strings():
        if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", value):
            with pytest.raises(RenderError):
                content("xml", "<a>{{ x }}</a>", x=value)
        else:
            _check_round_trip(value)


@given(TEXTS)
def test_every_text_round_trips(value: str) -> None:
    _check_round_trip(value)


def _check_round_trip(value: str) -> None:
    text = '<r a="{{ x }}"><b>{{ x }}</b><c/>{{ x }}<d><![CDATA[{{ x }}]]></d></r>'
    for sent in (content("xml", text, x=value), content("xml", _OBJECT, x=value), content("xml", Data(_object(value)))):
        root = ElementTree.fromstring(sent)
        assert root.attrib == {"a": value}
        assert [(child.tag, child.text or "") for child in root] == [("b", value), ("c", ""), ("d", value)]
        assert (root[1].tail or "") == (
            value if sent.startswith(content("xml", text, x=value)[:1]) and root[1].tail else ""
        )
        assert etree.fromstring(sent).get("a") == value
        assert (xmltodict.parse(sent, strip_whitespace=False)["r"]["b"] or "") == value


def _object(value: str) -> dict[str, object]:
    return {"r": {"@a": value, "b": value, "c": None, "d": {"#text": value}}}


_OBJECT = _object("{{ x }}")


def test_keeps_text_after_an_element() -> None:
    root = ElementTree.fromstring(content("xml", "<r><c/>{{ x }}</r>", x="</r>"))
    assert root[0].tail == "</r>"


@given(st.text('<>/a="&;#x:!-[]?{} \n', max_size=30), st.text(max_size=10))
def test_accepted_xml_is_well_formed(text: str, value: str) -> None:
    for candidate in (text, f"<a>{text}{{{{ x }}}}</a>"):
        try:
            sent = parse_body(BodyType.XML, candidate, LANGUAGE).encode({"x": value, "a": value})
        except (ValueError, RenderError):
            continue
        ElementTree.fromstring(sent.content)


@given(st.recursive(TEXTS | st.none(), lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3)))
def test_accepted_objects_give_well_formed_xml(tree: object) -> None:
    try:
        sent = parse_body(BodyType.XML, Data({"r": tree}), LANGUAGE).encode({})
    except ValueError:
        return
    # Not ElementTree: expat has the names of the fourth edition of XML, lxml those of the fifth.
    etree.fromstring(sent.content)


def test_lxml_is_imported_only_for_xml() -> None:
    code = (
        "import sys; from airflow_whatsapp_flows.flow.body import *\n"
        "assert not {'lxml', 'lxml.etree', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_megabyte() -> None:
    value = "</a>&" * 200_000
    assert ElementTree.fromstring(content("xml", "<a>{{ x }}</a>", x=value)).text == value
