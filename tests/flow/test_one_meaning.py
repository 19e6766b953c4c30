"""One meaning: a random flow and a random contact give the same requests, path, exits and state by every road."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.cases.case import Case
from tests.cases.roads import by_cli, by_dag, by_replay, by_walk
from tests.flow.random_flows import contacts_of_flows, with_replies
from tests.test_cases import assert_same_by_dag, assert_same_by_replay

NUMBERS = itertools.count()
Drawn = tuple[dict[str, Any], list[Mapping[str, Any]]]
CALM = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
]


@contextmanager
def _apart() -> Iterator[tuple[Path, pytest.MonkeyPatch]]:
    """A folder and an environment for one example."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        yield Path(folder), patch


def _check(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    walked = by_walk(case)
    with _apart() as (folder, patch):
        assert by_cli(case, folder, patch, capsys, process=False) == walked
        assert_same_by_replay(by_replay(case, folder, patch), walked)


@given(drawn=contacts_of_flows())
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=CALM)
def test_walk_command_line_and_replay_agree(drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    _check(with_replies(*drawn), capsys)


@pytest.mark.long
@given(drawn=contacts_of_flows())
@settings(max_examples=600, deadline=None, suppress_health_check=CALM)
def test_walk_command_line_and_replay_agree_on_many(drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    _check(with_replies(*drawn), capsys)


@pytest.mark.long
@given(drawn=contacts_of_flows())
@settings(max_examples=40, deadline=None, suppress_health_check=CALM)
def test_a_dag_run_agrees(drawn: Drawn, airflow: None) -> None:
    data, replies = drawn
    data["response"]["id"] = f"r-{next(NUMBERS)}"  # a response that an earlier example has sent would not be sent again
    case = with_replies(data, replies)
    with _apart() as (_, patch):
        assert_same_by_dag(case, by_dag(case, patch), by_walk(case))
