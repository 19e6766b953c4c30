"""Names in addresses: a replay or response may be called anything, also with a slash."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import Depends, HTTPException, Query, Request

Scope = MutableMapping[str, Any]
_App = Callable[[Scope, Any, Any], Awaitable[None]]
# Airflow keeps the address of a frame in its own, and decodes it there: these would be separators then.
# A route of Airflow's matches no path with a line feed.
_SEPARATORS = re.compile(r"[/\\\\?#%~\r\n]|^\.{1,2}$")
_ESCAPED = re.compile("~(2F|5C|3F|23|25|7E|2E|0D|0A)")


def encode_name(name: str) -> str:
    """Return a name as one segment of an address of ours; it survives being decoded on the way."""
    return quote(_SEPARATORS.sub(_escape, name), safe="~")


def _escape(match: re.Match[str]) -> str:
    return "".join(f"~{ord(character):02X}" for character in match.group())


def decode_name(text: str) -> str:
    """Return the name that a segment stands for; it may also be quoted as usual."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), unquote(text))


class QuotedPaths:
    """Leaves the path of a request as it was sent, so that an encoded slash does not separate segments.

    Args:
        app: the application; its path parameters are percent-encoded, see :func:`name_in_path`.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request."""
        raw = scope.get("raw_path")
        if scope["type"] == "http" and raw:
            scope = {**scope, "path": raw.partition(b"?")[0].decode("ascii", "replace")}
        await self._app(scope, receive, send)


def name_in_path(parameter: str) -> Any:
    """Return the dependency for a name in the path; one that cannot be in the ledger is answered with 404."""

    def read(request: Request) -> str:
        text = decode_name(request.path_params[parameter])
        if "\0" in text:
            raise HTTPException(404, "Nothing has this name.")
        return text

    return Depends(read)


def _text(q: str = Query("", max_length=200)) -> str:
    return q.replace("\0", "").strip()


SearchText = Annotated[str, Depends(_text)]
"""The text of a search."""
