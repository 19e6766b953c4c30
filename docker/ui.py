"""``make ui``: Airflow on 127.0.0.1 with the example DAGs and the demo CRM, until Ctrl-C.

Everything it makes is in ``.ui/`` of the checkout. ``airflow standalone`` leaves its children behind when it is
stopped by a signal, so it runs in a process group of its own, and the group is stopped.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

from airflow_environment import drop_inherited_airflow
from demo_crm.process import running

REPOSITORY = Path(__file__).resolve().parent.parent
STATE = REPOSITORY / ".ui"
PASSWORDS = STATE / "airflow" / "simple_auth_manager_passwords.json.generated"
START_SECONDS = 240
STOP_SECONDS = 15


def main() -> int:
    """Run until interrupted; returns the exit status."""
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _interrupt)
    (STATE / "airflow").mkdir(parents=True, exist_ok=True)
    with running(STATE / "crm.db") as crm:
        port = free_port(int(os.environ.get("WHATSAPP_FLOWS_UI_PORT", "8080")))
        address = f"http://127.0.0.1:{port}"
        with open(STATE / "airflow.log", "ab") as log:
            airflow = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=environment(crm, port),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            print(f"Airflow is starting; its log is {(STATE / 'airflow.log').relative_to(REPOSITORY)} …", flush=True)
            if not wait_until_up(airflow, f"{address}/api/v2/monitor/health"):
                print("Airflow did not start; see the log.", file=sys.stderr)
                return 1
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
    print(f"\n  Airflow   {address}   {login()}")
    print(f"  demo CRM  {crm}   what it holds; PUT {crm}/_switches makes it fail")
    print("\n  Trigger lead_to_crm with a contact in its form. Ctrl-C stops everything.\n", flush=True)


def login() -> str:
    """How to log in."""
    try:
        password = json.loads(PASSWORDS.read_text(encoding="utf-8"))["admin"]
    except (OSError, ValueError, KeyError):
        return "no login"
    return f"user admin, password {password}"


def wait_until_up(airflow: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until the API server and the scheduler are healthy."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and airflow.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                health = json.load(reply)
            if health["scheduler"]["status"] == "healthy" and health["dag_processor"]["status"] == "healthy":
                return True
        except (OSError, ValueError, KeyError, urllib.error.URLError):
            pass
        time.sleep(0.5)
    return False


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
