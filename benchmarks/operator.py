"""One action task against one plain ``HttpOperator`` task: CPU of rendering and ``execute()``, as a ratio.

Both post the same JSON to the same server on loopback, through the same connection. Measured is what an operator
itself does, ``render_template_fields`` and ``execute``, in a process forked from one that has imported both. No
DAG run is made: all that Airflow adds around a task is the same for both, and would only bring the ratio nearer to 1.
Pairs alternate, so that the noise of a shared machine meets both.

    python benchmarks/operator.py [--pairs 30]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and this file hides the standard library's operator.
    del sys.path[0]

import argparse
import json
import resource
import statistics
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BODY = {"name": "Ana María", "phone": "+525512345678", "age": 41, "tags": ["whatsapp", "lead"]}
CONTEXT: dict[str, Any] = {"params": {}}
LIMIT = 1.1


def main() -> int:
    """Measure and print; returns 1 when the ratio is above the limit."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=30)
    pairs = options.parse_args().pairs
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        del os.environ[name]  # an exported setting may lead to a real Airflow
    with tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-") as home:
        os.environ["AIRFLOW_HOME"] = home
        os.environ["AIRFLOW_CONN_CRM"] = f"http://127.0.0.1:{serve().server_address[1]}"
        cpu = measure(pairs)
    medians = {name: statistics.median(values) for name, values in cpu.items()}
    ratio = medians["WhatsAppActionOperator"] / medians["HttpOperator"]
    print(f"CPU of rendering and execute() in a forked process, median of {pairs} alternating pairs:")
    for name, values in cpu.items():
        spread = f"min {min(values) * 1000:.2f}, max {max(values) * 1000:.2f}"
        print(f"  {name:<24} {medians[name] * 1000:7.2f} ms   ({spread})")
    print(f"  ratio {ratio:.2f} (asked: at most {LIMIT})")
    return int(ratio > LIMIT)


def measure(pairs: int) -> dict[str, list[float]]:
    """CPU seconds of every execution, by operator."""
    ours, plain = tasks()
    for task in (ours, plain):
        in_child(task)
    cpu: dict[str, list[float]] = {"WhatsAppActionOperator": [], "HttpOperator": []}
    for _ in range(pairs):
        cpu["WhatsAppActionOperator"].append(in_child(ours))
        cpu["HttpOperator"].append(in_child(plain))
    return cpu


def tasks() -> tuple[Callable[[], object], Callable[[], object]]:
    """The two tasks, in DAGs of their own."""
    from airflow.providers.http.operators.http import HttpOperator
    from airflow.sdk import DAG

    from airflow_whatsapp_flows import WhatsAppActionOperator

    with DAG("ours", schedule=None):
        ours = WhatsAppActionOperator(
            task_id="send",
            http_conn_id="crm",
            url="/v1/contacts",
            body={**BODY, "run": "{{ run_id }}"},
            on_error="fail",
        )
    with DAG("plain", schedule=None):
        plain = HttpOperator(
            task_id="send",
            http_conn_id="crm",
            endpoint="/v1/contacts",
            headers={"Content-Type": "application/json"},
            data=json.dumps({**BODY, "run": "{{ run_id }}"}),
        )

    def run(task: Any) -> object:
        # A run of its own each time: of one run the ledger knows that the request has been sent.
        context = {**CONTEXT, "run_id": f"benchmark-{os.getpid()}"}
        task.render_template_fields(dict(context))
        return task.execute(dict(context))

    return lambda: run(ours), lambda: run(plain)


def in_child(work: Callable[[], object]) -> float:
    """CPU seconds, user and system, of doing the work in a forked process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        status = 1
        try:
            before = resource.getrusage(resource.RUSAGE_SELF)
            work()
            after = resource.getrusage(resource.RUSAGE_SELF)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            os.write(write, str(spent).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("a task failed")
    return float(text)


def serve() -> ThreadingHTTPServer:
    """A server that says 201 to every POST; in this process, so its CPU is not in the children's."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "8")
            self.end_headers()
            self.wfile.write(b'{"id":7}')

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    sys.exit(main())
