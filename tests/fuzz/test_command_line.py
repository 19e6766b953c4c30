"""Any command line ends with a status and a one-line reason."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.cli import main
from tests.fuzz.budget import fuzz_settings

FLOW = {
    "flow_format": 1,
    "id": "f",
    "steps": [{"name": "Ask", "type": "action", "connection": "crm", "url": "/x", "body": {"a": "{{ contact.a }}"}}],
}
OPTIONS = [
    "--rate", "--connection", "--column", "--allow-host", "--concurrency", "--limit", "--max-handled-errors", "--send",
    "--on-changed", "--replay-id", "--id", "--responses-format", "--format", "--note", "--max-failures", "--ledger",
]  # fmt: skip
WORDS = st.text(max_size=12) | st.lists(
    st.sampled_from(
        ["=", "crm", "http://", "postgresql://", "sqlite:///", "127.0.0.1", ":", "@", "/", "?", "%", "-1", "1e999",
         "NaN", "0", "9" * 5000, "é", "٣", "\ud800", "\x1b[2J", "10%", "inf", "[", "::1", " ", "'", '"', "pw"]
    ),
    max_size=4,
).map("".join)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "f.json").write_text(json.dumps(FLOW), encoding="utf-8")
    (folder / "r.jsonl").write_text('{"id": "r-1", "contact": {"a": "x"}}\n', encoding="utf-8")
    return folder / "f.json", folder / "r.jsonl"


def _status(words: list[str]) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = int(end.code or 0)
    return status, err.getvalue()


@fuzz_settings(150)
@given(st.sampled_from(OPTIONS), WORDS)
def test_any_option_value_is_accepted_or_refused_with_a_reason(
    files: tuple[Path, Path], option: str, text: str
) -> None:
    flow, responses = map(str, files)
    words = ["replay", "plan", flow, "--responses", responses, "--ledger", f"sqlite:///{files[0].parent / 'l.db'}"]

    status, err = _status([*words, f"{option}={text}"])

    assert status in (0, 1, 2, 3, 4)
    assert "Traceback" not in err
    assert status == 0 or err


@fuzz_settings(60)
@given(st.sampled_from(["--since", "--until", "--renamed", "--state", "--fingerprint", "--step"]), WORDS)
def test_any_value_that_chooses_contacts_is_taken_or_refused(files: tuple[Path, Path], option: str, text: str) -> None:
    ledger = f"sqlite:///{files[0].parent / 'l.db'}"

    status, err = _status(["replay", "retry", "none", "--ledger", ledger, f"{option}={text}"])

    assert status in (1, 2)
    assert "Traceback" not in err
    assert err
