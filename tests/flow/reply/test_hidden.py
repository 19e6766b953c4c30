"""Sensitive values are hidden in recorded results and restored."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.marks import without_marks
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, Sent
from airflow_whatsapp_flows.flow.secrets import FORMS
from airflow_whatsapp_flows.flow.storable import clean
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.references import Reference

EMAIL, PIN = "Ana.Á+q@shop.example", "q7x"
REFERENCES = (
    Reference("contact", ("email",), "contact.email"),
    Reference("step", ("Ask pin",), "step.Ask pin"),
    Reference("step", ("Log in", "response", "token"), "step.Log in.response.token"),
)


def make_hidden(email: Any = EMAIL, pin: Any = PIN) -> Hidden:
    hidden = Hidden(REFERENCES)
    hidden.note({"contact": {"email": email}, "step": {"Ask pin": pin}})
    return hidden


def result(response: Any = None, **keys: Any) -> ActionResult:
    shape: dict[str, Any] = {"headers": {}, "method": "POST", "url": "https://crm.example/x"}
    return ActionResult(outcome=Outcome.SUCCESS, response=response, **{**shape, **keys})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", [str, str.upper, str.lower, str.swapcase, str.title])
def test_hides_and_restores_a_value_in_every_form_and_case(form: str, case: Any) -> None:
    hidden, written = make_hidden(), case(FORMS[form](EMAIL))
    given_ = result([f"before {written} behind"], url=f"https://crm.example/{written}", headers={"x-a": written})

    recorded = hidden.hide(given_)

    shown = json.dumps(recorded.as_value(), ensure_ascii=False)
    assert written.casefold() not in shown.casefold()
    assert hidden.restore(recorded) == given_
    assert without_marks(recorded.response) == ["before *** behind"]


@pytest.mark.parametrize(("name", "written"), [("Yıldız", "YILDIZ"), ("Yildiz", "YILDIZ"), ("ipek", "İPEK")])
def test_hides_a_turkish_name_in_upper_case(name: str, written: str) -> None:
    assert make_hidden(name).conceal({"greeting": f"Hello, {written}!"}) == {"greeting": "Hello, ***!"}


@pytest.mark.parametrize("value", ["iiiiii", 1e16, 0.00001, -2.5e-7])
def test_hides_base64_without_digits_and_numbers_with_an_exponent(value: Any) -> None:
    hidden, text = make_hidden(pin=value), text_of(value)
    packed = base64.b64encode(text.encode()).decode()

    recorded = hidden.hide(result({"id": f"x {packed.lower()}", "n": value, "t": f"{text} "}))

    assert text not in json.dumps(recorded.as_value())
    assert packed.lower() not in json.dumps(recorded.as_value())


def test_base64_in_small_letters_without_a_digit_is_taken_for_a_word_if_it_is_long() -> None:
    packed = base64.b64encode(b"iiiiiiiii").decode()
    hidden = make_hidden(pin="iiiiiiiii")

    assert hidden.conceal([packed, packed.upper(), packed.lower()]) == ["***", "***", "***"]
    assert make_hidden(pin="iiiiiiiii").conceal(packed.lower()) == packed.lower()


def test_hides_values_in_every_server_written_part_of_a_result() -> None:
    failed = result(
        {EMAIL: [EMAIL, {"a": 1}]}, reason=f"for {EMAIL}", headers={"x-a": EMAIL, EMAIL: "x"}, url=f"https://a/{EMAIL}"
    ).as_error(ErrorKind.STATUS, f"no {EMAIL}", Sent.YES)

    recorded = make_hidden().hide(failed)

    assert EMAIL not in json.dumps(recorded.as_value(), ensure_ascii=False)
    assert make_hidden().restore(recorded) == failed


@pytest.mark.parametrize(
    ("response", "shown"),
    [
        pytest.param("q7x", "***", id="whole"),
        pytest.param("pin q7x, Q7X", "pin ***, ***", id="words"),
        pytest.param("q7xa aq7x q7x1", "q7xa aq7x q7x1", id="parts of words"),
    ],
)
def test_hides_a_short_value_only_as_a_whole_word(response: str, shown: str) -> None:
    assert without_marks(make_hidden().hide(result(response)).response) == shown


@pytest.mark.parametrize("pin", [4141, 41.5, "4141"])
def test_a_number_stays_a_number(pin: Any) -> None:
    hidden, given_ = make_hidden(pin=pin), result({"a": 4141, "b": 41.5, "c": [True, None], "d": "4141"})

    recorded = hidden.hide(given_)

    assert recorded != given_
    restored = hidden.restore(recorded).response
    assert json.dumps(restored) == json.dumps(given_.response)


def test_hides_a_phone_number_without_its_plus() -> None:
    recorded = make_hidden(email="+52 55 1234 5678").hide(result({"a": "525512345678", "b": 525512345678}))

    assert "5678" not in json.dumps(recorded.as_value())


@pytest.mark.parametrize("value", ["", " ", "-", "***", None, True, [], {}])
def test_missing_values_hide_nothing(value: Any) -> None:
    given_ = result({"a": "yes - *** no", "b": True, "c": None})

    assert Hidden(REFERENCES[:1]).hide(given_) is given_
    assert make_hidden(email=value).hide(given_) is given_


def test_a_literal_mark_in_a_reply_is_kept() -> None:
    written = "***{contact.email}*** ****{=}*** ***{#}***7 ***{ *** {x}"
    hidden = make_hidden()

    assert hidden.restore(hidden.hide(result([written, EMAIL]))).response == [written, EMAIL]


def test_previous_values_are_hidden_and_distinguished() -> None:
    hidden = make_hidden()
    hidden.note({"contact": {"email": "eva@shop.example"}})
    hidden.note({"contact": {"email": EMAIL}})
    given_ = result(f"{EMAIL} eva@shop.example")

    recorded = hidden.hide(given_)

    assert recorded.response == "***{contact.email}*** ***{contact.email#2}***"
    assert hidden.restore(recorded) == given_


def test_values_from_a_reply_are_hidden_only_on_request() -> None:
    given_ = result({"token": "blue horse 7"})

    assert make_hidden().hide(given_) is given_
    own = make_hidden().hide(given_, own="Log in")
    assert own.response == {"token": "***{step.Log in.response.token}***"}
    assert make_hidden().hide(given_, own="Other") is given_


def test_reports_a_value_that_cannot_be_restored() -> None:
    recorded = make_hidden().hide(result(EMAIL))
    later = Hidden(REFERENCES[1:])
    later.note({"step": {"Ask pin": PIN}})

    later.restore(recorded)
    later.check_restored("Save", is_read=False)
    later.check_restored("Save", is_read=True)
    later.restore(recorded)
    with pytest.raises(RenderError, match=r"list 'contact\.email' in 'sensitive' again"):
        later.check_restored("Save", is_read=True)


def test_hides_and_restores_literals_of_a_flow() -> None:
    hidden = Hidden((), ("x7Fq2LmZp9RtY4kWvB3nQ8sD",))
    given_ = result("x7Fq2LmZp9RtY4kWvB3nQ8sD", url="https://a/x7Fq2LmZp9RtY4kWvB3nQ8sD")

    recorded = hidden.hide(given_)

    assert (recorded.url, recorded.response) == ("https://a/***{flow.secret}***", "***{flow.secret}***")
    assert hidden.restore(recorded) == given_


_TEXTS = st.text(alphabet=st.sampled_from("aA1é%*{}|#=+/\\\"&<' \nßſKİ"), max_size=12)
_DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-99999, 99999) | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(_DATA, _TEXTS, st.integers(0, 99999) | _TEXTS)
def test_hidden_literals_are_restored(response: Any, email: str, pin: Any) -> None:
    hidden, given_ = make_hidden(email, pin), result(clean(response, 64))

    restored = hidden.restore(hidden.hide(given_))

    # Letters that have the same lower case, such as ſ and s, count as the same.
    assert str(restored.response).casefold() == str(given_.response).casefold()
