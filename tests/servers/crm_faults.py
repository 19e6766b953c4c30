"""The faults of the logging CRM, and their random choice."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from email.utils import formatdate
from typing import Any

SHARES = {
    "error_applied": "500, after it was applied",
    "error_not_applied": "500, nothing applied",
    "too_many": "429 with a Retry-After of `retry_after`, nothing applied",
    "unavailable": "503, nothing applied",
    "forbidden": "403, nothing applied",
    "rate_limited": '400 with {"code": "rate_limited"}, nothing applied',
    "reset_before": "RST once its first line came; not read, not logged",
    "reset_after": "RST in place of a reply, after it was applied",
    "cut_head": "applied; the reply ends in the middle of its head",
    "cut_body": "applied; the reply ends in the middle of its body",
    "drop": "applied; closed without a reply",
    "drop_not_applied": "read, nothing applied; closed without a reply",
    "slow": "applied; closed without a reply after `slow_seconds`",
}
FEW_FAULTS = {"error_applied": 0.02, "error_not_applied": 0.02, "drop": 0.02, "cut_body": 0.02}
"""A server that mostly works, as shares of requests."""


@dataclass(frozen=True)
class Faults:
    """The CRM's behaviour; nothing is wrong by default.

    Attributes:
        shares: the part of requests, 0 to 1, that meets each of ``SHARES``; together at most 1.
        seed: of the draws, so that a run can be repeated.
        only: a prefix of the paths that meet faults; the others are served well. Default: all.
        latency_ms: waited before each reply, in milliseconds.
        slow_seconds: how long a ``slow`` request is held.
        retry_after: the forms of Retry-After, in turn: sent as they are, ``date+N`` as the HTTP date in N seconds, an
            empty one not at all.
        rate: above so many requests in any one second it answers 429. Default: no limit.
        rate_retry_after: Retry-After of those, in a form of ``retry_after``.
        dedupe: whether a known Idempotency-Key gets the saved reply, and another body under it 422.
        status: the reply to what was applied.
        contact_header: header that names the contact; else the field tells.
        contact_field: field of a JSON or form body, or of the query, that names the contact.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    only: str = "/"
    latency_ms: float = 0
    slow_seconds: float = 30
    retry_after: tuple[str, ...] = ("1", "date+1", "soon", "99999999999", "-5", "")
    rate: int | None = None
    rate_retry_after: str = "1"
    dedupe: bool = False
    status: int = 201
    contact_header: str = "X-Contact"
    contact_field: str = "phone"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.shares) - set(SHARES))
        if unknown:
            raise ValueError(f"shares: {', '.join(unknown)} unknown; allowed are {', '.join(SHARES)}")
        if any(not 0 <= share <= 1 for share in self.shares.values()) or sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError(f"shares: each is 0 to 1, together at most 1, not {dict(self.shares)}")
        if self.rate is not None and self.rate < 1:
            raise ValueError(f"rate: at least 1 per second, not {self.rate}")
        if not self.retry_after:
            raise ValueError("retry_after: at least one form; an empty text sends no header")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Faults:
        """From parsed JSON.

        Args:
            values: attributes by name; those that are absent have their defaults.

        Raises:
            ValueError: an unknown name, or a value that is not allowed.
        """
        names = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise ValueError(f"{', '.join(unknown)} unknown; allowed are {', '.join(names)}")
        changed = dict(values)
        if "retry_after" in changed:
            changed["retry_after"] = tuple(changed["retry_after"])
        return cls(**changed)


class Dice:
    """Draws a fault for each request, by the shares."""

    def __init__(self, faults: Faults) -> None:
        self._random = random.Random(faults.seed)
        self._shares = [(name, share) for name, share in faults.shares.items() if share > 0]
        self._forms = faults.retry_after
        self._turn = 0

    def draw(self) -> str | None:
        """One of ``SHARES``, or None."""
        if not self._shares:
            return None
        left = self._random.random()
        for name, share in self._shares:
            left -= share
            if left < 0:
                return name
        return None

    def retry_after(self) -> str:
        """The next form of Retry-After."""
        form = self._forms[self._turn % len(self._forms)]
        self._turn += 1
        return form


def retry_after_header(form: str) -> bytes:
    """The header line of a form; nothing for an empty one."""
    if form.startswith("date+"):
        form = formatdate(time.time() + float(form.removeprefix("date+")), usegmt=True)
    return f"Retry-After: {form}\r\n".encode("latin-1") if form else b""
