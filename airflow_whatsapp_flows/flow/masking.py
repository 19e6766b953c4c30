"""Personal data of a sample, so that people see what it looks like and not whose it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_whatsapp_flows.flow.secrets import HIDDEN

_MAX_DEPTH = 16
_MAX_ITEMS = 20
_KEPT_DIGITS = 4  # an age, a count, a year
_TWO_DIGIT_CODES = "2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
# ITU-T E.164: a country code is a prefix code of one to three digits.
_COUNTRY = re.compile(rf"\+(?:1|7|{_TWO_DIGIT_CODES}|[0-9]{{3}})")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?")
_PHONE = re.compile(r"\+?[(]?[0-9][0-9 ().-]{4,30}")
_EMAIL = re.compile(r"[^@\s]+@([^@\s]+)")
# The same within a sentence or a JSON text. A date has as many digits as a phone number, and says nothing of a person.
_PERSONAL = re.compile(
    r"""(?P<date>(?<![\w.-])[0-9]{4}-[0-9]{2}-[0-9]{2}(?![\w-]))
      | (?P<email>[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})
      | (?P<phone>(?<![\w.-])\+?\(?[0-9](?:[ ().-]{0,2}[0-9]){6,17}(?!\w))""",
    re.VERBOSE,
)


def mask_value(value: Any) -> Any:
    """Plain data with every text and long number in it masked; names of fields stay.

    ``"+5215512345678"`` becomes ``"+52…78"``, ``"ana@example.com"`` becomes ``"a…@example.com"``, any other text its
    first letter and ``"…"``. Numbers of at most four digits, true, false and null stay. Lists end after 20 items.
    """
    return _mask(value, 0)


def mask_text(text: str) -> str:
    """A text with the phone numbers, e-mail addresses and other long numbers in it masked; its words stay."""
    return _PERSONAL.sub(lambda match: match.group() if match["date"] else _text(match.group()), text)


def _mask(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (int, float)):
        return value if _is_short(str(value)) else _text(str(value))
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _mask(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_mask(item, depth + 1) for item in value[:_MAX_ITEMS]]
        return [*items, "…"] if len(value) > _MAX_ITEMS else items
    return "…"


def _text(text: str) -> str:
    stripped = text.strip()
    if _is_short(stripped) or stripped in ("", HIDDEN):
        return text
    if _NUMBER.fullmatch(stripped) or _PHONE.fullmatch(stripped):
        digits = re.sub(r"[^0-9]", "", stripped)
        country = _COUNTRY.match(stripped)
        return f"{country.group() if country else ''}…{digits[-2:]}"
    email = _EMAIL.fullmatch(stripped)
    if email:
        return f"{stripped[0]}…@{email.group(1)}"
    return f"{stripped[0]}…"


def _is_short(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and sum(map(str.isdecimal, text)) <= _KEPT_DIGITS
