"""A request as texts and secrets: what may be copied as it is, and what a variable of the reader's stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from airflow_whatsapp_flows.flow.concealing import credential_spans
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.marks import MARK
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.secrets import HIDDEN, names_secret

_NOT_IN_NAMES = re.compile(r"[^A-Z0-9]+")
_PARAMETER = re.compile(r"(?<=[?&])([^=&]*)=([^&]+)")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a request.

    Attributes:
        variable: name of the environment variable that holds it, as it is written in the request.
    """

    variable: str


Piece = str | Secret
Pieces = Sequence[Piece]


@dataclass(frozen=True, slots=True)
class RequestParts:
    """A request whose secrets are variables.

    Attributes:
        method: of the request.
        url: absolute.
        headers: names and values, without those that the HTTP client sets.
        content: text; bytes if it is not UTF-8, and ``None`` if there is none.
        variables: names of the variables, with what each holds.
    """

    method: str
    url: Pieces
    headers: Sequence[tuple[str, Pieces]]
    content: Pieces | bytes | None
    variables: dict[str, str]


@dataclass(slots=True)
class _Names:
    """Names of variables, one for each secret."""

    by_secret: dict[tuple[str, str], str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    def secret(self, name: str, mark: str, about: str) -> Secret:
        base = _NOT_IN_NAMES.sub("_", name.upper()).strip("_") or "SECRET"
        base = base if base[0].isalpha() else f"SECRET_{base}"
        if (base, mark) not in self.by_secret:
            number = 1 + sum(known == base for known, _ in self.by_secret)
            variable = base if number == 1 else f"{base}_{number}"
            self.by_secret[base, mark] = variable
            self.about[variable] = about
        return Secret(self.by_secret[base, mark])


def split_request(request: HttpRequest, hidden: Hidden, key_header: str) -> RequestParts:
    """Split a request into texts and secrets.

    Secrets are: what the flow calls sensitive, what looks like a literal secret of the flow, what stands in a header, a
    query parameter, or a field whose name says that it is one, and the credentials of the connection, which are in no
    request.

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
    url = [piece for part in _split_url(request.url, names) for piece in _split_again(part, hidden, names)]
    if request.connection is not None and not any(name.lower() == "authorization" for name, _ in headers):
        about = f"the Authorization header that the connection {request.connection} adds, if any"
        headers.append(("Authorization", [names.secret(f"{request.connection}_AUTHORIZATION", "", about)]))
    content = _split_content(request.content, hidden, names) if request.content else None
    return RequestParts(request.method, join_texts(url), headers, content, names.about)


def _split_url(url: str, names: _Names) -> Iterator[Piece]:
    at = 0
    for match in _PARAMETER.finditer(url):
        name = unquote_plus(match[1])
        if names_secret(name):
            yield url[at : match.start(2)]
            yield names.secret(name, f"?{match[1]}={match[2]}", f"the query parameter {name}, percent-encoded")
            at = match.end()
    yield url[at:]


def _split_content(content: bytes, hidden: Hidden, names: _Names) -> Pieces | bytes:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content
    pieces: list[Piece] = []
    at = 0
    for name, start, end in sorted(credential_spans(text), key=lambda span: span[1:]):
        if start >= at:
            about = f"the field {name}" if name else "what looks like a key"
            pieces += [text[at:start], names.secret(name or "KEY", text[start:end], f"{about}, as in the content")]
            at = end
    pieces.append(text[at:])
    return join_texts([found for piece in pieces for found in _split_again(piece, hidden, names)])


def _split_again(piece: Piece, hidden: Hidden, names: _Names) -> Pieces:
    return _split(piece, hidden, names) if isinstance(piece, str) else [piece]


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
