"""The target URL (RFC 9110 §7.1, RFC 3986): literal origin, answers as encoded segments and query values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.language import (
    LITERAL,
    Data,
    Template,
    TemplateFault,
    TemplateLanguage,
    Tree,
    Value,
    fill,
    leaves,
    parse_tree,
)
from airflow_whatsapp_flows.flow.template.placeholders import Placeholder, find_placeholders
from airflow_whatsapp_flows.flow.template.sizes import Room
from airflow_whatsapp_flows.flow.template.spelling import opens_at

MAX_URL = 8_000
"""Characters in a built URL; RFC 9110 §4.1 recommends that servers support at least this many."""
_TOO_LONG = f"the URL would be too long; at most {MAX_URL:,} characters are allowed"

# RFC 3986 §3.3 and §3.4: allowed unencoded in a path and a query; '%' keeps the author's own encoding.
_PATH_SAFE = "%!$&'()*+,;=:@-._~"
_QUERY_SAFE = "%!$'()*+,;:@/?-._~"
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*\.?")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\\\s]+)(?::(?P<port>[0-9]{1,5}))?")


Piece = Template | str


@dataclass(frozen=True, slots=True)
class UrlPlan:
    """A URL, parsed once and built for many contacts.

    Attributes:
        origin: ``https://host:port``; empty if the connection defines it.
        segments: the segments of the path, each as literal and placeholder pieces.
        query: names, encoded, and the pieces of their values; ``None`` for a name without ``=``.
        query_params: names and trees of the separate query parameters.
        fixed: the whole URL, if it is the same for all contacts; else empty.
    """

    origin: str
    segments: tuple[tuple[Piece, ...], ...]
    query: tuple[tuple[str, tuple[Piece, ...] | None], ...]
    query_params: tuple[tuple[str, Tree], ...]
    fixed: str = ""

    def with_parameters(self, query_params: tuple[tuple[str, Tree], ...]) -> UrlPlan:
        """The same URL with separate query parameters."""
        plan = replace(self, query_params=query_params)
        varies = plan.templates or any(True for _, tree in query_params for _ in leaves(tree))
        try:
            return plan if varies else replace(plan, fixed=plan.build({}))
        except RenderError:
            return plan  # each contact gets the error

    def build(self, values: Mapping[str, object]) -> str:
        """The URL for one contact: ASCII, percent-encoded.

        Raises:
            RenderError: an answer would change the path, or the URL gets too long.
        """
        if self.fixed:
            return self.fixed
        room = Room(MAX_URL, _TOO_LONG, "url")
        path = "".join("/" + self._segment(pieces, values, room) for pieces in self.segments)
        pairs = [name if pieces is None else f"{name}={_encode(pieces, values, room)}" for name, pieces in self.query]
        for name, tree in self.query_params:
            pairs.extend(_parameter(name, tree, values, room))
        url = f"{self.origin}{path}{'?' if pairs else ''}{'&'.join(pairs)}"
        # The size of its values was checked before they were encoded.
        Room(MAX_URL, _TOO_LONG, "url").take(len(url))
        return url

    def _segment(self, pieces: tuple[Piece, ...], values: Mapping[str, object], room: Room) -> str:
        if len(pieces) == 1 and isinstance(pieces[0], str):
            return pieces[0]
        text = _encode(pieces, values, room)
        if unquote(text) in ("", ".", ".."):
            shown = pieces[0] if isinstance(pieces[0], str) else pieces[0].text
            raise RenderError(f"{shown} gives {unquote(text)!r}, which would change the path", "url")
        return text

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in it, except in the query parameters."""
        pieces = [piece for segment in self.segments for piece in segment]
        pieces += [piece for _, value in self.query for piece in value or ()]
        return tuple(piece for piece in pieces if not isinstance(piece, str))


