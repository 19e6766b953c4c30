"""``make ui``: Airflow on 127.0.0.1 with the example DAGs and the demo CRM, until Ctrl-C.

Everything it makes is in ``.ui/`` of the checkout. ``airflow standalone`` leaves its children behind when it is
stopped by a signal, so it runs in a process group of its own, and the group is stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from airflow_environment import drop_inherited_airflow
from demo_crm.process import running

REPOSITORY = Path(__file__).resolve().parent.parent
STATE = REPOSITORY / ".ui"
PASSWORDS = STATE / "airflow" / "simple_auth_manager_passwords.json.generated"
EXAMPLE = "lead_to_crm"
PARTS = {"api_server": "API server", "scheduler": "scheduler", "dag_processor": "DAG processor"}
"""Parts of Airflow, by their names in its health check, which the API server answers."""
START_SECONDS = 240
DAG_SECONDS = 60
REPORT_SECONDS = 10
STOP_SECONDS = 15


def main() -> int:
    """Run until interrupted; returns the exit status."""
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _interrupt)
    (STATE / "airflow").mkdir(parents=True, exist_ok=True)
    say("Starting the demo CRM …")
    with running(STATE / "crm.db", port=port_of("WHATSAPP_FLOWS_CRM_PORT", 8000)) as crm:
        port = port_of("WHATSAPP_FLOWS_UI_PORT", 8080)
        address = f"http://127.0.0.1:{port}"
        say(f"Starting Airflow; its log is {(STATE / 'airflow.log').relative_to(REPOSITORY)} …")
        if not (STATE / "airflow" / "airflow.db").exists():
            say("This is its first start here: it creates its database, which takes longer.")
        with open(STATE / "airflow.log", "ab") as log:
            airflow = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=environment(crm, port),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if not wait_until_up(airflow, f"{address}/api/v2/monitor/health", say):
                print("Airflow did not start; see the log.", file=sys.stderr)
                return 1
            say("Waiting for the DAG processor to read the flows …")
            if not wait_for_dag(airflow, address):
                say(f"{EXAMPLE} is not there yet; see Dag Import Errors in the UI, and the log")
            tell(address, crm)
            return airflow.wait()
        except KeyboardInterrupt:
            print("\nStopping …", flush=True)
            return 0
        finally:
            stop_group(airflow)


def environment(crm: str, port: int) -> dict[str, str]:
    """Airflow's environment: everything below ``.ui/``, loopback only."""
    inherited = dict(os.environ)
    drop_inherited_airflow(inherited)
    return {
        **inherited,
        # standalone starts its parts by the command's name.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", ""))),
        "AIRFLOW_HOME": str(STATE / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port(0)),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port(0)),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_CRM": crm,
        # document_upload fetches its file from the CRM's media, as it would from WhatsApp's: without a connection.
        "AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS": crm.partition("://")[2],
        "AIRFLOW__WHATSAPP_FLOWS__MEDIA_HOSTS": crm.partition("://")[2],
    }


def tell(address: str, crm: str) -> None:
    """Print where everything is and how to log in."""
    login = f"user admin, password {password()}" if password() else "no login"
    print(f"\n  Airflow   {address}   {login}")
    print(f"  demo CRM  {crm}   shows what it holds; PUT {crm}/_switches makes it fail")
    print(f"\n  Trigger {EXAMPLE} and fill in a contact: {address}/dags/{EXAMPLE}")
    print("  Ctrl-C stops everything.\n", flush=True)


def password() -> str | None:
    """The password of the user admin; ``None`` when there is no login."""
    try:
        return str(json.loads(PASSWORDS.read_text(encoding="utf-8"))["admin"])
    except (OSError, ValueError, KeyError):
        return None


def wait_until_up(airflow: subprocess.Popen[bytes], url: str, report: Callable[[str], None] = lambda _: None) -> bool:
    """Wait until the API server, the scheduler and the DAG processor are healthy.

    Args:
        airflow: the process of ``airflow standalone``.
        url: of its health check.
        report: gets a line for each part that is up, and now and then one that says what is not.
    """
    started = reported = time.monotonic()
    missing = dict(PARTS)
    while (now := time.monotonic()) < started + START_SECONDS and airflow.poll() is None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            health = fetch(url)
            for part in [part for part in missing if part == "api_server" or health[part]["status"] == "healthy"]:
                report(f"The {missing.pop(part)} is up after {now - started:.0f} s.")
                reported = now
        if not missing:
            return True
        if now >= reported + REPORT_SECONDS:
            report(f"Waiting for {', '.join(missing.values())}; {now - started:.0f} s so far …")
            reported = now
        time.sleep(0.5)
    return False


def wait_for_dag(airflow: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until the example's DAG is there."""
    end = time.monotonic() + DAG_SECONDS
    while time.monotonic() < end and airflow.poll() is None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            user = json.dumps({"username": "admin", "password": password()}).encode()
            token = fetch(f"{address}/auth/token", user, {"Content-Type": "application/json"})["access_token"]
            fetch(f"{address}/api/v2/dags/{EXAMPLE}", headers={"Authorization": f"Bearer {token}"})
            return True
        time.sleep(1)
    return False


def fetch(url: str, content: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
    """The JSON of a URL."""
    with urllib.request.urlopen(urllib.request.Request(url, content, dict(headers or {})), timeout=5) as reply:
        return json.load(reply)


def say(text: str) -> None:
    """Print a line about what is going on."""
    print(text, flush=True)


def port_of(variable: str, default: int) -> int:
    """The port that an environment variable names, or the default; another one where that is taken."""
    wanted = int(os.environ.get(variable, default))
    port = free_port(wanted)
    if port != wanted:
        say(f"Port {wanted} is taken; using {port} ({variable} sets another)")
    return port


def free_port(wanted: int) -> int:
    """The port wanted when it is free, else another one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port")


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and all it started; kill what does not stop in time."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        end = time.monotonic() + STOP_SECONDS
        while time.monotonic() < end and group_lives(process):
            time.sleep(0.1)
    process.wait()


def group_lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the group is left."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
