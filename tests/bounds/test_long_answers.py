"""An answer of a megabyte is compared, parsed, and checked quickly, or refused quickly."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest

from airflow_whatsapp_flows.errors import RenderError, ResponseError
from airflow_whatsapp_flows.flow.answers import AnswerMisfit, AnswerRule
from airflow_whatsapp_flows.flow.conditions import compare
from airflow_whatsapp_flows.flow.format import AnswerType, Comparison
from airflow_whatsapp_flows.flow.identity import IdentityRule, OptOut
from airflow_whatsapp_flows.flow.masking import mask_text
from airflow_whatsapp_flows.flow.moments import parse_iso, parse_moment
from airflow_whatsapp_flows.flow.numbers import parse_number
from airflow_whatsapp_flows.flow.phones import e164, has_several_phones, looks_like_phone, phone_key
from airflow_whatsapp_flows.flow.template.filters import FILTERS
from airflow_whatsapp_flows.flow.walk.response import read_response

SECONDS = 0.1
MEMORY = 50_000_000
TRIES = 3
ERRORS = (RenderError, ResponseError, AnswerMisfit, ValueError)

SIZE = 1_000_000
TEXTS = {
    "digits": "1" * SIZE,
    "signs and digits": "+1" * (SIZE // 2),
    "brackets": "(0)" * (SIZE // 3),
    "dashes": "-" * SIZE,
    "blanks": " " * SIZE + "1",
    "letters": "a" * SIZE,
    "letters that grow": "ß" * (SIZE // 2),
    "other digits": "٣" * (SIZE // 2),
    "wide digits": "１" * (SIZE // 3),
    "addresses": "a@" * (SIZE // 2),
    "domains": "a@" + "b." * (SIZE // 2),
    "a long domain": "a@" + "b" * SIZE + "@",
    "numbers in a list": "+525512345678, " * (SIZE // 15),
    "extensions": "+525512345678 ext " * (SIZE // 18),
    "tel": "tel:" * (SIZE // 4),
    "a date": "2026-11-22T10:00:00." + "0" * SIZE,
    "dates": "2026-11-22 " * (SIZE // 11),
    "a time": "10:" * (SIZE // 3),
    "a URL": "https://a.example/" + "a/" * (SIZE // 2),
    "a number": "1." + "0" * SIZE,
    "an exponent": "1e" + "9" * SIZE,
    "quotes": '"' * SIZE,
    "control characters": "\x01" * SIZE,
    "zero-width": "\u200b" * (SIZE // 3) + "1",
    "combining": "e" + "\u0301" * (SIZE // 2),
}
FILTER_ARGUMENTS: dict[str, tuple[Any, ...]] = {"replace": ("a", "b"), "e164": ("MX",), "int": (0,), "float": (0,)}


def _uses() -> Iterator[tuple[str, Callable[[str], object]]]:
    for comparison in get_args(Comparison):
        for expected in ("x", 5, "2026-11-22", "21:30", None):
            yield f"{comparison} {expected}", lambda text, c=comparison, e=expected: compare(text, c, e)  # type: ignore[misc]
        yield f"{comparison} itself", lambda text, c=comparison: compare(text, c, text)  # type: ignore[misc]
        yield f"{comparison} in a list", lambda text, c=comparison: compare([text], c, "x")  # type: ignore[misc]
    for answer_type in get_args(AnswerType):
        yield f"answer {answer_type}", lambda text, kind=answer_type: AnswerRule(answer_type=kind).read(text, {})  # type: ignore[misc]
    for name, filter_ in FILTERS.items():
        if name not in ("urlencode", "json", "join"):  # they make a text, and are measured as texts
            yield f"filter {name}", lambda text, f=filter_, n=name: f(text, *FILTER_ARGUMENTS.get(n, ()))  # type: ignore[misc]
    yield "phone_key", phone_key
    yield "phone_key in a country", lambda text: phone_key(text, "MX")
    yield "e164", e164
    yield "several phones", has_several_phones
    yield "looks like a phone", looks_like_phone
    yield "number", parse_number
    yield "iso", parse_iso
    yield "moment", lambda text: parse_moment(text, ZoneInfo("America/Mexico_City"))
    for key in ("phone", "email", "id", "user_id", "meta"):
        yield f"identity {key}", lambda text, k=key: IdentityRule().of({k: text}).marks  # type: ignore[misc]
    yield "opt-out", lambda text: OptOut(["+525512345678"]).holds(IdentityRule().of({"phone": text, "email": text}))
    yield "response", lambda text: read_response({"id": "r", "contact": {"phone": text}, "step": {"a": text}})
    yield "response id", lambda text: read_response({"id": text})
    yield "dotted name", lambda text: read_response({f"contact.{text}": text})
    yield "mask", lambda text: mask_text(text[:4_000])  # as much as an excerpt reads


USES = dict(_uses())


@pytest.mark.parametrize("name", USES)
def test_any_use_of_a_long_answer_is_quick_and_small(name: str) -> None:
    use, slow = USES[name], {}
    for kind, text in TEXTS.items():
        least = min(_seconds(use, text) for _ in range(TRIES))
        if least > SECONDS:
            slow[kind] = f"{least:.2f} s"
    assert slow == {}


@pytest.mark.parametrize("name", [name for name in USES if not name.startswith(("answer", "filter"))][::4])
def test_any_use_of_a_long_answer_takes_little_memory(name: str) -> None:
    use, large = USES[name], {}
    for kind, text in TEXTS.items():
        tracemalloc.start()
        _seconds(use, text)
        if (peak := tracemalloc.get_traced_memory()[1]) > MEMORY:
            large[kind] = f"{peak:,} bytes"
        tracemalloc.stop()
    assert large == {}


def _seconds(use: Callable[[str], object], text: str) -> float:
    before = time.thread_time()
    with contextlib.suppress(ERRORS):
        use(text)
    return time.thread_time() - before
