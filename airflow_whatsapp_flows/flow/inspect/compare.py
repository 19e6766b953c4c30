"""What is expected beside what is there: plain data leaf by leaf, and the content of a request as plain data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.reply.content import parse_content
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.template.references import MISSING, Missing

_MEDIA_TYPES = {
    BodyType.JSON: "application/json",
    BodyType.FORM: "application/x-www-form-urlencoded",
    BodyType.XML: "application/xml",
    BodyType.YAML: "application/yaml",
}
_BOUNDARY = re.compile(r"boundary=([^;\s]+)")
_PARAMETER = re.compile(r'; (name|filename)="([^"]*)"')
_SHOWN = 60
"""Characters shown on either side of the first difference, and of short texts."""


Hide = Callable[[Value], Value]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is not as it was expected.

    Attributes:
        where: the place, such as ``path`` or ``requests[0].body.name``.
        message: what was expected and what is there, for people.
        expected: that.
        got: what is there; ``None`` also where there is nothing.
    """

    where: str
    message: str
    expected: Value = None
    got: Value = None


def mismatch(where: str, expected: Value | Missing, got: Value | Missing, hide: Hide = lambda value: value) -> Mismatch:
    """Two values that are not the same, told at the first place where they differ.

    Args:
        where: the place.
        expected: plain data.
        got: plain data.
        hide: puts something else in place of the secrets of plain data.
    """
    expected, got = (value if isinstance(value, Missing) else hide(value) for value in (expected, got))
    message = f"expected {_show(expected)}, got {_show(got)}"
    if isinstance(expected, str) and isinstance(got, str) and max(len(expected), len(got)) > _SHOWN:
        at = next((i for i, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other), None)
        at = min(len(expected), len(got)) if at is None else at
        message = f"differs at character {at + 1}: expected {_around(expected, at)}, got {_around(got, at)}"
    return Mismatch(where, message, *(None if isinstance(value, Missing) else value for value in (expected, got)))


def differences(
    expected: Value | Missing, got: Value | Missing, where: str, hide: Hide = lambda value: value
) -> Iterator[Mismatch]:
    """Every leaf in which two values differ. Numbers are compared as numbers, 1 and 1.0 alike; ``true`` is no number.

    Args:
        expected: plain data.
        got: plain data.
        where: what the whole of it is called.
        hide: puts something else in place of the secrets of plain data.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in dict.fromkeys([*expected, *got]):
            yield from differences(expected.get(key, MISSING), got.get(key, MISSING), f"{where}.{key}", hide)
    elif isinstance(expected, list) and isinstance(got, list):
        for index in range(max(len(expected), len(got))):
            one = expected[index] if index < len(expected) else MISSING
            other = got[index] if index < len(got) else MISSING
            yield from differences(one, other, f"{where}[{index}]", hide)
    elif isinstance(expected, bool) is not isinstance(got, bool) or expected != got:
        yield mismatch(where, expected, got, hide)


def content_value(request: HttpRequest, body_type: BodyType) -> Value:
    """The content of a request as plain data, parsed anew from its bytes.

    A form and a multipart body are objects of texts, with a list where a name repeats; a file is an object with
    ``filename`` and ``content_type``.

    Args:
        request: as it is sent.
        body_type: of the action.

    Raises:
        UnparsableContent: it is not what its body type says.
    """
    if body_type is BodyType.MULTIPART:
        return _parts(request)
    headers = (("Content-Type", _MEDIA_TYPES.get(body_type, "text/plain; charset=utf-8")),)
    return parse_content(HttpResponse(200, headers=headers, content=request.content))


def _parts(request: HttpRequest) -> Value:
    content_type = next(value for name, value in request.headers if name.lower() == "content-type")
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        return request.content.decode("utf-8", "replace")
    value: dict[str, Value] = {}
    for part in request.content.split(f"--{boundary[1]}".encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        disposition, _, media_type = head.decode().partition("\r\nContent-Type: ")
        parameters = {key: _unescape(text) for key, text in _PARAMETER.findall(disposition)}
        name = parameters["name"]
        item: Value = content.decode("utf-8", "replace")
        if "filename" in parameters:
            item = {"filename": parameters["filename"], "content_type": media_type}
        if name in value:
            before = value[name]
            item = [*(before if isinstance(before, list) else [before]), item]
        value[name] = item
    return value


def _unescape(text: str) -> str:
    for escaped, character in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        text = text.replace(escaped, character)
    return text


def _show(value: Value | Missing) -> str:
    if isinstance(value, Missing):
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 3 * _SHOWN else f"{text[: 3 * _SHOWN]}…"


def _around(text: str, at: int) -> str:
    start, end = max(0, at - _SHOWN // 3), at + _SHOWN
    shown = json.dumps(text[start:end], ensure_ascii=False)
    return f"{'…' if start else ''}{shown}{'…' if end < len(text) else ''}"
