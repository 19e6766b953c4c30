"""First byte and size of every page on a ledger of a million contacts, and of a hundredth of it.

The pages are asked in this process, without a network, as Airflow's API server asks them: CPU and wall time of the
whole answer, which bounds its first byte. Rows are those of ``large_ledger.py``.

    python benchmarks/pages.py [sqlite] [postgres] [--contacts 1000000] [--rounds 5] [--keep FOLDER]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    sys.path[0] = os.path.dirname(sys.path[0])

import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.replays import find_replay
from benchmarks.large_ledger import FLOW, REPLAY, fill, run_parts

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

RUN = "one"
RUNS = 20_000
ASKED_MS = 300
ASKED_BYTES = 200_000
PAGE = f"/replays/{REPLAY}"


def pages(contacts: int) -> dict[str, str]:
    """Every page, by what it shows; the contacts in the middle of the replay."""
    middle = contacts // 2
    return {
        "overview": "/",
        "replays": "/replays",
        "replays, refreshed": "/replays.part",
        "replay": PAGE,
        "progress": f"{PAGE}/progress",
        "state": f"{PAGE}?state=in_doubt",
        "error": f"{PAGE}?fingerprint=fingerprint-31",
        "next page": f"{PAGE}?after={middle // 1000}.{middle}",
        "text, not found": f"{PAGE}?q=nowhere",
        "by response id": f"{PAGE}?find=r-{middle:08}",
        "by phone": f"{PAGE}?find=%2B5255{middle:08}",
        "by e-mail": f"{PAGE}?find=ana.{middle:08}%40example.com",
        "contact": f"{PAGE}/contacts/r-{middle:08}",
        "flow, counted": f"/flows/{FLOW['id']}",
        "flow, a step": f"/flows/{FLOW['id']}?step=Create",
        "person by phone": f"/people?q=%2B5255{middle:08}",
        "person by e-mail": f"/people?q=ana.{middle:08}%40example.com",
        "erase a person": f"/people/erase?q=%2B5255{middle:08}",
        "walk of a run": f"/runs/{FLOW['id']}/{RUN}",
    }


@contextmanager
def client() -> Iterator[TestClient]:
    """A logged-in client of the pages, with an Airflow of its own."""
    with tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as home:
        os.environ.update(
            AIRFLOW_HOME=home,
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__API_AUTH__JWT_SECRET="0123456789abcdef" * 4,
            AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
        )
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        warnings.simplefilter("ignore")
        add_runs(str(FLOW["id"]))
        from tests.plugin.pages import client_of, create_tokens, mount_pages

        yield client_of(mount_pages(), create_tokens()["admin"])


def add_runs(flow_id: str) -> None:
    """Add the DAG of the flow to Airflow's database, with the runs of a busy week."""
    import datetime as dt

    from airflow.models.dag import DagModel, DagTag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType

    from airflow_whatsapp_flows.dag_names import TAG

    now = dt.datetime.now(dt.timezone.utc)
    with create_session() as session:
        if session.get(DagBundleModel, "benchmark") is not None:
            return  # of the other database
        session.add(DagBundleModel(name="benchmark"))
        session.flush()
        known = {"is_stale": False, "is_paused": False, "bundle_name": "benchmark", "fileloc": "/none.py"}
        session.add(DagModel(dag_id=flow_id, tags=[DagTag(name=TAG, dag_id=flow_id)], **known))
        session.flush()
        for number in range(RUNS):
            run_id = RUN if number == 0 else f"run-{number}"
            after, kind = now - dt.timedelta(seconds=20 * number), DagRunType.MANUAL
            state = "failed" if number % 50 == 0 else "success"
            session.add(DagRun(flow_id, run_id, run_after=after, run_type=kind, state=state))


def measure(asked: TestClient, urls: dict[int, str], rounds: int) -> None:
    """Ask for each page on each ledger, and print the figures."""
    head = " ".join(f"{f'{contacts:,}':>26}" for contacts in urls)
    print(f"  {'page':20}{head}\n  {'':20}{'      ms   CPU ms    bytes ' * len(urls)}")
    for name in pages(1000):
        cells = []
        for contacts, url in urls.items():
            os.environ["AIRFLOW__WHATSAPP_FLOWS__LEDGER"] = url
            wall, cpu, size = _ask(asked, pages(contacts)[name], rounds)
            mark = "" if wall <= ASKED_MS and size <= ASKED_BYTES else " !"
            cells.append(f"{wall:8.1f} {cpu:8.1f} {size:8,}{mark:2}")
        print(f"  {name:20}{''.join(cells)}")


def _ask(asked: TestClient, path: str, rounds: int) -> tuple[float, float, int]:
    figures = []
    for _ in range(rounds + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        page = asked.get(f"/whatsapp-flows{path}")
        figures.append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
        if page.status_code != 200:
            raise RuntimeError(f"{path}: {page.status_code}: {page.text[:2000]}")
    wall_ms, cpu_ms = (statistics.median(figure[at] for figure in figures[1:]) for at in (0, 1))
    return wall_ms, cpu_ms, len(page.content)


def spread_over_a_week(ledger: Ledger) -> None:
    """Let the chunks of the replay have ended one after the other, in the last six days."""
    from sqlalchemy import func, select, update

    from airflow_whatsapp_flows.ledger.schema import counts, replays

    now = time.time()
    with ledger.write() as connection:
        chunks = connection.execute(select(func.max(counts.c.chunk))).scalar_one() + 1
        each = 6 * 86_400 / chunks
        ended = now - each * counts.c.chunk
        connection.execute(update(counts).values(first_ended_at=ended - each, last_ended_at=ended))
        connection.execute(update(replays).values(started_at=now - 6.1 * 86_400, ended_at=now))


def fill_ledgers(urls: dict[int, str]) -> None:
    """Fill each ledger, unless it is."""
    for contacts, url in urls.items():
        with Ledger(url) as ledger:
            if find_replay(ledger, REPLAY) is None:
                fill(ledger, contacts)
                spread_over_a_week(ledger)


def sqlite(contacts: int, rounds: int, folder: Path) -> None:
    """Files."""
    print("\nSQLite")
    urls = {count: f"sqlite:///{folder / f'pages-{count}.db'}" for count in (contacts // 100, contacts)}
    fill_ledgers(urls)
    with client() as asked:
        measure(asked, urls, rounds)


def postgres(contacts: int, rounds: int, folder: Path) -> None:
    """A server."""
    from tests.servers.postgres import running_postgres

    print("\nPostgreSQL")
    data = Path(tempfile.mkdtemp(prefix="whatsapp-flows-benchmark-", dir="/var/tmp"))
    data.chmod(0o755)
    with running_postgres(folder=data) as server:
        urls = {count: server.create_database() for count in (contacts // 100, contacts)}
        fill_ledgers(urls)
        with client() as asked:
            measure(asked, urls, rounds)


PARTS: dict[str, Callable[[int, int, Path], None]] = {"sqlite": sqlite, "postgres": postgres}


def main() -> int:
    """Measure and print."""
    asked = f"asked: <= {ASKED_MS} ms and <= {ASKED_BYTES:,} bytes for each page, whatever the number of contacts"
    return run_parts(__doc__, PARTS, asked)


if __name__ == "__main__":
    sys.exit(main())
