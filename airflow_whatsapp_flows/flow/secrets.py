"""What is a secret, and every form that one may be written in: the one place that says so."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "***"
"""What stands in place of a secret; Airflow shows the same."""

SHORTEST = 4
"""Characters from which on a secret is looked for; a shorter text may be a part of any word."""

_SECRET_NAME = re.compile(
    r"auth|token|key|secret|signature|cookie|passw|passphrase|pwd|credential|bearer|session[-_]?id"
    r"|(?:^|[_\-.])(?:pass|pin|pat|jwt|sig|dsn)(?:$|[_\-.])",
    re.IGNORECASE,
)
_OWN_KEYS = frozenset({"key_lifetime", "idempotency_header"})
"""Keys of the flow format that only sound like it."""


def names_secret(name: str) -> bool:
    """Whether the name of a header, parameter, field or key says that its value is a secret."""
    return _SECRET_NAME.search(name) is not None and name not in _OWN_KEYS


def spellings(secret: str) -> tuple[str, ...]:
    """Every form in which a secret may come back: in a URL, a header, JSON, HTML, a dump, or another encoding's text.

    Args:
        secret: as it is.

    Returns:
        The longest first; none below :data:`SHORTEST` characters.
    """
    raw = secret.encode("utf-8", "surrogatepass")
    percent = {quote(secret, safe="", errors="replace"), quote(secret, errors="replace"), _quoted_plus(secret)}
    forms = {
        secret,
        *percent,
        *(_lower_percent(form) for form in percent),
        *(quote(form, safe="") for form in percent),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        raw.hex(),
        raw.hex().upper(),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        html.escape(secret),
        html.escape(secret).replace("&#x27;", "&#39;"),
    }
    forms |= {form.rstrip("=") for form in forms if form.endswith("=") and form != secret}
    return tuple(sorted((form for form in forms if len(form) >= SHORTEST), key=lambda form: (-len(form), form)))


def all_spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """Every form of several secrets, the longest first."""
    found = {form for secret in secrets if secret for form in spellings(secret)}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def hide(text: str, secrets: Iterable[str]) -> str:
    """A text with ``***`` for every secret in it.

    Args:
        text: any.
        secrets: in every form, as :func:`all_spellings` gives them.
    """
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def _quoted_plus(text: str) -> str:
    return quote_plus(text, errors="replace")


def _lower_percent(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda match: match.group().lower(), text)