def parse_url(text: str, language: TemplateLanguage, *, has_connection: bool) -> UrlPlan:
    """Parse a flow's URL.

    Args:
        text: absolute, or a path if the connection defines the origin; placeholders are allowed in the path and in
            query values.
        language: the language of its placeholders.
        has_connection: whether a connection defines the origin.

    Raises:
        TemplateFault: it is not a URL, or has a placeholder where none is allowed.
    """
    tokens: dict[str, Placeholder] = {}
    literal = text if language is LITERAL else _with_tokens(text, tokens, language)
    if re.search(r"[\x00-\x20\x7f\\]", literal):
        raise TemplateFault("a URL cannot contain spaces, control characters, or '\\'; write %20 for a space")
    try:
        parts = urlsplit(literal)
    except ValueError as error:
        raise TemplateFault(f"not a URL: {error}") from None
    if parts.fragment or literal.endswith("#"):
        raise TemplateFault("'#' and what follows it are never sent to a server (RFC 9110 §4.2.5); remove them")
    origin = _origin(parts.scheme, parts.netloc, tokens) if parts.scheme or parts.netloc else ""
    if not origin:
        _check_relative(text, literal, has_connection, begins_open=opens_at(text, 0, language))
    path = parts.path[1:] if parts.path.startswith("/") else parts.path
    pieces = _Pieces(tokens, language)
    segments = tuple(pieces.of(segment, _PATH_SAFE) for segment in path.split("/"))
    for segment in segments:
        if len(segment) == 1 and isinstance(segment[0], str) and unquote(segment[0]) in (".", ".."):
            pieces.faults.append(TemplateFault("'.' and '..' are not allowed in a path"))
    query = tuple(pieces.pair(pair) for pair in parts.query.split("&")) if parts.query else ()
    if pieces.faults:
        first, *more = pieces.faults
        raise TemplateFault(first.message, first.offset, more)
    return UrlPlan(origin, segments, query, ())


def _with_tokens(text: str, tokens: dict[str, Placeholder], language: TemplateLanguage) -> str:
    mark = "xwfx"
    while mark in text:
        mark += "x"
    literal, position = [], 0
    for placeholder in find_placeholders(text, language):
        token = f"{mark}{len(tokens)}z"
        tokens[token] = placeholder
        literal += [text[position : placeholder.start], token]
        position = placeholder.end
    return "".join([*literal, text[position:]])


def _origin(scheme: str, authority: str, tokens: dict[str, Placeholder]) -> str:
    if any(token in scheme + authority for token in tokens):
        raise TemplateFault("scheme, host and port of a URL must be literal: a placeholder could send data anywhere")
    if scheme.lower() not in ("http", "https"):
        shown = repr(scheme) if scheme else "an empty scheme"
        raise TemplateFault(f"{shown} is not allowed; a URL must start with https:// or http://")
    if "@" in authority:
        raise TemplateFault("a URL cannot contain a user name or password; put them in a connection")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match.group("port") and not 0 < int(match.group("port")) < 65_536):
        raise TemplateFault(f"{authority!r} is not a host, or a host and a port")
    try:
        host = match.group("host") if authority.isascii() else match.group("host").encode("idna").decode("ascii")
    except UnicodeError:
        raise TemplateFault(f"{match.group('host')!r} is not a host name") from None
    if not _HOST.fullmatch(host):
        raise TemplateFault(
            f"{match.group('host')!r} is not a host name; only letters, digits, '-', '_', and '.' are allowed"
        )
    port = f":{match.group('port')}" if match.group("port") else ""
    return f"{scheme.lower()}://{host.lower()}{port}"


def _check_relative(text: str, literal: str, has_connection: bool, *, begins_open: bool) -> None:
    if begins_open:
        raise TemplateFault("a URL cannot start with a placeholder; write the host, or set a connection")
    if not has_connection:
        raise TemplateFault(f"{text[:80]!r} has no host; start with https://, or set a connection")
    if literal.startswith("//"):
        raise TemplateFault("a path must start with a single '/'")


