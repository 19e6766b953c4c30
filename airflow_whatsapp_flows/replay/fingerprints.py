"""Groups errors that differ only by contact, with a suggested next step for each group."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.request.messages import ErrorKind

_READ = 1000  # characters of a message that distinguish errors
_SHOWN = 160  # characters of it in a label

_CLOCK = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_OFFSET = r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
# Most specific first; each takes time linear in the length of the text.
_PLACEHOLDERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), placeholder)
    for pattern, placeholder in (
        (r"(?<![\w@])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", "<email>"),
        (r"(?<!\w)'[^'\n]*'(?!\w)|\"[^\"]*\"|«[^»]*»|“[^”]*”|(?<!\w)‘[^’]*’|`[^`]*`", "<text>"),
        (r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", "#"),
        (rf"\b[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[T ]{_CLOCK}{_OFFSET})?\b", "<date>"),
        (r"\b[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{4}\b", "<date>"),
        # Every word with a digit, because nothing reliably distinguishes numbers from ids.
        (r"\b[^\W0-9]*[0-9]\w*", "#"),
        (r"[+(]*#(?:[ .,:/()+-]{1,2}#)+|\+#", "#"),
    )
)

_LATER = "the server failed: try again later with `replay retry`"
_UNANSWERED = "it is unknown whether the request arrived: "
_LOOK_UP = "look it up in the CRM, then record the outcome with `replay resolve`"
_IN_DOUBT: dict[Delivery, str] = {
    Delivery.AT_MOST_ONCE: _LOOK_UP,
    Delivery.KEYED: "`replay retry --state in_doubt` sends the same bytes again under the same key; if the key is too "
    f"old, {_LOOK_UP}",
    Delivery.IDEMPOTENT: f"`replay retry --state in_doubt` sends it again; if the data has changed since, {_LOOK_UP}",
}
_BY_STATUS: dict[int, str] = {
    400: "the server rejected the data: check one sample, then `replay retry` (with `--flow FILE` if you fix the flow)",
    401: "the server rejected the credentials: check the password or token of the connection",
    403: "the credentials do not permit this: check the token of the connection and its permissions",
    404: "there is nothing at this URL: check the URL of the step and the host of the connection",
    405: "this URL does not support this method: check the method and the URL of the step",
    408: _LATER,
    409: "the server already has this, or is processing it: check one sample before a `replay retry`",
    410: "the resource at this URL is gone: check the URL of the step",
    413: "the request is too large for the server: check the body of one sample",
    415: "the server does not accept this content type: check body_type and the Content-Type header of the step",
    422: "the server rejected the data: check one sample, then `replay retry` (with `--flow FILE` if you fix the flow)",
    425: _LATER,
    429: "too many requests: use a lower --rate, then `replay retry`",
    501: "the server does not support this method: check the method and the URL of the step",
}
_BY_KIND: dict[ErrorKind, str] = {
    ErrorKind.STATUS: "check one sample, then `replay retry`",
    ErrorKind.TIMEOUT: "the server is too slow: try again later with `replay retry`, with a lower --concurrency, or "
    "with a longer timeout of the step",
    ErrorKind.CONNECT: "the server cannot be reached: check the network, and the host and port of the connection, "
    "then `replay retry`",
    ErrorKind.TLS: "TLS failed, or the certificate of the server was rejected: have it fixed, or check the host of "
    "the connection, then `replay retry`",
    ErrorKind.PROTOCOL: "the reply or the request is not valid HTTP: check one sample, and any proxies between here "
    "and the server",
    ErrorKind.INTERRUPTED: "the reply was cut off: try again later with `replay retry`",
    ErrorKind.TOO_LARGE: "the reply is larger than allowed: raise response_max_bytes, or request less data; the "
    "request was applied",
    ErrorKind.UNPARSABLE: "the reply does not match its Content-Type: check one sample; the request was applied",
    ErrorKind.POLICY: "this address is not allowed: add the host to allowed_hosts, or use a connection",
    ErrorKind.FILE: "a file of the body could not be fetched: check its path or URL in one sample, then `replay retry`",
    ErrorKind.SUCCESS_WHEN: "the server accepted the request, but success_when is false for its reply: check the "
    "reply of one sample",
    ErrorKind.RESPONSE_CHECK: "response_check is false for the reply: check the reply of one sample",
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What equal errors have in common.

    Attributes:
        key: 12 hexadecimal digits, the same for equal errors in every process and version of Python.
        label: one line for people; contains no data of a contact that is recognizable by its format.
    """

    key: str
    label: str


def fingerprint(kind: ErrorKind | str, status: int | None, host: str, step: str, message: str) -> Fingerprint:
    """Return the group of an error.

    Args:
        kind: what failed; a text if it is not an error of an action, such as the reason for rejecting a row.
        status: status code of the reply, if there was one.
        host: such as ``"crm.example:443"``; empty if not yet known.
        step: name of the step; empty if no step was reached.
        message: for people, as recorded.
    """
    name = kind.value if isinstance(kind, ErrorKind) else kind
    text = normalize(message)
    parts = json.dumps([name, status, host, step, text], ensure_ascii=True, separators=(",", ":"))
    key = hashlib.sha256(parts.encode("ascii")).hexdigest()[:12]
    what = f"{name} {status}" if status is not None else name
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return Fingerprint(key, " · ".join(part for part in (step, what, host, shown) if part))


def normalize(message: str) -> str:
    """Remove from a message what differs between contacts.

    Numbers, phone numbers and ids become ``#``; dates, e-mail addresses and quoted texts become ``<date>``, ``<email>``
    and ``<text>``; whitespace is collapsed.
    """
    text = " ".join(message[:_READ].split())
    for pattern, placeholder in _PLACEHOLDERS:
        text = pattern.sub(placeholder, text)
    return text


def suggestion(kind: ErrorKind, status: int | None, *, in_doubt: bool = False, delivery: Delivery | None = None) -> str:
    """Return the suggested next step for an error.

    Args:
        kind: what failed.
        status: status code of the reply, if there was one.
        in_doubt: whether the request may have been applied.
        delivery: the action's delivery, which determines what to do about a doubt; ``None`` if unknown.
    """
    if in_doubt:
        return _UNANSWERED + _IN_DOUBT[delivery or Delivery.AT_MOST_ONCE]
    if kind is ErrorKind.STATUS and status is not None:
        if status in _BY_STATUS:
            return _BY_STATUS[status]
        if 300 <= status <= 399:
            return "the URL has moved, and redirects are not followed: set the new URL in the step"
        if status >= 500:
            return _LATER
    return _BY_KIND[kind]
