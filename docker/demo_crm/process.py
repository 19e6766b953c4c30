"""Start the demo CRM as a process of its own, from Python; needs nothing but the standard library."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY = "demo CRM listening on "


def start(database: str | Path, *, host: str = "127.0.0.1", port: int = 0) -> tuple[subprocess.Popen[str], str]:
    """Start a server and wait until it accepts connections.

    Args:
        database: Path of its SQLite file.
        host: Address to listen on.
        port: 0 for a free one.

    Returns:
        The process, and the base URL of its API.

    Raises:
        RuntimeError: It ended instead; its own message is on stderr.
    """
    command = [sys.executable, str(Path(__file__).with_name("server.py")), "--host", host, "--port", str(port)]
    process = subprocess.Popen([*command, "--database", str(database)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(READY):
        process.stdout.close()
        raise RuntimeError(f"the demo CRM ended with exit status {process.wait()} before it was ready")
    return process, line.removeprefix(READY).strip()


def stop(process: subprocess.Popen[str], *, timeout: float = 10) -> int:
    """Ask a server to stop, kill it if it does not, and return its exit status.

    Args:
        process: As `start` returned it.
        timeout: Seconds to wait before killing it.
    """
    process.terminate()
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        if process.stdout:
            process.stdout.close()


@contextmanager
def running(database: str | Path, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """A running CRM's base URL; it is stopped at the end.

    Args:
        database: Path of its SQLite file.
        host: Address to listen on.
        port: 0 for a free one.

    Raises:
        RuntimeError: It did not start.
    """
    process, url = start(database, host=host, port=port)
    try:
        yield url
    finally:
        stop(process)
