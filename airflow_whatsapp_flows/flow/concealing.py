"""Texts of a flow, as people may read them who must not read its secrets."""

from __future__ import annotations

import re

from airflow_whatsapp_flows.flow.outcome import is_secret_name

HIDDEN = "***"

_PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)
# RFC 3986 §3.2.1: everything before the @ of an authority.
_USERINFO = re.compile(r"(?<=://)[^\s/?#@]+(?:@[^\s/?#@]+)*(?=@)")
_SCHEME = re.compile(r"\b(bearer|basic|token|digest|apikey)(\s+)(?!\*)\S+", re.IGNORECASE)
# name=value, name: value, "name": "value", <name>value</name>
_NAME = re.compile(r"""([\w.-]+)(?:["']?\s*[=:]\s*|>)""")
_VALUE = re.compile(r""""[^"]*"|'[^']*'|[^\s&;,<>}"']+""")
# Long, and of letters and digits without a blank: keys, tokens, parts of an address that are one.
_OPAQUE = re.compile(r"(?<![\w-])(?=[\w-]*[0-9])(?=[\w-]*[A-Za-z])[\w-]{20,}(?![\w-])")


def concealed(text: str) -> str:
    """A text with ``***`` for whatever in it has the form of a secret; its placeholders stay.

    That is: user and password of a URL, what stands under a name that says so, what follows the name of an
    authentication scheme, and long runs of letters and digits.
    """
    found = _PLACEHOLDER.findall(text)
    # Placeholders name variables, and those are no secrets, whatever they are called.
    literal = _PLACEHOLDER.sub("\0", text)
    literal = _USERINFO.sub(HIDDEN, literal)
    literal = _without_named(literal)
    literal = _SCHEME.sub(rf"\1\2{HIDDEN}", literal)
    literal = _OPAQUE.sub(HIDDEN, literal)
    kept = iter(found)
    if literal.count("\0") != len(found):
        return HIDDEN
    return re.sub("\0", lambda _: next(kept), literal)


def _without_named(text: str) -> str:
    done, at = "", 0
    for name in _NAME.finditer(text):
        value = _VALUE.match(text, name.end())
        # A value may hold what looks like a name of its own.
        if value is None or name.start() < at or not is_secret_name(name[1]) or not value[0].strip("\0\"' "):
            continue
        quote = value[0][0] if value[0][0] in "\"'" else ""
        done += f"{text[at : value.start()]}{quote}{HIDDEN}{quote}"
        at = value.end()
    return done + text[at:]
