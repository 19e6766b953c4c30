"""What the parts of `make demo` share: talking to the demo CRM, and to whoever watches."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


def call(method: str, url: str, body: Any = None) -> Any:
    """Talk to the demo CRM, as a person looking into it would.

    Args:
        method: of the request.
        url: of the request.
        body: anything JSON can say; None for an empty body.

    Returns:
        The reply as plain data; of an object that holds a list, the list.
    """
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as reply:
        value = json.loads(reply.read() or b"null")
    if isinstance(value, dict):
        return next((found for found in value.values() if isinstance(found, list)), value)
    return value


def say(text: str = "") -> None:
    """Print a line now."""
    print(text, flush=True)
