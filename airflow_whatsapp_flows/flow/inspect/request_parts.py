"""A request as texts and secrets: what may be copied as it is, and what a variable of the reader's stands for."""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from urllib.parse import unquote, unquote_plus

from airflow_whatsapp_flows.flow.concealing import credential_spans
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.marks import MARK
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.secrets import HIDDEN, names_secret

_Finder = Callable[[str], Iterator[tuple[str, str, int, int]]]
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9]+")
_PARAMETER = re.compile(r"(?<=[?&])([^=&]*)=([^&]+)")
_ORIGIN = re.compile(r"[a-z]+://[^/?#]*")
_CUT = "\ue000" * 8  # replaces a hidden value where credentials are looked for: neither a name nor a blank
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_LAYERS = 3  # of escapes in each other


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a request.

    Attributes:
        variable: name of the environment variable that holds it, as it is written in the request.
        is_optional: whether the request is complete without it.
    """

    variable: str
    is_optional: bool = False


Piece = str | Secret
Pieces = Sequence[Piece]


@dataclass(frozen=True, slots=True)
class RequestParts:
    """A request whose secrets are variables.

    Attributes:
        method: of the request.
        origin: scheme, host, and port, which are the flow's or the connection's own.
        target: path and query.
        headers: names and values, without those that the HTTP client sets.
        content: text; bytes if it is not UTF-8, and ``None`` if there is none.
        variables: names of the variables, with what each holds.
    """

    method: str
    origin: str
    target: Pieces
    headers: Sequence[tuple[str, Pieces]]
    content: Pieces | bytes | None
    variables: dict[str, str]


@dataclass(slots=True)
class _Names:
    """Names of variables, one for each secret."""

    by_secret: dict[tuple[str, str], str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def secret(self, name: str, mark: str, about: str, *, is_optional: bool = False) -> Secret:
        # With a prefix, no variable of the shell's own is meant, such as PATH.
        base = f"WF_{_NOT_IN_NAMES.sub('_', name.upper()).strip('_') or 'SECRET'}"
        if (base, mark) not in self.by_secret:
            variable = base
            while variable in self.about:
                self.counts[base] = number = self.counts.get(base, 1) + 1
                variable = f"{base}_{number}"
            self.by_secret[base, mark] = variable
            self.about[variable] = about
        return Secret(self.by_secret[base, mark], is_optional)


def split_request(request: HttpRequest, hidden: Hidden, key_header: str) -> RequestParts:
    """Split a request into texts and secrets.

    Secrets are: what the flow calls sensitive, what looks like a literal secret of the flow, what stands in a header, a
    query parameter, or a field whose name says that it is one, as far as it is recognized, and the Authorization of the
    connection, which is in no request.

    Args:
        request: complete, with an absolute URL.
        hidden: the sensitive values and literal secrets.
        key_header: name of the header with the idempotency key, which is no secret.
    """
    names = _Names()
    headers: list[tuple[str, Pieces]] = []
    for name, value in request.headers:
        if names_secret(name) and name.lower() != key_header.lower():
            headers.append((name, [names.secret(name, name.lower(), f"the header {name}")]))
        else:
            headers.append((name, _split(value, hidden, names)))
    match = _ORIGIN.match(request.url)
    origin = match.group() if match else ""
    target = _cut_out(_split(request.url[len(origin) :], hidden, names), _parameters, names)
    if request.connection is not None and not any(name.lower() == "authorization" for name, _ in headers):
        about = f"the Authorization header that the connection {request.connection} adds, if any"
        secret = names.secret(f"{request.connection}_AUTHORIZATION", "", about, is_optional=True)
        headers.append(("Authorization", [secret]))
    content = _split_content(request.content, hidden, names) if request.content else None
    return RequestParts(request.method, origin, target, headers, content, names.about)


def shows_hidden(parts: RequestParts, hidden: Hidden) -> bool:
    """Whether a sensitive value can be read in the texts of a request, escaped in a way that nothing hides."""
    content = parts.content
    pieces = [parts.target, *(value for _, value in parts.headers)]
    pieces.append([content.decode("utf-8", "replace")] if isinstance(content, bytes) else content or [])
    texts = {piece for value in pieces for piece in value if isinstance(piece, str)}
    return any(hidden.conceal(read) != read for text in texts for read in _readings(text))


def _readings(text: str) -> set[str]:
    """A text with its escapes undone, layer by layer, by whoever reads it."""
    found = layer = {text}
    for _ in range(_LAYERS):
        layer = {decode(one) for one in layer for decode in _DECODERS} - found
        found = found | layer
    return found


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _character(match[1] or match[2], match[3]), text) if "\\" in text else text


def _character(code: str | None, sign: str | None) -> str:
    return chr(int(code, 16)) if code else _SHORT_ESCAPES.get(sign or "", sign or "")


_DECODERS: tuple[Callable[[str], str], ...] = (html.unescape, unquote, unquote_plus, _unescape)


def _parameters(target: str) -> Iterator[tuple[str, str, int, int]]:
    for match in _PARAMETER.finditer(target):
        if names_secret(name := unquote_plus(match[1])):
            yield name, f"the query parameter {name}, percent-encoded", *match.span(2)


def _split_content(content: bytes, hidden: Hidden, names: _Names) -> Pieces | bytes:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    return _cut_out(_split(text, hidden, names), _fields, names)


def _fields(text: str) -> Iterator[tuple[str, str, int, int]]:
    for name, start, end in sorted(credential_spans(text), key=lambda span: span[1:]):
        yield (
            name or "KEY",
            f"{f'the field {name}' if name else 'what looks like a key'}, as in the content",
            start,
            end,
        )


def _cut_out(pieces: Pieces, find: _Finder, names: _Names) -> Pieces:
    """Replace what is found in a text whose hidden values are cut out already; these may be parts of it."""
    whole = _Whole(pieces)
    found: list[Piece] = []
    at = 0
    for name, about, start, end in find(whole.text):
        if start >= at and whole.text[start:end].strip(_CUT):
            found += [*whole.between(at, start), names.secret(name, repr(whole.between(start, end)), about)]
            at = end
    return join_texts([*found, *whole.between(at, len(whole.text))])


class _Whole:
    """Texts and secrets as one text, which can be cut anywhere."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        texts = [one.replace(_CUT[0], "\ufffd") if isinstance(one, str) else _CUT for one in pieces]
        self._starts = [0, *accumulate(map(len, texts))]
        self.text = "".join(texts)

    def between(self, start: int, end: int) -> list[Piece]:
        """Return what is between two positions; a secret belongs to where it starts."""
        found: list[Piece] = []
        for index in range(bisect_right(self._starts, start) - 1, len(self._pieces)):
            piece, at = self._pieces[index], self._starts[index]
            if at >= end:
                break
            if isinstance(piece, str):
                found.append(piece[max(0, start - at) : end - at])
            elif at >= start:
                found.append(piece)
        return found


def _split(text: str, hidden: Hidden, names: _Names) -> list[Piece]:
    """Split a text at the values that are hidden."""
    whole = ActionResult(outcome=Outcome.SUCCESS, headers={}, method="", url="", reason=text)
    marked = hidden.hide(whole).reason
    if marked == text:
        return [text] if text else []
    pieces: list[Piece] = []
    at = 0
    for match in MARK.finditer(marked):
        pieces.append(marked[at : match.start()])
        name, _, form = match[1].partition("|")
        # A text that only looks like a mark is marked too.
        pieces.append(HIDDEN if name == "=" else names.secret(name, match[1], _about(name, form)))
        at = match.end()
    pieces.append(marked[at:])
    return join_texts(pieces)


def _about(name: str, form: str) -> str:
    what = "a secret of the flow file" if name.startswith("flow.secret") else name.partition("#")[0]
    return f"{what}, as {form.strip('|').partition('|')[0]}" if form.strip("|") else what


def join_texts(pieces: Sequence[Piece]) -> list[Piece]:
    """Join texts that follow each other."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined
