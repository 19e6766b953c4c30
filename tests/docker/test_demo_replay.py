"""`make demo` replays a batch against a failing CRM; ledger and CRM agree."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "docker"))

import demo_replay  # noqa: E402
from demo_crm.process import running  # noqa: E402


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's folder, in an environment that names no other."""
    (tmp_path / "airflow").mkdir()
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.delenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", raising=False)
    return tmp_path


@pytest.fixture
def crm(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A separate CRM for the connection."""
    with running(state / "crm.db") as url:
        monkeypatch.setenv("AIRFLOW_CONN_CRM", url)
        yield url


@pytest.mark.long
def test_every_contact_is_in_the_crm_once(
    crm: str, state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_replay, "RESPONSES", 120)
    monkeypatch.setattr(demo_replay, "UNHEARD", (60,))

    assert demo_replay.replay_batch(crm, state, REPOSITORY)

    told, progress = capfd.readouterr()
    first, last = told.split("the ledger says")[1:]
    assert "failed        12" in first
    assert "in doubt       1            of these       1" in first
    assert "completed    117            of these     117" in last
    assert "twice          0" in last
    assert progress.endswith("has already ended; nothing was sent\n")


@pytest.mark.parametrize(
    ("held", "agree"),
    [((1, 2), True), ((1, 2, 2), False), ((1,), False), ((1, 2, 3), False)],
    ids=["each once", "one twice", "one lost", "one that failed"],
)
def test_ledger_and_crm_agree_only_without_loss_or_duplicates(
    crm: str,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    held: tuple[int, ...],
    agree: bool,
) -> None:
    leads = [(json.dumps({"phone": demo_replay.phone(n), "campaign": demo_replay.CAMPAIGN}),) for n in held]
    with sqlite3.connect(state / "crm.db") as connection:
        connection.executemany("INSERT INTO leads (created_at, data) VALUES ('', ?)", leads)
    batch = demo_replay.Batch(state, state)
    states = dict.fromkeys(("completed", "in_doubt", "failed", "rejected", "skipped", "pending"), 0)
    told = {
        "status": json.dumps({**states, "completed": 2, "total": 2, "requests": 2}),
        "completed": '{"id": "lead-0001"}\n{"id": "lead-0002"}\n',
        "in_doubt": "",
    }
    monkeypatch.setattr(demo_replay, "RESPONSES", 2)
    monkeypatch.setattr(
        batch,
        "_run",
        lambda words: subprocess.CompletedProcess(words, 0, told["status" if "status" in words else words[-1]]),
    )

    assert batch.compare() is agree
    assert ("DO NOT AGREE" in capsys.readouterr().out) is not agree


def test_reports_unusable_and_duplicate_rows(tmp_path: Path) -> None:
    demo_replay.write_responses(tmp_path / "responses.jsonl")
    lines = (tmp_path / "responses.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == demo_replay.RESPONSES
    usable = [json.loads(line) for line in lines if line.endswith("}")]
    ids = [response["id"] for response in usable if "id" in response]
    assert (len(usable), len(ids), len(set(ids))) == (999, 998, 997)
