"""CPU of a contact that has not changed, under ``send_when: changed``, against one that is sent: ratios within one run.

Each round replays the same contacts into one ledger three times: at first, with a new value that no request contains,
and with another name. The second time nothing is sent; the third time everything is. All three read the source and take
their snapshot.

    python benchmarks/unchanged.py [--contacts 4000] [--rounds 5] [--profile]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.flow.loading.load import load_flow
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

ASKED = 0.25


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--contacts", type=int, default=4_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--profile", action="store_true", help="print where an unchanged contact's time goes")
    chosen = options.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as name:
        for number in range(chosen.rounds):
            folder = Path(name) / str(number)
            folder.mkdir()
            with running_server(0) as url:
                first, same, changed = _round(url, chosen.contacts, folder, profile=chosen.profile)
            ratios.append(same / changed)
            print(f"  {first:.0f} us sent at first, {same:.0f} us unchanged, {changed:.0f} us sent again")
    shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"unchanged to sent again: {statistics.median(ratios):.2f} (asked <= {ASKED}; rounds {shown})")
    return 0


def _round(url: str, contacts: int, folder: Path, *, profile: bool) -> tuple[float, float, float]:
    """Return the microseconds of CPU of a contact that is new, unchanged, and changed."""
    source = flow_file(url)
    source["replay"] = {"send_when": "changed", "on_changed": "update"}
    write_responses(folder / "first.jsonl", contacts)
    _rewrite(folder / "first.jsonl", folder / "same.jsonl", lambda one: one["contact"].update(version=2))
    _rewrite(folder / "first.jsonl", folder / "changed.jsonl", lambda one: one["step"].update({"Ask name": "Eva"}))
    with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        first = _run(ledger, source, folder / "first.jsonl", ContactState.COMPLETED)
        profiler = cProfile.Profile()
        if profile:
            profiler.enable()
        same = _run(ledger, source, folder / "same.jsonl", ContactState.SKIPPED)
        if profile:
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
        changed = _run(ledger, source, folder / "changed.jsonl", ContactState.COMPLETED)
    return first, same, changed


def _rewrite(source: Path, target: Path, change: Any) -> None:
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as written:
        for line in lines:
            one = json.loads(line)
            change(one)
            written.write(json.dumps(one, ensure_ascii=False) + "\n")


def _run(ledger: Ledger, source: dict[str, object], responses: Path, state: ContactState) -> float:
    flow = load_flow(source)
    request_sender = RequestSender(Settings(allowed_hosts=("127.0.0.1",)), _no_connection)
    cpu = time.process_time()
    request = ReplayRequest(
        flow=flow,
        source=open_source(SourceSpec(str(responses), {}), flow),
        on_changed="update",
        replay_id=responses.stem,
    )
    begun = create_or_resume_replay(ledger, request)
    asyncio.run(run_replay(ledger, begun, flow, request_sender, RunSettings(concurrency=CONCURRENCY)))
    seconds = time.process_time() - cpu
    counted = tally(ledger, begun.no)
    if counted.states[state] != counted.total:
        raise RuntimeError(f"not every contact is {state.value}: {counted}")
    return seconds / counted.total * 1e6


def _no_connection(conn_id: str) -> object:
    raise LookupError(conn_id)


if __name__ == "__main__":
    sys.exit(main())
