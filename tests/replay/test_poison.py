"""One unusual row of every kind among ten thousand: the others are delivered."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.replay.ledger_history import read_reasons
from tests.replay.runs import Run, response, sqlite_url
from tests.servers.crm_log import running_crm
from tests.servers.postgres import PostgresServer

ROWS = 10_000
HUGE = "x" * 5_000_000

REJECTED: dict[str, bytes] = {
    "too_large": json.dumps({"id": "poison", "contact": {"first_name": HUGE}}).encode(),
    "surrogate": rb'{"id": "poison", "contact": {"first_name": "\ud800"}}',
    "surrogate ": rb'{"id": "p\udfff", "contact": {"first_name": "a"}}',
    "not_utf8": b'{"id": "poison", "contact": {"first_name": "\xff"}}',
    "missing_id": b'{"contact": {"first_name": "a"}}',
    "not_json": b'{"id": "poison", "contact": {"first_name": "a"}',
    "not_json ": b'{"id": "poison", "contact": {"first_name": NaN}}',
    "not_json  ": b'{"id": "poison", "contact": {"first_name": -Infinity}}',
    "not_object": b'["poison"]',
    "not_object ": b'"poison"',
    "too_deep": b'{"id": "poison", "contact": {"first_name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "too_deep ": b'{"id": "poison", "contact": {"first_name": ' + b"[" * 900 + b"]" * 900 + b"}}",
    "bad_number": b'{"id": "poison", "contact": {"first_name": ' + b"9" * 5000 + b"}}",
    "bad_number ": b'{"id": "poison", "contact": {"first_name": 1e999}}',
    "duplicate_key": b'{"id": "poison", "id": "poison", "contact": {"first_name": "a"}}',
    "invalid": b'{"id": "poison", "contact": "a"}',
    "invalid ": b'{"id": "poi\\u0000son", "contact": {"first_name": "a"}}',
    "invalid  ": json.dumps({"id": "p" * 501, "contact": {"first_name": "a"}}).encode(),
    "invalid   ": b'{"id": ["poison"], "contact": {"first_name": "a"}}',
    "invalid    ": b'{"id": "poison", "steps": {}}',
    "scientific_phone": b'{"id": "poison", "contact": {"phone": "5.25512E+11"}}',
}
ODD: dict[str, object] = {
    "nul": "a\0b",
    "a megabyte": "é" * 500_000,
    "a big number": 10**300,
    "a small number": 5e-324,
    "below zero": -(2**63) - 1,
    "deep": json.loads("[" * 55 + "]" * 55),
    "a sheet's formula": "=cmd|' /C calc'!A0",
    "a template": "{{ 7 * 7 }}",
    "lines": "a\r\nX-Injected: 1\u2028\u0085",
    "beyond the basic plane": "😀",
    "an object": {"a": [1, None, True]},
}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_each_kind_of_row_is_handled_independently(
    tmp_path: Path, request: pytest.FixtureRequest, naughty_strings: list[str], database: str
) -> None:
    total = ROWS if database == "sqlite" else 1000
    ledger = sqlite_url(tmp_path)
    if database == "postgresql":
        ledger = request.getfixturevalue("postgres").create_database()
    with running_crm(tmp_path / "crm.log") as crm:
        run = Run(tmp_path, crm, ledger, concurrency=32, flow_keys={"missing": "null"})
        run.change_flow('"step": "Create"', '"name": "{{ contact.first_name }}"')
        odd = {**ODD, **{f"naughty {number}": text for number, text in enumerate(naughty_strings)}}
        _write(run, total, list(odd.values()))

        ended = run.finish()

        assert ended.status == 0, ended
        states = run.states()
        delivered = total - len(REJECTED) - 2
        assert states == {"completed": delivered, "rejected": len(REJECTED) + 1, "skipped": 1}
        assert len(crm.requests()) == delivered
        assert run.broken_promises(kills=0) == []
        _check_reasons(run)
        seen = {entry.body_hash for entry in crm.requests()}
        for number, (kind, value) in enumerate(odd.items()):
            assert _body_hash(f"+5299{number:08}", value) in seen, kind


def _write(run: Run, total: int, odd: list[object]) -> None:
    good = [json.dumps(response(number)).encode() for number in range(total - len(REJECTED) - len(odd) - 2)]
    strange = [
        json.dumps({"id": f"odd-{number}", "contact": {"phone": f"+5299{number:08}", "first_name": value}}).encode()
        for number, value in enumerate(odd)
    ]
    same, other = json.dumps(response(0)), json.dumps(response(0, step={"Ask": "something else"}))
    lines = good
    for position, line in enumerate([*REJECTED.values(), *strange]):
        lines.insert(1 + position * 3, line)
    lines += [same.encode(), other.encode()]
    run.responses.write_bytes(b"\n".join(lines) + b"\n")
    run.total = len(lines)
    assert run.total == total


def _check_reasons(run: Run) -> None:
    reasons = read_reasons(run.ledger, run.replay_id)
    for position, kind in enumerate(REJECTED):
        assert reasons[2 + position * 3].startswith(f"{kind.strip()}: ")
    assert reasons[run.total - 1].startswith("duplicate: ")
    assert reasons[run.total].startswith("id_reused: ")


def _body_hash(phone: str, value: object) -> str:
    text = json.dumps({"phone": phone, "name": value}, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


PLACES = {
    "a header": {"headers": {"X-Name": "{{ contact.first_name }}"}},
    "a path": {"url": "{crm}/{{ contact.first_name }}"},
    "a query": {"query_params": {"name": "{{ contact.first_name }}"}},
    "a form": {"body_type": "form"},
    "a multipart form": {"body_type": "multipart"},
    "XML": {"body_type": "xml", "body": {"a": {"name": "{{ contact.first_name }}"}}},
    "YAML": {"body_type": "yaml"},
    "plain text": {"body_type": "plain", "body": "{{ contact.first_name }}"},
}


@pytest.mark.parametrize("place", PLACES)
def test_an_unusable_value_ends_only_its_contact(tmp_path: Path, postgres: PostgresServer, place: str) -> None:
    with running_crm(tmp_path / "crm.log") as crm:
        run = Run(tmp_path, crm, postgres.create_database(), flow_keys={"missing": "null"})
        flow = json.loads(run.flow.read_text(encoding="utf-8"))
        flow["steps"][0]["body"] = {"name": "{{ contact.first_name }}"}
        flow["steps"][0] |= json.loads(json.dumps(PLACES[place]).replace("{crm}", crm.url))
        run.flow.write_text(json.dumps(flow), encoding="utf-8")
        contacts = [{**response(number), "contact": {"first_name": value}} for number, value in enumerate(ODD.values())]
        run.write_responses(iter(contacts))

        ended = run.finish()

        assert ended.status == 0, ended
        states = run.states()
        assert states["completed"] >= 1
        assert states["completed"] + states["failed"] == len(ODD)
        assert len(crm.requests()) == states["completed"]
