"""How many workers a command starts."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest

from airflow_whatsapp_flows.cli.replay.workers import count_workers
from airflow_whatsapp_flows.errors import ConnectionConfigError
from tests.cli.replay.test_settings import URL, prepare_replay

CONNECTION = ("--connection", f"crm={URL}")


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


@pytest.mark.parametrize(
    ("pending", "chunks", "count"),
    [(1_999, 2, 1), (2_000, 2, 2), (10_000, 10, 4), (10_000, 1, 1)],
    ids=["few contacts", "few chunks", "all processors", "one chunk"],
)
def test_by_default_one_worker_per_processor(pending: int, chunks: int, count: int) -> None:
    assert count_workers(prepare_replay(*CONNECTION), pending, chunks) == count


def test_by_default_each_worker_has_enough_of_the_concurrency() -> None:
    assert count_workers(prepare_replay(*CONNECTION, "--concurrency", "20"), 10_000, 10) == 2
    assert count_workers(prepare_replay(*CONNECTION, "--concurrency", "1"), 10_000, 10) == 1


@pytest.mark.parametrize(("chunks", "concurrency", "count"), [(10, 64, 3), (2, 64, 2), (10, 1, 1)])
def test_starts_the_given_number_if_each_has_something_to_do(chunks: int, concurrency: int, count: int) -> None:
    prepared = prepare_replay(*CONNECTION, "--workers", "3")

    assert count_workers(replace(prepared, run=replace(prepared.run, concurrency=concurrency)), 5, chunks) == count


def test_the_command_line_overrides_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__REPLAY_WORKERS", "2")

    assert count_workers(prepare_replay(*CONNECTION), 5, 9) == 2
    assert count_workers(prepare_replay(*CONNECTION, "--workers", "auto"), 5, 9) == 1


@pytest.mark.parametrize("text", ["0", "-1", "many", "65", "1.5"])
def test_refuses_any_other_number_on_the_command_line_and_as_a_setting(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = f"{text!r} is neither 'auto' nor a whole number from 1 to 64"
    with pytest.raises(SystemExit):
        prepare_replay(*CONNECTION, "--workers", text)
    assert f"--workers: {allowed}" in capsys.readouterr().err

    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__REPLAY_WORKERS", text)
    with pytest.raises(ConnectionConfigError, match=f"replay_workers: {re.escape(allowed)}"):
        prepare_replay(*CONNECTION)
