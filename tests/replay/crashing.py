"""A replay in its own process, which is killed, stopped, or exits at a named point.

``python -m tests.replay.crashing SPECIFICATION`` runs what :class:`tests.replay.runs.Run` says. It prints ``running``
when the first contacts are walked, and finally the result of the run as one JSON line. Its exit status is 0 if no
contact is pending, 4 if some are, and 1 after an error of the package, which it prints.

The package has no hooks for tests: a point is reached by wrapping the function called there.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_clock = time.time
_spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")) if __name__ == "__main__" else {}
if _spec.get("clock"):
    time.time = lambda: _clock() + _spec["clock"]  # before the package binds it

import asyncio  # noqa: E402
from functools import partial  # noqa: E402

from airflow_whatsapp_flows.connections import ActionConnection  # noqa: E402
from airflow_whatsapp_flows.errors import ConnectionConfigError, FlowsError  # noqa: E402
from airflow_whatsapp_flows.flow.loading.load import load_flow  # noqa: E402
from airflow_whatsapp_flows.flow.model import Flow  # noqa: E402
from airflow_whatsapp_flows.flow.walk import deliver as deliver_module  # noqa: E402
from airflow_whatsapp_flows.ledger import AttemptEnd, ContactEnd, Intent, Journal, Ledger  # noqa: E402
from airflow_whatsapp_flows.ledger import journal as journal_module  # noqa: E402
from airflow_whatsapp_flows.ledger.replays import tally  # noqa: E402
from airflow_whatsapp_flows.ledger.rows import ContactState  # noqa: E402
from airflow_whatsapp_flows.replay import host_limits as host_limits_module  # noqa: E402
from airflow_whatsapp_flows.replay import snapshot as snapshot_module  # noqa: E402
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay  # noqa: E402
from airflow_whatsapp_flows.replay.routes import Route  # noqa: E402
from airflow_whatsapp_flows.replay.run import run_replay  # noqa: E402
from airflow_whatsapp_flows.replay.run_settings import RunSettings  # noqa: E402
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source  # noqa: E402
from airflow_whatsapp_flows.sender import RequestSender  # noqa: E402
from airflow_whatsapp_flows.settings import Settings  # noqa: E402
from airflow_whatsapp_flows.transport.connection import Connection  # noqa: E402
from tests.process_memory import IS_KNOWN, peak_memory  # noqa: E402

PENDING = 4
KILLED = 137


def _end() -> None:
    os._exit(KILLED)


def _at(owner: Any, name: str, end: Callable[[], None], *, before: bool, when: Callable[..., bool]) -> None:
    """Call ``end`` when a function is entered or has returned, if ``when`` is true for its arguments."""
    original = getattr(owner, name)

    if asyncio.iscoroutinefunction(original):

        async def wrapper(*arguments: Any, **named: Any) -> Any:
            if before and when(*arguments):
                end()
            value = await original(*arguments, **named)
            if not before and when(*arguments):
                end()
            return value

        setattr(owner, name, wrapper)
        return

    def plain(*arguments: Any, **named: Any) -> Any:
        if before and when(*arguments):
            end()
        value = original(*arguments, **named)
        if not before and when(*arguments):
            end()
        return value

    setattr(owner, name, plain)


def _always(*_: Any) -> bool:
    return True


def _commits(kind: type) -> Callable[..., bool]:
    whose = _spec.get("whose") or ""
    return lambda _, entries, __: any(isinstance(entry, kind) and whose in repr(entry) for entry in entries)


_POINTS: dict[str, tuple[Any, str, bool, Callable[..., bool]]] = {
    "before the intent's commit": (Journal, "_write", True, _commits(Intent)),
    "after the intent's commit": (Journal, "_write", False, _commits(Intent)),
    "before the connection": (Route, "send", True, _always),
    "before the first byte": (Connection, "exchange", True, _always),
    "after the request was written": (Connection, "exchange", False, _always),
    "after the reply": (deliver_module, "classify", True, _always),
    "before the outcome's commit": (Journal, "_write", True, _commits(AttemptEnd)),
    "after the outcome's commit": (Journal, "_write", False, _commits(AttemptEnd)),
    "before the contact's end": (Journal, "_write", True, _commits(ContactEnd)),
    "after the contact's end": (Journal, "_write", False, _commits(ContactEnd)),
    "during the snapshot": (snapshot_module, "add_contacts", False, _always),
    "before the seal": (snapshot_module, "seal", True, _always),
    "after the seal": (snapshot_module, "seal", False, _always),
    "after the claim": (journal_module, "claim", False, _always),
}
POINTS = tuple(_POINTS)


def end_at(point: str, passing: int, end: Callable[[], None] = _end) -> None:
    """End this process at the given passing of a point, counted from 1."""
    owner, name, before, when = _POINTS[point]
    lock, passed = threading.Lock(), [0]

    def count() -> None:
        with lock:
            passed[0] += 1
            if passed[0] == passing:
                end()

    _at(owner, name, count, before=before, when=when)


def _no_connection(conn_id: str) -> ActionConnection:
    raise ConnectionConfigError(f"the connection {conn_id!r} is not there")


async def _run(spec: dict[str, Any], flow: Flow) -> int:
    settings = RunSettings(**spec["settings"])
    with Ledger(spec["ledger"]) as ledger:
        source = open_source(SourceSpec(spec["responses"]), flow)
        request = ReplayRequest(flow=flow, source=source, replay_id=spec["replay_id"], **spec["begin"])
        replay = create_or_resume_replay(ledger, request)
        request_sender = RequestSender(Settings(allowed_hosts=("127.0.0.1",)), _no_connection)
        progress = await run_replay(
            ledger, replay, flow, request_sender, settings, lambda _: print("running", flush=True)
        )
        counted = tally(ledger, replay.no)
    told = {
        "ended": {state.value: count for state, count in progress.ended.items()},
        "postponed": dict(progress.postponed),
        "stopped": progress.stopped,
        "states": {state.value: count for state, count in counted.states.items() if count},
        "requests": counted.requests,
        "peak_memory": peak_memory() if IS_KNOWN else None,
    }
    print(json.dumps(told), flush=True)
    return PENDING if counted.states[ContactState.PENDING] else 0


def _hog_files(seconds: float) -> None:
    """Hold all remaining file descriptors for some seconds, from the first request on."""
    started = threading.Event()

    def hold() -> None:
        held = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                started.set()
                time.sleep(0.01)
        for one in held:
            os.close(one)

    def start() -> None:
        if not started.is_set():
            threading.Thread(target=hold, daemon=True).start()
            started.wait()

    _at(Route, "send", start, before=True, when=_always)


def main(spec: dict[str, Any]) -> int:
    """Run what the specification says; returns the status of the process."""
    if spec["files"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (spec["files"], spec["files"]))
    if spec["hog"]:
        _hog_files(spec["hog"])
    if spec["breaker"]:
        host_limits_module.Breaker = partial(host_limits_module.Breaker, **spec["breaker"])  # type: ignore[misc]
    if spec["point"]:
        end_at(spec["point"], spec["passing"])
    try:
        flow = load_flow(json.loads(Path(spec["flow"]).read_text(encoding="utf-8")))
        return asyncio.run(_run(spec, flow))
    except FlowsError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main(_spec))
