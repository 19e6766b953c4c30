"""Durable tools of others on the same work: one request for each row, recorded so that a stop loses no row.

Each runs in a process of its own, with a virtual environment of its own in ``.peers/``, against the same server and
with as many requests in flight. dlt sends rows through a custom destination, one row per call, and keeps its place in
files; DBOS runs a workflow with one step for each row; procrastinate runs a job for each row. The last two record in
PostgreSQL. None of them knows what was sent before a kill as exactly as a ledger does.

    python benchmarks/peers.py [--contacts 2000] [--rounds 3]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import json
import statistics
import subprocess
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / ".peers"
PACKAGES = ("dlt==1.31.0", "dbos==3.4.0", "procrastinate==3.10.0", "psycopg[binary]", "aiohttp")
CONCURRENCY = 64
ASKED = {"dlt": 6, "dbos": 15, "procrastinate": 13}

PEERS = {
    "dlt": """
import dlt, requests
from requests.adapters import HTTPAdapter

session = requests.Session()
session.mount("http://", HTTPAdapter(pool_maxsize=CONCURRENCY))

@dlt.destination(batch_size=1, name="crm", naming_convention="direct", skip_dlt_columns_and_tables=True,
                 max_parallel_load_jobs=CONCURRENCY)
def crm(items, table):
    for item in items:
        session.post(URL, json=json.loads(item["body"])).raise_for_status()

def run():
    os.environ["NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS"] = str(max(1, len(BODIES) // CONCURRENCY))
    os.environ["LOAD__WORKERS"] = str(CONCURRENCY)
    pipeline = dlt.pipeline("crm", destination=crm, pipelines_dir=STATE)
    pipeline.run([{"id": number, "body": body} for number, body in enumerate(BODIES)], table_name="contacts")
""",
    "dbos": """
import asyncio
import aiohttp
from dbos import DBOS

DBOS(config={"name": "crm", "system_database_url": STATE, "log_level": "ERROR", "run_admin_server": False})
session = None

@DBOS.step()
async def send(body):
    async with session.post(URL, data=body, headers={"Content-Type": "application/json"}) as response:
        await response.read()
        response.raise_for_status()

@DBOS.workflow()
async def contact(body):
    await send(body)

async def all_of_them():
    global session
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(body):
            async with gate:
                await (await DBOS.start_workflow_async(contact, body)).get_result()

        await asyncio.gather(*map(one, BODIES))

def prepare():
    DBOS.launch()

def run():
    asyncio.run(all_of_them())
""",
    "procrastinate": """
import asyncio
import aiohttp, procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=STATE, max_size=16))
session = None

@app.task(name="send")
async def send(body):
    async with session.post(URL, data=body, headers={"Content-Type": "application/json"}) as response:
        await response.read()
        response.raise_for_status()

async def make():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()

async def all_of_them():
    global session
    async with app.open_async(), aiohttp.ClientSession() as session:
        await send.batch_defer_async(*({"body": body} for body in BODIES))
        await app.run_worker_async(concurrency=CONCURRENCY, wait=False, install_signal_handlers=False,
                                   listen_notify=False)

def prepare():
    asyncio.run(make())

def run():
    asyncio.run(all_of_them())
""",
}
FRAME = """
import json, os, sys, time
URL, STATE, FILE, CONCURRENCY = sys.argv[1], sys.argv[2], sys.argv[3], {concurrency}
BODIES = [line for line in open(FILE, encoding="utf-8").read().split("\\n") if line]

def prepare():
    pass

{code}

prepare()
wall, cpu = time.perf_counter(), time.process_time()
run()
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)
os._exit(0)
"""


def environment() -> Path:
    """The Python of the peers' virtual environment, which is created if it is missing."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / "packages.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != "\n".join(PACKAGES):
        venv.create(FOLDER, clear=True, with_pip=True)
        command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *PACKAGES]
        subprocess.run(command, check=True)
        stamp.write_text("\n".join(PACKAGES), encoding="utf-8")
    return python


def measure(peer: str, url: str, state: str, bodies: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one run of a peer; every row was received when it returns."""
    from benchmarks.server import counts

    before = counts(url)["requests"]
    script = FRAME.format(concurrency=CONCURRENCY, code=PEERS[peer])
    environ = {**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    command = [environment(), "-", url, state, bodies]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, env=environ)
    if done.returncode != 0:
        raise RuntimeError(f"{peer} failed: {done.stderr[-2000:]}")
    received = counts(url)["requests"] - before
    expected = bodies.read_text(encoding="utf-8").count("\n")
    if received < expected:
        raise RuntimeError(f"{peer} sent {received} of {expected} requests")
    wall, cpu = json.loads(done.stdout.strip().splitlines()[-1])
    return wall, cpu


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--contacts", type=int, default=2_000)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    from benchmarks.bare import BODY
    from benchmarks.replay import replay, write_responses
    from benchmarks.server import running_server
    from tests.servers.postgres import running_postgres

    environment()
    durable = {"fsync": "on", "full_page_writes": "on", "max_connections": "200"}
    with tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-", dir="/var/tmp") as name:
        folder = Path(name)
        responses, bodies = folder / "responses.jsonl", folder / "bodies.jsonl"
        write_responses(responses, chosen.contacts)
        bodies.write_text(f"{BODY.decode()}\n" * chosen.contacts, encoding="utf-8")
        data = folder / "postgres"
        data.mkdir(mode=0o755)
        folder.chmod(0o755)
        ratios: dict[str, list[tuple[float, float]]] = {peer: [] for peer in PEERS}
        with running_postgres(folder=data, settings=durable) as server, running_server(0) as url:
            for number in range(chosen.rounds):
                lite = replay(url, responses, f"sqlite:///{folder / f'{number}.db'}")
                full = replay(url, responses, server.create_database())
                for peer in PEERS:
                    state = str(folder / f"{peer}-{number}") if peer == "dlt" else server.create_database()
                    ours = lite if peer == "dlt" else full
                    state = state.replace("postgresql+psycopg://", "postgresql://")
                    wall, cpu = measure(peer, url, state, bodies)
                    ratios[peer].append((wall / ours.seconds, cpu / ours.cpu_seconds))
    for peer, found in ratios.items():
        walls, cpus = [one for one, _ in found], [one for _, one in found]
        print(
            f"{peer}: a replay is {statistics.median(walls):.1f} times as fast (asked >= {ASKED[peer]}; rounds "
            f"{' '.join(f'{one:.1f}' for one in walls)}) with 1/{statistics.median(cpus):.1f} of the CPU"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
