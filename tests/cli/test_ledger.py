"""``whatsapp-flows ledger``: finding and erasing what was sent to a person."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Cli, Write, action, flow
from tests.ledger.old_ledgers import make_ledger
from tests.servers.recording import Answer, RecordingServer

PHONE = "+525512345678"


@pytest.fixture
def finished_replay(cli: Cli, write: Write, ledger: list[str], server: RecordingServer) -> RecordingServer:
    """A replay ``b`` of two persons."""
    phones = {"r-1": "+52 1 55 1234 5678", "r-2": "+525500000002"}
    lines = [json.dumps({"id": id_, "contact": {"phone": phone}}) for id_, phone in phones.items()]
    file = write("a_flow.json", flow(action("Call", body={"phone": "{{ contact.phone }}"})))
    words = (file, "--responses", write("r.jsonl", "\n".join(lines)), "--replay-id", "b", "--concurrency", 1)
    assert cli("replay", "run", *words, *ledger).status == 0
    return server


def test_find_shows_the_origin_and_fate_of_each_request(
    cli: Cli, ledger: list[str], finished_replay: RecordingServer
) -> None:
    done = cli("ledger", "find", "--phone", PHONE, *ledger)

    assert done.status == 0
    assert "in the ledger as +525512345678; 1 request" in done.out
    assert f"POST {finished_replay.host}" in done.out
    assert "succeeded 200" in done.out
    assert "a_flow, replay b, response r-1" in done.out
    assert "r-2" not in done.out


def test_find_as_json(cli: Cli, ledger: list[str], finished_replay: RecordingServer) -> None:
    (found,) = json.loads(cli("ledger", "find", "--phone", "525512345678", "--format", "json", *ledger).out)

    assert found["begun_at"].endswith("Z")
    assert (found["flow_id"], found["replay_id"], found["response_id"]) == ("a_flow", "b", "r-1")
    assert (found["step"], found["visit"], found["number"], found["method"]) == ("Call", 1, 1, "POST")
    assert (found["status_code"], found["fate"]) == (200, "succeeded")
    assert found["key"]


def test_find_and_purge_accept_every_identifier(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    contact = {"id": 77, "user_id": "BR.1502", "email": "Ana@example.com", "meta": {"crm_id": "C-9"}}
    file = write("a_flow.json", flow(action("Call"), identifiers=["contact.meta.crm_id"]))
    source = write("r.jsonl", json.dumps({"id": "r-1", "contact": contact}))
    assert cli("replay", "run", file, "--responses", source, "--replay-id", "b", *ledger).status == 0

    asked = {"--id": ("77", "C-9"), "--user-id": ("BR.1502",), "--email": (" ana@EXAMPLE.com",)}
    for option, values in asked.items():
        for value in values:
            done = cli("ledger", "find", option, value, *ledger)
            assert (done.status, "1 request" in done.out, "response r-1" in done.out) == (0, True, True)
    assert "0 requests" in cli("ledger", "find", "--id", "BR.1502", *ledger).out
    assert "is not an e-mail address" in cli("ledger", "find", "--email", "ana", *ledger).err
    assert cli("ledger", "find", "--email", "a@b.example", "--id", "77", *ledger).status == 2

    assert "erased: 1 contact and 1 request" in cli("ledger", "purge", "--user-id", "BR.1502", "--yes", *ledger).out
    for option, values in asked.items():
        assert "not in the ledger" in cli("ledger", "find", option, values[0], *ledger).out


def test_find_reports_an_unknown_person(cli: Cli, ledger: list[str], finished_replay: RecordingServer) -> None:
    done = cli("ledger", "find", "--phone", "+34600000000", *ledger)

    assert (done.status, "not in the ledger; 0 requests" in done.out) == (0, True)
    assert json.loads(cli("ledger", "find", "--phone", "+34600000000", "--format", "json", *ledger).out) == []
    assert cli("ledger", "purge", "--phone", "+34600000000", *ledger).status == 0


def test_rejects_a_phone_without_digits(cli: Cli, ledger: list[str], finished_replay: RecordingServer) -> None:
    for command in ("find", "purge"):
        done = cli("ledger", command, "--phone", "Ana", *ledger)
        assert (done.status, "is not a phone number" in done.err) == (1, True)


def test_purge_asks_and_refuses_without_a_terminal(
    cli: Cli, ledger: list[str], finished_replay: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())

    done = cli("ledger", "purge", "--replay", "b", *ledger)

    assert (done.status, "use --yes" in done.err) == (1, True)
    assert "2 contacts and 2 requests" in done.out
    assert "1 request" in cli("ledger", "find", "--phone", PHONE, *ledger).out


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_purge_asks_on_a_terminal(
    ledger: list[str], finished_replay: RecordingServer, answer: str, status: int
) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "ledger", "purge", "--replay", "b", *ledger], stdin=follower, stdout=subprocess.PIPE, text=True
    ) as process:
        os.write(leader, f"{answer}\n".encode())
        out = process.communicate(timeout=60)[0]
    os.close(leader)
    os.close(follower)

    assert process.returncode == status
    assert ("erased: 2 contacts" in out) == (status == 0)


def test_purging_one_person_keeps_others_and_the_delivery_record(
    cli: Cli, ledger: list[str], finished_replay: RecordingServer, tmp_path: Path
) -> None:
    done = cli("ledger", "purge", "--phone", PHONE, "--yes", *ledger)

    assert done.status == 0
    assert "erased: 1 contact and 1 request; keys, states, and times were kept" in done.out
    assert "`whatsapp-flows ledger vacuum` to rewrite it" in done.out
    assert "1234 5678" not in "".join(
        file.read_bytes().decode("latin-1") for file in tmp_path.glob("l.db*") if file.is_file()
    )
    assert "0 requests" in cli("ledger", "find", "--phone", PHONE, *ledger).out
    assert "1 request" in cli("ledger", "find", "--phone", "+525500000002", *ledger).out
    words = (tmp_path / "a_flow.json", "--responses", tmp_path / "r.jsonl", "--replay-id", "again")
    assert cli("replay", "run", *words, *ledger).status == 0
    assert len(finished_replay.received) == 2
    assert cli("replay", "status", "b", *ledger).status == 0
    assert cli("replay", "results", "b", *ledger).status == 0


def test_purge_before_a_date(cli: Cli, ledger: list[str], finished_replay: RecordingServer) -> None:
    assert "0 contacts" in cli("ledger", "purge", "--before", "2020-01-01", "--yes", *ledger).out
    assert "erased: 2 contacts" in cli("ledger", "purge", "--before", "2999-01-01", "--yes", *ledger).out


def test_pending_contacts_are_not_erased_but_reported(
    cli: Cli, write: Write, ledger: list[str], server: RecordingServer
) -> None:
    server.queued.append(Answer(drop=True))
    file = write("a_flow.json", flow(action("Call", body={"phone": "{{ contact.phone }}"})))
    source = write("r.jsonl", json.dumps({"id": "r-1", "contact": {"phone": PHONE}}))
    cli("replay", "run", file, "--responses", source, "--replay-id", "b", *ledger)
    cli("replay", "resolve", "b", "r-1", "--as", "not_sent", *ledger)

    done = cli("ledger", "purge", "--phone", PHONE, "--yes", *ledger)

    assert done.status == 3
    assert "1 contact keeps its data, because the response is pending in b" in done.err
    assert cli("replay", "retry", "b", *ledger).status == 0
    assert cli("ledger", "purge", "--phone", PHONE, "--yes", *ledger).status == 0


def test_requires_exactly_one_selection(cli: Cli, ledger: list[str]) -> None:
    assert cli("ledger", "purge", *ledger).status == 2
    assert cli("ledger", "purge", "--phone", PHONE, "--replay", "b", *ledger).status == 2
    assert cli("ledger", "find", *ledger).status == 2


def test_upgrade_reports_what_is_needed_and_done(cli: Cli, tmp_path: Path, ledger: list[str]) -> None:
    make_ledger(ledger[1])

    needed = cli("ledger", "upgrade", "--check", *ledger)
    done = cli("ledger", "upgrade", *ledger)
    again = cli("ledger", "upgrade", *ledger)
    checked = cli("ledger", "upgrade", "--check", *ledger)

    assert (needed.status, done.status, again.status, checked.status) == (3, 0, 0, 0)
    assert "has version 1; version 5 is needed\nrun `whatsapp-flows ledger upgrade --ledger sqlite:" in needed.out
    assert "was upgraded from version 1 to 5; no data was lost" in done.out
    assert f"a copy from before the upgrade is in {tmp_path / 'l.db.v1-backup'}" in done.out
    assert "which is current; nothing to do" in again.out
    assert "v1-backup" not in again.out


def test_a_command_upgrades_an_old_file_by_itself_and_reports_it(
    process: Cli, tmp_path: Path, ledger: list[str]
) -> None:
    make_ledger(ledger[1])

    done = process("replay", "list", *ledger)

    assert done.status == 0
    assert "stopped" in done.out
    assert f"a copy from before the upgrade is in {tmp_path / 'l.db.v1-backup'}" in done.err
    assert process("ledger", "upgrade", "--ledger", f"sqlite:///{tmp_path}/none.db").status == 1


def test_alembic_is_imported_only_for_upgrades(process: Cli, tmp_path: Path) -> None:
    code = (
        "import sys; from airflow_whatsapp_flows.ledger import Ledger; "
        "Ledger(sys.argv[1]).close(); Ledger(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/l.db"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
