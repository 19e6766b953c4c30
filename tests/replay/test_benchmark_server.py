"""The server and the bare loop that benchmarks measure against."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from benchmarks.bare import BODY, bare
from benchmarks.server import CONTENT, counts, running_server
from tests.conftest import REPOSITORY

OWNER = """
import sys
from benchmarks.server import running_server
with running_server() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_the_bare_loop_sends_each_request_once() -> None:
    with running_server() as url:
        figures = bare(url, 300, concurrency=8)
        counted = counts(url)
    assert (figures.requests, counted["requests"]) == (300, 300)
    assert figures.seconds > 0
    assert figures.cpu_seconds > 0
    assert 250 < len(BODY) < 350


def test_a_reply_waits_for_its_delay_and_for_all_of_the_request() -> None:
    with running_server(delay_ms=100) as url, socket.create_connection(("127.0.0.1", urlsplit(url).port)) as peer:  # type: ignore[arg-type]
        peer.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        assert select.select([peer], [], [], 0.2)[0] == []
        assert counts(url)["requests"] == 0
        begun = time.monotonic()
        peer.sendall(b"cde")
        assert peer.recv(4096).endswith(CONTENT)
        assert time.monotonic() - begun >= 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="waits for a closed port of another's child")
def test_it_ends_when_its_owner_is_killed() -> None:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        port = urlsplit(owner.stdout.readline().strip()).port
        with socket.create_connection(("127.0.0.1", port or 0), timeout=10) as peer:
            os.kill(owner.pid, signal.SIGKILL)
            owner.wait()
            # Its end closes the connection.
            assert peer.recv(1) == b""
