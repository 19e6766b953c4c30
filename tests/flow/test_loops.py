"""The loops of a flow are its strongly connected components."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.loops import components

GRAPHS = st.integers(1, 7).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size)
)


@pytest.mark.parametrize(
    ("successors", "expected"),
    [
        pytest.param({"a": []}, [], id="none"),
        pytest.param({"a": ["a"]}, [["a"]], id="itself"),
        pytest.param({"a": ["b"], "b": ["c"], "c": []}, [], id="a line"),
        pytest.param({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, [], id="branches that join"),
        pytest.param({"s": ["b"], "a": ["b"], "b": ["a"]}, [["a", "b"]], id="two, in the order of the file"),
        pytest.param(
            {"d": ["c"], "c": ["d"], "b": ["d", "a"], "a": ["b"]}, [["d", "c"], ["b", "a"]], id="one behind the other"
        ),
        pytest.param({"a": ["b"], "b": ["a", "c"], "c": ["b"]}, [["a", "b", "c"]], id="two loops with a common step"),
    ],
)
def test_every_loop_is_found_once(successors: dict[str, list[str]], expected: list[list[str]]) -> None:
    assert components(successors) == expected


@given(GRAPHS)
def test_steps_share_a_loop_when_each_leads_to_the_other(graph: list[list[int]]) -> None:
    successors = {str(number): [str(target) for target in targets] for number, targets in enumerate(graph)}
    reached = {name: set(targets) for name, targets in successors.items()}
    for middle, name in itertools.product(successors, successors):
        if middle in reached[name]:
            reached[name] |= reached[middle]

    found = components(successors)
    loop_of = {name: number for number, loop in enumerate(found) for name in loop}

    assert sorted(loop_of) == [name for name in sorted(successors) if name in reached[name]]
    assert sum(map(len, found)) == len(loop_of)
    for one, other in itertools.product(loop_of, loop_of):
        assert (loop_of[one] == loop_of[other]) is (other in reached[one] and one in reached[other])
    order = list(successors)
    assert all(loop == sorted(loop, key=order.index) for loop in found)
    assert found == sorted(found, key=lambda loop: order.index(loop[0]))


def test_finds_a_long_loop_without_recursion() -> None:
    started = time.monotonic()

    assert len(components({str(n): [str((n + 1) % 20_000)] for n in range(20_000)})[0]) == 20_000
    assert components({str(n): [str(m) for m in range(n + 1, 500)] for n in range(500)}) == []
    assert time.monotonic() - started < 5
