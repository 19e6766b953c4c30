"""Reading the contact response that a command is given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.response import ContactResponse, read_response


def read_response_file(path: Path) -> ContactResponse:
    """Read one contact response from a JSON file, or from standard input for ``-``.

    Raises:
        ResponseError: it cannot be read, is not JSON, or is not a contact response.
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        text = content.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    except OSError as error:
        raise ResponseError(f"{name}: the response cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ResponseError(f"{name}: the response is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ResponseError(f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise ResponseError(f"{name}: not JSON that can be used: {error}") from None
    try:
        return read_response(value)
    except ResponseError as error:
        raise ResponseError(f"{name}: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object in it has the same key twice")
    return value


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
