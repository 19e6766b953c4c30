"""Converts single values to text, the same way in every body type."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.template.filters import text_of


def number_text(value: int | float) -> str:
    """A number as JSON writes it (RFC 8259 §6).

    Raises:
        RenderError: it is NaN or infinite, or has more digits than Python converts.
    """
    if isinstance(value, float):
        if not isfinite(value):
            raise RenderError(f"{value} cannot be sent; JSON has neither NaN nor infinity")
        return float.__repr__(value)
    try:
        return int.__repr__(value)
    except ValueError:
        raise RenderError("the number has too many digits to be sent") from None


def scalar_text(value: object) -> str:
    """Text of a field, an element, or an attribute: null is empty, true and false are lowercase.

    Raises:
        RenderError: the value is a list or an object, or a number that cannot be sent.
    """
    if value is None or isinstance(value, (str, bool)):
        return text_of(value)
    if isinstance(value, (int, float)):
        return number_text(value)
    raise RenderError(f"{kind_of(value)} is not allowed here; send text, a number, true, false, or null")


def kind_of(value: object) -> str:
    """The kind of a value in JSON terms: ``an object``, ``a list``, ``null``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a value of type {type(value).__name__}"


def utf8(text: str) -> bytes:
    """Encode text in UTF-8.

    Raises:
        RenderError: it contains half of a surrogate pair, which no Unicode encoding allows (RFC 3629 §3).
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise RenderError(
            f"character {error.start + 1} is {half}, half of a surrogate pair, which UTF-8 cannot carry; "
            "the text was cut off or decoded incorrectly before it got here"
        ) from None
