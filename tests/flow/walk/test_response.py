"""Reading a contact response: lenient in shape, strict in meaning."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.format import VariableFormat
from airflow_whatsapp_flows.flow.walk.response import ContactResponse, read_response, with_defaults

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "id",
        "contact",
        "step",
        "global",
        "flow_execution_variables",
        "created_on",
        "actions",
        "history",
        "exits",
        "contact.phone",
        "contact.meta",
        "contact.meta.a",
        "step.a",
        "step.a.b",
        "global.x",
        "actions.a",
        "x.y",
        ".",
        "contact.",
    ]
)


def test_dotted_names_mean_the_same_as_nested_ones() -> None:
    nested = {
        "id": "r-1",
        "contact": {"phone": "+52", "meta": {"plan": "pro"}},
        "step": {"v1.2 rate": 7},
        "global": {"x": 1},
    }
    dotted = {"id": "r-1", "contact.phone": "+52", "contact.meta.plan": "pro", "step.v1.2 rate": 7, "global.x": 1}

    assert read_response(nested) == read_response(dotted)
    assert read_response({"contact": {"phone": "+52"}, "contact.email": None}).contact == {"phone": "+52"}


def test_dotted_names_override_nested_ones() -> None:
    nested, dotted = {"contact": {"phone": "n"}}, {"contact.phone": "d"}
    for both in ({**nested, **dotted}, {**dotted, **nested}):
        assert read_response(both).contact == {"phone": "d"}
    assert read_response({"contact.email": None, "contact": {"phone": "+52"}}).contact == {"phone": "+52"}


def test_only_contacts_have_meta() -> None:
    assert read_response({"step.meta.a": 1}).step == {"meta.a": 1}


def test_null_is_a_value() -> None:
    assert read_response({"step": {"Ask": None}}).step == {"Ask": None}
    assert read_response({}).step == {}


def test_a_response_without_an_id_is_identified_by_its_answers() -> None:
    first, second = read_response({"step.a": 1}), read_response({"step.a": 2})

    assert first.identity == read_response({"step": {"a": 1}}).identity != second.identity
    assert read_response({"id": 7}).identity == read_response({"id": "7", "step.a": 1}).identity == "7"
    assert read_response({"id": ""}).id is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "must be an object, not null"),
        ([], "not a list"),
        ("x", "not text"),
        (7, "not a number"),
        ({"contat": {}}, "did you mean 'contact'"),
        ({"contact": []}, "'contact' of a contact response must be an object, not a list"),
        ({"contact": None}, "not null"),
        ({"step": "x"}, "not text"),
        ({"id": True}, "'id' of a contact response must be text"),
        ({"id": 1.5}, "'id' of a contact response must be text"),
        ({"created_on": {}}, "'created_on' of a contact response must be text"),
        ({"id.x": 1}, "unknown key 'id.x'"),
        ({"contact": "x", "contact.a": 1}, "cannot both be in"),
        ({"contact": {"meta": "x"}, "contact.meta.a": 1}, "cannot both be in"),
        ({"contact.meta": [1], "contact.meta.a": 1}, "cannot both be in"),
        ({"actions": []}, "'actions' of a contact response must be an object"),
        ({"actions": {"a": ["x"]}}, "'actions.a' must be a list of results"),
    ],
    ids=str,
)
def test_refuses_invalid_responses_with_a_reason(value: Any, message: str) -> None:
    with pytest.raises(ResponseError, match=message):
        read_response(value)


@given(st.dictionaries(KEYS | st.text(max_size=5), JSON, max_size=4) | JSON)
def test_any_data_is_a_response_or_refused(value: Any) -> None:
    try:
        response = read_response(value)
    except ResponseError:
        return
    assert response.identity


def test_any_mapping_is_read_as_an_object() -> None:
    def read(value: dict[str, Any]) -> ContactResponse:
        return read_response(MappingProxyType(value))

    assert read({"contact.phone": "+525512345678"}).contact == {"phone": "+525512345678"}
    assert read({"actions": {"Create": [{"outcome": "success"}]}}).actions == {"Create": ({"outcome": "success"},)}
    with pytest.raises(ResponseError, match="unknown key 'foo'"):
        read({"foo": 1})


def test_a_key_of_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ResponseError, match="unknown key"):
        read_response({"id": "r", "\ud800": 1})


def test_recorded_actions_are_lists() -> None:
    one = {"outcome": "success"}

    assert read_response({"actions": {"a": one, "b": [one, one]}}).actions == {"a": (one,), "b": (one, one)}


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("text", ["x", ""], [1, True, []]),
        ("number", [1, 1.5], ["1", True, []]),
        ("bool", [True], [1, "true"]),
        ("list", [[]], [{}, "x"]),
        ("object", [{}], [[], "x"]),
    ],
)
def test_declared_variables_have_their_type(kind: Any, right: list[Any], wrong: list[Any]) -> None:
    declared = {"v": VariableFormat(type=kind, default=None)}

    for value in [*right, None]:
        assert with_defaults({"v": value, "other": 1}, declared) == {"v": value, "other": 1}
    for value in wrong:
        with pytest.raises(ResponseError, match=rf"flow_execution_variables\.v must be a {kind}"):
            with_defaults({"v": value}, declared)


def test_applies_defaults_and_requires_required_variables() -> None:
    assert with_defaults({}, {"a": VariableFormat(default="x"), "b": VariableFormat()}) == {"a": "x", "b": None}
    with pytest.raises(ResponseError, match="is required"):
        with_defaults({}, {"a": VariableFormat(required=True)})


def test_history_and_exits_are_kept_by_step() -> None:
    response = read_response(
        {
            "step": {"q": "last"},
            "history": [{"step": "q", "value": 1}, {"step": "m", "value": None}, {"step": "q", "value": "2"}],
            "exits": {"Call": "success", "Menu": "Sales"},
        }
    )
    assert response.history == {"q": (1, "2"), "m": (None,)}
    assert response.exits == {"Call": "success", "Menu": "Sales"}
    assert [response.answers("q", used) for used in (0, 1, 2, 3)] == [(1, "2", "last"), ("2", "last"), ("last",), ()]
    assert [response.answers("m", used) for used in (0, 1)] == [(None,), ()]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"history": {"q": 1}}, "'history' of a contact response must be a list, not an object"),
        ({"history": [{"step": "q"}]}, "'history[0]' must be an object with 'step', a name, and 'value'"),
        (
            {"history": [{"step": "q", "value": 1}, "q"]},
            "'history[1]' must be an object with 'step', a name, and 'value'",
        ),
        ({"history": [{"step": 1, "value": 1}]}, "'history[0]' must be an object with 'step', a name, and 'value'"),
        ({"history": [{"step": "q", "value": 1, "at": 2}]}, "'history[0]' must be an object with 'step', a name"),
        ({"exits": ["a"]}, "'exits' of a contact response must be an object, not a list"),
        ({"exits": {"Call": True}}, "'exits.Call' must be the name of an exit, not true or false"),
    ],
)
def test_history_and_exits_of_the_wrong_shape_are_refused(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ResponseError) as caught:
        read_response(part)
    assert message in str(caught.value)


def test_different_answer_histories_are_different_responses() -> None:
    first, second = ({"step.q": 1, "history": [{"step": "q", "value": value}]} for value in ("a", "b"))
    assert read_response(first).identity != read_response(second).identity


@pytest.mark.parametrize("key", ["phone", "canonical_phone"])
@pytest.mark.parametrize("phones", [["+525512345678"], "+525512345678, +525512345679"])
def test_rejects_a_list_of_phones(key: str, phones: object) -> None:
    with pytest.raises(ResponseError, match=rf"contact.{key} must be one phone number, not a list"):
        read_response({"id": "r", "contact": {key: phones}})
