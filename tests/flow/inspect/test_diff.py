"""Differences in what two flows mean."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.concealing import mask_secrets
from airflow_whatsapp_flows.flow.format import FlowFormat
from airflow_whatsapp_flows.flow.format.pydantic_models import pydantic_model
from airflow_whatsapp_flows.flow.inspect.diff import ABSENT, Change, differences
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.conftest import REPOSITORY
from tests.flow.samples import FLOW, action

EXAMPLES = sorted((REPOSITORY / "dags" / "flows").glob("*.json"))
Plain = dict[str, Any]


# Normally refused in a flow file, and still hidden.
NAMES = ["api_key", "Authorization", "X-Api-Key", "access_token", "password", "api_token", "pin"]


def _flow(*steps: Plain, **keys: Any) -> Plain:
    return {"flow_format": 1, "id": "f", "not_secret": NAMES, "steps": list(steps), **keys}


def _changes(old: Plain, new: Plain) -> list[tuple[Any, ...]]:
    found = differences(load_flow(old), load_flow(new))
    return [(change.what, change.part, change.step, change.path, change.old, change.new) for change in found]


def _edit_step(name: str, **keys: Any) -> Plain:
    """The sample flow with keys of one of its steps changed."""
    flow = copy.deepcopy(FLOW)
    [step] = [step for step in flow["steps"] if step["name"] == name]
    step.update(keys)
    return flow


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_flow_equals_itself(file: Path) -> None:
    flow = load_flow(file.read_text(encoding="utf-8"))

    assert differences(flow, flow) == []


def test_formatting_does_not_count_as_a_difference() -> None:
    first = _flow(
        action("Send", headers={"A": "1", "B": "2"}, body={"x": 1}, on_success="Bye"),
        {"name": "Bye", "type": "message", "body": "é"},
        start="Send",
    )
    second = _flow(
        {"type": "message", "next": None, "body": "é", "name": "Bye"},
        action("Send", headers={"B": "2", "A": "1"}, body={"x": 1}, on_success="Bye", method="POST", timeout=30,
               query_params=[], retry={"attempts": 4}),
        **{"$schema": "flow.schema.json", "timezone": "UTC", "start": "Send"},
    )  # fmt: skip

    assert _changes(first, second) == []
    text = json.dumps(first, indent=7).replace("é", "\\u00e9")
    assert differences(load_flow(first), load_flow(text)) == []


def test_the_order_of_steps_counts_only_for_the_start() -> None:
    steps: list[Plain] = [
        {"name": "A", "type": "message", "next": "B"}, {"name": "B", "type": "message"},
        {"name": "C", "type": "message", "next": "A"},
    ]  # fmt: skip

    assert _changes(_flow(*steps, start="C"), _flow(*steps[::-1])) == []
    assert _changes(_flow(*steps, start="C"), _flow(*steps[::-1], start="C")) == []
    loop: list[Plain] = [
        {"name": "A", "type": "menu", "options": {"on": "B", "no": None}},
        {"name": "B", "type": "message", "next": "A"},
    ]  # fmt: skip
    assert _changes(_flow(*loop), _flow(*loop[::-1])) == [("changed", "start", None, "start", "A", "B")]


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("A day later", {"next": "Mark"}, ("changed", "exit", "A day later", "next", "Note it", "Mark")),
        ("Choose", {"options": {"Sales": "Decide", "Support": "Decide"}},
         ("changed", "exit", "Choose", "options.Support", "Say thanks", "Decide")),
        ("Choose", {"options": {"Sales": "Decide", "Support": None}},
         ("changed", "exit", "Choose", "options.Support", "Say thanks", None)),
        ("Decide", {"otherwise": "Give up"}, ("changed", "exit", "Decide", "otherwise", "Say thanks", "Give up")),
        ("Create contact", {"on_success": "Remind"},
         ("changed", "exit", "Create contact", "on_success", "Say thanks", "Remind")),
        ("Create contact", {"method": "PUT"}, ("changed", "request", "Create contact", "method", "POST", "PUT")),
        ("Create contact", {"headers": {"X-Source": "web"}},
         ("changed", "request", "Create contact", "headers.X-Source", "whatsapp", "web")),
        ("Create contact", {"headers": {}},
         ("removed", "request", "Create contact", "headers.X-Source", "whatsapp", ABSENT)),
        ("Create contact", {"query_params": [["name", "{{ step.Ask name }}"], ["a b", 1]]},
         ("added", "request", "Create contact", 'query_params["a b"]', ABSENT, 1)),
        ("Create contact", {"body": {"name": "{{ step.Ask name }}", "tags": ["whatsapp", 2, None, True]}},
         ("changed", "request", "Create contact", "body.tags[1]", 1, 2)),
        ("Create contact", {"body": {"name": "{{ step.Ask name }}", "tags": ["whatsapp", True, None, True]}},
         ("changed", "request", "Create contact", "body.tags[1]", 1, True)),
        ("Create contact", {"body": {"tags": ["whatsapp", 1, None, True], "name": "{{ step.Ask name }}"}},
         ("changed", "request", "Create contact", "body (order)", ["name", "tags"], ["tags", "name"])),
        ("Create contact", {"retry": {"attempts": 3, "statuses": [429]}},
         ("changed", "setting", "Create contact", "retry.attempts", 2, 3)),
        ("Say thanks", {"body": "Thanks"},
         ("changed", "text", "Say thanks", "body", "Thanks {{ contact.first_name }}", "Thanks")),
        ("Give up", {"state": "completed"}, ("changed", "setting", "Give up", "state", "failed", "completed")),
    ],
)  # fmt: skip
def test_each_change_is_reported_where_it_is(name: str, keys: Plain, expected: tuple[Any, ...]) -> None:
    assert _changes(FLOW, _edit_step(name, **keys)) == [expected]


def test_an_exit_of_a_path_is_reported_by_the_name_of_the_path() -> None:
    new = copy.deepcopy(FLOW)
    new["steps"][2]["paths"][0]["next"] = "Say thanks"
    new["steps"][3]["on_success"] = "Give up"
    new["steps"].insert(4, {"name": "x", "type": "go_to", "next": "Create contact"})
    new["steps"][2]["otherwise"] = "x"

    assert ("changed", "exit", "Decide", "paths.adults.next", "Create contact", "Say thanks") in _changes(FLOW, new)


def test_the_order_of_paths_counts() -> None:
    def path(name: str) -> Plain:
        return {"name": name, "conditions": [{"field": "contact.x", "comparison": "exact", "value": name}]}

    old = _flow({"name": "C", "type": "conditional", "paths": [path("a"), path("b")]})
    new = _flow({"name": "C", "type": "conditional", "paths": [path("b"), path("a")]})

    assert _changes(old, new) == [("changed", "setting", "C", "paths (order)", ["a", "b"], ["b", "a"])]


def test_reports_added_and_removed_steps() -> None:
    old = _flow({"name": "A", "type": "message", "next": "B"}, {"name": "B", "type": "end"})
    new = _flow({"name": "A", "type": "message", "next": "C"}, {"name": "C", "type": "tag", "contact_tags": ["x"]})

    assert _changes(old, new) == [
        ("removed", "step", "B", "", "end", ABSENT),
        ("added", "step", "C", "", ABSENT, "tag"),
        ("changed", "exit", "A", "next", "B", "C"),
    ]


def test_a_changed_type_is_reported_with_its_keys() -> None:
    old = _flow({"name": "A", "type": "message", "body": "Hi", "next": "B"}, {"name": "B", "type": "end"})
    new = _flow({"name": "A", "type": "menu", "body": "Hi", "options": {"x": "B"}}, {"name": "B", "type": "end"})

    assert _changes(old, new) == [
        ("changed", "type", "A", "type", "message", "menu"),
        ("removed", "exit", "A", "next", "B", ABSENT),
        ("added", "exit", "A", "options", ABSENT, {"x": "B"}),
    ]


def test_a_renamed_step_is_reported_once() -> None:
    text = json.dumps(FLOW).replace("Ask name", "Ask full name").replace("Create contact", "Create lead")

    assert _changes(FLOW, json.loads(text)) == [
        ("renamed", "step", "Ask full name", "", "Ask name", "Ask full name"),
        ("renamed", "step", "Create lead", "", "Create contact", "Create lead"),
    ]


def test_matches_renamed_steps_by_whole_names() -> None:
    def flow(name: str) -> Plain:
        body = {"one": f"{{{{ step.{name} }}}}", "two": "{{ step.Ask name again }}"}
        return _flow(
            {"name": name, "type": "question", "next": "Ask name again"},
            {"name": "Ask name again", "type": "question", "answer_type": "EMAIL", "next": "Send"},
            action("Send", body=body),
        )

    assert _changes(flow("Ask name"), flow("Name")) == [("renamed", "step", "Name", "", "Ask name", "Name")]


def test_the_same_id_on_the_platform_is_the_same_step() -> None:
    old = _flow({"name": "A", "type": "message", "body": "one", "platform_id": "7"})
    new = _flow({"name": "B", "type": "message", "body": "two", "platform_id": "7"})

    assert _changes(old, new) == [
        ("renamed", "step", "B", "", "A", "B"), ("changed", "text", "B", "body", "one", "two"),
    ]  # fmt: skip


def test_exchanged_names_are_reported_by_id() -> None:
    def flow(first: str, second: str) -> Plain:
        return _flow({"name": first, "type": "message", "body": "one", "platform_id": "1", "next": second},
                     {"name": second, "type": "message", "body": "two", "platform_id": "2"})  # fmt: skip

    assert _changes(flow("A", "B"), flow("B", "A")) == [
        ("renamed", "step", "B", "", "A", "B"), ("renamed", "step", "A", "", "B", "A"),
    ]  # fmt: skip


def test_ambiguous_steps_are_not_reported_as_renamed() -> None:
    def flow(*names: str) -> Plain:
        options = dict(zip("abc", names, strict=False))
        return _flow({"name": "M", "type": "menu", "options": options},
                     *({"name": name, "type": "message", "body": "hi"} for name in names))  # fmt: skip

    found = _changes(flow("A", "B"), flow("C", "D"))

    assert {change[0] for change in found} == {"added", "removed", "changed"}


def test_a_step_with_another_target_counts_as_changed() -> None:
    def flow(first: str, second: str, third: str, leads_to: str, **more: str) -> Plain:
        texts = {third: "one", **more}
        return _flow({"name": "M", "type": "menu", "options": {"a": first, "b": third}},
                     {"name": first, "type": "message", "body": "first", "next": second},
                     {"name": second, "type": "message", "next": leads_to},
                     *({"name": name, "type": "message", "body": text} for name, text in texts.items()))  # fmt: skip

    found = _changes(flow("A", "B", "C", leads_to="C"), flow("X", "Y", "Z", leads_to="D", D="two"))

    assert [change[:3] for change in found if change[1] == "step"] == [
        ("removed", "step", "A"), ("removed", "step", "B"),
        ("added", "step", "X"), ("added", "step", "Y"), ("renamed", "step", "Z"), ("added", "step", "D"),
    ]  # fmt: skip


def test_the_order_of_query_parameters_counts() -> None:
    old = _flow(action("S", query_params=[["a", 1], ["b", 2], ["a", 3]]))
    new = _flow(action("S", query_params=[["a", 1], ["a", 3], ["b", 2]]))

    assert _changes(old, new) == [
        ("changed", "request", "S", "query_params (order)", ["a", "b", "a"], ["a", "a", "b"]),
    ]  # fmt: skip
    assert _changes(_flow(action("S", query_params={"a": 1})), _flow(action("S", query_params=[["a", 1]]))) == []


def test_a_body_key_named_next_is_not_an_exit() -> None:
    old = _flow({"name": "A", "type": "question", "next": "S"}, action("S", body={"next": "A", "step": "A"}))
    new = _flow({"name": "B", "type": "question", "next": "S"}, action("S", body={"next": "A", "step": "A"}))

    assert _changes(old, new) == [("renamed", "step", "B", "", "A", "B")]


def test_a_rename_applies_to_the_flows_tests() -> None:
    def flow(ask: str, send: str) -> Plain:
        test: Plain = {
            "name": "a test",
            "response": {
                "step": {ask: "Ana"}, f"step.{ask}": "Ana", "history": [{"step": ask, "value": "Ana"}],
                "actions": {send: [{"outcome": "error"}]}, "exits": {send: "success"},
            },
            "replies": [{"step": send, "response": {"step": {"Ask": 1}}}],
            "expect": {"path": [ask, send], "variables": {f"step.{send}.response.id": 1, f"{{{{ step.{ask} }}}}": 2}},
        }  # fmt: skip
        return _flow({"name": ask, "type": "question", "next": send}, action(send), tests=[test])

    assert _changes(flow("Ask", "Send"), flow("Ask name", "Create")) == [
        ("renamed", "step", "Ask name", "", "Ask", "Ask name"),
        ("renamed", "step", "Create", "", "Send", "Create"),
    ]


def test_secrets_are_never_shown() -> None:
    def flow(secret: str) -> Plain:
        return _flow(
            action(
                "Send",
                url=f"https://crm.example/x?api_key={secret}",
                headers={"Authorization": f"Bearer {secret}", "X-Api-Key": secret, "X-Note": f"Basic {secret}"},
                query_params={"access_token": secret},
                body={"auth": {"password": secret, "nested": [secret]}, "note": f"token={secret}"},
                on_success="Say",
            ),
            {"name": "Say", "type": "message", "body": f"https://ana:{secret}@files.example/x"},
            variables={"api_token": {"default": secret}},
            replay={"source": f"postgresql://ana:{secret}@db.example/x", "query": "SELECT 1"},
        )

    old, new = load_flow(flow("s3cr3t-one")), load_flow(flow("s3cr3t-two"))
    found = differences(old, new)

    assert "s3cr3t" not in repr(found)
    assert all(change.hidden for change in found)
    assert {change.path for change in found} >= {
        "url", "headers.Authorization", "headers.X-Api-Key", "headers.X-Note", "query_params.access_token",
        "body.auth.password", "body.auth.nested[0]", "body.note", "variables.api_token.default", "replay.source",
    }  # fmt: skip


def test_masks_secrets_inside_received_values() -> None:
    old, new = _flow(action("Send")), _flow(action("Send", body={"user": {"password": "s3cr3t", "name": "ana"}}))

    [change] = differences(load_flow(old), load_flow(new))

    assert (change.what, change.new) == ("added", {"user": {"password": "***", "name": "ana"}})
    assert change.hidden


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ana:s3cret@crm.example/a", "https://***@crm.example/a"),
        ("https://a@b@crm.example", "https://***@crm.example"),
        ("/x?api_key=abc&page=2", "/x?api_key=***&page=2"),
        ("Bearer abc.def", "Bearer ***"),
        ('{"password": "a b c", "name": "ana"}', '{"password": "***", "name": "ana"}'),
        ("<token>abc</token>", "<token>***</token>"),
        ("hooks/sk_live_51AbCdEf1234567890abc", "hooks/***"),
        ("/x?token={{ global.token }}", "/x?token={{ global.token }}"),
        ("{{ step.A_long_name_of_1_step.response.key }}", "{{ step.A_long_name_of_1_step.response.key }}"),
        ("Hi {{ contact.name }}, see https://a.example/b", "Hi {{ contact.name }}, see https://a.example/b"),
        ("a\0b {{ x }}", "a\0b {{ x }}"),
        ("Authorization: Bearer abc", "Authorization: Bearer ***"),
        ('"Authorization": "Basic abc def"', '"Authorization": "Basic ***"'),
        ("Take the Basic plan", "Take the Basic plan"),
        ("response.token == 'abc'", "response.token == '***'"),
        ('{"Authorization": "Bearer abc {{ global.x }}"}', '{"Authorization": "Bearer ***{{ global.x }}"}'),
        (r'{"password": "a \" b", "name": "ana"}', '{"password": "***", "name": "ana"}'),
        (r'"{\"password\": \"abc\", \"name\": \"ana\"}"', r'"{\"password\": \"***\", \"name\": \"ana\"}"'),
        ('[["api_key", "abc"], ["name", "ana"]]', '[["api_key", "***"], ["name", "ana"]]'),
        ('{"name": "api_key", "value": "abc"}', '{"name": "api_key", "value": "***"}'),
        ('<user token="abc"><password type="x">a b</password></user>',
         '<user token="***"><password type="x">***</password></user>'),
        ('"pwd": "abc", "key_lifetime": 60', '"pwd": "***", "key_lifetime": 60'),
        ('"password": "abc', '"password": "***'),
    ],
)  # fmt: skip
def test_texts_are_shown_without_their_secrets(text: str, shown: str) -> None:
    assert mask_secrets(text) == shown


def test_secrets_in_pairs_and_parts_of_a_body_are_not_shown() -> None:
    def flow(secret: str) -> Plain:
        parts = [{"name": "pin", "value": secret}, {"name": "pin", "value": "1234"}]
        return _flow(
            action("Form", body_type="form", body=[["password", secret], ["name", "ana"]], on_success="Upload"),
            action("Upload", body_type="multipart", body=parts),
        )

    found = differences(load_flow(flow("s3cr3t-one")), load_flow(flow("s3cr3t-two")))

    assert "s3cr3t" not in repr(found)
    assert [(change.path, change.new, change.hidden) for change in found] == [
        ("body[0]", ["password", "***"], True),
        ("body[0]", {"name": "pin", "value": "***"}, True),
    ]
    came = differences(
        load_flow(_flow(action("Form", on_success="Upload"), action("Upload"))), load_flow(flow("s3cr3t-one"))
    )
    assert "s3cr3t" not in repr(came)


def test_a_field_renamed_to_a_secret_name_is_not_shown() -> None:
    old, new = _flow(action("S", body=[["name", "ana"]])), _flow(action("S", body=[["password", "s3cr3t"]]))

    for one, other in ((old, new), (new, old)):
        [change] = differences(load_flow(one), load_flow(other))

        assert (change.path, {change.old[1], change.new[1]}) == ("body[0]", {"ana", "***"})


@pytest.mark.parametrize("text", ["a", "a.", "a-", "{{", "://", "://x@", "bearer ", "token=", 'token="', "<a ", '\\"'])
def test_comparing_long_texts_takes_linear_time(text: str) -> None:
    begun = time.process_time()
    mask_secrets(text * (60_000 // len(text)))
    assert time.process_time() - begun < 0.5


def _mutations(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every change or removal of one leaf."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), ...
            yield from _mutations(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield (*path, number), ...
            yield from _mutations(item, (*path, number))
    elif isinstance(value, bool):
        yield path, not value
    elif isinstance(value, (int, float)):
        yield path, value + 1
    elif isinstance(value, str):
        yield path, value + "x"
    else:
        yield path, "x"


def _mutate(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    copied = copy.deepcopy(value)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    if change is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = change
    return copied


def _means(flow: Plain) -> str:
    # A template's next and an action's body differ between null and absent.
    given = [[step.get("next", ...) is ..., step.get("body", ...) is ...] for step in flow["steps"]]
    return pydantic_model(FlowFormat).model_validate_json(json.dumps(flow)).model_dump_json(exclude={"schema_"}) + repr(
        given
    )


@pytest.mark.parametrize(
    "flow",
    [FLOW, *(pytest.param(path, id=path.stem, marks=pytest.mark.long) for path in EXAMPLES)],
    ids=["sample"] + [None] * len(EXAMPLES),
)
def test_every_change_of_meaning_is_reported(flow: Any) -> None:
    plain = flow if isinstance(flow, dict) else json.loads(flow.read_text(encoding="utf-8"))
    old = load_flow(plain)
    tried = 0

    for path, change in _mutations(plain):
        mutated = _mutate(plain, path, change)
        if mutated == plain:
            continue
        try:
            new = load_flow(mutated)
        except FlowFileError:
            continue
        told = differences(old, new)
        tried += 1
        if path == ("start",) or _means(mutated) == _means(plain):
            continue
        assert told, (path, change)
        assert all(isinstance(one, Change) for one in told)

    assert tried > 10
