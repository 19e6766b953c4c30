"""``whatsapp-flows render``: the exact request of one step, without sending it."""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import json
import shlex
import sys

from msgspec.structs import replace

from airflow_whatsapp_flows.cli.responses import read_response_file
from airflow_whatsapp_flows.cli.terminal import escape_acting
from airflow_whatsapp_flows.connections import action_connection, connection_from_environment
from airflow_whatsapp_flows.errors import ConnectionConfigError, RenderError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, TransportFailure
from airflow_whatsapp_flows.flow.secrets import hide
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.walk import Walk, walk
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.sender import RequestSender, sender_from_environment

_MAX_WORD = 100_000


def render(options: argparse.Namespace) -> int:
    """Print the request; return 0."""
    flow = load_flow_file(options.file)
    request = render_request(flow, options.step, read_response_file(options.response))
    if options.format == "json":
        print(json.dumps(as_json(request), ensure_ascii=False))
    elif options.format == "curl":
        print(as_curl(request))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(as_http(request))
        sys.stdout.buffer.flush()
    return 0


def render_request(flow: Flow, step: str, response: ContactResponse) -> HttpRequest:
    """Render the request of a step when the contact first reaches it.

    Args:
        step: name of an action.
        response: the contact's response, with recorded results of the actions before the step.

    Raises:
        FlowsError: the action does not exist or is not reached; the message says why.
    """
    if not isinstance(flow.steps.get(step), Action):
        actions = [name for name, found in flow.steps.items() if isinstance(found, Action)]
        raise RenderError(f"there is no action step named {step!r}{did_you_mean(step, actions)}")
    request_sender = sender_from_environment()
    record = Walk(Variables())
    # The step's own recorded result would replace the request.
    others = replace(response, actions={name: found for name, found in response.actions.items() if name != step})
    walking = walk(flow, others, now=dt.datetime.now(dt.timezone.utc), record=record)
    try:
        effect = next(walking)
        while True:
            if isinstance(effect, SendAction) and effect.step.name == step:
                return _absolute(effect.request)
            effect = walking.send(_answer(effect, step, response, request_sender))
    except StopIteration:
        raise RenderError(_way(record, step)) from None


def _answer(effect: Effect, step: str, response: ContactResponse, request_sender: RequestSender) -> EffectResult:
    if isinstance(effect, Wait):
        return Waited()
    if isinstance(effect, FetchFile) and effect.step.name == step:
        content = request_sender.fetch(effect.source, effect.step.timeout)
        if isinstance(content, TransportFailure):
            raise RenderError(f"the file of {effect.source.where} cannot be fetched: {content.message}")
        return content
    recorded = response.actions.get(effect.step.name, ())
    if effect.visit > len(recorded):
        raise RenderError(
            f"{effect.step.name!r} comes before {step!r} on this contact's path and has no recorded result; "
            f'add "actions": {{"{effect.step.name}": [{{"outcome": "success", "response": …}}]}} to the response'
        )
    return ActionResult.from_value(recorded[effect.visit - 1])


def _way(record: Walk, step: str) -> str:
    way = " → ".join(record.path) or "(nothing)"
    reason = f": {record.reason}" if record.reason else ""
    state = record.state.value if record.state else "unfinished"
    return f"this contact's path does not reach {step!r}; it is {way}, and ends {state}{reason}"


def _absolute(request: HttpRequest) -> HttpRequest:
    if request.connection is None:
        return request
    try:
        connection = action_connection(connection_from_environment(request.connection))
        complete = connection.absolute(request)
        return replace(complete, url=hide(complete.url, connection.secrets))  # a token in the base URL's path
    except ConnectionConfigError as error:
        if request.url.startswith("/"):
            print(f"the URL is shown without its origin: {error}", file=sys.stderr)
        return request


def as_json(request: HttpRequest) -> dict[str, object]:
    """Convert a request to JSON: ``method``, ``url``, ``headers`` as pairs, ``body_base64``."""
    return {
        "method": request.method,
        "url": request.url,
        "headers": [list(field) for field in request.headers],
        "body_base64": base64.b64encode(request.content).decode("ascii"),
    }


def as_http(request: HttpRequest) -> bytes:
    """Return a request as sent, except for what the transport adds."""
    head = [f"{request.method} {request.url} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
    end = b"" if request.content.endswith(b"\n") or not request.content else b"\n"
    # Only a connection's host may contain non-ASCII characters.
    return "\n".join([*head, "", ""]).encode("utf-8", "backslashreplace") + request.content + end


def as_curl(request: HttpRequest) -> str:
    """Convert a request to a ``curl`` command for a POSIX shell, without the connection's credentials."""
    # With -X HEAD, curl would wait for content that never comes.
    words = ["curl", *(["--head"] if request.method == "HEAD" else ["-X", request.method]), request.url]
    for name, value in request.headers:
        # "Name:" makes curl omit a header; "Name;" sends it empty.
        words += ["-H", f"{name}: {value}" if value else f"{name};"]
    command = " ".join(shlex.quote(word) for word in words)
    if not request.content:
        return command
    text = _as_word(request.content)
    if text is not None:
        return f"{command} --data-binary {shlex.quote(text)}"
    encoded = base64.b64encode(request.content).decode("ascii")
    return f"printf %s {encoded} | base64 -d | {command} --data-binary @-"


def _as_word(content: bytes) -> str | None:
    """Quote content as a shell word; ``None`` if it is not text, too long for Linux, or would control the terminal."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if escape_acting(text) != text or text.startswith("@") or len(content) > _MAX_WORD else text
