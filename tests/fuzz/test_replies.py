"""Anything that a server sends is a reply or a failure: on the wire, in its head, and in its content."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Iterator
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.delivery.rule import retry_after
from airflow_whatsapp_flows.flow.reply.content import parse_content
from airflow_whatsapp_flows.flow.reply.excerpt import EXCERPT_LENGTH, reply_excerpt
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse, TransportFailure
from airflow_whatsapp_flows.transport import NetworkPolicy, SendPolicy, open_session, send
from tests.fuzz.budget import PLAIN, RESERVED, fuzz_settings, mutate
from tests.servers.hostile import HostileServer, Peer, reply

LIMIT = 10_000
NOW = dt.datetime(2026, 11, 22, 10, tzinfo=dt.timezone.utc)
REQUEST = HttpRequest("POST", "https://crm.example/")


def parse(content: bytes, media_type: str) -> Any:
    return parse_content(HttpResponse(200, headers=(("Content-Type", media_type),), content=content))


def classify_and_check(response: HttpResponse | TransportFailure) -> ActionResult:
    """The result of a reply, which must be storable and printable."""
    result = classify(response, SentRequest(REQUEST))
    json.dumps(result.as_value(), allow_nan=False, ensure_ascii=False).encode()
    excerpt = reply_excerpt(result)
    assert excerpt is None or (len(excerpt) <= EXCERPT_LENGTH and (excerpt.isprintable()))
    return result


# Content

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9._-]{0,6}", fullmatch=True).filter(lambda name: name not in RESERVED)
XML_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), max_size=8
)
ELEMENTS = st.recursive(
    st.tuples(NAMES, st.dictionaries(NAMES, XML_TEXT, max_size=2), XML_TEXT),
    lambda inner: st.tuples(NAMES, st.dictionaries(NAMES, XML_TEXT, max_size=2), st.lists(inner, max_size=3)),
    max_leaves=6,
)


ANY_TEXT = st.text(st.sampled_from("a\0\ud800\udfff\u202e\x1b") | st.characters(), max_size=6)
WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


def xml_of(element: Any) -> str:
    name, attributes, inner = element
    head = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    content = escape(inner) if isinstance(inner, str) else "".join(map(xml_of, inner))
    return f"<{name}{head}>{content}</{name}>"


def element_data(element: Any) -> Any:
    """The data of an element, by the documented convention."""
    _, attributes, inner = element
    found: dict[str, Any] = {f"@{key}": value for key, value in attributes.items()}
    if isinstance(inner, str):
        text = inner.strip()
        return ({**found, "#text": text} if text else found) if found else text or None
    for child in inner:
        name, value = child[0], element_data(child)
        if name in found:
            found[name] = [*found[name], value] if isinstance(found[name], list) else [found[name], value]
        else:
            found[name] = value
    return found or None


@fuzz_settings(150)
@given(PLAIN)
def test_json_round_trips(value: Any) -> None:
    content = json.dumps(value, ensure_ascii=False).encode()
    kept = parse(content, "application/json")
    assert json.dumps(kept) == json.dumps(value)


@fuzz_settings(150)
@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.lists(ANY_TEXT, max_size=2), max_size=3))
def test_any_json_text_is_storable(value: Any) -> None:
    content = json.dumps(value).encode()
    classify_and_check(HttpResponse(200, headers=(("Content-Type", "application/json"),), content=content))


@fuzz_settings(150)
@given(ELEMENTS)
def test_xml_round_trips(element: Any) -> None:
    # XML normalizes whitespace in attributes, and xmlns is not a valid name.
    if "xmlns" in str(element):
        return
    assert parse(xml_of(element).encode(), "text/xml") == {element[0]: element_data(element)}


@fuzz_settings(150)
@given(st.lists(st.tuples(WORD, WORD), min_size=1))
def test_a_form_round_trips(pairs: list[tuple[str, str]]) -> None:
    expected: dict[str, Any] = {}
    for word, value in pairs:
        name = f"_{word}" if word in RESERVED else word
        if name in expected:
            expected[name] = [*expected[name], value] if isinstance(expected[name], list) else [expected[name], value]
        else:
            expected[name] = value
    assert parse(urlencode(pairs).encode(), "application/x-www-form-urlencoded") == expected


ORIGINALS = {
    "application/json": (
        b'{"id": 7, "name": "Ana", "tags": ["a", 1.5, null, true], "deep": {"a": {"b": [[], {}]}}}',
        [b"[", b"{", b'"', b"\\", b"\\u", b"\\ud800", b"NaN", b"1e999", b"9" * 5000, b"[" * 70,
         b"[" * 20_000, b"-", b"\xff", b"\0"],
    ),
    "text/xml": (
        b'<?xml version="1.0" encoding="utf-8"?><a:r xmlns:a="u" x="1"><b>t</b><b y="2"/><!--c--><![CDATA[d]]></a:r>',
        [b"<", b">", b"&", b"<!DOCTYPE r [", b"<!ENTITY a 'b'>", b"&a;", b"]]>", b'"', b"<a>" * 70, b"utf-16", b"\xff"],
    ),
    "application/yaml": (
        b'a: 1\nb: [x, "y", {c: ~}]\nd: |\n  text\n  more\ne: >-\n  folded\n? f\n: g\n',
        [b"&a ", b"*a", b"!!python/object:os.system ", b"---\n", b"...\n", b"%YAML 1.2\n", b"\t", b"[", b"{", b"- ",
         b'"', b"<<: ", b"|", b"0x", b".inf", b"\xff", b"\xef\xbb\xbf"],
    ),
    "application/x-www-form-urlencoded": (
        b"a=1&b=x+y&b=%C3%A9&c&=d&&e==", [b"%", b"%zz", b"&", b"=", b"+", b"%00", b"%ff", b"\xff", b"\0"],
    ),
    "text/html": (
        b"<html><body><p>No</p></body></html>", [b"<", b"<!--", b"<script>", b"\x1b[2J", b"\xe2\x80\xae", b"\0"],
    ),
}  # fmt: skip


@fuzz_settings(1_000)
@given(st.data(), st.sampled_from(sorted(ORIGINALS)), st.sampled_from([200, 422]))
def test_any_content_is_storable_or_refused(data: st.DataObject, media_type: str, status: int) -> None:
    original, pieces = ORIGINALS[media_type]
    content = data.draw(mutate(original, pieces))
    charset = data.draw(st.sampled_from(["", "; charset=utf-16", "; charset=latin-1", "; charset=x"]))
    headers = (("Content-Type", media_type + charset),)
    classify_and_check(HttpResponse(status, headers=headers, content=content))


# Heads

DATES = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)).map(
    lambda moment: format_datetime(moment.replace(tzinfo=dt.timezone.utc), usegmt=True)
)

DATE_PIECES = [b" ", b",", b"-", b"+9999", b"-2359", b"9" * 9, b":", b"(", b"GMT"]


@fuzz_settings(300)
@given(
    st.integers(0, 10**30).map(str)
    | DATES
    | DATES.flatmap(lambda date: mutate(date.encode(), DATE_PIECES)).map(lambda date: date.decode("latin-1"))
    | st.text(max_size=40)
)
@example("Mon, 22 Nov 0000000 10:00:00 +99999999999")
@example("9" * 8_000)
@example("(" * 8_000)
@example("Fri, " + "31 Dec " * 1_000)
def test_any_retry_after_is_a_wait_or_ignored(text: str) -> None:
    result = classify_and_check(HttpResponse(503, headers=(("Retry-After", text),)))
    wait = retry_after(result, NOW)
    assert wait is None or 0 <= wait < 10**12
    if text.isascii() and text.isdecimal():
        assert wait == min(int(text[:40]), 10**9)


# The wire

WIRE = [
    reply(b'{"id": 7}', "201 Created", "Content-Type: application/json", "Retry-After: 5"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n4;a=b\r\nabcd\r\n2\r\nef\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"ok"),
    b"HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\n\r\n",
    b"HTTP/1.0 200\r\nContent-Encoding: identity\r\n\r\nuntil the end",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
]
LINES = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b":", b" ", b"\t", b"\0", b"\xff", b";", b",", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/9.9 ", b"Content-Length: 1\r\n", b"Content-Length: -1\r\n", b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Content-Encoding: br\r\n", b"ffffffffffffffffff",
    b"a" * 40_000, b"x: y\r\n" * 300, b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", b"-1", b"1_0", b"+1", b"0x1",
]  # fmt: skip


class Wire:
    """A server that sends the bytes it is given."""

    def __init__(self) -> None:
        self.content = b""
        self.server = HostileServer(self._serve)

    def _serve(self, peer: Peer) -> None:
        if peer.receive() is not None:
            peer.send(self.content)

    async def exchange(self, content: bytes) -> HttpResponse | TransportFailure:
        self.content = content
        async with open_session(NetworkPolicy(allowed=("127.0.0.1",))) as session:
            request = HttpRequest("POST", self.server.url(), (), b"{}")
            return await send(request, SendPolicy(deadline=10, max_content=LIMIT), session=session)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.server.close()


@pytest.mark.parametrize("number", range(len(WIRE)))
@fuzz_settings(100)
@given(st.data())
def test_any_bytes_on_the_wire_are_a_reply_or_a_failure(wire: Wire, number: int, data: st.DataObject) -> None:
    found = asyncio.run(wire.exchange(data.draw(mutate(WIRE[number], LINES))))

    if isinstance(found, HttpResponse):
        assert 200 <= found.status_code <= 599
        assert len(found.content) <= LIMIT
    else:
        assert found.message
        assert found.head is None or 100 <= found.head.status_code <= 999
    classify_and_check(found)


@pytest.mark.parametrize("number", range(len(WIRE)))
def test_an_unchanged_result_is_a_reply(wire: Wire, number: int) -> None:
    assert isinstance(asyncio.run(wire.exchange(WIRE[number])), HttpResponse)
