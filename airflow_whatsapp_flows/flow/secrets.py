"""What is a secret, and every form that one may be written in: the one place that says so."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote, quote_plus

from airflow_whatsapp_flows.flow.haystack import needle

HIDDEN = "***"
"""What replaces a secret; Airflow shows the same."""

SHORTEST = 4
"""Minimum length of a secret that is searched for; a shorter text may be a part of any word."""

_SECRET_NAME = re.compile(
    r"auth|token|key|secret|signature|cookie|passw|passphrase|pwd|credential|bearer|session[-_]?id"
    r"|(?:^|[_\-.])(?:pass|pin|pat|jwt|sig|dsn)(?:$|[_\-.])",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"author(?!iz)|authent?ic(?:ity|ated)|keyw|keyboard|keynote|monkey|turkey|secretar|max_?tokens|tokens$|idempotency"
    r"|primary_?key|foreign_?key|sort_?key|^keys?$|external_?key|consent"
    r"|(?:type|mode|version|scheme|method|format|expir\w*|ttl|count|limit|status|enabled|required)$",
    re.IGNORECASE,
)
"""Names that contain a word for a secret but are not secrets."""
KEY_SHAPES = re.compile(
    r"(?<![\w-])(?:(?:sk|pk|rk)[-_](?:live|test|proj|ant)?[-_]?[A-Za-z0-9_-]{16,}|pat-[a-z]{2}\d-[A-Za-z0-9-]{8,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{16,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|whsec_\w{16,}|SG\.[\w-]{16,}\.[\w-]{16,}|EAA[A-Za-z0-9]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
)
"""Well-known key formats, whatever name they are assigned to."""
SCHEMES = "bearer|basic|token|digest|apikey"
"""Names of authentication schemes, as a part of a pattern; what follows one is a secret, the name itself is not."""
_OWN_KEYS = frozenset({"key_lifetime", "idempotency_header"})
"""Keys of the flow format that only sound like secrets."""


def names_secret(name: str) -> bool:
    """Whether the name of a header, parameter, field or key says that its value is a secret."""
    return _SECRET_NAME.search(name) is not None and name not in _OWN_KEYS


def names_credential(name: str) -> bool:
    """Whether the name says so for sure: what stands under it is refused or taken out, not only hidden."""
    return names_secret(name) and not _HARMLESS.search(name)


def _quote(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _quote_path(text: str) -> str:
    return quote(text, errors="replace")


def _quote_plus(text: str) -> str:
    return quote_plus(text, errors="replace")


def _lower_escapes(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda match: match.group().lower(), text)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _base64(text: str) -> str:
    return base64.b64encode(_raw(text)).decode()


def _base64url(text: str) -> str:
    return base64.urlsafe_b64encode(_raw(text)).decode()


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _json_of_php(text: str) -> str:
    return _json(text).replace("/", "\\/")


FORMS: Mapping[str, Callable[[str], str]] = {
    "": str,
    "percent": _quote,
    "percent-path": _quote_path,
    "percent-form": _quote_plus,
    "percent-lower": lambda text: _lower_escapes(_quote(text)),
    "percent-path-lower": lambda text: _lower_escapes(_quote_path(text)),
    "percent-form-lower": lambda text: _lower_escapes(_quote_plus(text)),
    "percent-twice": lambda text: _quote(_quote(text)),
    "percent-path-twice": lambda text: _quote(_quote_path(text)),
    "percent-form-twice": lambda text: _quote(_quote_plus(text)),
    "percent-lower-twice": lambda text: _lower_escapes(_quote(_lower_escapes(_quote(text)))),
    "base64": _base64,
    "base64-bare": lambda text: _base64(text).rstrip("="),
    "base64url": _base64url,
    "base64url-bare": lambda text: _base64url(text).rstrip("="),
    "hex": lambda text: _raw(text).hex(),
    "hex-upper": lambda text: _raw(text).hex().upper(),
    "json": _json,
    "json-utf8": needle,
    "json-php": _json_of_php,
    "json-twice": lambda text: needle(_json(text)),
    "json-utf8-twice": lambda text: needle(needle(text)),
    "json-php-twice": lambda text: needle(_json_of_php(text)),
    "html": html.escape,
    "html-39": lambda text: html.escape(text).replace("&#x27;", "&#39;"),
}
"""Every form in which a secret may be echoed: in a URL, a header, JSON, HTML, a dump, or text in another encoding.

