"""Masked samples of requests to show before sending."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

import msgspec

from airflow_whatsapp_flows.flow.masking import mask_value
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.result import mask_url
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.secrets import HIDDEN, hide, names_secret

_SHOWN = 4000  # characters of a body
# A line of YAML: what it starts with, up to its value.
_YAML_LINE = re.compile(r"(\s*(?:- +)*(?:(?:\"(?:[^\"\\]|\\.)*\"|[A-Za-z_][\w.-]*):(?: +|$))?)(\"?)(.*?)(\"?)")
_YAML_WORDS = frozenset({"", "-", "true", "false", "null", "{}", "[]", "|", ">", "---"})
_XML_TEXT = re.compile(r">([^<>]+)<|=\"([^\"]*)\"|='([^']*)'")


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, masked.

    Attributes:
        method: of the request.
        url: shows the author's literal text in the path; the rest of the path is masked, query values are hidden.
        headers: name and value; secrets are ``***``, text from answers is masked.
        body: text; empty if there is none.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str


def sample_of(step: Action, request: HttpRequest, hidden: Hidden, secrets: Collection[str] = ()) -> Sample:
    """Mask a request of an action.

    Args:
        step: the action.
        request: the complete request, without its connection's credentials.
        hidden: values of which not even the format is shown.
        secrets: secrets of its connection, one of which may be in the path.
    """
    headers = tuple((name, _header(step, name, value, hidden)) for name, value in request.headers)
    return Sample(
        request.method, _url(step, hide(hidden.conceal(request.url), secrets)), headers, _body(request, hidden)
    )


def _url(step: Action, url: str) -> str:
    path, mark, query = url.partition("?")
    segments = step.plan.url.segments
    base, *written = path.rsplit("/", len(segments)) if segments else (path,)
    if len(written) == len(segments):
        shown = [
            segment if all(isinstance(piece, str) for piece in pieces) else str(mask_value(unquote(segment)))
            for segment, pieces in zip(written, segments, strict=True)
        ]
        path = "/".join([base, *shown])
    return mask_url(f"{path}{mark}{query}")


def _header(step: Action, name: str, value: str, hidden: Hidden) -> str:
    if names_secret(name):
        return HIDDEN
    if name.lower() == "content-type" or step.plan.headers.literal(name.lower()) == value:
        return hidden.conceal(value)
    return str(mask_value(hidden.conceal(value)))


def _body(request: HttpRequest, hidden: Hidden) -> str:
    if not request.content:
        return ""
    media_type = next((value for name, value in request.headers if name.lower() == "content-type"), "")
    kind = media_type.partition(";")[0].strip().lower()
    try:
        text = _mask_text(kind, request.content.decode("utf-8"), hidden)
    except (ValueError, msgspec.DecodeError, RecursionError):
        text = None
    if text is None:
        return f"({len(request.content):,} bytes of {kind or 'no declared type'})"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _mask_text(kind: str, content: str, hidden: Hidden) -> str | None:
    if kind.endswith("json"):
        return msgspec.json.encode(mask_value(hidden.conceal(msgspec.json.decode(content)))).decode()
    if kind == "application/x-www-form-urlencoded":
        pairs = parse_qsl(content, keep_blank_values=True, max_num_fields=10_000)
        return "&".join(f"{name}={mask_value(hidden.conceal(value))}" for name, value in pairs)
    if kind.endswith("xml"):
        return _XML_TEXT.sub(_mask_match, hidden.conceal(content))
    if kind.endswith("yaml"):
        # Not parsed: aliases make a long document of a short one.
        return "\n".join(map(_mask_yaml, hidden.conceal(content).splitlines()))
    if kind.startswith("multipart/"):
        return None
    return "\n".join(str(mask_value(line)) for line in hidden.conceal(content).splitlines())


def _mask_yaml(line: str) -> str:
    match = _YAML_LINE.fullmatch(line.rstrip())
    if match is None:
        return str(mask_value(line))
    start, opening, value, closing = match.groups()
    return f"{start}{opening}{value if value in _YAML_WORDS else mask_value(value)}{closing}"


def _mask_match(match: re.Match[str]) -> str:
    whole, found = match.group(), match.group(1) or match.group(2) or match.group(3)
    return whole if not found or not found.strip() else whole.replace(found, str(mask_value(found)))
