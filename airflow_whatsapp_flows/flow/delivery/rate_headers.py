"""How long to wait for a server's rate limit, from its header fields."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_MAX_FIELD = 1000  # characters parsed from one field: one or two policies
_EPOCH_FROM = 10**9  # no server asks for thirty years; a larger number is a date
_EPOCH_MS_FROM = 10**12
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
# RFC 9651 §3.3.3: a quoted string may contain commas and semicolons.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_MEMBER = re.compile(rf"(?:{_QUOTED}|[^,\"])+")
_PARAMETER = re.compile(rf";\s*([a-z*][a-z0-9_.*-]*)=({_QUOTED}|[^;,\s]+)")
_REMAINING = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
_RESET = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")


class _Quota(NamedTuple):
    remaining: float | None
    reset: float | None


def reset_after(response_headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Seconds until the server accepts more requests.

    Read are ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers: ``"default";r=0;t=5``, and ``limit=5, remaining=0,
    reset=5`` of its earlier drafts), ``RateLimit-Reset``, ``X-RateLimit-Reset`` and ``X-Rate-Limit-Reset``. A number
    above 10⁹ is a time in seconds since 1970, above 10¹² in milliseconds; any other is a number of seconds.

    A reset matters only if the quota is used up, so call this for a reply that rejects the request (429, 503), or for
    which :func:`nothing_remains`.

    Args:
        response_headers: of a reply, names in any case.
        now: an aware time.

    Returns:
        At least 0, and the longest if several quotas are used up; ``None`` without such a field, or if something
        remains.
    """
    waits = [
        _seconds_until(quota.reset, now)
        for quota in _quotas(response_headers)
        if quota.reset is not None and not quota.remaining
    ]
    return max(waits, default=None)


def nothing_remains(response_headers: Mapping[str, str]) -> bool:
    """Whether a reply says that its request was the last one accepted for now.

    Args:
        response_headers: of a reply, names in any case.
    """
    if "limit" not in "".join(response_headers).lower():  # most replies have no such field
        return False
    return any(quota.remaining == 0 for quota in _quotas(response_headers))


def _quotas(response_headers: Mapping[str, str]) -> Iterator[_Quota]:
    fields = {name.lower(): value[:_MAX_FIELD] for name, value in response_headers.items() if "limit" in name.lower()}
    if "ratelimit" in fields:
        yield from _standard_quotas(fields["ratelimit"])
    remaining = next((_number(fields[name]) for name in _REMAINING if name in fields), None)
    reset = next((_number(fields[name]) for name in _RESET if name in fields), None)
    if remaining is not None or reset is not None:
        yield _Quota(remaining, reset)


def _standard_quotas(field: str) -> Iterator[_Quota]:
    members = [member.strip() for member in _MEMBER.findall(field)]
    earlier = dict(member.split("=", 1) for member in members if re.match(r"[a-z]+=", member))
    if earlier:
        yield _Quota(_number(earlier.get("remaining", "")), _number(earlier.get("reset", "")))
        return
    for member in members:
        parameters = dict(_PARAMETER.findall(re.sub(rf"^{_QUOTED}", "", member)))
        yield _Quota(_number(parameters.get("r", "")), _number(parameters.get("t", "")))


def _number(text: str) -> float | None:
    # A repeated field is here once, its values joined by commas (RFC 9110 §5.3).
    first = text.partition(",")[0].partition(";")[0].strip()
    return float(first) if _NUMBER.fullmatch(first) else None


def _seconds_until(reset: float, now: dt.datetime) -> float:
    if reset > _EPOCH_MS_FROM:
        reset /= 1000
    return max(0.0, reset - now.timestamp()) if reset > _EPOCH_FROM else reset
