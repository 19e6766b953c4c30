"""Finding literal secrets in the texts of a recorded request.

A secret is literal text under a name that marks it as one, or text with the format of a well-known key. False
positives are preferred over misses: they only leave a variable to fill in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.secrets import KEY_SHAPES, SCHEMES, names_credential
from airflow_whatsapp_flows.hilos.record_masking import MASK

_SCHEME = re.compile(rf"\b(?:{SCHEMES}|api[-_]key|key|pwd|password)\b\s*[:=]?", re.IGNORECASE)
_JSON_PIECE = re.compile(rf'"(?:\\.|[^"\\])*(?:"|\Z)|{MASK}+|[{{}}\[\],:]|[^\s{{}}\[\],:"{MASK}]+', re.DOTALL)
_XML_ELEMENT = re.compile(r"<([\w:.-]+)((?:\s[^<>]*)?)>([^<>]+)(?=</\1\s*>)")
_XML_ATTRIBUTE = re.compile(r"\s([\w:.-]+)\s*=\s*(?:\"([^\"<]*)\"|'([^'<]*)')")
_YAML_LINE = re.compile(
    r"^[ \t]*(?:-[ \t]+)*[\"']?(\w[\w .-]*?)[\"']?[ \t]*:[ \t]+[\"']?([^\"'\r\n#]+?)[\"']?[ \t]*$", re.M
)
_PLAIN_PAIR = re.compile(r"(?<![\w.-])([\w.-]+)[\"']?[ \t]*[:=][ \t]*[\"']?([^\s\"'&,;<>]+)")
_FORM_PAIR = re.compile(r"(?<![^&=#?])([^&=#?]+)=([^&#]*)")
_LONG_NUMBER = re.compile(r"[0-9]{6,}")


@dataclass(frozen=True, slots=True)
class SecretSpan:
    """A literal secret in a text.

    Attributes:
        name: name of the field, header or parameter; ``secret`` if it has none.
        start: offset of its first character.
        end: offset after its last one.
        is_number: whether it is written as a JSON number.
    """

    name: str
    start: int
    end: int
    is_number: bool = False


def has_secret(masked: str) -> bool:
    """Whether a value under a secret name holds more than placeholders and the name of a scheme."""
    return re.search(r"[^\W_]", _SCHEME.sub("", masked.replace(MASK, " "))) is not None


def secret_shape(masked: str) -> bool:
    """Whether a text contains what looks like a well-known key, regardless of its name."""
    return KEY_SHAPES.search(masked) is not None


def literal_spans(name: str, masked: str, offset: int = 0) -> list[SecretSpan]:
    """Return the literal parts of a value under a secret name: all but placeholders, blanks and the auth scheme."""
    hidden = _SCHEME.sub(lambda match: " " * len(match.group()), masked) if MASK in masked else masked
    found = re.finditer(rf"[^{MASK}\s]+", hidden) if MASK in masked else re.finditer(r"\S(?:.*\S)?", hidden, re.DOTALL)
    return [
        SecretSpan(name, offset + match.start(), offset + match.end())
        for match in found
        if re.search(r"[^\W_]", match.group())
    ]


def body_spans(masked: str, body_type: BodyType) -> list[SecretSpan]:
    """Find every literal secret in the text of a body.

    Args:
        masked: the text, with its placeholders masked.
        body_type: how it is read.
    """
    named = list(_find_spans(masked, body_type))
    return _with_shapes(masked, named)


def query_spans(masked: str, start: int) -> list[SecretSpan]:
    """Find every literal secret in a query or form from an offset on, and everything after it that looks like a key."""
    return _with_shapes(masked, list(_in_form(masked, start)))


def _find_spans(masked: str, body_type: BodyType) -> Iterator[SecretSpan]:
    if body_type is BodyType.JSON or masked.lstrip()[:1] in ("{", "["):
        yield from _in_json(masked)
    elif body_type is BodyType.FORM:
        yield from _in_form(masked, 0)
    elif body_type is BodyType.XML:
        yield from _in_xml(masked)
    elif body_type is BodyType.YAML:
        for match in _YAML_LINE.finditer(masked):
            yield from _under(match.group(1), match.group(2), match.start(2))
    else:
        for match in _PLAIN_PAIR.finditer(masked):
            yield from _under(match.group(1), match.group(2), match.start(2))


def _under(name: str, value: str, start: int) -> list[SecretSpan]:
    return literal_spans(name, value, start) if names_credential(name) and has_secret(value) else []


def _in_form(masked: str, start: int) -> Iterator[SecretSpan]:
    for match in _FORM_PAIR.finditer(masked[start:]):
        yield from _under(match.group(1), match.group(2), start + match.start(2))


def _in_xml(masked: str) -> Iterator[SecretSpan]:
    for match in _XML_ELEMENT.finditer(masked):
        yield from _under(match.group(1), match.group(3), match.start(3))
    for match in _XML_ATTRIBUTE.finditer(masked):
        group = 2 if match.group(2) is not None else 3
        yield from _under(match.group(1), match.group(group), match.start(group))


def _in_json(masked: str) -> Iterator[SecretSpan]:
    """Find secrets in JSON text, valid or not: values under a secret name at any depth."""
    names: list[str] = [""]  # for each open container; a secret name applies to everything in it
    key: str | None = None
    pieces = list(_JSON_PIECE.finditer(masked))
    for at, match in enumerate(pieces):
        piece = match.group()
        behind = pieces[at + 1].group() if at + 1 < len(pieces) else ""
        if piece in "{[":
            names.append(key if key is not None and names_credential(key) else names[-1])
            key = None
        elif piece in "}]":
            names = names[:-1] or [""]
            key = None
        elif piece == ",":
            key = None
        elif piece[0] == '"' and behind == ":":
            key = piece[1:-1]
        elif piece != ":":
            name = key if key is not None and names_credential(key) else names[-1]
            yield from _json_value(name, piece, match.start())


def _json_value(name: str, piece: str, start: int) -> list[SecretSpan]:
    if not name:
        return []
    if piece[0] == '"':
        return literal_spans(name, piece[1:-1], start + 1) if has_secret(piece[1:-1]) else []
    if _LONG_NUMBER.search(piece) and MASK not in piece:
        return [SecretSpan(name, start, start + len(piece), is_number=True)]
    return []


def _with_shapes(masked: str, named: list[SecretSpan]) -> list[SecretSpan]:
    found = list(named)
    for match in KEY_SHAPES.finditer(masked):
        if not any(span.start < match.end() and match.start() < span.end for span in found):
            found.append(SecretSpan("secret", match.start(), match.end()))
    return sorted(found, key=lambda span: span.start)
