"""A whole replay against a bare aiohttp loop: ratios within one run.

The replay reads JSON Lines, takes its snapshot, renders a JSON body of ten leaves for each contact, intends, sends
and records every request in a ledger on disk, and ends every contact. The bare loop sends one fixed body of the same
size to the same server with the same concurrency, and does nothing else. Rounds alternate, so that the noise of a
shared machine meets both; a ratio is the median of the rounds' ratios.

    python benchmarks/replay.py [pipeline] [postgres] [processes] [snapshot] [memory] [--contacts 6000] [--rounds 5]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from airflow_whatsapp_flows.cli.replay.settings import Prepared
from airflow_whatsapp_flows.cli.replay.workers import workers_of
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.ledger import ContactState, Ledger
from airflow_whatsapp_flows.ledger.replays import tally
from airflow_whatsapp_flows.ledger.schema import attempts
from airflow_whatsapp_flows.ledger.schema import contacts as contact_rows
from airflow_whatsapp_flows.replay.create import ReplayRequest, create_or_resume_replay
from airflow_whatsapp_flows.replay.run import run_replay
from airflow_whatsapp_flows.replay.run_settings import RunSettings
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.settings import Settings
from benchmarks.bare import Figures, bare
from benchmarks.relay import delaying_relay
from benchmarks.server import running_server

CONCURRENCY = 64
FLOORS = {0: 0.65, 20: 0.80, 100: 0.85}


def flow_file(url: str) -> dict[str, object]:
    """Two questions and one action with a body of ten leaves."""
    return {
        "flow_format": 1,
        "id": "benchmark",
        "steps": [
            {"name": "Ask name", "type": "question", "next": "Ask age"},
            {"name": "Ask age", "type": "question", "answer_type": "NUMBER", "next": "Create contact"},
            {
                "name": "Create contact",
                "type": "action",
                "method": "POST",
                "url": url,
                "body_type": "json",
                "body": {
                    "name": "{{ step.Ask name }}",
                    "phone": "{{ contact.phone }}",
                    "email": "{{ contact.email }}",
                    "age": "{{ step.Ask age }}",
                    "plan": "{{ contact.plan }}",
                    "newsletter": True,
                    "city": "{{ contact.city }}",
                    "comment": "{{ contact.first_name }} from {{ flow_execution_variables.campaign }}",
                    "campaign": {"source": "whatsapp", "name": "{{ flow_execution_variables.campaign }}"},
                },
            },
        ],
    }


def write_responses(file: Path, contacts: int) -> None:
    """Contact responses, each with a phone number of its own."""
    with file.open("w", encoding="utf-8") as lines:
        for number in range(contacts):
            response = {
                "id": f"r-{number:07}",
                "contact": {
                    "phone": f"+5255{number:08}",
                    "first_name": "Ana",
                    "email": f"ana.{number}@example.com",
                    "meta": {"plan": "premium", "city": "Guadalajara"},
                },
                "step": {"Ask name": "Ana María Hernández", "Ask age": "41"},
                "flow_execution_variables": {"campaign": "spring-2026"},
                "created_on": "2026-11-20T10:00:00Z",
            }
            lines.write(json.dumps(response, ensure_ascii=False) + "\n")


def replay(url: str, responses: Path, ledger_url: str, concurrency: int = CONCURRENCY) -> Figures:
    """One whole replay, from an empty place in the ledger to the last contact."""
    flow = load_flow(flow_file(url))
    request_sender = RequestSender(Settings(allowed_hosts=("127.0.0.1",)), _no_connection)
    wall, cpu = time.perf_counter(), time.process_time()
    with Ledger(ledger_url) as ledger:
        request = ReplayRequest(flow=flow, source=open_source(SourceSpec(str(responses), {}), flow))
        begun = create_or_resume_replay(ledger, request)
        asyncio.run(run_replay(ledger, begun, flow, request_sender, RunSettings(concurrency=concurrency)))
        figures = (time.perf_counter() - wall, time.process_time() - cpu)
        counted = tally(ledger, begun.no)
    if counted.states[ContactState.COMPLETED] != counted.total:
        raise RuntimeError(f"not every contact was completed: {counted}")
    return Figures(counted.total, *figures)


def _no_connection(conn_id: str) -> object:
    raise LookupError(conn_id)


def pipeline(contacts: int, rounds: int, folder: Path) -> None:
    """The whole pipeline against the bare loop, at three latencies of the server."""
    responses = folder / "responses.jsonl"
    write_responses(responses, contacts)
    print(f"\npipeline: {contacts} contacts, concurrency {CONCURRENCY}, SQLite (WAL, synced), {rounds} rounds")
    for delay_ms, floor in FLOORS.items():
        with running_server(delay_ms) as url:
            bare(url, 1_000, CONCURRENCY)
            ratios, ours, theirs = [], [], []
            for number in range(rounds):
                plain = bare(url, contacts, CONCURRENCY)
                full = replay(url, responses, f"sqlite:///{folder / f'{delay_ms}-{number}.db'}")
                limit = plain.rate if delay_ms < 100 else CONCURRENCY / (delay_ms / 1000)
                ratios.append(full.rate / limit)
                ours.append(full)
                theirs.append(plain)
        against = "bare" if delay_ms < 100 else "concurrency / latency"
        print(
            f"  {delay_ms:3} ms: {_median(ours):6.0f} contacts/s of {_median(theirs):6.0f} bare; "
            f"ratio to {against} {statistics.median(ratios):.2f} (asked >= {floor}; rounds {_list(ratios)}); "
            f"CPU {_cpu(ours):.0f} us per contact, bare {_cpu(theirs):.0f}"
        )


def postgres(contacts: int, rounds: int, folder: Path) -> None:
    """A ledger in PostgreSQL against one in SQLite, both with fsync on the same disk; once behind a slower network."""
    from tests.servers.postgres import running_postgres

    responses = folder / "responses.jsonl"
    write_responses(responses, contacts)
    data = Path(tempfile.mkdtemp(prefix="whatsapp-flows-benchmark-", dir="/var/tmp"))
    data.chmod(0o755)
    durable = {"fsync": "on", "full_page_writes": "on"}
    print(f"\npostgres: {contacts} contacts, fsync on, {rounds} rounds")
    with running_postgres(folder=data, settings=durable) as server:
        for delay_ms, network_ms in ((0, 0), (20, 0), (20, 2)):
            with running_server(delay_ms) as url, delaying_relay(server.port, network_ms) as relay:
                ratios = []
                for number in range(rounds):
                    lite = replay(url, responses, f"sqlite:///{folder / f'p{delay_ms}-{network_ms}-{number}.db'}")
                    database = server.create_database()
                    if network_ms:
                        database = database.replace(f":{server.port}/", f":{relay}/")
                    full = replay(url, responses, database)
                    ratios.append(full.rate / lite.rate)
            print(
                f"  {delay_ms:3} ms, ledger {network_ms} ms away: {full.rate:6.0f} contacts/s, {full.cpu_us:.0f} us of "
                f"CPU (SQLite {lite.cpu_us:.0f}); ratio to SQLite {statistics.median(ratios):.2f} "
                f"(asked >= {0.90 if delay_ms else 0.85}; rounds {_list(ratios)})"
            )


def processes(contacts: int, rounds: int, folder: Path) -> None:
    """Two workers of one command, each with the whole concurrency, against one.

    On a busy machine whose kernel divides the processors among sessions (autogroup), a second worker gets no time of
    its own: measure when nothing else runs.
    """
    responses = folder / "responses.jsonl"
    write_responses(responses, contacts)
    print(f"\nprocesses: {contacts} contacts, one and two workers with concurrency {CONCURRENCY} each")
    for delay_ms in (0, 20, 100):
        with running_server(delay_ms) as url:
            sending, whole = [], []
            for number in range(rounds):
                one = _spread(1, url, responses, folder / f"o{delay_ms}-{number}.db")
                two = _spread(2, url, responses, folder / f"t{delay_ms}-{number}.db")
                sending.append(one[0] / two[0])
                whole.append(one[1] / two[1])
        print(
            f"  {delay_ms:3} ms: {statistics.median(sending):.2f} times the rate (asked >= "
            f"{1.8 if delay_ms == 100 else 1.4}; rounds {_list(sending)}), {statistics.median(whole):.2f} with the "
            f"start of the workers; load of the machine {os.getloadavg()[0]:.1f}"
        )


def _spread(count: int, url: str, responses: Path, file: Path) -> tuple[float, float]:
    """Seconds that so many workers take: from the first intent to the last end of a contact, and with their start."""
    flow = load_flow(flow_file(url))
    sender = RequestSender(Settings(allowed_hosts=("127.0.0.1",)), _no_connection)
    settings = RunSettings(concurrency=count * CONCURRENCY, workers=count)
    prepared = Prepared(sender, settings, 200, {}, {}, count)
    with Ledger(f"sqlite:///{file}") as ledger:
        source = open_source(SourceSpec(str(responses), {}), flow)
        begun = create_or_resume_replay(ledger, ReplayRequest(flow=flow, source=source, replay_id="r", chunk_size=200))
        begin = time.perf_counter()
        asyncio.run(workers_of(ledger, begun, flow, prepared, settings).run())
        seconds = time.perf_counter() - begin
        if tally(ledger, begun.no).states[ContactState.PENDING]:
            raise RuntimeError("contacts are pending")
        with ledger.read() as connection:
            first = connection.execute(select(func.min(attempts.c.begun_at))).scalar_one()
            last = connection.execute(select(func.max(contact_rows.c.ended_at))).scalar_one()
    return last - first, seconds


def snapshot(contacts: int, rounds: int, folder: Path) -> None:
    """CPU for each row of the snapshot of a large batch against that of a small one."""
    del contacts, rounds
    print("\nsnapshot: CPU of this process for each row")
    each = {}
    for size in (20_000, 240_000):
        responses = folder / f"{size}.jsonl"
        write_responses(responses, size)
        flow = load_flow(flow_file("http://127.0.0.1:9/"))
        with Ledger(f"sqlite:///{folder / f's{size}.db'}") as ledger:
            before = time.process_time()
            create_or_resume_replay(
                ledger, ReplayRequest(flow=flow, source=open_source(SourceSpec(str(responses)), flow))
            )
            each[size] = (time.process_time() - before) / size
        print(f"  {size:>9,} responses: {each[size] * 1e6:.0f} µs")
    print(f"  ratio {each[240_000] / each[20_000]:.2f} (asked <= 1.2)")


def memory(contacts: int, rounds: int, folder: Path) -> None:
    """Peak memory of a large batch above that of a small one, each in a process of its own."""
    del contacts, rounds
    print("\nmemory: peak resident set of a whole replay, in a process of its own")
    peaks = {}
    for size in (10_000, 1_000_000):
        responses = folder / f"{size}.jsonl"
        write_responses(responses, size)
        with running_server(0) as url:
            command = [sys.executable, os.path.abspath(__file__), "--peak", f"sqlite:///{folder / f'm{size}.db'}", url]
            told = subprocess.run([*command, str(responses)], check=True, capture_output=True, text=True).stdout
        peaks[size], seconds = (float(number) for number in told.split())
        print(f"  {size:>9,} responses: {peaks[size] / 1e6:.1f} MB, {size / seconds:.0f} contacts/s")
    print(f"  {(peaks[1_000_000] - peaks[10_000]) / 1e6:+.1f} MB (asked <= 10)")


def peak(ledger_url: str, url: str, responses: Path) -> None:
    """What the process that is measured does; prints its peak in bytes and its seconds."""
    from tests.process_memory import peak_memory

    figures = replay(url, responses, ledger_url)
    print(peak_memory(), figures.seconds)


def _median(figures: list[Figures]) -> float:
    return statistics.median(one.rate for one in figures)


def _cpu(figures: list[Figures]) -> float:
    return statistics.median(one.cpu_us for one in figures)


def _list(ratios: list[float]) -> str:
    return " ".join(f"{ratio:.2f}" for ratio in ratios)


@contextmanager
def _folder() -> Iterator[Path]:
    # On a disk: what a commit costs is part of the figure, and /tmp may be memory.
    with tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as name:
        yield Path(name)


PARTS: dict[str, Callable[[int, int, Path], None]] = {
    "pipeline": pipeline,
    "postgres": postgres,
    "processes": processes,
    "snapshot": snapshot,
    "memory": memory,
}


def main() -> int:
    """Measure and print."""
    if sys.argv[1:2] == ["--peak"]:
        peak(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
        return 0
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    options.add_argument("--contacts", type=int, default=6_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    for name in chosen.parts or PARTS:
        with _folder() as folder:
            PARTS[name](chosen.contacts, chosen.rounds, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
