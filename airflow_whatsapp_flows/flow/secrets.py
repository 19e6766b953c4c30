"""What is a secret, and every form that one may be written in: the one place that says so."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote, quote_plus

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


_AS_JSON = json.JSONEncoder(ensure_ascii=False, default=str)
_PART = 2_000  # values that are written at once
_FOLDED = 65_536  # characters


def needle(text: str) -> str:
    """A text as it stands in a :func:`haystack`."""
    # Most texts hold nothing that JSON escapes.
    plain = text.isprintable() and '"' not in text and "\\" not in text
    return text if plain else _AS_JSON.encode(text)[1:-1]


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


def haystack(value: object) -> str:
    """Plain data as one text in which secrets are looked for, each as :func:`needle` writes it.

    Much data is written in parts: no other thread runs meanwhile, and 50,000 numbers with a fraction take 50 ms.
    """
    return _AS_JSON.encode(value) if _count(value) <= _PART else "\n".join(_parts(value))


def _count(value: Any) -> int:
    """Values in plain data, as far as they are counted: no further than to :data:`_PART`."""
    if not isinstance(value, (list, dict)):
        return 1
    count = len(value)
    if count <= _PART:
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, (list, dict)):
                count += _count(item)
                if count > _PART:
                    break
    return count


def _parts(value: Any) -> Iterator[str]:
    items: Iterable[Any] = value
    if isinstance(value, dict):
        items = (one for pair in value.items() for one in pair)
    part: list[Any] = []
    size = 0
    for item in items:
        count = _count(item)
        if count > _PART:
            yield from _parts(item)
            continue
        part.append(item)
        size += count
        if size >= _PART:
            yield _AS_JSON.encode(part)
            part, size = [], 0
    yield _AS_JSON.encode(part)


def fold(text: str) -> str:
    """A text without case, a part at a time: Python takes twelve bytes for each character of one that is not ASCII.

    Dotted and dotless i are one letter, as they are to a pattern that ignores case: ``YILDIZ`` is ``Yıldız``.
    """
    if text.isascii():
        return text.casefold()
    parts = [text[start : start + _FOLDED].casefold() for start in range(0, len(text), _FOLDED)]
    return "".join(parts).replace("i\u0307", "i").replace("\u0131", "i")


def secrets_in(shown: str, secrets: Sequence[str]) -> list[str]:
    """Those of several secrets that stand in a :func:`haystack`, in their order.

    Args:
        shown: what is searched.
        secrets: the same ones again and again: what is looked for is made once.
    """
    needles, shortest = _needles_of(tuple(secrets))
    if not any(text in shown for text in shortest):
        return []
    return [secret for secret, text in zip(secrets, needles, strict=True) if text in shown]


@lru_cache(maxsize=256)
def _needles_of(secrets: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The needles of some secrets, and those of them that are needed to find any: most forms hold another one."""
    needles = tuple(map(needle, secrets))
    least: list[str] = []
    for text in sorted(set(needles), key=len):
        if not any(part in text for part in least):
            least.append(text)
    return needles, tuple(least)


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
