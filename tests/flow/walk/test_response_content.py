"""Which parts of a response are its content."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import msgspec
import pytest

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.response_content import (
    content_digest,
    is_content,
    read_stored_response,
    response_json,
    response_value,
)

WHOLE: dict[str, Any] = {
    "id": "r-1",
    "contact": {"phone": "+52", "meta": {"plan": "pro"}},
    "step": {"Ask": "x"},
    "global": {"Day": "1"},
    "flow_execution_variables": {"campaign": "spring"},
    "created_on": "2026-11-20",
    "history": [{"step": "Ask", "value": "w"}],
    "actions": {"Call": [{"outcome": "success"}]},
    "exits": {"Call": "success"},
}


def digest(**changes: Any) -> str:
    return content_digest(read_response({**WHOLE, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"contact": {"phone": "+52", "meta": {"plan": "free"}}}, id="contact"),
        pytest.param({"step": {"Ask": None}}, id="step"),
        pytest.param({"global": {}}, id="global"),
        pytest.param({"flow_execution_variables": {"campaign": "fall"}}, id="variables"),
        pytest.param({"history": []}, id="history"),
        pytest.param({"actions": {"Call": [{"outcome": "error"}]}}, id="actions"),
        pytest.param({"exits": {"Call": "error"}}, id="exits"),
    ],
)
def test_everything_that_a_flow_reads_is_content(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()


def test_key_order_and_recording_time_are_not_content() -> None:
    assert content_digest(read_response(dict(reversed(WHOLE.items())))) == digest()
    assert digest(created_on="2030-01-01") == digest(created_on=None) == digest()


def test_a_digest_of_an_earlier_version_is_known() -> None:
    value = {"id": "r-1", "contact": {"phone": "+52"}, "created_on": "2026-11-20"}
    response = read_response(value)
    earlier = read_response({"id": "r-1", "contact": {"phone": "+52"}})

    assert is_content(earlier, content_digest(response))
    assert is_content(response, None)
    assert not is_content(response, "b7d4b9a9a6e4ce4b0c1ea8e1a0d1a3a0")
    assert is_content(response, _of_an_earlier_version(value))


def test_a_response_round_trips() -> None:
    response = read_response(WHOLE)
    assert read_response(msgspec.json.decode(msgspec.json.encode(response_value(response)))) == response


def _of_an_earlier_version(value: dict[str, Any]) -> str:
    """The digest of an earlier version, which included the time of recording."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]


@pytest.mark.parametrize("left_out", [None, *WHOLE])
def test_a_stored_response_is_read_as_any_other(left_out: str | None) -> None:
    value = {key: item for key, item in WHOLE.items() if key != left_out}
    stored = msgspec.json.encode(response_value(read_response(value))).decode()

    assert read_stored_response(stored) == read_response(value)


@pytest.mark.parametrize(
    "value",
    [{"contact": {"phone": "+525512345678, +525587654321"}}, {"contact": {"canonical_phone": ["+52"]}}, {"contct": {}}],
    ids=["two phones", "a list", "unknown key"],
)
def test_a_stored_response_is_checked_as_any_other(value: dict[str, Any]) -> None:
    with pytest.raises(ResponseError) as other:
        read_response(value)

    with pytest.raises(ResponseError, match=re.escape(str(other.value))):
        read_stored_response(json.dumps(value))


def test_empty_texts_of_a_stored_response_are_none() -> None:
    read = read_stored_response('{"id":"","created_on":""}')

    assert (read.id, read.created_on) == (None, None)


@pytest.mark.parametrize("left_out", [None, *WHOLE])
def test_a_response_is_written_and_digested_as_plain_data(left_out: str | None) -> None:
    value = {key: item for key, item in WHOLE.items() if key != left_out}
    response = read_response(value)
    plain = response_value(response)

    assert response_json(response) == msgspec.json.encode(plain).decode()
    plain.pop("created_on", None)
    assert content_digest(response) == _of_an_earlier_version(plain)
