"""Answers, typed by the question's answer type (the platform's ``AnswerTypeEnum``)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from airflow_whatsapp_flows.flow.format import AnswerType
from airflow_whatsapp_flows.flow.moments import parse_day, parse_iso
from airflow_whatsapp_flows.flow.template.language import Value

_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,300}\.[0-9]{0,300}|\.[0-9]{1,300})")
_EMAIL = re.compile(r"[^\s@<>()\[\],;:\\\"]+@[^\s@<>()\[\],;:\\\"]+\.[^\s@.<>()\[\],;:\\\"]+")
_PHONE = re.compile(r"\+?\(?[0-9][0-9\s().-]{4,25}")
_TIME = re.compile(r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?")
_YES, _NO = frozenset({"true", "yes", "si", "sí", "1"}), frozenset({"false", "no", "0"})


class AnswerMisfit(ValueError):
    """An answer that does not fit its question; the text says what would."""


def type_answer(answer: Value, answer_type: AnswerType, options: tuple[str, ...] = ()) -> Value:
    """An answer with the type its question asks for.

    A number becomes a number and a yes or no a bool; everything else stays as it was typed, so a phone
    number keeps its ``+`` and zeros. ``null`` is an answer of every type.

    Args:
        answer: as recorded.
        answer_type: what the question asks for; ``ANY`` and ``FREE_TEXT`` take everything.
        options: allowed answers of a ``SINGLE_OPTION`` question; empty allows all.

    Raises:
        AnswerMisfit: it does not fit.
    """
    if answer is None:
        return None
    if answer_type == "SINGLE_OPTION":
        return _option(answer, options)
    return _READERS[answer_type](answer)


def _as_is(answer: Value) -> Value:
    return answer


def _option(answer: Value, options: tuple[str, ...]) -> Value:
    if options and answer not in options:
        raise AnswerMisfit(f"the answer is none of the {len(options)} options: {', '.join(options[:10])}")
    return answer


def _number(answer: Value) -> Value:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer
    if isinstance(answer, float) and math.isfinite(answer):
        return answer
    text = answer.strip() if isinstance(answer, str) else ""
    # int() and float() take "1_000", "nan" and digits of every script; a CRM does not.
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    raise AnswerMisfit("a number is expected, such as 41 or 3.5")


def _bool(answer: Value) -> Value:
    if isinstance(answer, bool):
        return answer
    text = str(answer).strip().casefold()
    if text in _YES or text in _NO:
        return text in _YES
    raise AnswerMisfit("yes or no is expected")


def _matching(pattern: re.Pattern[str], expected: str) -> Callable[[Value], Value]:
    def read(answer: Value) -> Value:
        if isinstance(answer, str) and pattern.fullmatch(answer.strip()):
            return answer
        raise AnswerMisfit(f"{expected} is expected")

    return read


def _url(answer: Value) -> Value:
    try:
        parts = urlsplit(answer.strip() if isinstance(answer, str) else "")
    except ValueError:
        parts = urlsplit("")
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc:
        raise AnswerMisfit("a web address is expected, such as https://example.com/")
    return answer


def _iso(parse: Callable[[str], object], expected: str) -> Callable[[Value], Value]:
    def read(answer: Value) -> Value:
        try:
            parse(answer.strip() if isinstance(answer, str) else "")
        except ValueError:
            raise AnswerMisfit(f"{expected} is expected") from None
        return answer

    return read


def _file(answer: Value) -> Value:
    if isinstance(answer, str):
        return _url(answer)
    if isinstance(answer, Mapping) and isinstance(answer.get("url"), str):
        return answer
    raise AnswerMisfit("a file is expected: {url, filename, content_type}, or its web address")


def _location(answer: Value) -> Value:
    if isinstance(answer, (str, Mapping)):
        return answer
    raise AnswerMisfit("a location is expected: {latitude, longitude}")


_READERS: dict[AnswerType, Callable[[Value], Value]] = {
    "ANY": _as_is,
    "FREE_TEXT": _as_is,
    "NUMBER": _number,
    "BOOL": _bool,
    "EMAIL": _matching(_EMAIL, "an e-mail address"),
    "PHONE": _matching(_PHONE, "a phone number"),
    "TIME": _matching(_TIME, "a time such as 16:04"),
    "URL": _url,
    "DATE": _iso(parse_day, "a date such as 2026-11-22"),
    "DATETIME": _iso(parse_iso, "a date and time such as 2026-11-22T16:04"),
    "FILE": _file,
    "DOCUMENT": _file,
    "VIDEO": _file,
    "IMAGE": _file,
    "LOCATION": _location,
}
