"""The logging CRM, used by independent clients."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.servers.crm_log import CrmProcess, Logged, running_crm

BODY = json.dumps({"phone": "+525512345678", "name": "Ana"}).encode()
HALF_SENDER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
    peer.sendall(b"POST /half HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 10\\r\\n\\r\\n" + b"x" * int(sys.argv[2]))
    print("sent", flush=True)
    sys.stdin.read()
"""
OWNER = """
import sys
from pathlib import Path
from tests.servers.crm_log import running_crm
with running_crm(Path(sys.argv[1])) as crm:
    print(crm.pid, flush=True)
    sys.stdin.read()
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="waits for another's child through a pidfd")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "crm.log"


@pytest.fixture
def crm(log: Path) -> Iterator[CrmProcess]:
    with running_crm(log) as running:
        yield running


def _post(crm: CrmProcess, path: str = "/v1/contacts", body: bytes = BODY, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", crm.port, timeout=10)
    try:
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def _retry_after(crm: CrmProcess) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", crm.port, timeout=10)
    try:
        connection.request("POST", "/v1/contacts", BODY)
        return connection.getresponse().getheader("Retry-After")
    finally:
        connection.close()


def _raw(crm: CrmProcess, data: bytes) -> bytes:
    """Everything received until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", crm.port), timeout=10) as peer:
        peer.sendall(data)
        while piece := peer.recv(65_536):
            received += piece
    return received


def _wire(path: str = "/v1/contacts", body: bytes = BODY) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _last(crm: CrmProcess) -> Logged:
    return crm.requests()[-1]


def test_a_request_is_logged_with_everything_a_checker_needs(crm: CrmProcess) -> None:
    before = time.monotonic_ns()
    status, content = _post(crm, "/v1/contacts?a=1", Idempotency_Key="k1")
    entry = _last(crm)
    assert (status, json.loads(content)) == (201, {"id": 1})
    assert before < entry.t < time.monotonic_ns()
    assert entry == Logged(
        t=entry.t,
        n=1,
        method="POST",
        path="/v1/contacts",
        key="k1",
        contact="+525512345678",
        body_hash=sha256(BODY).hexdigest(),
        status=201,
        applied=True,
        reply="sent",
        deduped=False,
        fault=None,
    )


@pytest.mark.parametrize(
    ("target", "body", "headers", "contact"),
    [
        pytest.param("/", b'{"phone":"007"}', {}, "007", id="json"),
        pytest.param("/", b"a=1&phone=%2B52+1", {}, "+52 1", id="form"),
        pytest.param("/?phone=%2B52", b"", {}, "+52", id="query"),
        pytest.param("/", b'{"phone":"007"}', {"X_Contact": "r-1"}, "r-1", id="header"),
        pytest.param("/", b"\xff\x00", {}, None, id="none"),
        pytest.param("/", b'{"phone":', {}, None, id="broken"),
    ],
)
def test_the_contact_is_found(
    crm: CrmProcess, target: str, body: bytes, headers: dict[str, str], contact: str | None
) -> None:
    assert _post(crm, target, body, **headers)[0] == 201
    assert _last(crm).contact == contact


@linux
@pytest.mark.parametrize("sent", [0, 9], ids=["between head and body", "one byte short"])
def test_a_client_killed_before_its_last_byte_has_sent_nothing(crm: CrmProcess, sent: int) -> None:
    command = [sys.executable, "-c", HALF_SENDER, str(crm.port), str(sent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "sent\n"
        client.send_signal(signal.SIGKILL)
        client.wait()
    assert _post(crm)[0] == 201
    assert [entry.path for entry in crm.requests()] == ["/v1/contacts"]


def test_pieces_and_pipelined_requests_are_each_answered_in_order(crm: CrmProcess) -> None:
    data = _wire("/1") + _wire("/2")
    with socket.create_connection(("127.0.0.1", crm.port), timeout=10) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), 7):
            peer.sendall(data[at : at + 7])
        received = b""
        while received.count(b'{"id":') < 2:
            received += peer.recv(65_536)
    assert [entry.path for entry in crm.requests()] == ["/1", "/2"]
    assert received.index(b'{"id":1}') < received.index(b'{"id":2}')


def test_the_line_is_in_the_log_before_the_reply(crm: CrmProcess) -> None:
    crm.configure(latency_ms=60_000)
    with socket.create_connection(("127.0.0.1", crm.port), timeout=10) as peer:
        peer.sendall(_wire())
        while not crm.requests():
            os.sched_yield()
        poll = select.poll()  # select() refuses descriptors above 1023, and a worker of a long run may have them
        poll.register(peer, select.POLLIN)
        assert poll.poll(0) == []
    assert _last(crm).applied


@pytest.mark.parametrize(
    ("fault", "status", "applied"),
    [
        ("error_applied", 500, True),
        ("error_not_applied", 500, False),
        ("forbidden", 403, False),
        ("too_many", 429, False),
        ("unavailable", 503, False),
        ("rate_limited", 400, False),
    ],
)
def test_a_status_that_is_not_a_success(crm: CrmProcess, fault: str, status: int, applied: bool) -> None:
    crm.configure(shares={fault: 1})
    assert _post(crm) == (status, json.dumps({"code": fault}).encode())
    entry = _last(crm)
    assert (entry.status, entry.applied, entry.reply, entry.fault) == (status, applied, "sent", fault)


@pytest.mark.parametrize(("fault", "applied"), [("drop", True), ("drop_not_applied", False), ("slow", True)])
def test_a_missing_reply(crm: CrmProcess, fault: str, applied: bool) -> None:
    crm.configure(shares={fault: 1}, slow_seconds=0.05)
    assert _raw(crm, _wire()) == b""
    assert (_last(crm).applied, _last(crm).reply) == (applied, "dropped")


