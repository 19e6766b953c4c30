"""Sends a flow's requests to third-party programs over the network, and returns what they parsed."""

from __future__ import annotations

import base64
import datetime as dt
import json
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_whatsapp_flows.connections import ActionConnection
from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.reply.result import SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.walk import drive, walk
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import Settings

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class ParsedRequest:
    """A request as a third-party parser read it.

    Attributes:
        fields: names and values as it keeps them.
        files: each with name, filename, type and content.
        request: the bytes that it got.
    """

    fields: dict[str, Any]
    files: list[dict[str, Any]]
    request: HttpRequest


def send_body(
    url: str,
    body_type: str,
    body: object,
    contact: Mapping[str, object] | None = None,
    not_secret: Sequence[str] = (),
) -> ParsedRequest:
    """Send the body of an action to a server that returns what it parsed.

    Args:
        url: of the server, path included.
        body_type: of the action.
        body: as in a flow file; ``{{ contact.x }}`` are the values of ``contact``.
        contact: values of the contact; a file is ``{"url": …, "filename": …}``, and its content is ``b"x"``.
        not_secret: names of the body that look as if their values were secrets.
    """
    origin, _, path = url.partition("://")[2].partition("/")
    action = {"type": "action", "connection": "peer", "url": f"/{path}", "body_type": body_type, "body": body}
    steps = [{"name": "Say", **action}]
    flow = load_flow({"flow_format": 1, "id": "acceptance", "not_secret": list(not_secret), "steps": steps})
    request_sender = RequestSender(Settings((origin,)), lambda name: ActionConnection(name, f"http://{origin}"))
    heard: list[ParsedRequest] = []

    def do(effect: Effect) -> EffectResult:
        if isinstance(effect, FetchFile):
            return FileContent(b"x")
        assert isinstance(effect, SendAction)
        prepared = request_sender.prepare(request_sender.find_connection("peer"), effect.request, 60, 8_000_000)
        reply = prepared.send()
        assert isinstance(reply, HttpResponse), reply
        assert reply.status_code == 200, reply.content[:2000]
        heard.append(ParsedRequest(**json.loads(reply.content), request=effect.request))
        return classify(reply, SentRequest(effect.request, 1, effect.idempotency_key), effect.step.success_when)

    response = read_response({"id": "1", "contact": dict(contact or {})})
    drive(walk(flow, response, now=dt.datetime.now(dt.timezone.utc)), do)
    (only,) = heard
    return only


@dataclass(frozen=True)
class Serialized:
    """The same pairs as the WHATWG's serializers write them: those of Node.js."""

    urlencoded: bytes
    multipart: bytes
    content_type: str


def serialize(express: str, pairs: Pairs) -> Serialized:
    """Let Node.js serialize the pairs."""
    answer = json.loads(_post(f"{express}/serialize", json.dumps(pairs).encode(), "application/json"))
    return Serialized(answer["urlencoded"].encode(), base64.b64decode(answer["multipart"]), answer["type"])


def post_for_parsing(url: str, content: bytes, content_type: str) -> dict[str, Any]:
    """Return the fields that a parser reads from bytes of another serializer."""
    fields: dict[str, Any] = json.loads(_post(url, content, content_type))["fields"]
    return fields


def _post(url: str, content: bytes, content_type: str) -> bytes:
    request = urllib.request.Request(url, content, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer: bytes = reply.read()
    return answer
