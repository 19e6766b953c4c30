"""The roads of a case: ``walk`` with canned replies, the command line, a replay, and a DAG run."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.delivery.decision import Attempt, SendNext, Settled, next_move
from airflow_whatsapp_flows.flow.delivery.rule import fate_of
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.reply.result import SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.walk import Walk, drive, walk
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import tally
from airflow_whatsapp_flows.ledger.results import contact_results
from airflow_whatsapp_flows.replay import run as running
from airflow_whatsapp_flows.replay.contact import ContactWalker
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.sender import sender_from_environment
from tests.cases.case import (
    CONNECTION_HEADERS,
    ORIGIN,
    Case,
    Request,
    Seen,
    SeenVisit,
    content_of,
    headers_of,
    reply_of,
)
from tests.servers.recording import Answer, Received, RecordingServer

# Headers that the transport adds to every request.
_TRANSPORT = {"host", "content-length", "user-agent", "accept-encoding"}


def all_cases() -> list[Case]:
    files = sorted((Path(__file__).parent.parent / "cases").glob("*.json"))
    return [Case(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]


def by_walk(case: Case) -> Seen:
    """``walk`` alone, with canned replies."""
    seen, replies = Seen(), iter(case.data.get("replies", []))

    def exchange(step: str, request: HttpRequest) -> Reply:
        reply = next(replies)
        assert reply["step"] == step, f"{step} asks where {reply['step']} should"
        kind = reply.get("error", {}).get("kind")
        if kind != "connect":
            headers = (*request.headers, *CONNECTION_HEADERS.get(request.connection or "", {}).items())
            seen.requests.append(Request(request.method, request.url.removeprefix(ORIGIN), headers, request.content))
        return reply_of(reply)

    def do(effect: Effect) -> EffectResult:
        if isinstance(effect, FetchFile):
            found = exchange(effect.step.name, HttpRequest("GET", effect.source.url_or_path))
            if isinstance(found, HttpResponse) and found.status_code == 200:
                return FileContent(found.content, None, found.header("content-type"))
            return TransportFailure(ErrorKind.FILE, "no file", Sent.NO)
        if isinstance(effect, Wait):
            return Waited()
        return perform_action(effect, exchange)

    record = drive(walk(case.flow, read_response(case.response()), now=case.now), do)
    assert next(replies, None) is None, "a reply is left over"
    for visit in record.visits:
        details = None if visit.details is None else dict(visit.details)
        seen.visit(
            SeenVisit(visit.step, visit.exit, visit.text, details), visit.result.as_value() if visit.result else None
        )
    seen.end(record.outcome())
    seen.red_tasks = red_tasks(case.flow, record)
    return seen


def red_tasks(flow: Flow, record: Walk) -> set[str]:
    """The tasks that fail in a DAG run that ends like a walk: the failed one, and those of doubts."""
    from airflow_whatsapp_flows.dag_factory import task_ids_of

    task_ids = task_ids_of(flow)
    failed = set() if record.failure is None else {task_ids[record.path[-1] if record.path else flow.start]}
    in_doubt = {task_ids[one.step] for one in record.uncertain_requests} - failed
    return failed | {f"{task_id}__in_doubt" for task_id in in_doubt}


def perform_action(effect: SendAction, exchange: Callable[[str, HttpRequest], Reply]) -> EffectResult:
    """Carry out an action with all its attempts; a function replaces the network."""
    rule, request, key = effect.step.retry, effect.request, effect.idempotency_key
    attempts: list[Attempt] = []
    while isinstance(move := next_move(rule, attempts, request, key, 0.0), SendNext):
        reply = exchange(effect.step.name, request)
        result = classify(reply, SentRequest(request, move.number, key), effect.step.success_when)
        attempts.append(Attempt(move.number, request.digest(), 0.0, fate_of(result, rule), result))
    assert isinstance(move, Settled)
    return move.result


@contextmanager
def scripted_server(case: Case, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingServer]:
    """A real server with the replies of a case; ``crm`` and ``shop`` lead to it, ``down`` to a closed port."""
    server = RecordingServer(lambda _: Answer(599, b"the case has no reply for this request"))
    for reply in case.data.get("replies", []):
        kind = reply.get("error", {}).get("kind")
        if kind != "connect":
            status = reply.get("status_code", 200)
            server.queued.append(Answer(status, content_of(reply), headers_of(reply), drop=kind == "interrupted"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        down = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("AIRFLOW_CONN_CRM", server.url)
        shop = {"conn_type": "http", "host": server.url, "extra": {"headers": CONNECTION_HEADERS["shop"]}}
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(shop))
        monkeypatch.setenv("AIRFLOW_CONN_DOWN", f"http://{down}")
        for name in ("ALLOWED", "MEDIA"):
            monkeypatch.setenv(f"AIRFLOW__WHATSAPP_FLOWS__{name}_HOSTS", f"{server.host},{down}")
        yield server
    server.close()


def read_requests(server: RecordingServer) -> list[Request]:
    return [Request(one.method, one.target, _headers(one), one.content) for one in server.received]


def _headers(request: Received) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, value)
        for name, value in request.headers
        if name.lower() not in _TRANSPORT and (name.lower(), value) != ("accept", "*/*")
    )


def by_cli(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, process: bool
) -> Seen:
    """``whatsapp-flows run`` against a real server."""
    from airflow_whatsapp_flows.cli import run as command

    moment = SimpleNamespace(now=lambda _: case.now)
    monkeypatch.setattr(command, "dt", SimpleNamespace(datetime=moment, timezone=dt.timezone))
    with scripted_server(case, monkeypatch) as server:
        flow, response = folder / "flow.json", folder / "response.json"
        flow.write_text(case.source, encoding="utf-8")
        response.write_text(json.dumps(case.response(server.url)), encoding="utf-8")
        words = ["run", str(flow), "--response", str(response), "--format", "json"]
        status, output = _in_process(words) if process else _here(words, capsys)
        shown = json.loads(output)
        seen = Seen(requests=read_requests(server))
    seen.end(shown)
    assert status == (0 if seen.state == "completed" else 3)
    for visit in shown["visits"]:
        seen.visit(SeenVisit(visit["step"], visit["exit"], visit["text"], visit["details"]), visit["result"])
    assert seen.path == shown["path"]
    return seen


def _here(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    from airflow_whatsapp_flows.cli import main

    capsys.readouterr()
    return main(words), capsys.readouterr().out


def _in_process(words: list[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "airflow_whatsapp_flows.cli", *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=os.environ, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


def by_replay(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """A replay of the response against a real server; the contact is read from its ledger."""
    with scripted_server(case, monkeypatch) as server:
        flow, source = case.flow, folder / "responses.jsonl"
        source.write_text(json.dumps(case.response(server.url)) + "\n", encoding="utf-8")
        monkeypatch.setattr(running, "ContactWalker", partial(ContactWalker, clock=case.now.timestamp))
        with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
            request = ReplayRequest(flow=flow, source=open_source(SourceSpec(str(source), {}), flow))
            replay = create_or_resume_replay(ledger, request)
            asyncio.run(run_replay(ledger, replay, flow, sender_from_environment(), RunSettings()))
            (contact,) = contact_results(ledger, replay)
            unanswered = tally(ledger, replay.no).unanswered == 1
        seen = Seen(requests=read_requests(server), path=contact.path)
    # The problem of a row is reported with its line.
    reason = (contact.reason or "").removesuffix(f" ({source}:1)")
    ending = {"state": contact.state.value, "reason": reason, "handled_errors": contact.handled_errors}
    seen.end({**ending, "unanswered": unanswered})
    for action in contact.actions:
        seen.results[action.step] = {
            "outcome": action.outcome,
            "status_code": action.status_code,
            "method": action.method,
            "attempts": action.attempts,
            "idempotency_key": action.idempotency_key,
            "kind": action.error_kind,
        }
    return seen


def by_dag(case: Case, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The flow's DAG in a real Airflow, against a real server, without waiting."""
    from airflow_whatsapp_flows.dag_factory import build_dag, task_ids_of
    from airflow_whatsapp_flows.operators import rewalk
    from airflow_whatsapp_flows.operators import wait as waiting
    from tests.airflow_runs import run_dag

    flow = case.flow
    monkeypatch.setattr(rewalk, "run_time", lambda _: case.now)
    monkeypatch.setattr(waiting, "seconds_until", lambda _: 0.0)
    with scripted_server(case, monkeypatch) as server:
        finished = run_dag(build_dag(flow), case.response(server.url))
        seen = Seen(requests=read_requests(server))
    seen.red_tasks = {task_id for task_id, state in finished.states.items() if state == "failed"}
    steps = {step["name"]: step for step in json.loads(case.source)["steps"]}
    task_ids, walked = task_ids_of(flow), []
    name: str | None = flow.start
    while name is not None:
        task_id = task_ids[name]
        walked.append(task_id)
        value, red = finished.xcoms.get((task_id, -1)), task_id in seen.red_tasks
        if value is None:
            assert red, f"{name} ended {finished.states[task_id]} and left nothing in XCom"
            if finished.xcom(task_id, "end")["state"] != "rejected":
                seen.visit(SeenVisit(name, None), None)
            name = None
        elif "loop" in value:
            name = _visits_of_a_loop(value, seen)
        elif "outcome" not in value:
            seen.visit(SeenVisit(name, value["exit"], value["text"], value["details"]), None)
            name = value["next"]
        else:
            seen.visit(SeenVisit(name, None if red else value["outcome"]), value)
            name = None if red else steps[name].get(f"on_{value['outcome']}")
    seen.end(finished.xcom(walked[-1], "end"))
    states = finished.states
    assert [task_id for task_id in walked[:-1] if states[task_id] != "success"] == []
    others = {states[task_id] for task_id in task_ids.values() if task_id not in walked}
    assert others <= {"skipped", "upstream_failed"}
    assert [task_id for task_id in walked[:-1] if finished.xcom(task_id, "end") is not None] == []
    assert finished.state == ("success" if seen.state == "completed" else "failed")
    return seen


def _visits_of_a_loop(value: dict[str, Any], seen: Seen) -> str | None:
    """Read the visits of a loop's task; returns the step after the loop."""
    under_key: dict[str, int] = {}
    for visit in value["visits"]:
        results = value["actions"].get(visit["step"], [])
        result = results[visit["visit"] - 1] if visit["visit"] <= len(results) else None
        if result is not None:
            # Attempts are counted by key, and a visit may continue with the key of the previous one.
            key, attempts = result["idempotency_key"], result["attempts"]
            result = {**result, "attempts": attempts - under_key.get(key, 0)}
            under_key[key] = attempts
        seen.visit(SeenVisit(visit["step"], visit["exit"], visit.get("text"), visit.get("details")), result)
    next_step: str | None = value["next"]
    return next_step
