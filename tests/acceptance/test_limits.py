"""End-to-end limits: bytes read of a reply, memory of a replay, and DAGs that load beside hostile ones."""

from __future__ import annotations

import gzip
import ipaddress
import json
import random
from asyncio.sslproto import SSLProtocol
from pathlib import Path

import pytest
from cryptography import x509

from airflow_whatsapp_flows.dag_factory import load_dags
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, TransportFailure
from airflow_whatsapp_flows.operators.placeholder import FlowFaultOperator
from airflow_whatsapp_flows.transport import NetworkPolicy, SendPolicy, send_blocking
from airflow_whatsapp_flows.transport.connection import Connection
from tests.process_memory import IS_KNOWN
from tests.replay.runs import Run, sqlite_url
from tests.servers.certificates import Certificate, make_certificate
from tests.servers.crm_log import running_crm
from tests.servers.hostile import HostileServer, endless

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that this process reads from sockets, including TLS records."""
    counts: list[int] = []
    plain, records = Connection.data_received, SSLProtocol.buffer_updated

    def count_plain(self: Connection, data: bytes) -> None:
        if self._transport.get_extra_info("sslcontext") is None:
            counts.append(len(data))
        plain(self, data)

    def count_records(self: SSLProtocol, nbytes: int) -> None:
        counts.append(nbytes)
        records(self, nbytes)

    monkeypatch.setattr(Connection, "data_received", count_plain)
    monkeypatch.setattr(SSLProtocol, "buffer_updated", count_records)
    return counts


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("limit", [1_000, MEBIBYTE])
@pytest.mark.parametrize("is_tls", [pytest.param(False, id="http"), pytest.param(True, id="https")])
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(OK + b"\r\n", b"a" * 65_536, id="plain"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"ffff\r\n" + b"a" * 0xFFFF + b"\r\n", id="chunks"),
        pytest.param(OK + b"Content-Length: 1000000000\r\n\r\n", b"a" * 65_536, id="a gigabyte"),
        pytest.param(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(random.randbytes(65_536)), id="gzip"),
    ],
)
def test_reads_little_more_than_the_limit_of_an_endless_reply(
    head: bytes, piece: bytes, is_tls: bool, limit: int, read: list[int], certificate: Certificate
) -> None:
    server = HostileServer(endless(piece, head), certificate.context if is_tls else None)
    try:
        network = NetworkPolicy(allowed=(f"127.0.0.1:{server.port}",))
        policy = SendPolicy(max_content=limit, verify=certificate.authorities)
        got = send_blocking(HttpRequest("GET", server.url()), policy, network=network)
    finally:
        server.close()

    assert isinstance(got, TransportFailure)
    assert got.kind is ErrorKind.TOO_LARGE
    assert 0 < sum(read) <= limit + 64_000


@pytest.mark.usefixtures("airflow")
def test_template_attacks_do_not_hide_other_flows(tmp_path: Path) -> None:
    attacks = {
        "parentheses": "{{ " + "(" * 5000 + "contact.a" + ")" * 5000 + " }}",
        "power": "{{ (10**(10**8)) }}",
        "product": "{{ 'a'*200000000 }}",
        "sleep": "{{ macros.time.sleep(9) }}",
        "conn": "{{ conn.crm.password }}",
        "kilobytes": "{{ contact.a }}" * 6000,
        "statement": "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    }
    for name, text in {**attacks, "good": "Hi {{ contact.first_name }}", "fine": "Bye"}.items():
        step = {"name": "Say", "type": "message", "body": text}
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({"flow_format": 1, "id": name, "steps": [step]}), encoding="utf-8")

    dags = load_dags(tmp_path)

    assert set(dags) == {*attacks, "good", "fine"}
    refused = {name for name, dag in dags.items() if isinstance(dag.tasks[0], FlowFaultOperator)}
    assert refused == set(attacks)


def _replay_and_measure(folder: Path, rows: int) -> int:
    """Replay some responses; returns the peak memory of the process in MB."""
    with running_crm(folder.with_suffix(".log")) as crm:
        run = Run(folder, crm, sqlite_url(folder.parent), total=rows, concurrency=32)
        with run.start() as running:
            ended = running.wait(600)
        assert ended.status == 0, ended
        assert run.states() == {"completed": rows}
        assert crm.counts()["applied"] == rows
    return int(ended.told["peak_memory"]) // 1_000_000


@pytest.mark.long
@pytest.mark.skipif(not IS_KNOWN, reason="reads /proc")
def test_memory_does_not_grow_with_the_number_of_contacts(tmp_path: Path) -> None:
    folders = [tmp_path / name / "run" for name in ("few", "many")]
    for folder in folders:
        folder.mkdir(parents=True)
    # Up to 25,000 requests are kept in memory, for a ledger that loses them.
    few, many = _replay_and_measure(folders[0], 30_000), _replay_and_measure(folders[1], 60_000)

    assert many < 300
    # A million contacts may take 190 MB more than none.
    assert many - few < 6
