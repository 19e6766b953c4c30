"""A random flow and contact give the same requests, path, exits, and state on every road."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings

from tests.cases.case import Case
from tests.flow.random_flows import contacts_of_flows, features, with_replies
from tests.roads.roads import by_cli, by_dag, by_replay, by_walk
from tests.roads.test_cases import assert_same_by_dag, assert_same_by_replay

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
    with _apart() as (folder, patch):
        assert_same_by_replay(by_replay(case, folder, patch), walked)


def _check_dag(case: Case) -> None:
    # A response sent by an earlier example would not be sent again.
    fresh = Case(case.name, {**case.data, "response": {**case.data["response"], "id": f"r-{next(NUMBERS)}"}})
    with _apart() as (_, patch):
        assert_same_by_dag(fresh, by_dag(fresh, patch), by_walk(fresh))


@given(drawn=contacts_of_flows())
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=CALM)
def test_walk_command_line_and_replay_agree(drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    _check(with_replies(*drawn), capsys)


@given(drawn=contacts_of_flows())
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=CALM)
def test_a_dag_run_agrees(drawn: Drawn, airflow: None) -> None:
    _check_dag(with_replies(*drawn))


SEEDS = range(10)
FLOWS_PER_SEED = 50


def _check_flows_of(number: int, check: Callable[[Case], None]) -> None:
    """Check the flows of a seed: the same ones in every run, until hypothesis or ``random_flows`` changes."""

    @seed(number)
    @given(drawn=contacts_of_flows())
    @settings(max_examples=FLOWS_PER_SEED, deadline=None, database=None, suppress_health_check=CALM)
    def agree(drawn: Drawn) -> None:
        check(with_replies(*drawn))

    agree()


@pytest.mark.long
@pytest.mark.parametrize("number", SEEDS)
def test_all_roads_agree_on_random_flows(number: int, airflow: None, capsys: pytest.CaptureFixture[str]) -> None:
    checked = 0

    def check(case: Case) -> None:
        nonlocal checked
        _check(case, capsys)
        _check_dag(case)
        checked += 1

    _check_flows_of(number, check)
    assert checked >= FLOWS_PER_SEED


@pytest.mark.long
def test_the_random_flows_cover_every_feature() -> None:
    happened: Counter[str] = Counter()
    for number in SEEDS:
        _check_flows_of(number, lambda case: happened.update(["flows", *features(case)]))
    rare = {name: happened[name] for name in OFTEN_ENOUGH if happened[name] < OFTEN_ENOUGH[name]}
    assert rare == {}, f"too seldom among {happened['flows']} flows, to say that roads agree; choose other seeds"


OFTEN_ENOUGH = {
    "flows": 500,
    "completed": 50,
    "failed": 50,
    "in_doubt": 25,
    "rejected": 1,
    "a loop": 50,
    "a drop": 50,
    "a refusal": 50,
    "an error exit that is an action": 25,
    "visits used up": 25,
    "a doubt that the walk went on with": 15,
    "an error and no way to handle it": 10,
    "several tasks": 8,
}
"""What happens to how many of the contacts, at least."""
