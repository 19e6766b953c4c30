"""What somebody chose when they approved a replay: its rate, limit, and canary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean

CHOICE = "choice"
"""XCom key of an approval: what was chosen; an empty object if nobody was asked."""
FIELDS = ("rate", "limit", "canary")


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody chose.

    Attributes:
        key: identifies the answer.
        rate: requests per second for each host; ``None``: as the flow says.
        limit: contacts to send at most; ``None`` for all.
        canary: contacts to send first; ``None`` for no canary.
    """

    key: str
    rate: float | None = None
    limit: int | None = None
    canary: int | None = None

    def as_value(self) -> dict[str, Any]:
        """The choice as plain data, for XCom."""
        return {"key": self.key, **{name: getattr(self, name) for name in FIELDS}}

    @classmethod
    def from_value(cls, value: Mapping[str, Any] | None) -> Choice | None:
        """Read a choice from XCom; ``None`` if nobody was asked."""
        return cls(**value) if value else None


def read_choice(given: Mapping[str, Any], key: str, highest_rate: float | None) -> Choice:
    """Read what somebody chose in the form of an approval.

    Args:
        given: the fields of the form; a field that is empty or missing was not chosen.
        key: identifies the answer.
        highest_rate: that the flow allows; ``None`` for any.

    Raises:
        ValueError: a value is not allowed.
    """
    for name in given:
        if name not in FIELDS:
            raise ValueError(f"there is no field {name!r}{did_you_mean(name, FIELDS)}")
    rate = _read_number("rate", given.get("rate"))
    if rate is not None and highest_rate is not None and rate > highest_rate:
        raise ValueError(f"rate: {rate:g} requests per second are more than the {highest_rate:g} that the flow allows")
    limit = _read_whole("limit", given.get("limit"))
    canary = None if _is_zero(given.get("canary")) else _read_whole("canary", given.get("canary"))
    if limit is not None and canary is not None and canary > limit:
        raise ValueError(f"canary: {canary:,} contacts are more than the limit of {limit:,}")
    return Choice(key, rate, limit, canary)


def _read_whole(name: str, value: Any) -> int | None:
    number = _read_number(name, value)
    if number is None:
        return None
    if number != int(number) or not 1 <= number <= 2**53:
        raise ValueError(f"{name}: {value!r} is not a whole number of contacts of at least 1")
    return int(number)


def _is_zero(value: Any) -> bool:
    return value == 0 and not isinstance(value, bool)


def _read_number(name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        what = "a number of requests per second above 0" if name == "rate" else "a number of contacts"
        raise ValueError(f"{name}: {value!r} is not {what}")
    return float(value)
