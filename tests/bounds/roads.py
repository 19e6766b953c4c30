"""Measures the cost of one hostile reply on one road, in a separate process.

``python -m tests.bounds.roads ROAD SERVER FOLDER reads|uses NAME…`` prints a JSON line for each reply: ``wall`` and
``cpu`` (seconds), ``grown`` (bytes of memory at its peak above what it was before), ``blocked`` (seconds of CPU of the
longest time in which the event loop did nothing else), and ``state`` of the contact.

A fork of one warm process walks each reply, so imports don't count and no reply affects the next one. Airflow can't be
forked: there one process walks all replies.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.process_memory import peak_memory, reset_peak
from tests.servers.hostile_replies import HONEST, complete, endless

DEADLINE = 1.0
"""Seconds of the flow's ``timeout`` where the reply has no end."""
PATIENCE = 30.0
"""The same where it has one: a reply that did not arrive in time would cost nothing."""


def flow(server: str, name: str, *, uses: bool) -> dict[str, Any]:
    """A flow that reads a reply.

    Args:
        server: URL, with a slash at its end.
        name: of the reply.
        uses: whether it also makes texts and requests of it.
    """
    reply = "step.Ask.response"
    paths = [
        {"conditions": [{"field": reply, "comparison": comparison, "value": value}], "next": "Say"}
        for comparison, value in (("icontains", "needle"), ("gt", 5), ("exact", "x"))
    ]
    ask = {
        "name": "Ask", "type": "action", "url": f"{server}{name}", "delivery": "at_most_once",
        "timeout": DEADLINE if name in endless() else PATIENCE,
        "success_when": "response != 'no' and status_code != 299", "on_success": "Is it", "on_error": "Say",
        "body": {"a": 1},
    }  # fmt: skip
    steps = [ask, {"name": "Is it", "type": "conditional", "paths": paths, "otherwise": "Say"}]
    if uses:
        steps += _uses(f"{server}thanks", reply)
    else:
        steps.append({"name": "Say", "type": "message", "body": "{{ step.Ask.status_code | default }}"})
    return {"flow_format": 1, "id": "hostile", "sensitive": ["contact.phone"], "steps": steps}


def _uses(url: str, reply: str) -> list[dict[str, Any]]:
    action = {"type": "action", "url": url, "timeout": 30}
    tell = {
        **action, "name": "Tell", "on_success": "Write", "on_error": "Write",
        "body": {"all": f"{{{{ {reply} }}}}", "text": f"{{{{ {reply} | json }}}}"},
    }  # fmt: skip
    write = {
        **action, "name": "Write", "body_type": "form",
        "body": {"text": f"{{{{ {reply} | json | upper }}}}", "head": "{{ step.Ask.headers | json }}"},
    }  # fmt: skip
    text = f"{{{{ {reply} | json }}}} {{{{ step.Ask.reason }}}}"
    return [{"name": "Say", "type": "message", "body": text, "next": "Tell"}, tell, write]


RESPONSE = {"id": "r-1", "contact": {"phone": "+525512345678", "first_name": "Ana María"}}


