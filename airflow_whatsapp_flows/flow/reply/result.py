"""Classifies replies: which exit an action takes, and the result that later steps see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from operator import itemgetter
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from airflow_whatsapp_flows.errors import RenderError, ResponseError
from airflow_whatsapp_flows.flow.haystack import haystack
from airflow_whatsapp_flows.flow.reply.content import parse_content
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    Headers,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.flow.secrets import HIDDEN, SecretFinder, hide, hide_in, names_secret
from airflow_whatsapp_flows.flow.storable import RESERVED_KEYS, UnparsableContent, storable_key, storable_text
from airflow_whatsapp_flows.flow.template.cage import Expression
from airflow_whatsapp_flows.flow.template.language import Value

RESULT_NAMES = frozenset({"status_code", "reason", "response", "headers", "elapsed_ms", "attempts"})
"""What a ``success_when`` expression may read."""

# Credentials issued by a server must not reach later steps, logs, or pages.
_HIDDEN_HEADERS = frozenset(
    {"set-cookie", "set-cookie2", "authorization", "proxy-authorization", "authentication-info"}
)


_PARAMETER = re.compile(r"([^&=]*)=([^&]*)")
# A flag, or a small number.
_HARMLESS = re.compile(r"true|false|yes|no|on|off|null|none|asc|desc|[0-9]{1,3}", re.IGNORECASE)


class Outcome(str, Enum):
    """Which exit an action takes."""

    SUCCESS = "success"
    ERROR = "error"


class ActionError(Struct, frozen=True):
    """Why an action took its error exit.

    Attributes:
        kind: what failed.
        message: for people; contains no credentials or query values.
        sent: whether the server may have received the request.
    """

    kind: ErrorKind
    message: str
    sent: Sent


class ActionResult(Struct, frozen=True, kw_only=True):
    """The result of an action: ``step.<action>`` for later steps, and the operator's XCom.

    Attributes:
        outcome: which exit.
        status_code: of the reply; ``None`` without a status line.
        reason: reason phrase of the reply.
        response: the reply's content as plain data.
        headers: of the reply, names in lowercase; without cookies and credentials.
        method: of the request.
        url: of the request, the values of its query hidden.
        elapsed_ms: milliseconds of the last attempt.
        attempts: requests made, including this one.
        idempotency_key: the same for every attempt.
        error: why it took the error exit.
    """

    outcome: Outcome
    status_code: int | None = None
    reason: str = ""
    response: Value = None
    headers: Mapping[str, str]
    method: str
    url: str
    elapsed_ms: int = 0
    attempts: int = 1
    idempotency_key: str | None = None
    error: ActionError | None = None

    def as_value(self) -> dict[str, Value]:
        """The result as plain data, with the keys of the public contract."""
        error: Value = None
        if self.error is not None:
            error = {"kind": self.error.kind.value, "message": self.error.message, "sent": self.error.sent.value}
        return {
            "outcome": self.outcome.value,
            "ok": self.outcome is Outcome.SUCCESS,
            "status_code": self.status_code,
            "reason": self.reason,
            "response": self.response,
            "headers": dict(self.headers),
            "method": self.method,
            "url": self.url,
            "elapsed_ms": self.elapsed_ms,
            "attempts": self.attempts,
            "idempotency_key": self.idempotency_key,
            "error": error,
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> ActionResult:
        """Parse a recorded result from :meth:`as_value`, or a part of one: only ``outcome`` is required.

        Raises:
            ResponseError: it is not a result.
        """
        try:
            error = value.get("error")
            return cls(
                outcome=Outcome(value["outcome"]),
                status_code=_require(value.get("status_code"), int),
                reason=_require(value.get("reason"), str) or "",
                response=value.get("response"),
                headers=_require(value.get("headers"), Mapping) or {},
                method=_require(value.get("method"), str) or "",
                url=_require(value.get("url"), str) or "",
                elapsed_ms=_require(value.get("elapsed_ms"), int) or 0,
                attempts=_require(value.get("attempts"), int) or 0,
                idempotency_key=_require(value.get("idempotency_key"), str),
                error=None
                if error is None
                else ActionError(ErrorKind(error["kind"]), error.get("message") or "", Sent(error["sent"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ResponseError(
                "a recorded result of an action needs 'outcome': 'success' or 'error', and 'error'"
            ) from None

    def without(self, secrets: SecretFinder) -> ActionResult:
        """The same result, with ``***`` for every secret in it."""
        message = self.error.message if self.error else ""
        shown = haystack([self.url, self.reason, message, dict(self.headers), self.response])
        found = secrets.find_in(shown)
        if not found:
            return self
        return replace(
            self,
            url=hide(self.url, found),
            reason=hide(self.reason, found),
            response=hide_in(self.response, found),
            headers=hide_in(self.headers, found),
            error=self.error and replace(self.error, message=hide(message, found)),
        )

    def as_error(self, kind: ErrorKind, message: str, sent: Sent) -> ActionResult:
        """The same result with the error exit."""
        return replace(self, outcome=Outcome.ERROR, error=ActionError(kind, message, sent))


def _require(value: Any, kind: type) -> Any:
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise TypeError
    return value


class SentRequest(Struct, frozen=True):
    """The request of a result.

    Attributes:
        request: the last request.
        attempts: requests made.
        idempotency_key: the same for every attempt.
    """

    request: HttpRequest
    attempts: int = 1
    idempotency_key: str | None = None


def classify(reply: Reply, attempted: SentRequest, success_when: Expression | None = None) -> ActionResult:
    """Classify the reply to an action.

    Success is a complete 2xx reply (RFC 9110 §15.3) whose content parses, and ``success_when`` if given.
    Everything else is an error: other statuses, no reply, and an unreadable 2xx.

    Args:
        reply: the reply or failure.
        attempted: the request.
        success_when: an expression over :data:`RESULT_NAMES`.
    """
    if isinstance(reply, TransportFailure):
        head = reply.head or HttpResponse(0)
        result = _result(head, None, attempted, reply.elapsed_ms)
        if reply.head is None:
            result = replace(result, status_code=None)
        return result.as_error(reply.kind, reply.message, reply.sent)
    try:
        response, problem = parse_content(reply), None
    except UnparsableContent as error:
        response, problem = None, str(error)
    result = _result(reply, response, attempted, reply.elapsed_ms)
    if not 200 <= reply.status_code <= 299:
        return result.as_error(ErrorKind.STATUS, _status_message(reply), Sent.YES)
    if problem is not None:
        message = f"the server answered {reply.status_code}, but its content cannot be read: {problem}"
        return result.as_error(ErrorKind.UNPARSABLE, message, Sent.YES)
    return _check_success(result, success_when)


def _result(head: HttpResponse, response: Value, attempted: SentRequest, elapsed_ms: int) -> ActionResult:
    return ActionResult(
        outcome=Outcome.SUCCESS,
        status_code=head.status_code,
        reason=head.reason,
        response=response,
        headers=_headers_for_result(head.headers),
        method=attempted.request.method,
        url=mask_url(attempted.request.url),
        elapsed_ms=elapsed_ms,
        attempts=attempted.attempts,
        idempotency_key=attempted.idempotency_key,
    )


def _check_success(result: ActionResult, success_when: Expression | None) -> ActionResult:
    if success_when is None:
        return result
    try:
        holds = bool(success_when.evaluate(result.as_value()))
        message = f"success_when is false for the reply: {success_when.source}"
    except RenderError as error:
        holds, message = False, f"success_when cannot be evaluated for the reply: {error}"
    return result if holds else result.as_error(ErrorKind.SUCCESS_WHEN, message, Sent.YES)


def _status_message(reply: HttpResponse) -> str:
    message = f"the server answered {reply.status_code} {reply.reason}".strip()
    location = reply.header("location")
    if 300 <= reply.status_code <= 399 and location:
        # A followed redirect could send a contact's data to another host, or turn a POST into a GET.
        message += f"; redirects are not followed, and it points to {mask_url(location)}"
    return message


_first, _second = itemgetter(0), itemgetter(1)
_LOCATIONS = frozenset({"location", "content-location"})
_CHANGED = _HIDDEN_HEADERS | _LOCATIONS | RESERVED_KEYS


def _headers_for_result(headers: Headers) -> dict[str, str]:
    names, values = tuple(map(str.lower, map(_first, headers))), tuple(map(_second, headers))
    if _CHANGED.isdisjoint(names) and len(set(names)) == len(names) and "".join((*names, *values)).isprintable():
        return dict(zip(names, values, strict=True))
    shown: dict[str, str] = {}
    for name, value in headers:
        folded = name.lower()
        if folded not in _HIDDEN_HEADERS:
            folded, value = storable_key(folded), storable_text(value)
            if folded in _LOCATIONS:
                value = mask_url(value)
            shown[folded] = f"{shown[folded]}, {value}" if folded in shown else value
    return shown


@lru_cache(maxsize=256)
def mask_url(url: str) -> str:
    """Mask a URL: without user name and password, and with only flags and short numbers in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    query = _PARAMETER.sub(lambda found: f"{found[1]}={mask_parameter(found[1], found[2])}", parts.query)
    authority = parts.netloc.rpartition("@")[2]
    origin = f"{parts.scheme + ':' if parts.scheme else ''}//{authority}" if authority else ""
    return f"{origin}{parts.path}{'?' + query if query else ''}"


def mask_parameter(name: str, value: str) -> str:
    """Return the value of a query parameter, or ``***`` if it may be a secret or personal data."""
    return value if _HARMLESS.fullmatch(value) and not names_secret(unquote_plus(name)) else HIDDEN
