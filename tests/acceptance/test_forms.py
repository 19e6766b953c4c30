"""PHP, Werkzeug, and Express parse a form or multipart body as the flow means it.

Names are literal text of the flow. Where a parser changes a name, the change is listed here, and the tests show that
the parser does the same to what Node.js writes according to the WHATWG specifications.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.acceptance.conversation import Pairs, post_for_parsing, send_body, serialize
from tests.acceptance.texts import FORMS

pytestmark = pytest.mark.long

PARSERS = ["php", "werkzeug", "express/querystring", "express/qs"]
MULTIPART_PARSERS = ["php", "werkzeug", "express/multipart"]

# How parsers change names. PHP turns them into variables: blanks, dots, and an open bracket become
# "_", brackets make arrays, a name ends at NUL, and an empty one is dropped. qs and multer turn brackets into objects
# and drop names that every JavaScript object has; qs and multer drop an empty name, or refuse it.
_JAVASCRIPT = r"^(?:__proto__|constructor|hasOwnProperty|toString|valueOf)$"
CHANGED_NAMES = {
    "php": re.compile(r"[ .\[\x00]|^$"),
    "werkzeug": re.compile(r"(?!)"),
    "express/querystring": re.compile(r"(?!)"),
    "express/qs": re.compile(rf"[\[\]]|{_JAVASCRIPT}|^$"),
    "express/multipart": re.compile(rf"[\[\]]|{_JAVASCRIPT}|^$"),
}
# In the head of a part, browsers write a quote and line ends as %22, %0D, and %0A, and so do we; only Werkzeug decodes
# the quote. A backslash is an escape in some parsers, and busboy refuses a head that contains a control character.
PART_NAMES = re.compile(r"[\"\\\x00-\x08\x0a-\x1f\x7f]")
REFUSED_BY_MULTER = re.compile(r"^$|[\x00-\x08\x0a-\x1f\x7f]")
# FormData converts each of them to CRLF in a name; we send the name unchanged.
LONE_LINE_END = re.compile(r"\r(?!\n)|(?<!\r)\n")


def _url(request: pytest.FixtureRequest, parser: str) -> str:
    program, _, path = parser.partition("/")
    url: str = request.getfixturevalue(program)
    return f"{url}/{path}"


def _batches(texts: list[str]) -> list[list[str]]:
    return [texts[at : at + 100] for at in range(0, len(texts), 100)]


def _valid_names(texts: list[str]) -> list[str]:
    """Texts that may be names: a name contains no placeholder."""
    return sorted({text for text in texts if "{{" not in text and "{%" not in text})


def _check_values(url: str, body_type: str, texts: list[str]) -> None:
    for batch in _batches(texts):
        contact = {f"t{number}": text for number, text in enumerate(batch)}
        body = {f"f{number}": f"{{{{ contact.t{number} }}}}" for number in range(len(batch))}
        heard = send_body(url, body_type, body, contact)
        assert heard.fields == {f"f{number}": text for number, text in enumerate(batch)}
        assert heard.files == []


@pytest.mark.parametrize("parser", PARSERS)
def test_values_of_a_form_arrive(request: pytest.FixtureRequest, texts: list[str], parser: str) -> None:
    _check_values(_url(request, parser), "form", texts)


@pytest.mark.parametrize("parser", PARSERS)
def test_names_of_a_form_arrive(request: pytest.FixtureRequest, texts: list[str], parser: str) -> None:
    url, changed = _url(request, parser), CHANGED_NAMES[parser]
    names = [name for name in _valid_names(texts) if not changed.search(name)]
    assert len(names) > len(texts) // 4
    for batch in _batches(names):
        heard = send_body(url, "form", [[name, f"v{number}"] for number, name in enumerate(batch)])
        assert heard.fields == {name: f"v{number}" for number, name in enumerate(batch)}


def test_forms_follow_the_specification(express: str, texts: list[str]) -> None:
    """Byte for byte, so a name that a parser changes is changed for every client."""
    for batch in _batches(_valid_names(texts)):
        body = [[name, name] for name in batch]
        sent = send_body(
            f"{express}/querystring", "form", body, not_secret=[name for name in batch if "passwd" in name]
        ).request
        assert sent.content == serialize(express, [(name, name) for name in batch]).urlencoded


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(("text", "pairs"), FORMS, ids=[ascii(text) for text, _ in FORMS])
def test_a_form_given_as_text_is_sent_as_its_pairs(
    request: pytest.FixtureRequest, parser: str, text: str, pairs: Pairs
) -> None:
    express = request.getfixturevalue("express")
    heard = send_body(_url(request, parser), "form", text)
    assert heard.request.content == serialize(express, pairs).urlencoded

    changed = CHANGED_NAMES[parser]
    expected: dict[str, Any] = {}
    for name, value in pairs:
        if changed.search(name):
            continue
        if parser == "php" or name not in expected:  # the last one counts in PHP; the others make a list
            expected[name] = value
        else:
            before = expected[name]
            expected[name] = [*before, value] if isinstance(before, list) else [before, value]
    kept = {name: value for name, value in heard.fields.items() if name in expected}
    assert kept == expected
    assert len(heard.fields) <= len({name for name, _ in pairs})


@pytest.mark.parametrize("parser", MULTIPART_PARSERS)
def test_values_of_parts_arrive(request: pytest.FixtureRequest, texts: list[str], parser: str) -> None:
    _check_values(_url(request, parser), "multipart", texts)


@pytest.mark.parametrize("parser", MULTIPART_PARSERS)
def test_names_of_parts_arrive(request: pytest.FixtureRequest, texts: list[str], parser: str) -> None:
    url, changed = _url(request, parser), CHANGED_NAMES[parser]
    names = [name for name in _valid_names(texts) if not changed.search(name) and not PART_NAMES.search(name)]
    assert len(names) > len(texts) // 4
    for batch in _batches(names):
        body = [{"name": name, "value": f"v{number}"} for number, name in enumerate(batch)]
        heard = send_body(url, "multipart", body)
        assert heard.fields == {name: f"v{number}" for number, name in enumerate(batch)}


@pytest.mark.parametrize("parser", MULTIPART_PARSERS)
def test_parts_parse_like_those_of_a_browser(
    request: pytest.FixtureRequest, express: str, texts: list[str], parser: str
) -> None:
    """Every name, also one that the parser changes, is the same to it as from Node.js's FormData.

    The values differ in one thing: FormData makes CRLF of every line end of a text, and a flow sends what was answered.
    """
    url = _url(request, parser)
    unlike = REFUSED_BY_MULTER if parser == "express/multipart" else LONE_LINE_END
    for batch in _batches([name for name in _valid_names(texts) if not unlike.search(name)]):
        pairs = [(name, f"v{number}") for number, name in enumerate(batch)]
        theirs = serialize(express, pairs)
        heard = send_body(url, "multipart", [{"name": name, "value": value} for name, value in pairs])
        assert heard.fields == post_for_parsing(url, theirs.multipart, theirs.content_type)


@pytest.mark.parametrize("parser", MULTIPART_PARSERS)
def test_names_of_files_arrive(request: pytest.FixtureRequest, texts: list[str], parser: str) -> None:
    """Except a name of dots alone, which busboy drops. Parsers keep the part after the last slash, and so do we."""
    url = _url(request, parser)
    names = [
        text
        for text in texts
        if not PART_NAMES.search(text) and "/" not in text and text.strip() not in ("", ".", "..") and len(text) < 1000
    ]
    for batch in _batches(names):
        contact = {
            f"t{number}": {"url": "https://files.example/x", "filename": name} for number, name in enumerate(batch)
        }
        body = [{"name": f"f{number}", "file": f"{{{{ contact.t{number} }}}}"} for number in range(len(batch))]
        heard = send_body(url, "multipart", body, contact)
        assert [(file["name"], file["filename"]) for file in heard.files] == [
            (f"f{number}", name) for number, name in enumerate(batch)
        ]
        assert {(file["type"], file["content"]) for file in heard.files} == {("application/octet-stream", "eA==")}
        assert heard.fields == {}
