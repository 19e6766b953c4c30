"""Header fields of a request (RFC 9110 §5): names and values that are safe to send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.request.messages import Headers
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.language import (
    Template,
    TemplateLanguage,
    Tree,
    TreeFault,
    fill,
    leaves,
    parse_tree,
)
from airflow_whatsapp_flows.flow.template.sizes import Room

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e]*")  # RFC 9110 §5.5, without obs-text: servers disagree about its charset
MAX_VALUE = 8_000
MAX_VALUES = 65_536
"""Characters in all headers of one request; servers accept fewer."""
_TOO_MUCH = f"the headers would have more than {MAX_VALUES:,} characters in all"

# The transport sets framing and routing: a flow that sets them could smuggle a second request.
_REFUSED = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "expect",
        "content-encoding",
    ]
)


@dataclass(frozen=True, slots=True)
class HeaderPlan:
    """Header fields, parsed once and built for many contacts.

    Attributes:
        fields: names and trees of their values, in order.
    """

    fields: tuple[tuple[str, Tree], ...]

    def build(self, values: Mapping[str, object]) -> Headers:
        """The fields for one contact; those whose value is ``null`` are left out.

        Raises:
            RenderError: a value contains something that a header cannot; names the header.
        """
        built: list[tuple[str, str]] = []
        room = Room(MAX_VALUES, _TOO_MUCH)
        for name, tree in self.fields:
            try:
                value = fill(tree, values)
                if value is not None:
                    text = check_value(text_of(value))
                    room.take(len(name) + len(text))
                    built.append((name, text))
            except RenderError as error:
                raise error.at(f"headers.{name}") from None
        return tuple(built)

    def literal(self, name: str) -> str | None:
        """The value of a field that has no placeholders."""
        return next((tree for key, tree in self.fields if key.lower() == name and isinstance(tree, str)), None)

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in it."""
        return tuple(leaf for _, tree in self.fields for leaf in leaves(tree))


def parse_headers(headers: Mapping[str, object] | None, language: TemplateLanguage) -> HeaderPlan:
    """Parse a flow's header fields.

    Args:
        headers: name to value: text (a template), number, true, false; ``null`` leaves the header out.
        language: the language of its values.

    Raises:
        TreeFault: a name or a literal value cannot be sent, or a name appears twice; its path is the name.
    """
    if headers is not None and not isinstance(headers, Mapping):
        raise TreeFault("headers must be an object of names and values")
    fields: list[tuple[str, Tree]] = []
    seen: set[str] = set()
    for name, value in (headers or {}).items():
        try:
            check_name(name)
        except RenderError as error:
            raise TreeFault(error.reason, path=(str(name),)) from None
        if name.lower() in seen:
            raise TreeFault(f"the header {name!r} appears twice; header names are case-insensitive", path=(name,))
        seen.add(name.lower())
        tree = parse_tree({name: value}, language)
        leaf = tree[name] if isinstance(tree, dict) else tree
        if isinstance(leaf, (dict, list)):
            raise TreeFault("the value of a header must be text", path=(name,))
        if isinstance(leaf, str):
            try:
                leaf = check_value(leaf)
            except RenderError as error:
                raise TreeFault(error.reason, path=(name,)) from None
        fields.append((name, leaf))
    return HeaderPlan(tuple(fields))


def check_name(name: str) -> None:
    """Check that a name is valid, and that a flow may set it.

    Raises:
        RenderError: it is not a token (RFC 9110 §5.6.2), or belongs to the transport.
    """
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise RenderError(f"{name!r} is not a header name; only letters, digits, and !#$%&'*+-.^_`|~ are allowed")
    folded = name.lower()
    if folded in _REFUSED or folded.startswith("proxy-"):
        raise RenderError(f"the header {name!r} is set by the HTTP client, and a flow cannot set it")


def check_value(value: str) -> str:
    """Check a header value and strip it.

    Raises:
        RenderError: it contains a control or non-ASCII character, or is too long.
    """
    if len(value) > MAX_VALUE:
        raise RenderError(f"the header has {len(value):,} characters; at most {MAX_VALUE:,} are allowed")
    value = value.strip(" \t")
    if not _VALUE.fullmatch(value):
        bad = next(character for character in value if not _VALUE.fullmatch(character))
        kind = "a line break or control character" if bad < " " or bad == "\x7f" else "a non-ASCII character"
        raise RenderError(f"a header cannot contain {kind} (U+{ord(bad):04X}); use | urlencode, or put it in the body")
    return value
