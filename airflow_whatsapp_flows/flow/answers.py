"""Answers, typed by the question's answer type (the platform's ``AnswerTypeEnum``)."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_whatsapp_flows.flow.format import AnswerType
from airflow_whatsapp_flows.flow.moments import parse_day, parse_iso
from airflow_whatsapp_flows.flow.options import find_option
from airflow_whatsapp_flows.flow.phones import e164, is_country
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.template.references import Reference

_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,300}\.[0-9]{0,300}|\.[0-9]{1,300})")
_EMAIL = re.compile(r"[^\s@<>()\[\],;:\\\"]+@[^\s@<>()\[\],;:\\\"]+\.[^\s@.<>()\[\],;:\\\"]+")
_PHONE = re.compile(r"\+?\(?[0-9][0-9\s().-]{4,25}")
_TIME = re.compile(r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?")
_YES, _NO = frozenset({"true", "yes", "si", "sí", "1"}), frozenset({"false", "no", "0"})


class AnswerMisfit(ValueError):
    """An answer that does not fit its question; the text says what would.

    Attributes:
        answer: that does not fit; ``None`` where none was given.
    """

    answer: Value = None


@dataclass(frozen=True, slots=True)
class ListedOptions:
    """Options that are a list of objects in a variable.

    Attributes:
        source: the variable.
        value: key of what the answer becomes.
        title: key of what the contact sees.
    """

    source: Reference
    value: str
    title: str

    def choose(self, answer: Value, values: Mapping[str, object]) -> Value:
        """What an answer becomes: the value of the option that it names by its value or its title.

        Raises:
            AnswerMisfit: it names none, or there is no such list.
        """
        found = self.source.resolve(values)
        options = [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []
        if not options:
            raise AnswerMisfit(f"its options must be a list of objects, but {self.source.text} contains none")
        wanted = text_of(answer).strip()
        for option in options:
            if self.value in option and text_of(option[self.value]).strip() == wanted:
                return option.get(self.value)
        titled = [option for option in options if self.title in option]
        chosen = find_option([text_of(option[self.title]) for option in titled], wanted)
        if chosen is not None:
            return titled[chosen].get(self.value)
        titles = [text_of(option[self.title]) for option in options if self.title in option]
        raise AnswerMisfit(f"it is not one of the {len(options)} options: {', '.join(titles[:10])}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRule:
    """Which answers fit a question, and what they are read as.

    Attributes:
        answer_type: the platform's type; ``ANY`` and ``FREE_TEXT`` take everything.
        options: the answers that fit; empty for all.
        listed: the answers that fit, from a variable.
        minimum: what a number, a date or a time is at least.
        maximum: what it is at most.
        decimals: whether a number may have decimals.
        country: of a phone number without one (ISO 3166-1 alpha-2); ``None`` leaves phone numbers as they are.
    """

    answer_type: AnswerType = "ANY"
    options: tuple[str, ...] = ()
    listed: ListedOptions | None = None
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    decimals: bool = True
    country: str | None = None

    def read(self, answer: Value, values: Mapping[str, object]) -> Value:
        """An answer with the type its question asks for.

        A number becomes a number, a yes or no a bool, and an option of a list its value; everything else stays as it
        was typed, so a phone number keeps its ``+`` and zeros. ``null`` is an answer of every type.

        Args:
            answer: as recorded.
            values: the contact's values, by scope.

        Raises:
            AnswerMisfit: it does not fit; the text says what would.
        """
        if answer is None or (self.answer_type in _ANYTHING and self.listed is None):
            return answer
        if self.listed is not None:
            return self.listed.choose(answer, values)
        if self.answer_type == "SINGLE_OPTION" and self.options:
            scalar = isinstance(answer, (str, int, float)) and not isinstance(answer, bool)
            chosen = find_option(self.options, text_of(answer)) if scalar else None
            if chosen is None:
                options = ", ".join(self.options[:10])
                raise AnswerMisfit(f"it is not one of the {len(self.options)} options: {options}")
            return self.options[chosen]
        if self.answer_type == "PHONE" and self.country is not None:
            return _in_country(answer, self.country)
        value = _READERS[self.answer_type](answer)
        if self.answer_type == "NUMBER" and not self.decimals and isinstance(value, float) and not value.is_integer():
            raise AnswerMisfit("a whole number is expected, such as 41")
        if self.minimum is not None or self.maximum is not None:
            self._check_range(value)
        return value

    def _check_range(self, value: Value) -> None:
        place = _PLACES.get(self.answer_type)
        if place is None:
            return
        here = place(value)
        if self.minimum is not None and here < place(self.minimum):
            raise AnswerMisfit(f"at least {self.minimum} is expected")
        if self.maximum is not None and here > place(self.maximum):
            raise AnswerMisfit(f"at most {self.maximum} is expected")


def _as_is(answer: Value) -> Value:
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


def _pattern_parser(pattern: re.Pattern[str], expected: str) -> Callable[[Value], Value]:
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


def _in_country(answer: Value, country: str) -> Value:
    number = e164(answer, country) if isinstance(answer, str) else None
    if number is None:
        raise AnswerMisfit(f"a phone number is expected, with its country code or from {country}")
    return number


def _location(answer: Value) -> Value:
    if isinstance(answer, (str, Mapping)):
        return answer
    raise AnswerMisfit("a location is expected: {latitude, longitude}")


_ANYTHING = ("ANY", "FREE_TEXT")
_READERS: dict[AnswerType, Callable[[Value], Value]] = {
    "ANY": _as_is,
    "FREE_TEXT": _as_is,
    "SINGLE_OPTION": _as_is,
    "NUMBER": _number,
    "BOOL": _bool,
    "EMAIL": _pattern_parser(_EMAIL, "an e-mail address"),
    "PHONE": _pattern_parser(_PHONE, "a phone number"),
    "TIME": _pattern_parser(_TIME, "a time such as 16:04"),
    "URL": _url,
    "DATE": _iso(parse_day, "a date such as 2026-11-22"),
    "DATETIME": _iso(parse_iso, "a date and time such as 2026-11-22T16:04"),
    "FILE": _file,
    "DOCUMENT": _file,
    "VIDEO": _file,
    "IMAGE": _file,
    "LOCATION": _location,
}


def _time_place(value: Value) -> float:
    hours, minutes, seconds = (*map(int, text_of(value).strip().split(":")), 0)[:3]
    return hours * 3600 + minutes * 60 + seconds


def _moment_place(value: Value) -> float:
    moment = parse_iso(text_of(value).strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)).timestamp()


_PLACES: Mapping[str, Callable[[Value], float]] = {
    "NUMBER": lambda value: value if isinstance(value, (int, float)) else float(text_of(value)),
    "DATE": _moment_place,
    "DATETIME": _moment_place,
    "TIME": _time_place,
}
RANGED_TYPES = tuple(_PLACES)
"""Answer types that can have a range."""


def check_bound(answer_type: AnswerType, bound: int | float | str) -> None:
    """Check that one end of a range is an answer of its type.

    Raises:
        AnswerMisfit: it is none; the text says what would be.
    """
    _READERS[answer_type](bound)


def check_country(country: str) -> None:
    """Check that phone numbers of a country are known.

    Raises:
        AnswerMisfit: they are not.
    """
    if not is_country(country):
        raise AnswerMisfit(f"{country!r} is not a country; use its two-letter code (ISO 3166-1), such as MX")
