"""Any change to a flow file quickly gives a flow that can be walked, or located faults."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.reply.result import SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import HttpResponse
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Waited
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.walk import drive, walk
from airflow_whatsapp_flows.flow_files import check_folder, load_flow_file
from tests.cases.case import REPOSITORY
from tests.flow.samples import FLOW, NOW
from tests.roads.roads import all_cases

SOONEST = 4.0
"""Seconds of CPU that any file may take: the slowest takes 1.2, and twice as many on a busy machine."""


def _examples() -> Iterator[tuple[str, str]]:
    yield "one step of every type", json.dumps(FLOW, indent=1)
    for file in sorted((REPOSITORY / "dags" / "flows").glob("*.json")):
        yield file.stem, file.read_text(encoding="utf-8")
    for case in all_cases():
        if "flow" in case.data:
            yield case.name, json.dumps(json.loads(case.source), indent=1)


EXAMPLES = dict(_examples())
# Values from a person, a script, or an attacker where something else is expected.
STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, 1e300, float("nan"), float("inf"), 10**400, "", " ", "\0", "\ud800", "x" * 300, "Nobody", "..",
    "{{", "{{ step. }}", "{{ 7 * 7 }}", "%contact.", "{% for x in y %}", [], {}, [[]], [None], {"": None},
)  # fmt: skip
Path_ = tuple[str | int, ...]


def _paths(value: object, path: Path_ = ()) -> list[Path_]:
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else []
    return [path, *(found for key in keys for found in _paths(value[key], (*path, key)))]  # type: ignore[index]


def _within(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def _change_copy(value: Any, path: Path_, change: Callable[[Any, Any], None]) -> Any:
    """A copy changed by a function of the holder and the key of a path."""
    changed = copy.deepcopy(value)
    change(_within(changed, path[:-1]), path[-1])
    return changed


def drop(value: Any, path: Path_) -> Any:
    return _change_copy(value, path, lambda holder, key: holder.pop(key))


def replace_value(value: Any, path: Path_, by: object) -> Any:
    return _change_copy(value, path, lambda holder, key: holder.__setitem__(key, by))


def rename_key(value: Any, path: Path_) -> Any:
    def rename(holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder[f"{key}s"] = holder.pop(key)
        elif isinstance(holder[key], str):
            holder[key] += "s"
        else:
            holder.append(holder[key])

    return _change_copy(value, path, rename)


def misspell_value(value: Any, path: Path_) -> Any:
    """A text with one letter more or less."""
    return _change_copy(value, path, lambda holder, key: holder.__setitem__(key, _misspelt(holder[key])))


def _misspelt(value: Any) -> Any:
    return value[:-1] if isinstance(value, str) and len(value) > 1 else f"{value}"


ANSWERS = read_response(
    {"id": "r-1", "contact": {"phone": "+525512345678"}, "step": {"Ask name": "Ana", "Menu": "Buy"}}
)


def _perform(effect: Effect) -> EffectResult:
    if isinstance(effect, SendAction):
        reply = HttpResponse(200, headers=(("Content-Type", "application/json"),), content=b'{"id": 1}')
        return classify(reply, SentRequest(effect.request, 1, effect.idempotency_key), effect.step.success_when)
    return FileContent(b"%PDF") if isinstance(effect, FetchFile) else Waited()


def judge(text: str) -> Flow | None:
    """Load a text and walk its flow to an end; ``None`` after faults, each with its location."""
    begun = time.process_time()
    flow: Flow | None = None
    faults: tuple[Fault, ...] = ()
    try:
        flow = load_flow(text, "f.json")
    except FlowFileError as error:
        faults = error.faults
    assert flow or faults
    lines = text.removeprefix("\ufeff").split("\n")
    for fault in faults:
        assert fault.message.strip()
        assert "\n" not in fault.message
        assert fault.line is not None
        assert 1 <= fault.line <= len(lines)
        assert fault.column is not None
        assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1
    if flow is not None and sum(step.max_visits for step in flow.steps.values()) < 10_000:
        assert drive(walk(flow, ANSWERS, now=NOW), _perform).state
    assert time.process_time() - begun < SOONEST
    return flow


def _text(value: Any) -> str:
    return json.dumps(value, indent=1)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_loads_and_can_be_walked(name: str) -> None:
    assert judge(EXAMPLES[name])


MUTATIONS = st.sampled_from(["drop", "replace", "rename", "misspell", "truncate", "duplicate", "insert", "swap"])


def _mutate(text: str, draw: Callable[[int], int], mutation: str) -> str:
    """A text after one mutation; ``draw(n)`` chooses among n."""
    if mutation == "truncate":
        return text[: draw(len(text))]
    if mutation == "insert":
        place = draw(len(text))
        return text[:place] + '"{}[],:\\\0\x1b\ud800%{'[draw(14)] + text[place:]
    value = json.loads(text)
    paths = _paths(value)[1:]
    path = paths[draw(len(paths))]
    if mutation == "drop":
        return _text(drop(value, path))
    if mutation == "replace":
        return _text(replace_value(value, path, STRANGE[draw(len(STRANGE))]))
    if mutation == "rename":
        return _text(rename_key(value, path))
    if mutation == "misspell":
        return _text(misspell_value(value, path))
    if mutation == "swap":
        other = _within(value, paths[draw(len(paths))])
        return _text(replace_value(value, path, copy.deepcopy(other)))
    return _duplicate(value, path)


def _duplicate(value: Any, path: Path_) -> str:
    """The text with a duplicate of a key or list item."""
    holder, key = _within(value, path[:-1]), path[-1]
    if isinstance(holder, list):
        return _text(_change_copy(value, path, lambda listed, at: listed.insert(at, copy.deepcopy(listed[at]))))
    twin = "twin of that key"
    changed = _change_copy(value, path, lambda found, at: found.__setitem__(twin, found[at]))
    return _text(changed).replace(json.dumps(twin), json.dumps(key))


@given(st.data())
@settings(max_examples=600, deadline=None, derandomize=True)
def test_any_mutation_loads_or_gives_located_faults(data: st.DataObject) -> None:
    text = EXAMPLES[data.draw(st.sampled_from(sorted(EXAMPLES)))]

    for _ in range(data.draw(st.integers(1, 3))):
        mutation = data.draw(MUTATIONS)
        try:
            text = _mutate(text, lambda many: data.draw(st.integers(0, max(many - 1, 0))), mutation)
        except (ValueError, IndexError, RecursionError):
            break  # the one before has made it no JSON
    judge(text)


@pytest.mark.long
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_mutation_loads_or_gives_located_faults(name: str) -> None:
    text, chance = EXAMPLES[name], random.Random(name)
    value = json.loads(text)

    for path in _paths(value)[1:]:
        judge(_text(drop(value, path)))
        judge(_text(rename_key(value, path)))
        judge(_text(misspell_value(value, path)))
        judge(_duplicate(value, path))
        for strange in chance.sample(STRANGE, 6):
            judge(_text(replace_value(value, path, strange)))
    for _ in range(100):
        judge(text[: chance.randrange(len(text))])


NEEDED = {"flow_format", "id", "steps", "type", "options", "paths", "conditions", "field", "comparison", "url"}


def test_names_a_missing_required_key() -> None:
    value = json.loads(EXAMPLES["menu_router"])
    needed = [path for path in _paths(value) if path and path[-1] in NEEDED]
    assert {path[-1] for path in needed} == NEEDED

    for path in needed:
        with pytest.raises(FlowFileError) as caught:
            load_flow(_text(drop(value, path)), "f.json")
        assert any(repr(path[-1]) in fault.message for fault in caught.value.faults), str(caught.value)


def test_a_renamed_target_is_a_fault_at_its_location() -> None:
    value = json.loads(EXAMPLES["one step of every type"])
    targets = [path for path in _paths(value) if path and path[-1] in ("next", "on_success", "on_error", "otherwise")]
    assert len(targets) > 10

    for path in targets:
        text = _text(misspell_value(value, path))
        with pytest.raises(FlowFileError) as caught:
            load_flow(text, "f.json")
        (fault,) = [fault for fault in caught.value.faults if fault.path == path]
        assert "did you mean" in fault.message
        line = text.split("\n")[(fault.line or 0) - 1]
        assert json.dumps(_within(json.loads(text), path)) in line


def _deep(depth: int, opening: str, closing: str) -> str:
    text = _text({"flow_format": 1, "id": "f", "steps": [{"name": "a", "type": "action", "url": "/", "body": 1}]})
    return text.replace('"body": 1', f'"body": {opening * depth}1{closing * depth}')


def _with(**keys: Any) -> str:
    return _text({**FLOW, **keys})


def _with_body(body: str) -> str:
    return _text({"flow_format": 1, "id": "f", "steps": [{"name": "a", "type": "message", "body": body}]})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(_with_body("x" * 65_536 + "{{ contact.phone }}"), "64,000", id="65 kB template"),
        pytest.param(_with_body("{{ contact.a }}" * 4500), "1,000 placeholders", id="65 kB of placeholders"),
        pytest.param(_with_body("{{" + "(" * 60_000 + "}}"), "", id="60,000 brackets in a template"),
        pytest.param(_with_body("{{ contact" + ".a" * 30_000 + "( }}"), "", id="30,000 names before a bracket"),
        pytest.param(_with_body("{{ " + "-" * 60_000 + "1 }}"), "", id="60,000 signs in a template"),
        pytest.param(_with_body("{{ " + " + ".join(["contact.a"] * 5000) + " }}"), "", id="5,000 sums"),
        pytest.param(_with_body("{{ 'a' * 200000000 }}"), "", id="a bomb"),
        pytest.param(_deep(1000, "[", "]"), "64", id="lists of depth 1,000"),
        pytest.param(_deep(1000, '{"a":', "}"), "64", id="objects of depth 1,000"),
        pytest.param(_deep(100_000, "[", "]"), "64", id="lists of depth 100,000"),
        pytest.param(_with(max_visits=float("nan")), "NaN", id="NaN"),
        pytest.param(_with(name="\ud800"), "surrogate", id="lone surrogate"),
        pytest.param(_with(id="\0"), "an id has", id="NUL"),
        pytest.param(_with(id=".."), "an id has", id="id of dots"),
        pytest.param(_with(id="x" * 300), "an id has", id="id of 300 characters"),
        pytest.param("[" * 300_000, "", id="300,000 brackets"),
        pytest.param('"' * 300_000, "", id="300,000 quotes"),
        pytest.param("\\" * 300_000, "", id="300,000 backslashes"),
        pytest.param('{"a":' * 100_000, "", id="100,000 openings"),
        pytest.param("{" + '"a": 1,' * 100_000 + '"a": 1}', "", id="100,000 times one key"),
        pytest.param(" " * 1_100_000, "1,048,576", id="more than a mebibyte"),
        pytest.param("1" * 300_000, "", id="300,000 digits"),
    ],
)  # fmt: skip
def test_reports_exceeded_limits(text: str, words: str) -> None:
    assert judge(text) is None
    with pytest.raises(FlowFileError) as caught:
        load_flow(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["support_ticket", "menu_router", "one step of every type"])
def test_a_bad_file_does_not_affect_others(tmp_path: Path, name: str) -> None:
    folder, outside = tmp_path / "flows", tmp_path / "outside.json"
    folder.mkdir()
    for other in ("lead_to_crm", "order_status"):
        (folder / f"{other}.json").write_text(EXAMPLES[other], encoding="utf-8")
    flow_id = json.loads(EXAMPLES[name])["id"] if name != "one step of every type" else "every"
    text = _text({**json.loads(EXAMPLES[name]), "id": flow_id})
    outside.write_text(text, encoding="utf-8")
    bad = {
        "cut.json": text[: len(text) // 2].encode(),
        "bytes.json": b"\xff\xfe" + text.encode("utf-16-le"),
        "nul.json": b"\0" * 100,
        "empty.json": b"",
        "x" * 100 + ".json": text.replace(flow_id, "x" * 300).encode(),
        "copy.json": text.encode(),
        f"{flow_id}.json": text.encode(),
    }
    for file, content in bad.items():
        (folder / file).write_bytes(content)
    (folder / "link.json").symlink_to(outside)
    (folder / "nowhere.json").symlink_to(tmp_path / "nowhere")
    (folder / "folder.json").mkdir()

    found = dict(check_folder(folder))

    faulty = {path.name for path, faults in found.items() if faults}
    assert faulty >= {*bad, "link.json", "nowhere.json", "folder.json"} - {f"{flow_id}.json"}
    assert not faulty & {"lead_to_crm.json", "order_status.json"}
    assert load_flow_file(folder / "lead_to_crm.json", in_flows_folder=True)
