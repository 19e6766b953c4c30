"""Limits that hold over a whole road: what is read of a reply, what a replay holds in memory, which DAGs load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp.client_proto import ResponseHandler

from airflow_whatsapp_flows.dag_factory import load_dags
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, TransportFailure
from airflow_whatsapp_flows.operators.placeholder import FlowFaultOperator
from airflow_whatsapp_flows.transport import NetworkPolicy, SendPolicy, send_blocking
from tests.process_memory import IS_KNOWN
from tests.replay.runs import Run, sqlite_url
from tests.servers.crm_log import running_crm
from tests.servers.hostile import HostileServer, endless

MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65_536, id="plain"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"ffff\r\n" + b"a" * 0xFFFF + b"\r\n", id="chunks"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"a" * 65_536, id="a gigabyte"),
    ],
)
def test_of_a_reply_without_end_little_more_than_the_limit_is_read(
    monkeypatch: pytest.MonkeyPatch, head: bytes, piece: bytes
) -> None:
    """The event loop reads up to 256 KiB at once, and that is all that is read beyond the limit."""
    read: list[int] = []
    original = ResponseHandler.data_received

    def counted(self: ResponseHandler, data: bytes) -> None:
        read.append(len(data))
        original(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", counted)
    server = HostileServer(endless(piece, head))
    try:
        network = NetworkPolicy(allowed=(f"127.0.0.1:{server.port}",))
        got = send_blocking(HttpRequest("GET", server.url()), SendPolicy(max_content=MEBIBYTE), network=network)
    finally:
        server.close()

    assert isinstance(got, TransportFailure)
    assert got.kind is ErrorKind.TOO_LARGE
    assert MEBIBYTE < sum(read) <= MEBIBYTE + 2 * 262_144


@pytest.mark.usefixtures("airflow")
def test_flows_that_attack_the_template_language_hide_no_other(tmp_path: Path) -> None:
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


def _replayed(folder: Path, rows: int) -> int:
    """Replay so many responses; returns the peak of the process's memory in MB."""
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
    few, many = _replayed(folders[0], 30_000), _replayed(folders[1], 60_000)

    assert many < 300
    # A million contacts may take 190 MB more than none.
    assert many - few < 6
