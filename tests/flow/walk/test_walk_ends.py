"""Every walk ends within a number of steps that follows from ``max_visits``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.loops import components
from airflow_whatsapp_flows.flow.model import Flow, Step, exits_of
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, Reply, Sent, TransportFailure
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Waited
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.walk import State, Walk, drive, walk
from airflow_whatsapp_flows.operators.loop_value import exit_of_loop
from tests.flow.samples import NOW, json_reply
from tests.roads.roads import perform_action

NAMES = "abcdef"
LOST = TransportFailure(ErrorKind.INTERRUPTED, "lost", Sent.UNKNOWN)


class _Budgeted(dict[str, Step]):
    """Steps with a limited number of lookups: an endless walk fails instead of hanging."""

    budget = 0

    def __getitem__(self, name: str) -> Step:
        self.budget -= 1
        assert self.budget >= 0, "the walk does not end"
        return super().__getitem__(name)


def _sends(name: str, delivery: str, target: str) -> dict[str, Any]:
    return {"name": name, "type": "action", "url": "https://crm.example/", "delivery": delivery, "on_success": target,
            "on_error": target, "retry": {"attempts": 1}}  # fmt: skip


_EVEN = {"field": "step.a.response.id", "comparison": "exact", "value": 1}
KINDS: dict[str, Any] = dict(
    load_flow(
        {"flow_format": 1, "id": "f", "missing": "null", "steps": [
            _sends("a", "idempotent", "keyed"),
            _sends("keyed", "keyed", "at_most_once"),
            _sends("at_most_once", "at_most_once", "conditional"),
            {"name": "conditional", "type": "conditional", "paths": [{"conditions": [_EVEN], "next": "message"}]},
            {"name": "message", "type": "message"},
        ]}
    ).steps
)  # fmt: skip


@st.composite
def graphs(draw: st.DrawFn) -> Flow:
    """A flow of any steps with any targets, also invalid ones."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    target, optional = st.sampled_from(names), st.sampled_from([*names, None])
    steps = _Budgeted()
    for name in names:
        kind = draw(st.sampled_from(sorted(KINDS)))
        keys = {"max_visits": draw(st.integers(1, 4)), "on_max_visits": draw(optional)}
        if kind == "conditional":
            path = replace(KINDS[kind].paths[0], next=draw(optional))
            keys |= {"paths": (path,), "otherwise": draw(target)}
        elif kind == "message":
            keys |= {"next": draw(target)}
        else:
            keys |= {"on_success": draw(target), "on_error": draw(target)}
        steps[name] = replace(KINDS[kind], name=name, **keys)
    successors = {name: [way.target for way in exits_of(step) if way.target] for name, step in steps.items()}
    loops = tuple(tuple(loop) for loop in components(successors))
    return Flow(id="f", name="f", start="a", steps=steps, loops=loops, missing="null")


def _walk(flow: Flow, replies: Iterator[Reply]) -> Walk:
    def exchange(_step: str, _request: HttpRequest) -> Reply:
        return next(replies)

    def do(effect: Effect) -> EffectResult:
        assert not isinstance(effect, FetchFile)
        return perform_action(effect, exchange) if isinstance(effect, SendAction) else Waited()

    return drive(walk(flow, read_response({"id": "r"}), now=NOW), do)


REPLIES = st.sampled_from([json_reply(200, {"id": 1}), json_reply(200, {"id": 2}), json_reply(404), LOST])


@given(flow=graphs(), replies=st.lists(REPLIES, min_size=1, max_size=5))
@settings(max_examples=500, deadline=None)
def test_every_walk_ends_within_max_visits(flow: Flow, replies: list[Reply]) -> None:
    steps = flow.steps
    assert isinstance(steps, _Budgeted)
    most = sum(step.max_visits for step in steps.values())
    # Between two visits each step without visits left is passed by at most once, and where it stops once more.
    steps.budget = (most + 1) * (len(steps) + 2)
    record = _walk(flow, itertools.cycle(replies))

    assert record.state in (State.COMPLETED, State.FAILED, State.IN_DOUBT)
    assert len(record.visits) <= most
    assert all(record.path.count(name) <= step.max_visits for name, step in steps.items())
    assert (record.state is State.IN_DOUBT) == bool(record.uncertain_requests)
    assert (record.state is State.COMPLETED) == (record.failure is None and not record.uncertain_requests)
    for loop in flow.loops:
        steps.budget = len(steps) + 1
        _check_exit(flow, loop, record)


def _check_exit(flow: Flow, loop: tuple[str, ...], record: Walk) -> None:
    """The recorded exit of a loop's task exists and leads to the next step."""
    last = max((at for at, visit in enumerate(record.visits) if visit.step in loop), default=None)
    if last is None:
        return
    visit = record.visits[last]
    following = record.visits[last + 1].step if last + 1 < len(record.visits) else None
    told = exit_of_loop(flow, visit, following)
    if told is None:
        assert visit.exit is None
        return
    name, _, label = told.partition(": ")
    assert name in loop
    if following is not None:
        step = dict(flow.steps)[name]
        assert following in [way.target for way in exits_of(step) if way.label == label]