The names appear in recorded results: see :mod:`~airflow_whatsapp_flows.flow.reply.hidden`.
"""
_PERCENT = tuple(name for name in FORMS if name.startswith("percent"))
_PACKED = tuple(name for name in FORMS if name.startswith(("base64", "hex")))
_ESCAPED = tuple(name for name in FORMS if name.startswith(("json", "html")))
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*")
_UNESCAPED = re.compile(r"[ !#-%(-.0-;=?-\[\]-~]*")
_NO_WORD = re.compile(r"[A-Z0-9]")
_FOR_URLS = str.maketrans("+/", "-_")

Family = Literal["raw", "percent", "packed", "escaped"]
"""Forms that occur in the same texts."""


def forms_of(secret: str, family: Family | None = None) -> dict[str, str]:
    """The distinct forms of a secret, with their names in :data:`FORMS`; none below :data:`SHORTEST` characters.

    Args:
        secret: as it is.
        family: of those forms that are wanted; all by default.
    """
    if family == "raw":
        return {secret: ""} if len(secret) >= SHORTEST else {}
    if family == "packed":
        return _base64_and_hex_forms(secret)
    names: tuple[str, ...] = ("",) if family is None else ()
    # Nothing escapes letters and digits: most of the forms are the text itself.
    if family in (None, "percent") and not _UNRESERVED.fullmatch(secret):
        names += _PERCENT
    if family is None:
        names += _PACKED
    if family in (None, "escaped") and not _UNESCAPED.fullmatch(secret):
        names += _ESCAPED
    found: dict[str, str] = {}
    for name in names:
        form = FORMS[name](secret)
        if len(form) >= SHORTEST:
            found.setdefault(form, name)
    return found


def _base64_and_hex_forms(secret: str) -> dict[str, str]:
    """The same for Base64 and hexadecimal, of which each is made once."""
    raw = _raw(secret)
    coded = base64.b64encode(raw).decode()
    found = {coded: "base64", coded.rstrip("="): "base64-bare"} if coded[-1:] == "=" else {coded: "base64"}
    if "+" in coded or "/" in coded:
        coded = coded.translate(_FOR_URLS)
        found |= {coded: "base64url", coded.rstrip("="): "base64url-bare"}
    hexadecimal = raw.hex()
    found |= {hexadecimal: "hex", hexadecimal.upper(): "hex-upper"}
    return {form: name for form, name in found.items() if len(form) >= SHORTEST}


class SecretFinder:
    """Secrets that are looked for in many replies: what is looked for is made once.

    Attributes:
        texts: the secrets, in every form, as :func:`all_spellings` gives them.
    """

    __slots__ = ("_least", "_needles", "texts")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = tuple(texts)
        self._needles = tuple(map(needle, self.texts))
        least: list[str] = []  # most forms hold another one
        for text in sorted(set(self._needles), key=len):
            if not any(part in text for part in least):
                least.append(text)
        # By a sign that all of a group contain: most replies contain none of these signs.
        groups: dict[str, list[str]] = {}
        for text in least:
            groups.setdefault(next((sign for sign in _SIGNS if sign in text), ""), []).append(text)
        self._least = tuple((sign, tuple(texts)) for sign, texts in groups.items())

    def find_in(self, shown: str) -> list[str]:
        """Those that stand in a :func:`~airflow_whatsapp_flows.flow.haystack.haystack`, in their order."""
        for sign, texts in self._least:
            if sign not in shown:
                continue
            for text in texts:  # twice as quick as any()
                if text in shown:
                    return [secret for secret, other in zip(self.texts, self._needles, strict=True) if other in shown]
        return []


_SIGNS = ("%", "\\", "&", "=")


@lru_cache(maxsize=256)
def _runs(shortest: int) -> re.Pattern[str]:
    """Finds what may be the Base64 of a secret of so many characters: three bytes make four characters of it."""
    return re.compile(rf"[A-Za-z0-9+/_-]{{{-(-4 * shortest // 3)},}}")


def families_in(text: str, shortest: int = SHORTEST) -> dict[Family, int]:
    """The families of which forms may stand in a :func:`haystack`, with the length of the longest secret for each.

    What cannot be there need not be made.

    Args:
        text: what is searched.
        shortest: characters of the shortest secret that is looked for.
    """
    families: dict[Family, int] = {"raw": len(text)}
    if "%" in text or "+" in text:
        families["percent"] = len(text)
    if "\\" in text or "&" in text:
        families["escaped"] = len(text)
    if len(text) < shortest:
        return families
    # Hexadecimal is longer than Base64; neither is a long word in small letters.
    runs = _runs(shortest).findall(text)
    longest = max((len(run) for run in runs if len(run) < 12 or _NO_WORD.search(run)), default=0) if runs else 0
    if longest:
        families["packed"] = longest * 3 // 4
    return families


def spellings(secret: str) -> tuple[str, ...]:
    """Every form of a secret, the longest first; none below :data:`SHORTEST` characters."""
    return tuple(sorted(forms_of(secret), key=lambda form: (-len(form), form)))


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


def hide_in(value: Any, secrets: Collection[str]) -> Any:
    """Plain data with ``***`` for every secret in its texts and in the names of its fields.

    Args:
        value: any plain data; not changed.
        secrets: in every form, as :func:`all_spellings` gives them.
    """
    if isinstance(value, str):
        return hide(value, secrets)
    if isinstance(value, Mapping):
        return {hide(key, secrets): hide_in(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [hide_in(item, secrets) for item in value]
    return value
