"""Characters, names, and escaping of XML 1.0 (fifth edition)."""

from __future__ import annotations

import re
from functools import cache

from airflow_whatsapp_flows.errors import RenderError

# XML 1.0 §2.2, production Char, negated. No escape makes these legal.
_ILLEGAL = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"

# XML 1.0 §2.3, productions NameStartChar and NameChar, without the colon (Namespaces §3, NCName).
_START = (
    "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c\u200d\u2070-\u218f\u2c00-\u2fef"
    "\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_NCNAME = rf"[{_START}][{_START}\-.0-9\xb7\u0300-\u036f\u203f\u2040]*"
_NAME = f"(?:{_NCNAME}:)?{_NCNAME}"

# A literal CR would be read as a line feed (§2.11); in attributes all blanks would become spaces (§3.3.3).
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ATTRIBUTE = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    # When first used: it takes as long as a tenth of what `validate` does, and few flows have XML.
    return re.compile(pattern)


def is_name(text: str) -> bool:
    """Whether a text can be the name of an element or an attribute, with a prefix or without."""
    return _compile(_NAME).fullmatch(text) is not None


def escape(text: str, *, attribute: bool) -> str:
    """Escape text for the content of an element, or for an attribute in double quotes.

    Raises:
        RenderError: it contains a character that XML does not allow.
    """
    if illegal := _compile(_ILLEGAL).search(text):
        raise RenderError(
            f"character {illegal.start() + 1} is U+{ord(illegal.group()):04X}, which is not allowed in XML; remove "
            "it, or send a JSON body"
        )
    return text.translate(_ATTRIBUTE if attribute else _TEXT)
