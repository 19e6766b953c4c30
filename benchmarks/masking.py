"""What masking costs: the CPU time of the functions that mask, within a replay, against the rest of its CPU time.

The connection has a bearer token, a header and a token in its path, 57 forms to look for in each reply; in the second
line the flow calls the contact's e-mail address and phone number sensitive besides. Two replays, one with masking and
one without, differ by less than the noise of a shared machine: the calls are timed in one.

    python benchmarks/masking.py [--contacts 2000] [--rounds 5]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow_whatsapp_flows.connections import ActionConnection, action_connection
from airflow_whatsapp_flows.connections.fields import ConnectionFields
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.replays import tally
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import Settings
from benchmarks.replay import CONCURRENCY, flow_file, write_responses
from benchmarks.server import running_server

SENSITIVE = ("contact.email", "contact.phone")


def connection(url: str) -> ActionConnection:
    """A connection with secrets in every part."""
    extra = {"auth": "bearer", "headers": {"X-Api-Key": "another+key/of=mine"}}
    base = f"{url.rstrip('/')}/bot123456AAcanaryPATH0123456789abcdef"
    return action_connection(ConnectionFields("crm", "whatsapp_action", base, password="s3cr3t-T0k3n/+", extra=extra))


MASKING = (
    (ActionResult, "without"),
    *((Hidden, name) for name in ("__init__", "note", "conceal", "hide", "restore", "check_restored")),
)


class Stopwatch:
    """Counts and times the calls of some functions; of calls within each other, the outermost.

    Attributes:
        calls: number of calls.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._nanoseconds = 0
        self._running = threading.local()

    @property
    def seconds(self) -> float:
        """CPU time of the calls."""
        return (self._nanoseconds - self.calls * _cost_of_measuring()) / 1e9

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same, and is counted and timed."""

        def call(*arguments: Any, **named: Any) -> Any:
            if getattr(self._running, "is_running", False):
                return function(*arguments, **named)
            self._running.is_running = True
            begin = time.thread_time_ns()
            try:
                return function(*arguments, **named)
            finally:
                self._nanoseconds += time.thread_time_ns() - begin
                self.calls += 1
                self._running.is_running = False

        return call


@cache
def _cost_of_measuring() -> float:
    """Nanoseconds that a call of a function that does nothing seems to take."""
    stopwatch = Stopwatch()
    call = stopwatch.timed(lambda: None)
    for _ in range(20_000):
        call()
    return stopwatch._nanoseconds / stopwatch.calls


@contextmanager
def timed_masking() -> Iterator[Stopwatch]:
    """With a stopwatch on every function that masks."""
    stopwatch = Stopwatch()
    with ExitStack() as patched:
        for owner, name in MASKING:
            patched.enter_context(patch.object(owner, name, stopwatch.timed(getattr(owner, name))))
        yield stopwatch


def replay(url: str, responses: Path, ledger_url: str, sensitive: tuple[str, ...]) -> float:
    """CPU seconds of one whole replay."""
    written = {**flow_file("/v1/contacts"), "sensitive": list(sensitive)}
    written["steps"][-1]["connection"] = "crm"  # type: ignore[index]
    flow, used = load_flow(written), connection(url)
    request_sender = RequestSender(Settings(allowed_hosts=("127.0.0.1",)), lambda _: used)
    begin = time.process_time()
    with Ledger(ledger_url) as ledger:
        request = ReplayRequest(flow=flow, source=open_source(SourceSpec(str(responses), {}), flow))
        begun = create_or_resume_replay(ledger, request)
        asyncio.run(run_replay(ledger, begun, flow, request_sender, RunSettings(concurrency=CONCURRENCY)))
        seconds = time.process_time() - begin
        counted = tally(ledger, begun.no)
    if counted.states[ContactState.COMPLETED] != counted.total:
        raise RuntimeError(f"not every contact was completed: {counted}")
    return seconds


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--contacts", type=int, default=2_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as name,
        running_server(0) as url,
    ):
        folder = Path(name)
        responses = folder / "responses.jsonl"
        write_responses(responses, chosen.contacts)
        for what, sensitive in (("secrets of a connection", ()), ("and two sensitive values", SENSITIVE)):
            ratios, costs = [], []
            for number in range(chosen.rounds):
                with timed_masking() as stopwatch:
                    total = replay(url, responses, f"sqlite:///{folder}/{len(sensitive)}-{number}.db", sensitive)
                ratios.append(total / (total - stopwatch.seconds))
                costs.append(1e6 * stopwatch.seconds / chosen.contacts)
            print(
                f"{what}: {statistics.median(ratios):.3f} (asked <= 1.05; rounds {min(ratios):.3f} to "
                f"{max(ratios):.3f}); {statistics.median(costs):.1f} us CPU for each contact"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
