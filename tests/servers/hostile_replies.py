"""A corpus of replies that a hostile or broken server may send, by name, for a ``HostileServer``.

The path of a request names the reply: ``POST /gzip-bomb``. Every other path gets an honest, small one.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from functools import cache

from tests.servers.hostile import Peer, reply

CAP = 1_048_576
"""Bytes of content: the default of ``response_max_bytes``."""
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
JSON = "application/json"
XML = "text/xml"
YAML = "application/yaml"
FORM = "application/x-www-form-urlencoded"
HONEST = reply(b'{"ok": true}', "200 OK", f"Content-Type: {JSON}")


def fill(piece: bytes, before: bytes = b"", after: bytes = b"", size: int = CAP) -> bytes:
    """As many pieces as fit."""
    return before + piece * ((size - len(before) - len(after)) // len(piece)) + after


def _items(piece: bytes) -> bytes:
    return fill(piece + b",", b"[", piece + b"]")


def _repeat_numbered(form: str, count: int) -> bytes:
    return "".join(form.format(number) for number in range(count)).encode()


def _bomb(layers: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b"\0" * 1_000_000
    packed = b"".join([packer.compress(block) for _ in range(200)]) + packer.flush()
    for _ in range(layers - 1):
        packed = gzip.compress(packed)
    return packed


def _json() -> Iterable[tuple[str, str, bytes]]:
    """Replies with a status of 200: name, Content-Type, content."""
    yield "json-lists", JSON, _items(b"[]")
    yield "json-objects", JSON, _items(b'{"a":1}')
    yield "json-deep-lists", JSON, _items(b"[" * 60 + b"]" * 60)
    yield "json-15000-levels", JSON, b"[" * 15_000 + b"]" * 15_000
    yield "json-small-keys", JSON, b"{" + _repeat_numbered('"{:x}":1,', 100_000) + b'"":1}'
    yield "json-some-keys", JSON, b"{" + _repeat_numbered('"{:x}":1,', 49_990) + b'"":1}'
    yield "json-numbers", JSON, _items(b"9999")
    yield "json-some-floats", JSON, b"[" + b"1.23456789e300," * 49_990 + b"1]"
    yield "json-short-texts", JSON, _items('"ā"'.encode())
    yield "json-some-texts", JSON, b"[" + '"āāāāāāā",'.encode() * 49_990 + b"1]"
    yield "json-some-objects", JSON, b"[" + b'{"a":[1]},' * 16_600 + b"1]"
    yield "json-some-lists", JSON, b"[" + b"[]," * 24_990 + b"1]"
    yield "json-long-numbers", JSON, _items(b"9" * 4_300)
    yield "json-309-digits", JSON, _items(b"9" * 309)
    yield "json-5000-digits", JSON, b'{"id": ' + b"9" * 5_000 + b"}"
    yield "json-escapes", JSON, fill(b"\\u0101", b'"', b'"')
    yield "json-escaped-nuls", JSON, fill(b"\\u0000", b'"', b'"')
    yield "json-half-surrogates", JSON, fill(b"\\ud800", b'"', b'"')
    yield "json-one-wide-letter", JSON, fill(b"a", b'"', '😀"'.encode())
    yield "json-not-utf-8", JSON, fill(b"a", b'"', b'\xff"')
    yield "json-unfinished-text", JSON, fill(b"\\", b'"')
    yield "json-markup", JSON, json.dumps({"page": "<a>, [:" * 140_000}).encode()
    yield "json-secrets", JSON, b"[" + b'"token=Bearer aB1xx",' * 45_000 + b"1]"


def _xml() -> Iterable[tuple[str, str, bytes]]:
    yield "xml-60000-attributes", XML, b"<a" + _repeat_numbered(' a{}="1"', 60_000) + b"/>"
    yield "xml-250000-children", XML, b"<r>" + b"<a/>" * 250_000 + b"</r>"
    yield "xml-49999-children", XML, b"<r>" + b"<a>0123456789</a>" * 49_999 + b"</r>"
    yield "xml-95000-objects", XML, fill(b'<a b="12"/>', b"<r>", b"</r>")
    yield "xml-200000-levels", XML, b"<a>" * 200_000
    yield "xml-long-namespace", XML, fill(b'<a p:b="1"/>', b'<r xmlns:p="' + b"u" * 500_000 + b'">', b"</r>")
    yield "xml-many-namespaces", XML, b"<r>" + _repeat_numbered('<a xmlns:n{0}="u{0}"/>', 30_000) + b"</r>"
    yield "xml-entities", XML, (
        b'<!DOCTYPE r [<!ENTITY a0 "' + b"a" * 1_000 + b'">'
        + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 50) for n in range(1, 10)) + b"]><r>&a9;</r>"
    )  # fmt: skip
    yield "xml-external-entity", XML, b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]><r>&x;</r>'
    yield "xml-references", XML, fill(b"&lt;", b"<r>", b"</r>")
    yield "xml-long-name", XML, fill(b"a", b"<", b"/>")
    yield "xml-big5", XML, fill(b"<a/>", b'<?xml version="1.0" encoding="big5"?><r>', b"</r>", 160_000)


def _yaml_and_forms() -> Iterable[tuple[str, str, bytes]]:
    yield "yaml-aliases", YAML, b"a: &a [x,x]\n" + b"".join(b"b%d: &b%d [*a,*a]\n" % (n, n) for n in range(9))
    yield "yaml-240kB", YAML, b"- a\n" * 60_000
    yield "yaml-19998-values", YAML, b"- a\n" * 19_998
    yield "yaml-levels", YAML, b"[" * 120_000
    yield "yaml-lines", YAML, b"a: " + b"x \n  " * 50_000
    yield "yaml-1MB", YAML, fill(b"- a\n")
    yield "form-fields", FORM, fill(b"a&")
    yield "form-49999-fields", FORM, _repeat_numbered("{:x}=%41+b&", 49_999)
    yield "form-escapes", FORM, fill(b"%ff", b"a=")


def _texts() -> Iterable[tuple[str, str, bytes]]:
    yield "text-nuls", "text/plain", b"\0" * CAP
    yield "text-one-wide-letter", "text/plain", fill(b"a", b"", "😀".encode())
    yield "text-not-utf-8", "text/plain", fill("é".encode(), b"", b"\xff\xff")
    yield "text-iso-2022", "text/plain; charset=iso-2022-jp-3", fill(b"\xa1\x40")
    yield "text-lines", "text/csv", fill(b"1,2,3\r\n")
    yield "text-separators", "text/csv", fill(b",")
    yield "text-unknown-charset", f"text/plain; charset={'x' * 30_000}", b"a" * 1_000
    yield "text-many-parameters", f"application/json{'; charset=' * 3_000}", b"{}"
    yield "html-comments", "text/html", fill(b"<!--", b"<html>")
    yield "html-scripts", "text/html", fill(b"<script ", b"<html>")
    yield "multipart", "multipart/mixed; boundary=a", fill(b"--a\r\n\r\nx\r\n", b"", b"--a--")
    yield "blanks", "text/plain", b" " * CAP


def _refusals() -> Iterable[tuple[str, str, bytes]]:
    """Replies with status 422, whose content is shown to people."""
    yield "refusal-markup", "text/html", fill(b"<", b"<html>")
    yield "refusal-comments", "text/html", fill(b"<!--", b"<html>")
    yield "refusal-secrets", "text/plain", fill(b"password=")
    yield "refusal-numbers", "text/plain", fill(b"+1")
    yield "refusal-quotes", "text/plain", fill(b'"')
    yield "refusal-addresses", "text/plain", fill(b"a@")
    yield "refusal-braces", "text/plain", fill(b"{{")
    yield "refusal-long-word", "text/plain", fill(b"a1")
    yield "refusal-json-members", JSON, b"{" + _repeat_numbered('"token{}":"x",', 49_000) + b'"":1}'


def _heads() -> Iterable[tuple[str, bytes]]:
    """Replies with a hostile head."""
    end = b"Content-Length: 0\r\n\r\n"
    yield "100000-headers", OK + b"a: b\r\n" * 100_000 + end
    yield "100000-names", OK + b"".join(b"h%d: b\r\n" % n for n in range(100_000)) + end
    yield "one-header-of-1MB", OK + b"a: " + b"b" * 1_000_000 + b"\r\n" + end
    yield "one-name-of-1MB", OK + b"a" * 1_000_000 + b": b\r\n" + end
    yield "100-headers-of-30kB", OK + (b"a: " + b"b" * 30_000 + b"\r\n") * 100 + end
    yield "500-cookies", OK + (b"Set-Cookie: a=" + b"b" * 4_000 + b"\r\n") * 500 + end
    yield "status-line-of-1MB", b"HTTP/1.1 200 " + b"O" * 1_000_000 + b"\r\n" + end
    yield "header-folded", OK + b"a: b\r\n" + b" c\r\n" * 100_000 + end
    yield "10000-codings", OK + b"Content-Encoding: " + b"gzip, " * 5_000 + b"gzip\r\n" + end
    yield "long-retry-after", b"HTTP/1.1 503 No\r\nRetry-After: " + b"9" * 8_000 + b"\r\n" + end
    yield "long-retry-date", b"HTTP/1.1 503 No\r\nRetry-After: Fri, " + b"31 Dec " * 1_000 + b"\r\n" + end
    yield "endless-retry-after", b"HTTP/1.1 503 No\r\nRetry-After: 99999999999\r\n" + end
    yield "location-to-itself", b"HTTP/1.1 302 Found\r\nLocation: /location-to-itself\r\n" + end
    yield "long-location", b"HTTP/1.1 302 Found\r\nLocation: //a/?" + b"=&" * 15_000 + b"\r\n" + end
    yield "rate-headers", OK + b"".join(b"X-RateLimit-Remaining: %d\r\n" % n for n in range(90)) + end
    yield "early-204", b"HTTP/1.1 204 No Content\r\n\r\n" + b"x" * 1_000_000
    yield "101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + b"x" * 1_000_000


def _codings() -> Iterable[tuple[str, bytes]]:
    text = b"Content-Type: text/plain\r\n"
    for name, coding, content in (
        ("gzip-bomb", b"gzip", _bomb(1)),
        ("gzip-in-gzip", b"gzip", _bomb(2)),
        ("gzip-twice", b"gzip, gzip", _bomb(2)),
        ("gzip-members", b"gzip", gzip.compress(b"") * 5_000),
        ("gzip-cut", b"gzip", gzip.compress(b"a" * 100_000)[:-4]),
        ("deflate-empty-blocks", b"deflate", b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * 200_000),
        ("zstd", b"zstd", b"\x28\xb5\x2f\xfd" + b"\0" * 1_000),
        ("brotli", b"br", b"\x0b\x02\x80aaaa\x03" * 100),
        ("unknown-coding", b"x" * 8_000, b"a"),
    ):
        head = OK + text + b"Content-Encoding: " + coding + b"\r\nContent-Length: %d\r\n\r\n" % len(content)
        yield name, head + content
    yield "chunk-extensions", CHUNKED + b"1;" + b"a=b;" * 1_000 + b"\r\na\r\n0\r\n\r\n"
    yield "chunks-of-a-byte", CHUNKED + b"1\r\na\r\n" * 200_000 + b"0\r\n\r\n"
    yield "chunk-size-of-zeros", CHUNKED + b"0" * 1_000_000 + b"1\r\na\r\n0\r\n\r\n"
    yield "chunk-extension-of-1MB", CHUNKED + b"1;" + b"a" * 1_000_000 + b"\r\na\r\n0\r\n\r\n"
    yield "trailers", CHUNKED + b"1\r\na\r\n0\r\n" + b"a: b\r\n" * 100_000 + b"\r\n"
    yield "negative-length", OK + b"Content-Length: -1\r\n\r\n"
    yield "two-lengths", OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    yield "length-and-chunked", OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield "length-of-1EB", OK + b"Content-Length: 1000000000000000000\r\n\r\na"


def _endless() -> Mapping[str, tuple[bytes, bytes]]:
    """A head, and a piece that is repeated endlessly."""
    block = b"a" * 65_535
    return {
        "endless-text": (OK + b"Content-Type: text/plain\r\n\r\n", block),
        "endless-chunks": (CHUNKED, b"ffff\r\n" + block + b"\r\n"),
        "endless-100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        "endless-103": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 1_000 + b"\r\n\r\n"),
        "endless-headers": (OK, b"a: b\r\n" * 1_000),
        "endless-header": (OK + b"a: ", block),
        "endless-status-line": (b"HTTP/1.1 200 ", block),
        "endless-blank-lines": (b"", b"\r\n" * 1_000),
        "endless-chunk-extension": (CHUNKED + b"1;", block),
        "endless-trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 1_000),
        "endless-empty-blocks": (OK + b"Content-Encoding: deflate\r\n\r\n\x78\x9c", b"\x00\x00\x00\xff\xff" * 10_000),
    }


def _slow() -> Mapping[str, tuple[bytes, bytes]]:
    """A head sent one byte at a time."""
    return {
        "slow-text": (OK + b"Content-Length: 100000\r\n\r\n", b"a"),
        "slow-chunks": (CHUNKED, b"1\r\na\r\n"),
        "slow-headers": (OK, b"a: b\r\n"),
        "slow-status-line": (b"HTTP/1.1 200 ", b"O"),
        "slow-100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "silence": (b"", b""),
    }


def _complete() -> Iterable[tuple[str, bytes]]:
    contents = (*_json(), *_xml(), *_yaml_and_forms(), *_texts())
    for status, replies in (("200 OK", contents), ("422 Unprocessable Content", _refusals())):
        for name, kind, content in replies:
            yield name, reply(content, status, f"Content-Type: {kind}")
    yield from _heads()
    yield from _codings()


@cache
def complete() -> Mapping[str, bytes]:
    """The replies that are sent immediately, by name."""
    return dict(_complete())


@cache
def endless() -> Mapping[str, tuple[bytes, bytes]]:
    """The endless replies, by name: a head, and the repeated piece."""
    return {**_endless(), **_slow()}


def names() -> list[str]:
    """All of the corpus."""
    return [*complete(), *endless()]


def serve(peer: Peer) -> None:
    """Answer every request with the reply that its path names."""
    while (request := peer.receive()) is not None:
        name = request.request_line.split(" ")[1].strip("/")
        if name in complete():
            peer.send(complete()[name])
        elif name in endless():
            head, piece = endless()[name]
            peer.send(head)
            if name in _slow():
                peer.trickle([piece] * 10_000 if piece else [b""] * 10_000, 0.02)
                return
            while not peer.closing.is_set():
                peer.send(piece)
        else:
            peer.send(HONEST)