class Heart:
    """A heartbeat on the event loop that measures the longest gap in CPU time of this process.

    Wall time would not work: on a busy machine, any process is sometimes suspended.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def beat(self) -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.process_time()
            self.longest = max(self.longest, now - last)
            last = now


def by_replay(server: str, folder: Path, name: str, uses: bool) -> tuple[str, float]:
    """A replay of one response."""
    from airflow_whatsapp_flows.flow.loading.load import load_flow
    from airflow_whatsapp_flows.ledger import Ledger
    from airflow_whatsapp_flows.ledger.replays import tally
    from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
    from airflow_whatsapp_flows.replay.run import run_replay
    from airflow_whatsapp_flows.replay.run_settings import RunSettings
    from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
    from airflow_whatsapp_flows.sender import sender_from_environment

    loaded = load_flow(flow(server, name, uses=uses))
    source = folder / "responses.jsonl"
    source.write_text(json.dumps(RESPONSE) + "\n", encoding="utf-8")
    heart = Heart()

    async def run() -> str:
        with Ledger(f"sqlite:///{folder / f'{name}.db'}") as ledger:
            replay = create_or_resume_replay(
                ledger, ReplayRequest(flow=loaded, source=open_source(SourceSpec(str(source)), loaded))
            )
            beating = asyncio.create_task(heart.beat())
            await asyncio.sleep(0)
            await run_replay(ledger, replay, loaded, sender_from_environment(), RunSettings())
            beating.cancel()
            states = tally(ledger, replay.no).states
        return ",".join(state.value for state, count in states.items() if count)

    return asyncio.run(run()), heart.longest


def by_cli(server: str, folder: Path, name: str, uses: bool) -> tuple[str, float]:
    """``whatsapp-flows run``."""
    from airflow_whatsapp_flows.cli import main

    file, response = folder / "flow.json", folder / "response.json"
    file.write_text(json.dumps(flow(server, name, uses=uses)), encoding="utf-8")
    response.write_text(json.dumps(RESPONSE), encoding="utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(["run", str(file), "--response", str(response)])
    return printed.getvalue().strip().rpartition("\n")[2].partition(",")[0].partition(":")[0], 0.0


def by_task(server: str, folder: Path, name: str, uses: bool) -> tuple[str, float]:
    """A DAG run in a real Airflow."""
    from airflow_whatsapp_flows import build_dag
    from tests.airflow_runs import run_dag

    done = run_dag(build_dag(flow(server, name, uses=uses)), RESPONSE)
    largest = max(len(json.dumps(value)) for value in done.xcoms.values())
    assert largest <= 70_000, f"an XCom of {largest:,} bytes"
    return str(done.state), 0.0


def by_flow_test(_: str, folder: Path, name: str, uses: bool) -> tuple[str, float]:
    """``whatsapp-flows test`` with the reply in the flow file."""
    from airflow_whatsapp_flows.cli import main

    head, _, content = complete().get(name, HONEST).partition(b"\r\n\r\n")
    kind = next(line for line in head.decode().split("\r\n") if line.startswith("Content-Type: "))
    canned = {
        "step": "Ask", "status_code": int(head.split(b" ", 2)[1]), "response": content.decode("utf-8", "replace"),
        "headers": {"Content-Type": kind.partition(": ")[2]},
    }  # fmt: skip
    reads = flow("https://crm.example/", name, uses=uses)
    replies = [canned, *({"step": step["name"]} for step in reads["steps"] if step["name"] in ("Tell", "Write"))]
    reads["tests"] = [{"name": "any", "response": RESPONSE, "replies": replies, "expect": {}}]
    file = folder / "flow.json"
    file.write_text(json.dumps(reads, ensure_ascii=False), encoding="utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = main(["test", str(file)])
    return f"status {status}", 0.0


ROADS: dict[str, Callable[[str, Path, str, bool], tuple[str, float]]] = {
    "replay": by_replay,
    "cli": by_cli,
    "task": by_task,
    "test": by_flow_test,
}


def measure(road: str, server: str, folder: Path, name: str, uses: bool) -> dict[str, Any]:
    """Walk the reply; returns its cost."""
    gc.collect()
    before, cpu, wall = reset_peak(), time.process_time(), time.monotonic()
    state, blocked = ROADS[road](server, folder, name, uses)
    return {
        "name": name,
        "state": state,
        "wall": round(time.monotonic() - wall, 3),
        "cpu": round(time.process_time() - cpu, 3),
        "grown": peak_memory() - before,
        "blocked": round(blocked, 4),
    }


def _at_once(jobs: list[Callable[[], None]], many: int) -> None:
    """Run jobs in forks of this process, some of them at once: most wait for the server, and none for another.

    Args:
        jobs: in order.
        many: forks at a time; 0 for this process itself.
    """
    running: set[int] = set()
    for job in jobs:
        if not many:
            job()
            continue
        if len(running) == many:
            running.discard(os.wait()[0])
        child = os.fork()
        if not child:
            signal.alarm(120)
            try:
                job()
            finally:
                os._exit(0)
        running.add(child)
    for _ in running:
        os.wait()


def main(road: str, server: str, folder: Path, uses: bool, names: list[str]) -> None:
    """Measure every reply, after an honest one that imports and opens all that is needed."""
    if road == "task":
        from tests.airflow_runs import migrate

        migrate()
    measure(road, server, folder, "warm-up", uses)
    gc.collect()
    gc.freeze()  # a replay collects garbage once before it begins, and what is imported takes 50 ms
    sys.stdout.flush()

    def job(name: str) -> None:
        inside = folder / name
        inside.mkdir()
        os.write(1, json.dumps(measure(road, server, inside, name, uses)).encode() + b"\n")

    _at_once([partial(job, name) for name in names], 0 if road == "task" else 4)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "uses", sys.argv[5:])
