"""``plain`` and ``none``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body import ABSENT, BodyType, EncodedBody, parse_body
from airflow_whatsapp_flows.flow.template.language import Data
from tests.flow.body.dict_language import INJECTIONS, LANGUAGE, content, encode, fault_of, naughty_strings


def test_text_is_sent_as_rendered() -> None:
    encoded = encode("plain", "Hi {{ x }}\r\n", {"x": "ñ😀"})
    assert encoded == EncodedBody("Hi ñ😀\r\n".encode(), "text/plain; charset=utf-8")
    assert content("plain", "{{ x }}", x=41) == b"41"
    assert content("plain", "") == b""
    assert content("plain", Data("{{ x }}")) == b"{{ x }}"


def test_templates() -> None:
    assert [t.text for t in parse_body(BodyType.PLAIN, "Hi {{ x }}", LANGUAGE).templates] == ["Hi {{ x }}"]
    assert parse_body(BodyType.PLAIN, "Hi", LANGUAGE).templates == ()
    assert parse_body(BodyType.NONE, None, LANGUAGE).templates == ()


@pytest.mark.parametrize("body", [None, 1, True, {}, [], Data({})])
def test_a_plain_body_is_text(body: object) -> None:
    assert "must be text" in fault_of("plain", body).message


def test_half_a_surrogate_pair_cannot_be_sent() -> None:
    with pytest.raises(RenderError, match="character 2 is U\\+D800"):
        content("plain", "a{{ x }}", x="\ud800")


def test_half_a_surrogate_pair_in_the_flow_is_a_fault() -> None:
    assert "U+D800" in fault_of("plain", "a\ud800").message


@pytest.mark.parametrize("body", [ABSENT, None, ""])
def test_none(body: object) -> None:
    assert encode("none", body) == EncodedBody(b"", None)


@pytest.mark.parametrize("body", ["x", {}, 0, False, []])
def test_none_has_no_body(body: object) -> None:
    assert '"body_type" is "none"' in fault_of("none", body).message


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_round_trips(value: str) -> None:
    assert content("plain", "{{ x }}", x=value).decode() == value


def test_naughty_strings() -> None:
    for value in INJECTIONS + naughty_strings():
        assert content("plain", "<{{ x }}>", x=value).decode() == f"<{value}>"
