"""Commands that look at a ledger of a million contacts: CPU beyond that of the same command on an empty ledger.

The rows are written by the database itself: one replay of 1,000 contacts per chunk, of which most completed, some
failed in 40 different ways, some are in doubt, rejected, skipped or pending; each but the rejected, skipped and
pending ones has one attempt.

    python benchmarks/large_ledger.py [sqlite] [postgres] [--contacts 1000000] [--rounds 5] [--keep FILE]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Connection

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import create_replay, find_pending_chunks, find_replay
from airflow_whatsapp_flows.ledger.snapshots import refresh_statistics, seal

REPLAY = "large"
CHUNK = 1000
FLOW = {
    "flow_format": 1,
    "id": "benchmark",
    "steps": [{"name": "Create", "type": "action", "url": "https://crm.example/v1/contacts"}],
}
ASKED = {"status": 0.3, "list": 0.3, "find": 0.5}

# The state of a contact by its number modulo 1,000, and what comes with it.
_STATE = (
    "CASE WHEN n >= {last} THEN 'pending' WHEN n % 1000 < 930 THEN 'completed' WHEN n % 1000 < 960 THEN 'failed' "
    "WHEN n % 1000 < 962 THEN 'in_doubt' WHEN n % 1000 < 980 THEN 'rejected' ELSE 'skipped' END"
)
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {contacts})",
    "postgresql": "WITH numbers AS (SELECT n FROM generate_series(0, {contacts} - 1) AS n)",
}
_PADDED = {"sqlite": "printf('%08d', n)", "postgresql": "lpad(n::text, 8, '0')"}
_RESPONSE = (
    """'{"id":"r-' || padded || '","contact":{"phone":"+5255' || padded || '","first_name":"Ana","email":"ana.' """
    """|| padded || '@example.com","meta":{"plan":"premium","city":"Guadalajara"}},"step":{"Ask name":"Ana María """
    """Hernández","Ask age":"41"},"flow_execution_variables":{"campaign":"spring-2026"}}'"""
)


def fill(ledger: Ledger, contacts: int) -> None:
    """Write the replay; its last chunk is pending."""
    replay = create_replay(ledger, REPLAY, "benchmark", json.dumps(FLOW), ("responses.jsonl", None))
    with ledger.write() as connection:
        _fill(connection, contacts, replay.no)
    seal(ledger, replay.no)
    refresh_statistics(ledger)


def _fill(connection: Connection, contacts: int, replay_no: int) -> None:
    numbers, padded = _NUMBERS[connection.dialect.name], _PADDED[connection.dialect.name]
    numbers = numbers.format(contacts=contacts)
    has_content = "state NOT IN ('rejected', 'skipped')"
    states = f"{numbers}, rows AS (SELECT n, {padded} AS padded, {_STATE.format(last=contacts - CHUNK)} AS state "
    states += "FROM numbers)"
    _execute(
        connection,
        "INSERT INTO whatsapp_flows_contacts (replay_no, chunk, place, response_id, phone, digest, response, "
        "state, reason, round, path, error, fingerprint, handled_errors, unanswered, ended_at) "
        f"{states} SELECT {replay_no}, n / {CHUNK}, 'responses.jsonl:' || n, 'r-' || padded, "
        f"CASE WHEN {has_content} THEN '+5255' || padded END, "
        f"CASE WHEN {has_content} THEN '0123456789abcdef01234567' || padded END, "
        f"CASE WHEN {has_content} THEN {_RESPONSE} END, state, "
        "CASE state WHEN 'rejected' THEN 'missing_id: without an id' WHEN 'skipped' THEN 'done:1' "
        "WHEN 'failed' THEN 'status 500' ELSE '' END, 1, "
        f"""CASE WHEN state <> 'pending' AND {has_content} THEN '["Ask name","Ask age","Create"]' END, """
        """CASE WHEN state IN ('failed', 'in_doubt') THEN '{"step":"Create","kind":"status","status_code":500,"""
        """"host":"crm.example","message":""}' END, """
        "CASE WHEN state IN ('failed', 'in_doubt') THEN 'fingerprint-' || (n % 40) END, 0, false, "
        "CASE WHEN state <> 'pending' THEN 1.7e9 + n * 0.001 END FROM rows",
    )
    _execute(
        connection,
        "INSERT INTO whatsapp_flows_attempts (response_id, flow_id, step, visit, key, number, digest, method, "
        "host, replay_no, round, moment, begun_at, fate, status_code, result, ended_at) "
        f"{states} SELECT 'r-' || padded, 'benchmark', 'Create', 1, '0123456789abcdef01234567' || padded, 1, "
        f"'fedcba9876543210fedcba98' || padded, 'POST', 'crm.example:443', {replay_no}, 1, 1.7e9, "
        "1.7e9 + n * 0.001, "
        "CASE state WHEN 'completed' THEN 'succeeded' WHEN 'failed' THEN 'answered' END, "
        "CASE state WHEN 'completed' THEN 201 WHEN 'failed' THEN 500 END, "
        """CASE WHEN state <> 'in_doubt' THEN '{"outcome":"success","status_code":201,"response":{"id":7},"""
        """"method":"POST","url":"https://crm.example/v1/contacts"}' END, """
        f"1.7e9 + n * 0.001 FROM rows WHERE state <> 'pending' AND {has_content}",
    )


