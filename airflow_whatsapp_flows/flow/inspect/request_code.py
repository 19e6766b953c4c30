"""A request as a program that sends it: a curl command for a POSIX shell, and Python with its standard library.

Whatever a stranger answered is one word of the command, and nothing is a comment: an interactive zsh runs what stands
behind ``#``. Characters that are not printable are escaped, so both texts survive a clipboard, and show what they send.
"""

from __future__ import annotations

import re

from airflow_whatsapp_flows.flow.inspect.request_parts import Piece, Pieces, RequestParts, Secret, join_texts
from airflow_whatsapp_flows.flow.request.messages import HttpRequest

MAX_CONTENT = 65_536
"""Bytes of content that are copied: a shell takes no longer words."""

_PLAIN = re.compile(r"[A-Za-z0-9 :/.,;_=+@%?&#()\[\]{}<>|*~^'-]*")  # what a double-quoted word may hold as it is
_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})


def why_not_copied(request: HttpRequest) -> str | None:
    """Why a request is not shown as a program, one sentence; ``None`` if it is."""
    if len(request.content) > MAX_CONTENT:
        return f"It cannot be copied: its content has {len(request.content):,} bytes, which is too long for a command."
    if request.method == "HEAD" and request.content:
        return "It cannot be copied: curl sends no content with HEAD."
    return None


def curl_command(parts: RequestParts) -> str:
    """Write a request as a curl command.

    Args:
        parts: of :func:`~airflow_whatsapp_flows.flow.inspect.request_parts.split_request`.
    """
    method = "--head" if parts.method == "HEAD" else f"--request {parts.method}"
    lines = [f"curl --globoff --path-as-is {method} {_word([parts.origin, *parts.target])}"]
    names = {name.lower() for name, _ in parts.headers}
    for name, value in parts.headers:
        # curl takes a colon without a value as a header to leave out.
        lines.append(f"--header {_word([f'{name}: ', *value] if value else [f'{name};'])}")
    start = ""
    if parts.content is not None:
        if "content-type" not in names:
            lines.append("--header 'Content-Type:'")
        if not isinstance(parts.content, bytes) and _is_printable(parts.content):
            lines.append(f"--data-raw {_word(parts.content)}")
        else:
            start = f"{_check_variables(parts.content)}{_printf(parts.content)} |\n"
            lines.append("--data-binary @-")
    elif parts.method in _WITH_LENGTH:
        lines.append("--header 'Content-Length: 0'")
    return start + " \\\n  ".join(lines)


def _check_variables(content: Pieces | bytes) -> str:
    """Return what ends the command if a variable is not set: within a pipe, it would end only its own part."""
    secrets = dict.fromkeys(_variable(piece) for piece in content if isinstance(piece, Secret))
    return f': "{"".join(secrets)}" &&\n' if secrets else ""


def python_code(parts: RequestParts) -> str:
    """Write a request as Python, with ``http.client``, which changes neither the target nor the headers.

    Args:
        parts: of :func:`~airflow_whatsapp_flows.flow.inspect.request_parts.split_request`.
    """
    scheme, _, host = parts.origin.partition("://")
    connection = "HTTPSConnection" if scheme == "https" else "HTTPConnection"
    target: Pieces = parts.target
    if not (target and isinstance(target[0], str) and target[0].startswith("/")):
        target = ["/", *target]
    lines = ["import http.client", *(["import os"] if parts.variables else []), ""]
    lines += [f"connection = http.client.{connection}({host!r}, timeout=30)"]
    length: str | None = "0" if parts.method in _WITH_LENGTH else None
    if isinstance(parts.content, bytes):
        lines.append(f"content = {parts.content!r}")
    elif parts.content is not None:
        lines.append(f"content = ({_expression(parts.content)}).encode()")
    if parts.content is not None:
        length = "str(len(content))"
    lines.append(f"connection.putrequest({parts.method!r}, {_expression(target)}, skip_accept_encoding=True)")
    for name, value in parts.headers:
        if len(value) == 1 and isinstance(value[0], Secret) and value[0].is_optional:
            lines.append(f"if os.environ.get({value[0].variable!r}):")
            lines.append(f"    connection.putheader({name!r}, os.environ[{value[0].variable!r}])")
        else:
            lines.append(f"connection.putheader({name!r}, {_expression(value)})")
    if length is not None:
        lines.append(f"connection.putheader('Content-Length', {length})")
    lines.append(f"connection.endheaders({'content' if parts.content is not None else ''})")
    lines += ["response = connection.getresponse()", "print(response.status, response.read().decode(errors='replace'))"]
    return "\n".join([*lines, "connection.close()"])


def _is_printable(content: Pieces) -> bool:
    return all(isinstance(piece, Secret) or piece.replace("\n", "").isprintable() for piece in content)


def _word(pieces: Pieces) -> str:
    """Return one word of a shell command."""
    pieces = join_texts(pieces)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(texts) < len(pieces) and all(map(_PLAIN.fullmatch, texts)):
        return f'"{"".join(piece if isinstance(piece, str) else _variable(piece) for piece in pieces)}"'
    return "".join(map(_quote_piece, pieces)) or "''"


def _quote_piece(piece: Piece) -> str:
    return _quote(piece) if isinstance(piece, str) else f'"{_variable(piece)}"'


def _variable(secret: Secret) -> str:
    # A secret that is not set must not be sent as an empty one.
    return f"${{{secret.variable}{'-' if secret.is_optional else ':?'}}}"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _printf(content: Pieces | bytes) -> str:
    """Return a command that prints bytes; those that a terminal or a clipboard may change are octal."""
    if isinstance(content, bytes):
        return f"printf '{''.join(map(_octal, content))}'"
    written, arguments = "", ""
    for piece in content:
        if isinstance(piece, Secret):
            written += "%s"
            arguments += f' "{_variable(piece)}"'
        else:
            written += "".join(map(_printf_character, piece))
    if written.startswith("-"):  # it would be read as an option
        written = f"{_octal(ord('-'))}{written[1:]}"
    return f"printf '{written}'{arguments}"


def _printf_character(character: str) -> str:
    if character in "%\\'" or not (character == "\n" or character.isprintable()):
        return "".join(f"\\{byte:03o}" for byte in character.encode())
    return character


def _octal(byte: int) -> str:
    # Not even "%" is safe in a format.
    return chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\{byte:03o}"


def _expression(pieces: Pieces) -> str:
    """Return a Python expression for a text."""
    return (
        " + ".join(f"os.environ[{piece.variable!r}]" if isinstance(piece, Secret) else repr(piece) for piece in pieces)
        or "''"
    )
