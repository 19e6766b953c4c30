"""What masking costs: a whole replay with it against the same replay without it, CPU within one run.

The connection has a bearer token, a header and a token in its path, 57 forms to look for in each reply; in the second
line the flow calls the contact's e-mail address and phone number sensitive besides. Rounds alternate, and the ratio is
that of the least of all rounds: what else a machine does adds CPU time, and never takes any.

    python benchmarks/masking.py [--contacts 2000] [--rounds 9]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


@contextmanager
def unmasked() -> Iterator[None]:
    """With nothing hidden: every function that hides gives back what it gets."""

    def same(self: object, value: object, *_: object) -> object:
        return value

    with (
        patch.object(ActionResult, "without", lambda self, _: self),
        patch.object(Hidden, "note", lambda *_: None),
        patch.object(Hidden, "conceal", same),
        patch.object(Hidden, "hide", same),
        patch.object(Hidden, "restore", same),
    ):
        yield


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
    options.add_argument("--rounds", type=int, default=9)
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as name,
        running_server(0) as url,
    ):
        folder = Path(name)
        responses = folder / "responses.jsonl"
        write_responses(responses, chosen.contacts)
        for what, sensitive in (("secrets of a connection", ()), ("and two sensitive values", SENSITIVE)):
            masked, plain = [], []
            for number in range(chosen.rounds):
                ledger = f"sqlite:///{folder}/{len(sensitive)}-{number}"
                with unmasked():
                    plain.append(replay(url, responses, f"{ledger}-plain.db", sensitive))
                masked.append(replay(url, responses, f"{ledger}-masked.db", sensitive))
            ratio = min(masked) / min(plain)
            each = 1e6 / chosen.contacts
            print(
                f"{what}: {ratio:.3f} (asked <= 1.05; {min(masked) * each:.0f} us CPU for each contact, "
                f"{min(plain) * each:.0f} without)"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
