"""Third-party programs, each on a free port of 127.0.0.1; they end with the block and with this process."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.postgres import free_port

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE / "foreign"
HOME = HERE.parent.parent / ".pytest_cache" / "foreign"
MODULES = HOME / "node_modules"
INSTALL = "tests/servers/install_foreign.sh"
_DEATH_SIGNAL = 1  # prctl(2): PR_SET_PDEATHSIG


class NotInstalledError(RuntimeError):
    """A program is not on this machine; the message says why and what to do."""


def find_program(name: str) -> str:
    """The path of ``php``, ``node`` or ``java``.

    Raises:
        NotInstalledError: it is not installed, or Node's packages are not.
    """
    found = shutil.which(name)
    current = (SCRIPTS / "package.json").read_bytes()
    installed = HOME / "installed.json"
    has_packages = name == "php" or (installed.exists() and installed.read_bytes() == current)
    if found and has_packages:
        return found
    reason = HOME / f"no-{'php' if name == 'php' else 'node'}.txt"
    why = reason.read_text(encoding="utf-8").strip() if reason.exists() else f"run {INSTALL}, or make servers"
    raise NotInstalledError(f"{name}{'' if name == 'php' else ' and the npm packages'}: {why}")


def run_node(script: str, given: bytes = b"") -> bytes:
    """Run one of the Node.js scripts to its end; returns its output.

    Raises:
        NotInstalledError: Node.js or its packages are not installed.
    """
    command = [find_program("node"), str(SCRIPTS / script)]
    environment = _node_environment()
    return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True, timeout=120, env=environment).stdout


def _node_environment() -> dict[str, str]:
    """An environment in which Node.js finds the packages of the tests."""
    return {**os.environ, "NODE_PATH": str(MODULES)}


@contextmanager
def run_program(command: Sequence[str], ready: str, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a program until the end of the block.

    Args:
        command: its words.
        ready: what a line of its output holds once it accepts connections.
        environment: this process's own by default.

    Raises:
        RuntimeError: it ended before; its output is in the message.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if ready in line:
                break
        else:
            raise RuntimeError(f"{command[0]} ended before it was ready:\n{''.join(lines)}")
        # An unread pipe fills up and blocks the program.
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if "reader" in locals():
            reader.join(timeout=10)
        process.stdout.close()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


@contextmanager
def running_php() -> Iterator[str]:
    """PHP's built-in server, which returns a parsed form; yields its URL."""
    port = free_port()
    command = [find_program("php"), "-d", "max_input_vars=2000", "-d", "max_file_uploads=1000"]
    command += ["-S", f"127.0.0.1:{port}", str(SCRIPTS / "forms.php")]
    with run_program(command, "started"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running_express() -> Iterator[str]:
    """Express with its two form parsers and multer; yields its URL."""
    port = free_port()
    command = [find_program("node"), str(SCRIPTS / "forms.js"), str(port)]
    with run_program(command, "listening", _node_environment()):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running_prism(specification: Path) -> Iterator[str]:
    """Prism, which checks requests against an OpenAPI document; yields its URL."""
    port = free_port()
    prism = MODULES / "@stoplight" / "prism-cli" / "dist" / "index.js"
    command = [find_program("node"), str(prism), "mock", "--errors", "--host", "127.0.0.1", "--port", str(port)]
    with run_program([*command, str(specification)], "Prism is listening"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running_wiremock(folder: Path) -> Iterator[str]:
    """WireMock with the stubs of ``folder/mappings``; yields its URL."""
    find_program("node")  # its archive comes with the packages
    (archive,) = (MODULES / "wiremock" / "build").glob("wiremock-standalone-*.jar")
    port = free_port()
    command = [find_program("java"), "-Xmx256m", "-jar", str(archive), "--port", str(port)]
    command += ["--bind-address", "127.0.0.1", "--root-dir", str(folder), "--no-request-journal"]
    with run_program(command, "response-template"):
        yield f"http://127.0.0.1:{port}"
