"""A request as a program that sends it: a curl command for a POSIX shell, and Python with ``requests``.

Whatever a stranger answered is one word of the command. Characters that are not printable are escaped, so both texts
survive a clipboard, and show what they send.
"""

from __future__ import annotations

import re

from airflow_whatsapp_flows.flow.inspect.request_parts import Pieces, RequestParts, Secret, join_texts

MAX_CONTENT = 65_536
"""Bytes of content that are copied: a shell takes no longer words."""

_PLAIN = re.compile(r"[A-Za-z0-9 :/.,;_=+@%?&#()\[\]{}<>|*~^'-]*")  # what a double-quoted word may hold as it is
_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})
_INDENT = "    "


def why_not_copied(parts: RequestParts) -> str | None:
    """Why a request is not shown as a program, one sentence; ``None`` if it is."""
    size = len(parts.content or b"") if isinstance(parts.content, bytes) else len("".join(_texts(parts)).encode())
    if size > MAX_CONTENT:
        return f"It cannot be copied: its content has {size:,} bytes, which is too long for a command."
    return None


def _texts(parts: RequestParts) -> list[str]:
    return [piece for piece in parts.content or () if isinstance(piece, str)]


def curl_command(parts: RequestParts) -> str:
    """Write a request as a curl command.

    Args:
        parts: of :func:`~airflow_whatsapp_flows.flow.inspect.request_parts.split_request`.
    """
    method = "--head" if parts.method == "HEAD" else f"--request {parts.method}"
    lines = [f"curl --globoff --path-as-is {method} {_word(parts.url)}"]
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
            start = f"{_printf(parts.content)} |\n"
            lines.append("--data-binary @-")
    elif parts.method in _WITH_LENGTH:
        lines.append("--header 'Content-Length: 0'")
    return _comments(parts) + start + " \\\n  ".join(lines)


def python_code(parts: RequestParts) -> str:
    """Write a request as Python with the library ``requests``.

    Args:
        parts: of :func:`~airflow_whatsapp_flows.flow.inspect.request_parts.split_request`.
    """
    lines = [*(["import os", ""] if parts.variables else []), "import requests", ""]
    lines += ["response = requests.request(", f"{_INDENT}{parts.method!r},", f"{_INDENT}{_expression(parts.url)},"]
    if parts.headers:
        lines.append(f"{_INDENT}headers={{")
        lines += [f"{2 * _INDENT}{name!r}: {_expression(value)}," for name, value in parts.headers]
        lines.append(f"{_INDENT}}},")
    if isinstance(parts.content, bytes):
        lines.append(f"{_INDENT}data={parts.content!r},")
    elif parts.content is not None:
        text = _expression(parts.content)
        lines.append(f"{_INDENT}data={f'({text})' if len(parts.content) > 1 else text}.encode(),")
    lines += [f"{_INDENT}allow_redirects=False,", f"{_INDENT}timeout=30,", ")"]
    lines.append("print(response.status_code, response.text)")
    return _comments(parts) + "\n".join(lines)


def _comments(parts: RequestParts) -> str:
    # A name in it is the flow's or a connection's, and a line feed would end the comment.
    return "".join(f"# {name}: {ascii(about)[1:-1]}\n" for name, about in parts.variables.items())


def _is_printable(content: Pieces) -> bool:
    return all(isinstance(piece, Secret) or piece.replace("\n", "").isprintable() for piece in content)


def _word(pieces: Pieces) -> str:
    """Return one word of a shell command."""
    pieces = join_texts(pieces)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(texts) < len(pieces) and all(map(_PLAIN.fullmatch, texts)):
        return f'"{"".join(piece if isinstance(piece, str) else f"${{{piece.variable}}}" for piece in pieces)}"'
    return "".join(f'"${piece.variable}"' if isinstance(piece, Secret) else _quote(piece) for piece in pieces) or "''"


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
            arguments += f' "${piece.variable}"'
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
        " + ".join(f'os.environ["{piece.variable}"]' if isinstance(piece, Secret) else repr(piece) for piece in pieces)
        or "''"
    )