@pytest.mark.parametrize("fault", ["cut_head", "cut_body"])
def test_a_reply_that_is_cut(crm: CrmProcess, fault: str) -> None:
    crm.configure(shares={fault: 1})
    received = _raw(crm, _wire())
    head, end, content = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201")
    assert bool(end) == (fault == "cut_body")
    assert bool(content) == (fault == "cut_body")
    assert len(content) < len(b'{"id":1}')
    assert (_last(crm).applied, _last(crm).reply) == (True, "dropped")


@pytest.mark.parametrize(("fault", "logged"), [("reset_before", 0), ("reset_after", 1)])
def test_a_connection_that_is_reset(crm: CrmProcess, fault: str, logged: int) -> None:
    crm.configure(shares={fault: 1})
    with pytest.raises(ConnectionResetError):
        _raw(crm, _wire())
    assert [(entry.applied, entry.reply) for entry in crm.requests()] == [(True, "dropped")] * logged


def test_sends_retry_after_in_every_form(crm: CrmProcess) -> None:
    crm.configure(shares={"too_many": 1}, retry_after=["7", "date+60", "soon", "99999999999", "-5", ""])
    seconds, date, junk, huge, negative, absent = (_retry_after(crm) for _ in range(6))
    assert (seconds, junk, huge, negative, absent) == ("7", "soon", "99999999999", "-5", None)
    assert date is not None
    assert 55 < parsedate_to_datetime(date).timestamp() - time.time() < 65


def test_a_known_key_gets_the_saved_reply_and_applies_nothing(crm: CrmProcess) -> None:
    crm.configure(dedupe=True, shares={"drop": 1})
    with pytest.raises(http.client.RemoteDisconnected):
        _post(crm, Idempotency_Key="k1")
    crm.configure(dedupe=True)
    assert _post(crm, Idempotency_Key="k1") == (201, b'{"id":1}')
    assert _post(crm, Idempotency_Key="k2") == (201, b'{"id":3}')
    assert _post(crm, body=b"{}", Idempotency_Key="k1")[0] == 422
    kept = [(entry.applied, entry.deduped, entry.status) for entry in crm.requests()]
    assert kept == [(True, False, 201), (False, True, 201), (True, False, 201), (False, False, 422)]


def test_without_deduplication_a_key_means_nothing(crm: CrmProcess) -> None:
    assert [_post(crm, Idempotency_Key="k1")[0] for _ in range(2)] == [201, 201]
    assert [entry.applied for entry in crm.requests()] == [True, True]


def test_above_the_hard_limit_it_answers_429(crm: CrmProcess) -> None:
    crm.configure(rate=3, rate_retry_after="2")
    assert [_post(crm)[0] for _ in range(4)] == [201, 201, 201, 429]
    assert _retry_after(crm) == "2"
    assert [entry.applied for entry in crm.requests()] == [True, True, True, False, False]


def test_faults_affect_only_their_paths(crm: CrmProcess) -> None:
    crm.configure(shares={"unavailable": 1}, only="/v1/deals")
    assert (_post(crm, "/v1/contacts")[0], _post(crm, "/v1/deals")[0]) == (201, 503)


def test_effect_shares_are_kept_and_repeatable_by_seed(crm: CrmProcess) -> None:
    def statuses(seed: int) -> list[int]:
        crm.configure(shares={"unavailable": 0.2, "error_applied": 0.1}, seed=seed)
        connection = http.client.HTTPConnection("127.0.0.1", crm.port, timeout=10)
        seen = []
        for _ in range(500):
            connection.request("POST", "/", BODY)
            reply = connection.getresponse()
            reply.read()
            seen.append(reply.status)
        connection.close()
        return seen

    first = statuses(1)
    counted = Counter(first)
    assert 70 < counted[503] < 130
    assert 30 < counted[500] < 70
    assert statuses(1) == first
    assert statuses(2) != first


def test_refuses_undeclared_requests(crm: CrmProcess, log: Path) -> None:
    with pytest.raises(ValueError, match="allowed are error_applied"):
        crm.configure(shares={"eror": 1})
    with pytest.raises(ValueError, match="latency unknown; allowed are shares"):
        crm.configure(latency=1)
    with pytest.raises(ValueError, match="together at most 1"), running_crm(log, shares={"drop": 0.6, "slow": 0.6}):
        pass
    assert _post(crm)[0] == 201


def test_a_body_of_unknown_length_is_refused(crm: CrmProcess) -> None:
    received = _raw(crm, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400")
    assert crm.requests() == []


def test_control_requests_are_not_logged(crm: CrmProcess) -> None:
    crm.configure(shares={"reset_before": 1})
    crm.configure()
    assert crm.counts()["requests"] == 0
    assert crm.requests() == []


@linux
def test_it_ends_when_its_owner_is_killed(log: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(log)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        handle = os.pidfd_open(int(owner.stdout.readline()))
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert select.select([handle], [], [], 10)[0]
        os.close(handle)


def test_serves_three_thousand_requests_a_second(crm: CrmProcess) -> None:
    requests = 2_000

    def send() -> None:
        with socket.create_connection(("127.0.0.1", crm.port), timeout=10) as peer:
            for _ in range(requests // 4):
                peer.sendall(_wire())
                received = b""
                while b'{"id":' not in received:
                    received += peer.recv(65_536)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = crm.counts()
    assert counted["applied"] == requests
    # Its own CPU time, so that a busy machine does not fail it.
    assert counted["cpu_seconds"] / requests < 1 / 3_000