def _execute(connection: Connection, statement: str) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql(statement if is_sqlite else statement.replace("%", "%%"))


def look(full: str, empty: str, contacts: int, rounds: int) -> None:
    """Measure the commands, and the question which chunks are pending."""
    phone = f"+5255{contacts // 2:08}"
    commands = {
        "status": ["replay", "status", REPLAY],
        "list": ["replay", "list"],
        "find": ["ledger", "find", "--phone", phone],
    }
    for name, words in commands.items():
        extra = [(_run(words, full), _run(words, empty)) for _ in range(rounds)]
        cpu, wall = (statistics.median(one[i] - base[i] for one, base in extra) for i in (0, 1))
        base = statistics.median(base[0] for _, base in extra)
        print(f"  {name:8} {cpu:6.2f} s of CPU, {wall:6.2f} s beyond start-up ({base:.2f} s; asked <= {ASKED[name]})")
    with Ledger(full) as ledger:
        replay = find_replay(ledger, REPLAY)
        figures = [_seconds(lambda: find_pending_chunks(ledger, replay.no)) for _ in range(rounds)]
    print(f"  pending chunks {statistics.median(figures) * 1e3:.1f} ms")


def _run(words: list[str], url: str) -> tuple[float, float]:
    """CPU and wall seconds of a command in a process of its own."""
    used, begin = _children(), time.perf_counter()
    command = [sys.executable, "-m", "airflow_whatsapp_flows.cli", *words, "--ledger", url]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return _children() - used, time.perf_counter() - begin


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(full: str, empty: str, contacts: int, rounds: int) -> None:
    """Fill one ledger, and look at both."""
    for url, count in ((empty, 2 * CHUNK), (full, contacts)):
        with Ledger(url) as ledger:
            if find_replay(ledger, REPLAY) is None:
                seconds = _seconds(lambda: fill(ledger, count))  # noqa: B023
                print(f"  {count:,} contacts written in {seconds:.1f} s")
    look(full, empty, contacts, rounds)


def sqlite(contacts: int, rounds: int, folder: Path) -> None:
    """A file."""
    print(f"\nSQLite, {contacts:,} contacts")
    file = folder / "large.db"
    measure(f"sqlite:///{file}", f"sqlite:///{folder / 'small.db'}", contacts, rounds)
    print(f"  {file.stat().st_size / contacts:.0f} bytes per contact")


def postgres(contacts: int, rounds: int, folder: Path) -> None:
    """A server."""
    from tests.servers.postgres import running_postgres

    print(f"\nPostgreSQL, {contacts:,} contacts")
    data = Path(tempfile.mkdtemp(prefix="whatsapp-flows-benchmark-", dir="/var/tmp"))
    data.chmod(0o755)
    with running_postgres(folder=data) as server:
        measure(server.create_database(), server.create_database(), contacts, rounds)


PARTS: dict[str, Callable[[int, int, Path], None]] = {"sqlite": sqlite, "postgres": postgres}


def run_parts(description: str | None, parts: Mapping[str, Callable[[int, int, Path], None]], heading: str = "") -> int:
    """Read the command line of a benchmark on large ledgers, and run its parts.

    Args:
        description: for its help.
        parts: by name; each takes the number of contacts, the number of rounds, and a folder for its ledgers.
        heading: printed first.

    Returns:
        The exit status.
    """
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("parts", nargs="*", choices=[[], *parts], help="default: all")
    options.add_argument("--contacts", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--keep", type=Path, help="folder of the files, which are kept, and used again")
    chosen = options.parse_args()
    if heading:
        print(heading)
    for name in chosen.parts or parts:
        if chosen.keep is not None:
            chosen.keep.mkdir(parents=True, exist_ok=True)
            parts[name](chosen.contacts, chosen.rounds, chosen.keep)
            continue
        with tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as folder:
            parts[name](chosen.contacts, chosen.rounds, Path(folder))
    return 0


def main() -> int:
    """Measure and print."""
    return run_parts(__doc__, PARTS)


if __name__ == "__main__":
    sys.exit(main())
