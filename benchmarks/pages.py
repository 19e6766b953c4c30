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
        from tests.plugin.pages import client_of, create_tokens, mount_pages

        yield client_of(mount_pages(), create_tokens()["admin"])


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


def fill_ledgers(urls: dict[int, str]) -> None:
    """Fill each ledger, unless it is."""
    for contacts, url in urls.items():
        with Ledger(url) as ledger:
            if find_replay(ledger, REPLAY) is None:
                fill(ledger, contacts)


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
