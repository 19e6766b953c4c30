"""Texts of a flow, as people may read them who must not read its secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airflow_whatsapp_flows.flow.secrets import (
    HIDDEN,
    KEY_SHAPES,
    SCHEMES,
    SHORTEST,
    all_spellings,
    names_credential,
    names_secret,
)

_MASK = "\0"
"""Replaces each character of a placeholder: placeholders name variables, which are not secrets."""
_PLACEHOLDER = re.compile(r"\{\{(?:(?!\{\{|\}\}).)*\}\}", re.DOTALL)
# RFC 3986 §3.2.1: everything before the @ of an authority.
_USERINFO = re.compile(r"(?<=://)[^\s/?#@\"]+(?:@[^\s/?#@\"]+)*(?=@)")
_SCHEME = re.compile(rf"\b(?:{SCHEMES})\s+", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?=[\w\0])[^\s\"'\\<>,;&]+")
# name=value, name: value, "name": "value", ["name", "value"], {"name": "name", "value": "value"}; the quotes of JSON
# that stands in JSON are escaped.
_NAME = re.compile(
    r"""(?<![\w.-])([\w.-]+)
        (?: \\?["']?\s*(?:=+|:)\s*
          | \\?["']\s*,\s*(?:\\?["']value\\?["']\s*:\s*)?(?=\\?["']) )""",
    re.VERBOSE,
)
_VALUE = re.compile(
    r""" "(?:\\.|[^"\\])*
       | '(?:\\.|[^'\\])*
       | \\"(?:[^"\\]|\\[^"])*
       | [^\s&;,<>{}\[\]"'\\]+ """,
    re.VERBOSE | re.DOTALL,
)
_IS_KEY = re.compile(r"""\\?["']\s*:""")
_ELEMENT = re.compile(r"<([\w.:-]+)(?:\s[^<>]*)?>([^<]*)")
# Long, and of letters and digits without a blank: keys, tokens, parts of an address that are one.
_OPAQUE = re.compile(r"(?<![\w-])(?=[\w-]*[0-9])(?=[\w-]*[A-Za-z])[\w-]{20,}(?![\w-])")
_WORD = 16
"""A run of more letters than this is not a word."""


def mask_secrets(text: str) -> str:
    """A text with ``***`` for whatever in it has the form of a secret; its placeholders stay.

    That is: user and password of a URL, what stands under a name that says so, what follows the name of an
    authentication scheme, and long runs of letters and digits.
    """
    shown, at = "", 0
    for start, end in secret_spans(text):
        shown += text[at:start] + HIDDEN
        at = end
    return shown + text[at:]


class LiteralSecrets:
    """The secrets that are written in the requests of a flow, to be hidden in what was made of them.

    Args:
        source: the flow as plain data.
    """

    def __init__(self, source: Mapping[str, Any]) -> None:
        found = {text for step in source["steps"] if step["type"] == "action" for text in _literals(step)}
        written = all_spellings(found)  # the longest match wins
        self._pattern = re.compile("|".join(map(re.escape, written))) if written else None

    def mask(self, value: Any) -> Any:
        """Plain data with ``***`` for every secret in its texts."""
        if self._pattern is None:
            return value
        if isinstance(value, dict):
            return {key: self.mask(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.mask(item) for item in value]
        return self._pattern.sub(HIDDEN, value) if isinstance(value, str) else value


def _literals(step: Mapping[str, Any]) -> Iterator[str]:
    """The literal secrets of an action; no short words of its content, which may stand anywhere."""
    for keys, least_word in ((("url", "headers"), SHORTEST), (("query_params", "body"), _WORD)):
        text = json.dumps({key: step[key] for key in keys if key in step}, ensure_ascii=False)
        for start, end in secret_spans(text):
            found = text[start:end].strip()
            if len(found) >= (least_word if found.isalpha() else SHORTEST):
                yield _unescape(found)


def _unescape(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:  # cut within an escape
        return text


def secret_spans(text: str) -> list[tuple[int, int]]:
    """Where whatever has the form of a secret begins and ends in a text: in order, apart from each other."""
    literal = _mask_placeholders(text)
    return _apart(literal, _secret_spans(literal))


def credential_spans(text: str) -> list[tuple[str, int, int]]:
    """Where a text holds a literal credential: the name that it stands under, its beginning and its end.

    Fewer than :func:`secret_spans`: what only looks like a secret by its length is none.
    """
    literal = _mask_placeholders(text)
    found = [("", *match.span()) for match in KEY_SHAPES.finditer(literal)]
    found += [
        one
        for one in _values_of_secret_names(literal, names_credential)
        if not re.search(r"\s", literal[one[1] : one[2]])
    ]
    return [
        (name, first, last)
        for name, start, end in found
        for first, last in _literal_parts(literal, start, end)
        if last - first >= SHORTEST
    ]


def literal_text(text: str) -> str:
    """A text without its placeholders."""
    return _mask_placeholders(text).replace(_MASK, " ").strip()


def _mask_placeholders(text: str) -> str:
    return _PLACEHOLDER.sub(lambda match: _MASK * len(match.group()), text.replace(_MASK, "\ufffd"))


def _apart(literal: str, found: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if spans and start <= spans[-1][1]:
            start, end = spans[-1][0], max(end, spans.pop()[1])
        spans.append((start, end))
    return [part for start, end in spans for part in _literal_parts(literal, start, end)]


def _literal_parts(literal: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a span that are literal and hold more than blanks."""
    for match in re.finditer(f"[^{_MASK}]+", literal[start:end]):
        if match.group().strip():
            yield start + match.start(), start + match.end()


def _secret_spans(literal: str) -> Iterator[tuple[int, int]]:
    for pattern in (_USERINFO, _OPAQUE, KEY_SHAPES):
        for match in pattern.finditer(literal):
            yield match.span()
    for match in _SCHEME.finditer(literal):
        credentials = _CREDENTIALS.match(literal, match.end())
        # "Basic plan" and "the token expired" are no more than words.
        if credentials and not (credentials.group().isalpha() and len(credentials.group()) < _WORD):
            yield credentials.span()
    for _, start, end in _values_of_secret_names(literal, names_secret):
        yield start, end


def _values_of_secret_names(literal: str, is_secret: Callable[[str], bool]) -> Iterator[tuple[str, int, int]]:
    """What stands under a name that says that it is a secret: the name, and where."""
    for match in _ELEMENT.finditer(literal):
        if is_secret(match[1]):
            yield match[1], *match.span(2)
    covered = 0
    for match in _NAME.finditer(literal):
        if match.end() < covered:  # inside a value without quotes that is found already, and both end alike
            continue
        if is_secret(match[1]) and (value := _VALUE.match(literal, match.end())):
            # {"grant_type": "client_credentials", "client_id": …}: a value, and the key behind it.
            if "," in match.group() and _IS_KEY.match(literal, value.end()):
                continue
            if literal[value.start()] not in "\\\"'":
                covered = value.end()
            start = value.end() - len(value.group().lstrip("\\\"'"))
            yield match[1], *_after_scheme(literal, start, value.end())


def _after_scheme(literal: str, start: int, end: int) -> tuple[int, int]:
    """A value without the name of its authentication scheme, which does no harm."""
    scheme = _SCHEME.match(literal, start)
    credentials = _CREDENTIALS.match(literal, scheme.end()) if scheme else None
    return (start, end) if credentials is None else (credentials.start(), max(credentials.end(), end))
