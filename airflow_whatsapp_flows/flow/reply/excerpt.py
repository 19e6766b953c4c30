"""Short, masked excerpts of a server's error replies, for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_whatsapp_flows.flow.concealing import mask_secrets
from airflow_whatsapp_flows.flow.haystack import needle
from airflow_whatsapp_flows.flow.masking import mask_text
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.marks import without_marks
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.secrets import HIDDEN
from airflow_whatsapp_flows.flow.template.language import Value

EXCERPT_LENGTH = 500
"""Maximum characters in an excerpt."""

_READ = 8 * EXCERPT_LENGTH  # characters that are searched for secrets
_MARKUP = re.compile(r"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_UNSEEN = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_OWN_LEAST = 3  # characters; a shorter answer may be part of any word in a reply


def reply_excerpt(result: ActionResult, hidden: Hidden | None = None, own: Iterable[Value] = ()) -> str | None:
    """The server's reply to a rejected request, as one line.

    JSON is compact, HTML tags are removed, and whitespace is collapsed. Secrets, sensitive values, phone numbers, and
    e-mail addresses are masked, and unprintable characters are escaped.

    Args:
        result: of an action; the secrets of its connection are hidden in it already.
        hidden: the sensitive values.
        own: values of the contact to hide as well, for readers who must not learn whose reply it was.

    Returns:
        At most :data:`EXCERPT_LENGTH` characters; ``None`` for a success, and for a reply without content.
    """
    return None if result.outcome is Outcome.SUCCESS else reply_text(result, hidden, own)


def reply_text(result: ActionResult, hidden: Hidden | None = None, own: Iterable[Value] = ()) -> str | None:
    """The server's reply, also of a success; otherwise as :func:`reply_excerpt`."""
    if result.response in (None, ""):
        return None
    response = without_marks(result.response)
    response = hidden.conceal(response) if hidden else response
    text = response if isinstance(response, str) else _json_prefix(response)
    if _MARKUP.match(text):
        text = _TAG.sub(" ", _UNSEEN.sub(" ", text[: 10 * _READ]))
    words = {word for value in own for word in _words(value)}
    # Half of a truncated value would not be found.
    text = mask_secrets(" ".join(text[: 10 * _READ if words else _READ].split()))
    if words:
        longest_first = sorted(words, key=len, reverse=True)
        text = re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
    shown = escape_unprintable(mask_text(text[:_READ]))
    return shown if len(shown) <= EXCERPT_LENGTH else f"{shown[: EXCERPT_LENGTH - 1]}…"


def error_line(result: ActionResult) -> str:
    """The outcome of a request as one line for logs and errors, with the server's reply if it rejected the request."""
    if result.error is None:
        return without_marks(f"{result.method} {result.url}: {result.status_code} {result.reason}".strip())
    error, reply = result.error, reply_excerpt(result)
    line = without_marks(
        f"{result.method} {result.url}: {error.message} ({error.kind.value}; sent: {error.sent.value})"
    )
    return line if reply is None else f"{line}; reply: {reply}"


def _json_prefix(value: Value) -> str:
    """As much of a value's JSON as is read."""
    pieces: list[str] = []
    size = 0
    for piece in _COMPACT.iterencode(value):
        pieces.append(piece)
        size += len(piece)
        if size > 10 * _READ:
            break
    return "".join(pieces)


def _words(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        return [word for item in value.values() for word in _words(item)]
    if isinstance(value, (list, tuple)):
        return [word for item in value for word in _words(item)]
    if value is None or isinstance(value, bool):
        return ()
    text = " ".join(value.split()) if isinstance(value, str) else str(value)
    return {text, needle(text)} if len(text) >= _OWN_LEAST else ()


def escape_unprintable(text: str) -> str:
    """Escape what a terminal would interpret: controls move its cursor, marks of direction show a text as another."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