class _Pieces:
    """Splits text with tokens into pieces, and collects the faults of their placeholders."""

    def __init__(self, tokens: dict[str, Placeholder], language: TemplateLanguage) -> None:
        self._tokens = tokens
        self._language = language
        self.faults: list[TemplateFault] = []
        self._cut = re.compile("(" + "|".join(sorted(tokens, key=len, reverse=True)) + ")") if tokens else None

    def of(self, text: str, safe: str) -> tuple[Piece, ...]:
        found = self._cut.split(text) if self._cut else [text]
        pieces: list[Piece] = []
        for part in found:
            if part in self._tokens:
                pieces.append(self._parse(self._tokens[part]))
            elif part or len(found) == 1:
                pieces.append(_keep_escapes(part, safe))
        return tuple(pieces)

    def _parse(self, placeholder: Placeholder) -> Piece:
        try:
            return self._language.parse(placeholder.source)
        except TemplateFault as fault:
            self.faults.append(TemplateFault(fault.message, placeholder.start + fault.offset))
            return placeholder.source

    def pair(self, text: str) -> tuple[str, tuple[Piece, ...] | None]:
        name, equals, value = text.partition("=")
        if any(token in name for token in self._tokens):
            message = "the name of a query parameter must be literal; an answer may be a value, never a name"
            self.faults.append(TemplateFault(message))
        return _keep_escapes(name, _QUERY_SAFE), self.of(value, _QUERY_SAFE) if equals else None


def _keep_escapes(text: str, safe: str) -> str:
    return re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", quote(text, safe=safe))


def _encode(pieces: tuple[Piece, ...], values: Mapping[str, object], room: Room) -> str:
    return "".join(piece if isinstance(piece, str) else _quote(piece.render(values), "url", room) for piece in pieces)


def _quote(text: str, where: str, room: Room) -> str:
    room.take(len(text))
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise RenderError("half of a surrogate pair is not a character and cannot be sent", where) from None


def parse_parameters(query_params: object, language: TemplateLanguage) -> tuple[tuple[str, Tree], ...]:
    """Parse query parameters, which join those of the URL.

    Args:
        query_params: an object, or a list of ``[name, value]`` pairs; a list as value repeats the name.
        language: the language of their values.

    Raises:
        TemplateFault: they are neither, or a value cannot be sent.
    """
    if isinstance(query_params, Data):
        return tuple((name, Data(value)) for name, value in _pairs(query_params.value or {}))
    parsed: list[tuple[str, Tree]] = []
    for name, value in _pairs(query_params):
        tree = parse_tree({name: value}, language)
        parsed.append((name, tree[name] if isinstance(tree, dict) else tree))
    return tuple(parsed)


def _pairs(query_params: object) -> list[tuple[str, Any]]:
    if query_params is None:
        return []
    if isinstance(query_params, Mapping):
        return list(query_params.items())
    if isinstance(query_params, (list, tuple)):
        pairs = [tuple(pair) for pair in query_params if isinstance(pair, (list, tuple))]
        if len(pairs) == len(query_params) and all(len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
            return [(pair[0], pair[1]) for pair in pairs]
    raise TemplateFault("query parameters must be an object, or a list of [name, value] pairs")


def _parameter(name: str, tree: Tree, values: Mapping[str, object], room: Room) -> list[str]:
    where = f"query_params.{name}"
    try:
        value = fill(tree, values, Room(MAX_URL, _TOO_LONG))
    except RenderError as error:
        raise error.at(where) from None
    items: list[Value] = value if isinstance(value, list) else [value]
    if any(isinstance(item, (list, dict)) for item in items):
        raise RenderError(
            "an object or a list of lists cannot be a query parameter; use text, numbers, or a list", where
        )
    return [f"{_quote(name, where, room)}={_quote(text_of(item), where, room)}" for item in items]
