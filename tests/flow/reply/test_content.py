"""The content of a reply is plain data, or one clear reason."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.reply.content import parse_content
from airflow_whatsapp_flows.flow.request.messages import HttpResponse
from airflow_whatsapp_flows.flow.storable import UnparsableContent, clean


def parse(content: bytes | str, content_type: str | None = "application/json") -> Any:
    headers = (("Content-Type", content_type),) if content_type is not None else ()
    return parse_content(
        HttpResponse(200, headers=headers, content=content.encode() if isinstance(content, str) else content)
    )


@pytest.mark.parametrize("content_type", ["application/json", "text/xml", "text/yaml", "text/plain", None, "image/png"])
@pytest.mark.parametrize("content", [b"", b" \r\n\t"], ids=["empty", "blank"])
def test_empty_content_is_null_for_every_type(content: bytes, content_type: str | None) -> None:
    assert parse(content, content_type) is None


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/Vnd.API+JSON",
        "text/json",
        "application/problem+json",
    ],
)
def test_parses_json_by_content_type(content_type: str) -> None:
    assert parse('{"id": 7}', content_type) == {"id": 7}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"null", None),
        (b"true", True),
        (b'"x"', "x"),
        (b"[]", []),
        (b"{}", {}),
        (b" [1 , 2]\n", [1, 2]),
        (b'{"":0}', {"": 0}),
        (b"[-0, 1E5, 0.1, 1e-2]", [0, 1e5, 0.1, 0.01]),
        (b'"\\u00e9\\n\\/"', "é\n/"),
        (b'"\\ud83d\\ude00"', "😀"),
        ("\ufeff[1]".encode(), [1]),
        ('["é"]'.encode("utf-16"), ["é"]),
        ('["é"]'.encode("utf-32-le"), ["é"]),
        (b"123456789012345678901", 123456789012345678901),
        (b'"a\\u0000b"', "a\ufffdb"),
        (b'"\\ud800"', "\ufffd"),
        (b'{"\\u0000": 1}', {"\ufffd": 1}),
        (b"[" * 64 + b"]" * 64, None),
        (b'{"a":' * 63 + b"1" + b"}" * 63, None),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_json_that_is_accepted(content: bytes, value: Any) -> None:
    result = parse(content)

    assert content.count(b"[") == 64 or content.count(b"{") == 63 or result == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[1,]", "does not parse"),
        (b"{a:1}", "does not parse"),
        (b"{'a':1}", "does not parse"),
        (b"[1 2]", "does not parse"),
        (b"[01]", "does not parse"),
        (b"[1.]", "does not parse"),
        (b"[.5]", "does not parse"),
        (b"[+1]", "does not parse"),
        (b'["\t"]', "does not parse"),
        (b'["\x00"]', "does not parse"),
        (b'["\\x41"]', "does not parse"),
        (b'["a', "does not parse"),
        (b"[] []", "does not parse"),
        (b"// x\n[]", "does not parse"),
        (b"tRue", "does not parse"),
        (b"<html></html>", "does not parse"),
        (b"{", "does not parse"),
        (b'{"a"}', "does not parse"),
        (b'["\\u12"]', "does not parse"),
        (b"\xef\xbb\xbf", "does not parse"),
        (b"\xef\xbb\xbf\xef\xbb\xbf[]", "Unexpected UTF-8 BOM"),
        (b"NaN", "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "1e999 is too large"),
        (b"[-1e999]", "too large"),
        (b"1" * 5000, "too many digits"),
        (b'{"a":1,"a":2}', "the same key twice"),
        (b'"\xff"', "is not utf-8"),
        (b'"\xed\xa0\x80"', "is not utf-8"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" * 15_000 + b"]" * 15_000, "deeper than 64"),
        (b"[" * 40_000, "deeper than 64"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_json_that_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(UnparsableContent, match=reason):
        parse(content)


# Airflow reserves two keys, which are renamed.
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")).filter(
    lambda key: key not in ("__classname__", "__id__")
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)


@given(JSON, st.booleans())
def test_json_round_trips(value: Any, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<a/>", {"a": None}),
        ("<a> x </a>", {"a": "x"}),
        ('<a b="1"/>', {"a": {"@b": "1"}}),
        ('<a b="1">x<c/>y</a>', {"a": {"@b": "1", "c": None, "#text": "xy"}}),
        ("<a><i>1</i><i>2</i><i/></a>", {"a": {"i": ["1", "2", None]}}),
        ("<a><!-- c --><?p x?><b>1</b></a>", {"a": {"b": "1"}}),
        ('<s:E xmlns:s="urn:s"><s:B s:c="1">x</s:B></s:E>', {"s:E": {"s:B": {"@c": "1", "#text": "x"}}}),
        ("<a><![CDATA[<&]]></a>", {"a": "<&"}),
        ("<a>&lt;&#233;</a>", {"a": "<é"}),
        ('<?xml version="1.0" encoding="iso-8859-1"?><a>\u00e9</a>', {"a": "é"}),
    ],
)
def test_xml_is_plain_data(text: str, value: Any) -> None:
    content = text.encode("iso-8859-1")

    assert parse(content, "application/xml") == parse(content, "application/soap+xml; charset=utf-8") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "DOCTYPE"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "https://evil.test/x.dtd"><a/>', "DOCTYPE"),
        ("<!DOCTYPE html><html/>", "DOCTYPE"),
        ("<a>&x;</a>", "does not parse"),
        ("<a><b></a>", "does not parse"),
        ("<a/><b/>", "does not parse"),
        ("not xml", "does not parse"),
        ("<a>\x00</a>", "does not parse"),
        ("<1a/>", "does not parse"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "not in the encoding it declares"),
        ('<?xml version="1.0" encoding="shift_jis"?><a>\x81</a>', "not in the encoding it declares"),
        ("<x:a/>", "does not parse"),
        ("<a " + " ".join(f"a{number}=''" for number in range(1001)) + "/>", "more than 1,000 attributes"),
        ("<a>" + "<b/>" * 50_000 + "</a>", "more than 50,000 elements and attributes"),
        ("<!-- c -->", "does not parse"),
        ("<a>" * 65 + "</a>" * 65, "deeper than 64"),
    ],
)
def test_xml_with_entities_or_faults_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnparsableContent, match=reason):
        parse(text, "text/xml")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        pytest.param("<a>" * 200_000 + "</a>" * 200_000, "text/xml", id="200,000 levels"),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">'
            + "".join(f'<!ENTITY b{n} "{f"&b{n - 1 if n else str()};" * 10}">' for n in range(9))
            + "]><a>&b8;</a>",
            "text/xml",
            id="billion laughs",
        ),
        pytest.param(
            "a: &a [x,x]\n" + "".join(f"b{n}: &b{n} [*a,*a]\n" for n in range(9)), "text/yaml", id="alias bomb"
        ),
        pytest.param("[" * 100_000, "text/yaml", id="deep YAML"),
        pytest.param("a\n" * 200_000, "text/yaml", id="large YAML"),
        pytest.param("[" * 1_000_000, "application/json", id="deep JSON"),
    ],
)
def test_refuses_a_bomb_early(content: str, content_type: str) -> None:
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(UnparsableContent):
            parse(content, content_type)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 1
    assert peak < 50_000_000


@pytest.mark.parametrize(
    ("content", "content_type", "reason"),
    [
        pytest.param("[" + "[]," * 50_000 + "1]", "application/json", "more than 50,000 values", id="lists"),
        pytest.param('["' + '","' * 50_000 + '"]', "application/json", "more than 50,000 values", id="empty texts"),
        pytest.param("[" + '{"a":1},' * 30_000 + "1]", "application/json", "more than 50,000 values", id="objects"),
        pytest.param(f'{{"n": {"9" * 310}}}', "application/json", "at most 309", id="digits"),
        pytest.param("a&" * 50_000, "application/x-www-form-urlencoded", "more than 50,000 form fields", id="fields"),
        pytest.param(f"<r xmlns='{'u' * 1001}'/>", "text/xml", "namespace of more than 1,000", id="namespace"),
        pytest.param(f"<r xmlns:a='{'u' * 1001}'/>", "text/xml", "namespace of more than 1,000", id="prefix"),
    ],
)
def test_names_the_exceeded_limit(content: str, content_type: str, reason: str) -> None:
    with pytest.raises(UnparsableContent, match=reason):
        parse(content, content_type)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        pytest.param("[" + "[]," * 24_990 + "1]", "application/json", id="lists"),
        pytest.param(json.dumps(["[{,:" * 100_000, '\\"[' * 50_000, "{" * 200_000]), "application/json", id="in texts"),
        pytest.param(
            json.dumps(["[{,:" * 100_000]).encode("utf-16").decode("latin-1"), "application/json", id="UTF-16"
        ),
        pytest.param(f'[{"9" * 309}, "{"9" * 2000}"]', "application/json", id="digits"),
        pytest.param("a&" * 49_990, "application/x-www-form-urlencoded", id="fields"),
        pytest.param(f"<r xmlns='{'u' * 1000}' a='{'x' * 200_000}'><!--{'=' * 200_000}--></r>", "text/xml", id="XML"),
    ],
)
def test_reads_values_within_the_limits(content: str, content_type: str) -> None:
    encoded = content.encode("latin-1")
    if encoded.startswith(b"\xff\xfe"):
        encoded = encoded[2:]
    assert parse(encoded, content_type) is not None


def test_form_escapes_are_utf_8_bytes() -> None:
    value = parse(b"%61=%c3%A9&b=%zz%&c=%ff&d=\xc3%A9", "application/x-www-form-urlencoded")

    assert value == {"a": "é", "b": "%zz%", "c": "\ufffd", "d": "é"}


def test_does_not_copy_unchanged_values() -> None:
    value = {"a": [{"b": "x"}, 1]}
    assert clean(value, 9) is value

    changed = {"a": [1, {"b": "\0"}], "c": [2]}
    cleaned: Any = clean(changed, 9)
    assert cleaned == {"a": [1, {"b": "\ufffd"}], "c": [2]}
    assert changed["a"][1] == {"b": "\0"}  # type: ignore[index]


@pytest.mark.parametrize(
    "content_type", ["text/yaml", "application/yaml", "application/x-yaml", "application/vnd.x+yaml"]
)
def test_yaml_is_read_by_the_core_schema(content_type: str) -> None:
    text = "a: no\nb: 0o17\nc: 2026-11-22\nd: 1_000\ne: +52\nf: ~\ng: 'x'\nh: [1, true]\ni: 12:30:45\n"

    assert parse(text, content_type) == {
        "a": "no",
        "b": 15,
        "c": "2026-11-22",
        "d": "1_000",
        "e": 52,
        "f": None,
        "g": "x",
        "h": [1, True],
        "i": "12:30:45",
    }


@pytest.mark.parametrize(
    "content",
    [
        b"a: &x 1\nb: *x",
        b"!!python/object/apply:os.system [ls]",
        b"a: 1\na: 2",
        b"--- 1\n--- 2",
        b"a: [",
        b"\xff",
        b"a: .nan",
        b"%TAG ! x\n",
        b"? [a]\n: 1",
        b"\x01",
    ],
    ids=ascii,
)
def test_yaml_beyond_plain_data_is_refused(content: bytes) -> None:
    with pytest.raises(UnparsableContent, match="declared as YAML"):
        parse(content, "text/yaml")


def test_a_form_is_an_object_and_a_repeated_name_a_list() -> None:
    value = parse("a=1&b=x+y&b=%C3%A9&c&d=%ff&b=3", "application/x-www-form-urlencoded; charset=utf-8")

    assert value == {"a": "1", "b": ["x y", "é", "3"], "c": "", "d": "\ufffd"}


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        ("é".encode(), "text/plain", "é"),
        ("é".encode("latin-1"), "text/plain", "é"),
        ("é".encode(), None, "é"),
        ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1", "é"),
        ("é".encode("utf-16"), 'text/html; charset="utf-16"', "é"),
        ("\ufeffé".encode(), "text/plain; charset=utf-8", "é"),
        ("é".encode(), "text/plain; charset=no-such", "é"),
        (b"abc-", "text/plain; charset=punycode", "abc-"),
        (b"a\\d", "text/plain; charset=unicode_escape", "a\\d"),
        (b"abc", "text/plain; charset=undefined", "abc"),
        (b"abc", "text/plain; charset=hex", "abc"),
        (b"\xff\xfe", "text/plain; charset=utf-8", "ÿþ"),
        (b"a\x00b", "application/octet-stream", "a\ufffdb"),
        (b'{"a":1}', None, '{"a":1}'),
        (b"+AGEAYg-", "text/plain; charset=utf-7", "+AGEAYg-"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_everything_else_is_text(content: bytes, content_type: str | None, text: str) -> None:
    assert parse(content, content_type) == text


CHARSETS = st.sampled_from(
    [
        "utf-8",
        "latin-1",
        "utf-16",
        "utf-32",
        "utf-7",
        "idna",
        "punycode",
        "undefined",
        "unicode_escape",
        "raw_unicode_escape",
        "hex",
        "zlib",
        "rot13",
        "mbcs",
        "cp037",
        "shift_jis",
        "iso2022_kr",
        "big5hkscs",
        "charmap",
        "x" * 300,
    ]
)
TYPES = st.sampled_from(
    [
        "application/json",
        "text/xml",
        "text/yaml",
        "application/x-www-form-urlencoded",
        "text/plain",
        "+json",
        "/",
        ";",
        "",
    ]
)


@settings(max_examples=500, deadline=None)
@given(
    st.binary(max_size=60) | st.text(alphabet="<>/!&;[]{}:,\"'-*%? \na1eé\x00\u2028").map(str.encode),
    TYPES | st.text(max_size=20),
    CHARSETS | st.none(),
)
def test_content_raises_only_reply_errors(content: bytes, media_type: str, charset: str | None) -> None:
    try:
        value = parse(content, f"{media_type}; charset={charset}" if charset else media_type)
    except UnparsableContent:
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def test_naughty_strings_round_trip_as_text(naughty_strings: list[str]) -> None:
    for text in naughty_strings:
        expected = text.removeprefix("\ufeff").replace("\x00", "\ufffd") if text.encode().strip() else None
        assert parse(text, "text/plain") == expected
        if "\x00" not in text:
            assert parse(json.dumps({"a": text})) == {"a": text}


def test_clean_copies_what_databases_can_store() -> None:
    value = {"a\x00": ["\ud800", 1, None]}

    assert clean(value, 2) == {"a\ufffd": ["\ufffd", 1, None]}
    with pytest.raises(UnparsableContent):
        clean(value, 1)


_HOSTILE = """
import sys
from airflow_whatsapp_flows.flow.storable import UnparsableContent
from airflow_whatsapp_flows.flow.reply.content import parse_content
from airflow_whatsapp_flows.flow.request.messages import HttpResponse

