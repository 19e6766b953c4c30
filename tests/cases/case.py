"""A case: a flow, a response, the replies of a server, and the expected result on every road."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpResponse, Reply, Sent, TransportFailure

REPOSITORY = Path(__file__).resolve().parents[2]
ORIGIN = "http://crm.test"
"""Stands for the server in the data of a case."""

ROADS = ("walk", "cli", "replay", "dag")
# What a connection adds to the requests of a flow.
CONNECTION_HEADERS = {"shop": {"X-Shopify-Access-Token": "shop-token"}}
SERVER = "the-server"
"""Stands for host and port in the texts of a case."""
_ANY_SERVER = re.compile(r"127\.0\.0\.1:\d+|\bcrm\.test\b")
_FAILURES = {
    "connect": TransportFailure(ErrorKind.CONNECT, f"no connection to {SERVER}: connection refused", Sent.NO),
    "interrupted": TransportFailure(
        ErrorKind.INTERRUPTED, f"{SERVER} closed the connection without a complete reply", Sent.UNKNOWN
    ),
}


@dataclass(frozen=True)
class Request:
    """A request as a case describes it, without what the transport adds."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class SeenVisit:
    """One visit, as reported by a road."""

    step: str
    exit: str | None
    text: str | None = None
    details: dict[str, Any] | None = None


@dataclass
class Seen:
    """The result of a case on one road."""

    requests: list[Request] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    state: str = ""
    visits: list[SeenVisit] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    handled_errors: int = 0
    unanswered: bool = False
    reason: str = ""
    red_tasks: set[str] = field(default_factory=set, compare=False)

    def end(self, ending: Mapping[str, Any]) -> None:
        """Store how the contact ended."""
        self.state, self.reason = ending["state"], _ANY_SERVER.sub(SERVER, ending["reason"])
        self.handled_errors, self.unanswered = ending["handled_errors"], ending["unanswered"]

    def visit(self, visit: SeenVisit, result: dict[str, Any] | None) -> None:
        self.path.append(visit.step)
        self.visits.append(visit)
        if result is not None:
            error = result["error"] or {}
            kept = ("outcome", "ok", "status_code", "response", "method", "attempts", "idempotency_key")
            self.results[visit.step] = {name: result[name] for name in kept} | {
                "kind": error.get("kind"),
                "sent": error.get("sent"),
            }

    @property
    def exits(self) -> dict[str, str | None]:
        """The last exit of each step."""
        return {visit.step: visit.exit for visit in self.visits}

    @property
    def messages(self) -> dict[str, str]:
        """The last message of each step."""
        return {visit.step: visit.text for visit in self.visits if visit.text}

    @property
    def details(self) -> dict[str, dict[str, Any]]:
        """The last recorded effect of each step."""
        return {visit.step: visit.details for visit in self.visits if visit.details}


@dataclass(frozen=True)
class Case:
    """One file of this folder."""

    name: str
    data: dict[str, Any]

    @property
    def flow(self) -> Flow:
        return load_flow(self.source, self.name)

    @property
    def source(self) -> str:
        if "flow_file" in self.data:
            return (REPOSITORY / self.data["flow_file"]).read_text(encoding="utf-8")
        return json.dumps({"flow_format": 1, "id": self.name, **self.data["flow"]})

    def response(self, origin: str = ORIGIN) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(json.dumps(self.data["response"]).replace(ORIGIN, origin))
        return value

    @property
    def now(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.data.get("now", "2026-11-22T16:04:00Z").replace("Z", "+00:00"))

    @property
    def roads(self) -> list[str]:
        return list(self.data.get("roads", ROADS))

    @property
    def requests(self) -> list[Request]:
        return [
            Request(
                request["method"],
                request["url"],
                tuple(request.get("headers", {}).items()),
                base64.b64decode(request["body_base64"]) if "body_base64" in request else request["body"].encode(),
            )
            for request in self.data["expect"]["requests"]
        ]


def content_of(reply: dict[str, Any]) -> bytes:
    if "response" in reply:
        return json.dumps(reply["response"], ensure_ascii=False).encode()
    return str(reply.get("content", "")).encode()


def headers_of(reply: dict[str, Any]) -> dict[str, str]:
    return reply.get("headers", {"Content-Type": "application/json"} if "response" in reply else {})


def reply_of(reply: dict[str, Any]) -> Reply:
    """Convert a reply of a case to the core's type."""
    kind = reply.get("error", {}).get("kind")
    if kind:
        return _FAILURES[kind]
    status = reply["status_code"]
    return HttpResponse(status, HTTPStatus(status).phrase, tuple(headers_of(reply).items()), content_of(reply))
