"""Media types, by the grammar of RFC 9110 §8.3.1."""

from __future__ import annotations

import re

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|{_QUOTED}))*")


def is_media_type(text: str) -> bool:
    """Whether a text is valid as the value of a header ``Content-Type``."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def essence(text: str) -> str:
    """Type and subtype in lowercase, without parameters: ``application/json``."""
    return text.partition(";")[0].strip().lower()
