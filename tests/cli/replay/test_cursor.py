"""``--cursor`` reads only new rows, and ``replay cursor`` shows and moves the watermark."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Write, action, flow
from tests.servers.recording import Answer, RecordingServer

QUERY = 'SELECT id, phone AS "contact.phone", updated_at FROM leads'
NEW_ROWS = f"{QUERY} WHERE updated_at >= :watermark OR :watermark IS NULL"
Insert = Callable[..., None]


@pytest.fixture
def file(write: Write) -> Path:
    return write("a_flow.json", flow(action("Create", body={"phone": "{{ contact.phone }}"})))


@pytest.fixture
def insert(tmp_path: Path) -> Insert:
    """Insert rows: numbers, and the time of each on one day."""

    def insert(**rows: str) -> None:
        with closing(sqlite3.connect(tmp_path / "leads.db")) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS leads (id TEXT, phone TEXT, updated_at TEXT)")
            written = [(name, f"+52555000{name[1:]:0>4}", f"2026-11-20 {at}") for name, at in rows.items()]
            connection.executemany("INSERT INTO leads VALUES (?, ?, ?)", written)

    return insert


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    return ["--responses", f"sqlite:///{tmp_path / 'leads.db'}", "--cursor", "updated_at"]


def phones(server: RecordingServer) -> list[str]:
    """The last digits of the phones that were sent since the last call."""
    found = sorted(json.loads(one.content)["phone"].removeprefix("+52555000").lstrip("0") for one in server.received)
    server.received.clear()
    return found


@pytest.mark.parametrize("query", [QUERY, NEW_ROWS], ids=["filtered", "in_the_query"])
def test_reads_only_rows_after_those_of_earlier_replays(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, source: list[str], query: str
) -> None:
    run = ("replay", "run", file, *source, "--query", query, *ledger)
    insert(r1="10:00:00", r2="11:00:00")
    assert (cli(*run).status, phones(server)) == (0, ["1", "2"])

    insert(r3="12:00:00")
    done = cli(*run)
    assert (done.status, phones(server)) == (0, ["3"]), done.err
    assert "2 contacts" in done.out, "the row of the watermark is read again, and is known"
    assert "cursor updated_at: read from 2026-11-20 11:00:00, and 300 before it again" in done.out
    assert "the watermark is at 2026-11-20 12:00:00" in done.out

    done = cli("replay", "cursor", file, *ledger, "--format", "json")
    [found] = json.loads(done.out)
    assert (found["column"], found["watermark"], found["kind"]) == ("updated_at", "2026-11-20 12:00:00", "local_time")


def watermark(cli: Cli, file: Path, ledger: list[str]) -> str | None:
    found = json.loads(cli("replay", "cursor", file, *ledger, "--format", "json").out)
    return found[0]["watermark"] if found else None


def test_a_plan_moves_nothing(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, source: list[str]
) -> None:
    insert(r1="10:00:00")
    assert '"rows": 1' in cli("replay", "plan", file, *source, "--query", QUERY, *ledger, "--format", "json").out
    assert not Path(ledger[1].removeprefix("sqlite:///")).exists()
    assert cli("replay", "run", file, *source, "--query", QUERY, *ledger).status == 0
    insert(r2="11:00:00")
    planned = json.loads(cli("replay", "plan", file, *source, "--query", QUERY, *ledger, "--format", "json").out)
    assert (planned["rows"], planned["walked"]) == (2, 1), "the row of the watermark is read again"
    assert watermark(cli, file, ledger) == "2026-11-20 10:00:00"
    assert phones(server) == ["1"]


def test_a_limit_that_leaves_rows_out_moves_nothing(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, source: list[str]
) -> None:
    insert(r1="12:00:00", r2="10:00:00", r3="11:00:00")
    run = ("replay", "run", file, *source, "--query", QUERY, *ledger)
    done = cli(*run, "--limit", "2")
    assert "the watermark of 'updated_at' did not move: the limit left rows out" in done.out
    assert (phones(server), watermark(cli, file, ledger)) == (["1", "2"], None)
    assert cli(*run, "--limit", "3").status == 0
    assert (phones(server), watermark(cli, file, ledger)) == (["3"], "2026-11-20 12:00:00")


def test_resumes_a_replay_that_has_not_ended_before_it_reads_on(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, source: list[str]
) -> None:
    run = ("replay", "run", file, *source, "--query", QUERY, "--concurrency", "1", *ledger)
    insert(**{f"r{number}": "10:00:00" for number in range(1, 22)})
    server.queued += [Answer(401)] * 20
    assert cli(*run).status == 4, "it stops when the credentials are refused"
    server.received.clear()
    insert(r99="11:00:00")

    done = cli(*run)
    assert "resuming the replay that has not ended; run the command again to read newer rows" in done.err
    assert phones(server) == sorted(str(number) for number in range(1, 22))
    assert cli(*run).status == 0
    assert phones(server) == ["99"]


def test_warns_of_a_replay_that_it_does_not_resume(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, source: list[str]
) -> None:
    """With another limit it is another replay, and the rows of the first one are before the watermark."""
    run = ("replay", "run", file, *source, "--query", QUERY, "--concurrency", "1", *ledger, "--replay-id")
    insert(**{f"r{number}": "10:00:00" for number in range(1, 22)})
    server.queued += [Answer(401)] * 20
    assert cli(*run, "first", "--limit", "50").status == 4
    server.queued.clear()
    insert(r99="11:00:00")
    warning = "contacts of the replay first are pending, and are not read again: resume it to send them"
    assert warning in cli(*run, "second").out
    server.received.clear()
    assert warning not in cli(*run, "first", "--limit", "50").out
    assert len(phones(server)) == 21
    insert(r98="12:00:00")
    assert warning not in cli(*run, "third").out


def test_a_person_moves_the_watermark(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, source: list[str]
) -> None:
    run = ("replay", "run", file, *source, "--query", QUERY, *ledger)
    insert(r1="10:00:00", r2="11:00:00", r3="12:00:00")
    assert cli(*run).status == 0
    server.received.clear()
    move = ("replay", "cursor", file, *ledger)

    done = cli(*move, "--set", "2026-11-20T11:00")
    assert (done.status, "the watermark was not moved: use --yes" in done.err) == (1, True)
    assert "goes back from 2026-11-20 12:00:00 to 2026-11-20 11:00:00: the next replay reads these rows" in done.out
    assert cli(*move, "--set", "2026-11-20T11:00", "--yes").status == 0
    assert watermark(cli, file, ledger) == "2026-11-20 11:00:00"
    shown = cli(*run).out
    assert "2 contacts" in shown, "the rows from 11:00 on"
    assert (phones(server), watermark(cli, file, ledger)) == ([], "2026-11-20 12:00:00")

    assert cli(*move, "--clear", "--yes").status == 0
    assert "(everything is read)" in cli(*move).out
    assert "3 contacts" in cli(*run).out
    assert cli(*move, "--set", "2026-11-21").status == 0, "forward needs no confirmation"
    found = json.loads(cli(*move, "--format", "json").out)[0]
    assert (found["watermark"], bool(found["moved_by"]), found["replay_id"]) == ("2026-11-21 00:00:00", True, None)
    assert "0 contacts" in cli(*run).out


def test_sets_a_watermark_before_the_first_replay(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, source: list[str]
) -> None:
    insert(r1="10:00:00", r2="11:00:00")
    words = ("--source", source[1], "--column", "updated_at", "--set", "2026-11-20T11:00", *ledger)
    assert cli("replay", "cursor", "a_flow", *words).status == 0
    assert cli("replay", "run", file, *source, "--query", NEW_ROWS, *ledger, "--cursor-overlap", "0").status == 0
    assert phones(server) == ["2"]


def test_another_query_does_not_share_the_watermark(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, source: list[str]
) -> None:
    insert(r1="10:00:00")
    assert cli("replay", "run", file, *source, "--query", QUERY, *ledger).status == 0
    done = cli("replay", "run", file, *source, "--query", NEW_ROWS, *ledger)
    assert (done.status, "another query has read" in done.err) == (1, True)
    assert cli("replay", "cursor", file, *ledger, "--set", "2026-11-20T09:00", "--yes").status == 0
    assert cli("replay", "run", file, *source, "--query", NEW_ROWS, *ledger).status == 0, "a person has set it"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--query", NEW_ROWS], "the source uses watermark, which only a cursor has: pass --cursor COLUMN"),
        (["--query", QUERY, "--cursor-overlap", "5"], "--cursor-overlap needs --cursor COLUMN"),
        (
            [
                "--query",
                f"{QUERY} WHERE updated_at > :data_interval_start",
                "--cursor",
                "id",
                "--interval-start",
                "2026-11-20",
            ],
            "all of them would share the watermark of --cursor: rows of an earlier interval would be left out",
        ),
        (["--query", QUERY, "--cursor", "updated"], "there is no column 'updated', which is the cursor"),
    ],
    ids=["term", "overlap", "interval", "column"],
)
def test_says_what_is_wrong(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, insert: Insert, tmp_path: Path,
    words: list[str], message: str,
) -> None:  # fmt: skip
    insert(r1="10:00:00")
    done = cli("replay", "run", file, "--responses", f"sqlite:///{tmp_path / 'leads.db'}", *words, *ledger)
    assert (done.status, message in done.err) == (1, True), done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "7"], "has read a source with a cursor; name what to set"),
        (["--set", "", "--source", "s", "--column", "c"], "the watermark '' is empty"),
    ],
    ids=["unknown", "empty"],
)
def test_says_what_cannot_be_set(cli: Cli, ledger: list[str], words: list[str], message: str) -> None:
    done = cli("replay", "cursor", "a_flow", *words, *ledger)
    assert (done.status, message in done.err) == (1, True), done.err


@pytest.mark.parametrize("name", ["leads.jsonl", "leads.db"])
def test_a_file_of_the_same_name_in_another_folder_has_its_own_watermark(
    cli: Cli, file: Path, ledger: list[str], server: RecordingServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    words = ["leads.jsonl"] if name == "leads.jsonl" else ["sqlite:///leads.db", "--query", QUERY]
    for number in (8, 3):
        (tmp_path / f"{number}").mkdir()
        monkeypatch.chdir(tmp_path / f"{number}")
        line = {"id": f"r{number}", "updated_at": number, "contact": {"phone": f"+52555000{number:04}"}}
        Path("leads.jsonl").write_text(json.dumps(line))
        with closing(sqlite3.connect("leads.db")) as connection, connection:
            connection.execute("CREATE TABLE leads (id TEXT, phone TEXT, updated_at INTEGER)")
            connection.execute("INSERT INTO leads VALUES (?, ?, ?)", (f"r{number}", f"+52555000{number:04}", number))
        assert cli("replay", "run", file, "--responses", *words, "--cursor", "updated_at", *ledger).status == 0
        assert phones(server) == [str(number)]
    done = cli("replay", "cursor", file, "--source", words[0], "--set", "1", "--yes", *ledger, "--format", "json")
    assert [one["source"].endswith(f"3/{name}") for one in json.loads(done.out)] == [True], done.err


def test_reads_the_files_after_the_watermark_in_their_path(
    cli: Cli, write: Write, file: Path, ledger: list[str], server: RecordingServer, tmp_path: Path
) -> None:
    line = '{{"id": "r{0}", "at": {0}, "contact": {{"phone": "+525550000{0}"}}}}\n'
    write("from-0.jsonl", line.format(7))
    write("from-7.jsonl", line.format(7) + line.format(8))
    source = f"{tmp_path}/from-{{{{ run.watermark | default('0') }}}}.jsonl"
    for expected in (["7"], ["8"]):
        assert cli("replay", "run", file, "--responses", source, "--cursor", "at", *ledger).status == 0
        assert phones(server) == expected