attributes = b" ".join(b'a%d="1"' % number for number in range(60_000))
contents = {
    "text/xml": [
        b"<a " + attributes + b"/>",
        b"<a>" + b"<b/>" * 250_000 + b"</a>",
        b"<a>" * 340_000,
        b"<a>" + b"".join(b"<b%d/>" % number for number in range(100_000)) + b"</a>",
        b"<a>" + b"x&amp;" * 170_000 + b"</a>",
    ],
    "text/yaml": [
        b"[" * 240_000, b"{" * 240_000, b"? " * 120_000, b"- " * 120_000, b"[{a: " * 40_000,
        b"[" + b"[]," * 80_000 + b"]", b"- a\\n" * 60_000, b"".join(b"k%d: v\\n" % number for number in range(20_000)),
    ],
    "application/json": [b"[" * 1_000_000, b"[" + b'{"a":1},' * 110_000 + b"1]", b"1" * 1_000_000],
    "application/x-www-form-urlencoded": [b"a=1&" * 250_000],
}
for content_type, hostile in contents.items():
    for content in hostile:
        try:
            parse_content(HttpResponse(200, headers=(("Content-Type", content_type),), content=content))
        except UnparsableContent as refused:
            print(content_type, refused)
"""


def test_hostile_replies_take_little_cpu() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))  # twenty replies of a megabyte; one took 141 s

    done = subprocess.run(
        [sys.executable, "-c", _HOSTILE], preexec_fn=limit, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "more than 1,000 attributes" in done.stdout
