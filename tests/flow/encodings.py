"""Every encoding in which a server may echo a secret.

Produced here, not by the package, so that a form which the package forgets is detected.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "percent": lambda value: quote(value, safe=""),
    "percent, lower case": lambda value: re.sub("%..", lambda one: one[0].lower(), quote(value, safe="")),
    "percent, twice": lambda value: quote(quote(value, safe=""), safe=""),
    "form": quote_plus,
    "Base64": lambda value: base64.b64encode(value.encode()).decode(),
    "Base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "hexadecimal": lambda value: value.encode().hex(),
    "JSON": lambda value: json.dumps(value)[1:-1],
    "JSON, UTF-8": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "JSON of PHP": lambda value: json.dumps(value)[1:-1].replace("/", "\\/"),
    "HTML": html.escape,
    "HTML, decimal": lambda value: html.escape(value).replace("&#x27;", "&#39;"),
}
