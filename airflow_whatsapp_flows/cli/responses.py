"""Reads the contact response given to a command."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.walk.response import ContactResponse, read_response
from airflow_whatsapp_flows.flow.walk.response_text import ResponseTextError, parse_response


def read_response_file(path: Path) -> ContactResponse:
    """Read one contact response from a JSON file, or from standard input for ``-``.

    Raises:
        ResponseError: it cannot be read, is not JSON, or is not a contact response.
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        text = content.decode("utf-8-sig")
        value = parse_response(text)
    except OSError as error:
        raise ResponseError(f"{name}: the response cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ResponseError(f"{name}: the response is not UTF-8") from None
    except ResponseTextError as error:
        raise ResponseError(f"{name}{_place(text, error.position)}: {error.reason}") from None
    try:
        return read_response(value)
    except ResponseError as error:
        raise ResponseError(f"{name}: {error}") from None


def _place(text: str, position: int | None) -> str:
    if position is None:
        return ""
    line = text.count("\n", 0, position) + 1
    return f":{line}:{position - text.rfind(chr(10), 0, position)}"
