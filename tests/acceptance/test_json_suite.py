"""The complete JSONTestSuite: JSON is parsed as in Node.js, everything else is refused, and nothing crashes.

Each case is the reply of a real server to a real request. The npm package that contains the suite is text, so
bytes that are not UTF-8 became U+FFFD in it; they are restored here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse
from airflow_whatsapp_flows.flow.storable import storable_text
from airflow_whatsapp_flows.transport import NetworkPolicy, SendPolicy, send_blocking
from tests.servers.recording import Answer, RecordingServer

pytestmark = pytest.mark.long

# Readers disagree about an object with a duplicate key.
REFUSED = {"y_object_duplicated_key", "y_object_duplicated_key_and_value"}
# No content is null, whatever its type: 204, or a server that answers 200 with nothing.
ACCEPTED = {"n_structure_no_data", "n_single_space"}

NOT_UTF_8 = {
    "i_string_UTF-16LE_with_BOM": b'\xff\xfe[\x00"\x00\xe9\x00"\x00]\x00',
    "i_string_UTF-8_invalid_sequence": b'["\xe6\x97\xa5\xd1\x88\xfa"]',
    "i_string_UTF8_surrogate_U+D800": b'["\xed\xa0\x80"]',
    "i_string_invalid_utf-8": b'["\xff"]',
    "i_string_iso_latin_1": b'["\xe9"]',
    "i_string_lone_utf8_continuation_byte": b'["\x81"]',
    "i_string_not_in_unicode_range": b'["\xf4\xbf\xbf\xbf"]',
    "i_string_overlong_sequence_2_bytes": b'["\xc0\xaf"]',
    "i_string_overlong_sequence_6_bytes": b'["\xfc\x83\xbf\xbf\xbf\xbf"]',
    "i_string_overlong_sequence_6_bytes_null": b'["\xfc\x80\x80\x80\x80\x80"]',
    "i_string_truncated-utf-8": b'["\xe0\xff"]',
    "i_string_utf16BE_no_BOM": b'\x00[\x00"\x00\xe9\x00"\x00]',
    "i_string_utf16LE_no_BOM": b'[\x00"\x00\xe9\x00"\x00]\x00',
    "n_array_a_invalid_utf8": b"[a\xe5]",
    "n_array_invalid_utf8": b"[\xff]",
    "n_number_invalid-utf-8-in-bigger-int": b"[123\xe5]",
    "n_number_invalid-utf-8-in-exponent": b"[1e1\xe5]",
    "n_number_invalid-utf-8-in-int": b"[0\xe5]\n",
    "n_number_real_with_invalid_utf8_after_e": b"[1e\xe5]",
    "n_object_lone_continuation_byte_in_key_and_trailing_comma": b'{"\xb9":"0",}',
    "n_string_invalid-utf-8-in-escape": b'["\\u\xe5"]',
    "n_string_invalid_utf8_after_escape": b'["\\\xe5"]',
    "n_structure_incomplete_UTF8_BOM": b"\xef\xbb{}",
    "n_structure_lone-invalid-utf-8": b"\xe5",
    "n_structure_single_eacute": b"\xe9",
}

Case = dict[str, Any]


@pytest.fixture(scope="module")
def cases(node: Callable[[str, bytes], bytes]) -> dict[str, Case]:
    return {case["name"].removesuffix(".json"): case for case in json.loads(node("json_cases.js", b""))}


@pytest.fixture(scope="module")
def results(cases: dict[str, Case]) -> dict[str, ActionResult]:
    """The result of an action for each case."""
    contents = [NOT_UTF_8.get(name) or case["input"].encode() for name, case in cases.items()]
    server = RecordingServer()
    server.queued = [Answer(200, content, {"Content-Type": "application/json"}) for content in contents]
    request = HttpRequest("GET", f"{server.url}/")
    network, policy = NetworkPolicy(allowed=(server.host,)), SendPolicy()
    found = {}
    try:
        for name in cases:
            reply = send_blocking(request, policy, network=network)
            assert isinstance(reply, HttpResponse), (name, reply)
            found[name] = classify(reply, SentRequest(request, 1, "key"))
    finally:
        server.close()
    return found


def test_the_suite_is_complete(cases: dict[str, Case]) -> None:
    kinds = [name[:2] for name in cases]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {"i_": 35, "n_": 188, "y_": 95}
    distorted = {name for name, case in cases.items() if "\ufffd" in case["input"] or "\x00[" in case["input"]}
    assert distorted - set(NOT_UTF_8) == set()
    assert set(NOT_UTF_8) - set(cases) == set()


def test_json_parses_as_in_node(cases: dict[str, Case], results: dict[str, ActionResult]) -> None:
    for name, case in cases.items():
        if name.startswith("y_"):
            result = results[name]
            assert _is_success(result) is (name not in REFUSED), name
            if _is_success(result):
                assert result.response == _storable(case["value"]), name


def test_refuses_a_reply_that_is_not_json_and_keeps_its_status(results: dict[str, ActionResult]) -> None:
    assert set(results) >= ACCEPTED | REFUSED
    for name, result in results.items():
        if name.startswith("n_"):
            assert _is_success(result) is (name in ACCEPTED), name
            if not _is_success(result):
                assert result.error
                assert (result.error.kind.value, result.status_code) == ("unparsable", 200), name


def test_implementation_defined_json_has_one_fixed_meaning(results: dict[str, ActionResult]) -> None:
    """UTF-8 and UTF-16 are read with or without a BOM, and lone surrogates become U+FFFD; no number is infinite."""
    read = {name: result.response for name, result in results.items() if name.startswith("i_") and _is_success(result)}
    assert {name for name in results if name.startswith("i_")} - set(read) == {
        "i_number_huge_exp",
        "i_number_neg_int_huge_exp",
        "i_number_pos_double_huge_exp",
        "i_number_real_neg_overflow",
        "i_number_real_pos_overflow",
        "i_string_UTF-8_invalid_sequence",
        "i_string_UTF8_surrogate_U+D800",
        "i_string_invalid_utf-8",
        "i_string_iso_latin_1",
        "i_string_lone_utf8_continuation_byte",
        "i_string_not_in_unicode_range",
        "i_string_overlong_sequence_2_bytes",
        "i_string_overlong_sequence_6_bytes",
        "i_string_overlong_sequence_6_bytes_null",
        "i_string_truncated-utf-8",
        "i_structure_500_nested_arrays",
    }
    assert read["i_string_utf16BE_no_BOM"] == read["i_string_UTF-16LE_with_BOM"] == ["é"]
    assert read["i_string_invalid_lonely_surrogate"] == ["\ufffd"]
    assert read["i_number_too_big_neg_int"] == [-123123123123123123123123123123]


def _is_success(result: ActionResult) -> bool:
    return result.outcome is Outcome.SUCCESS


def _storable(value: Any) -> Any:
    """NUL becomes U+FFFD, because databases can't store it."""
    if isinstance(value, dict):
        return {storable_text(name): _storable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return storable_text(value) if isinstance(value, str) else value
