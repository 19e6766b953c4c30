"""Switches for failing: which requests go wrong, and how."""

import random
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

Status = Annotated[int, Field(ge=200, le=599)]


class Switch(BaseModel):
    """One way of failing.

    Which requests (all that are given must hold): `path` is a prefix by whole segments, `method` a method, `phones`
    are numbers of which the body or the query mentions one. How often: every `every`-th of those, or each with
    probability `rate` (drawn from `seed`, so a run can be repeated), at most `times` times. What happens: `delay` in
    seconds before anything else, then at most one of `status` (answer with it, apply nothing), `after_status` (apply,
    then answer with it) and `drop` (close the connection before or after applying).
    """

    model_config = ConfigDict(extra="forbid")

    path: str = "/"
    method: str | None = None
    phones: list[str] | None = Field(None, min_length=1)
    every: int | None = Field(None, ge=1)
    rate: float | None = Field(None, ge=0, le=1)
    seed: int = 0
    times: int | None = Field(None, ge=1)
    delay: float = Field(0, ge=0, le=3600, allow_inf_nan=False)
    status: Status | None = None
    after_status: Status | None = None
    drop: Literal["before", "after"] | None = None
    retry_after: int | str | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Switch":
        endings = [name for name in ("status", "after_status", "drop") if getattr(self, name) is not None]
        if len(endings) > 1:
            raise ValueError(f"{' and '.join(endings)} exclude each other")
        if not endings and not self.delay:
            raise ValueError("a switch needs a status, an after_status, a drop or a delay")
        if self.retry_after is not None and endings not in (["status"], ["after_status"]):
            raise ValueError("retry_after needs a status or an after_status")
        if self.every is not None and self.rate is not None:
            raise ValueError("every and rate exclude each other")
        if not str(self.retry_after or "").isprintable() or not str(self.retry_after or "").isascii():
            raise ValueError("retry_after must be seconds or an HTTP date")
        if not self.path.startswith("/"):
            raise ValueError("path must start with /")
        if any(not _digits(phone) for phone in self.phones or ()):
            raise ValueError("phones must hold digits")
        return self

    def covers(self, method: str, path: str, text: str) -> bool:
        """Whether a request is one of those this switch is about.

        Args:
            method: The request's method.
            path: Its path, decoded.
            text: Its query and body, as text.
        """
        prefix = self.path.rstrip("/")
        if not (path == prefix or path.startswith(prefix + "/")):
            return False
        if self.method is not None and self.method.upper() != method:
            return False
        return self.phones is None or any(mentions(text, phone) for phone in self.phones)


PLAN: TypeAdapter[list[Switch]] = TypeAdapter(list[Switch])


def mentions(text: str, phone: str) -> bool:
    """Whether the text holds the phone number, and not only as part of a longer one."""
    return re.search(rf"(?<!\d){_digits(phone)}(?!\d)", text) is not None


def _digits(phone: str) -> str:
    return "".join(re.findall(r"[0-9]", phone))


def searchable(query: bytes, body: bytes, content_type: str) -> str:
    """The query and the body as text in which a phone number reads as people write it."""
    text = body.decode("utf-8", "replace")
    if content_type.startswith("application/x-www-form-urlencoded"):
        text = unquote_plus(text)
    return unquote_plus(query.decode("latin-1")) + "\n" + text


@dataclass
class _Active:
    switch: Switch
    seen: int = 0
    fired: int = 0
    dice: random.Random = field(default_factory=random.Random)

    def fires(self) -> bool:
        self.seen += 1
        if self.switch.times is not None and self.fired >= self.switch.times:
            return False
        if self.switch.every is not None and self.seen % self.switch.every:
            return False
        if self.switch.rate is not None and self.dice.random() >= self.switch.rate:
            return False
        self.fired += 1
        return True


class Switchboard:
    """The switches that are on, in order; the first that covers a request and fires decides."""

    def __init__(self) -> None:
        self._active: list[_Active] = []

    def set(self, value: Any) -> None:
        """Replace all switches.

        Args:
            value: One switch, a list of them, or `{"switches": [...]}`, as JSON.

        Raises:
            pydantic.ValidationError: The value says something else.
        """
        if isinstance(value, dict) and set(value) == {"switches"}:
            value = value["switches"]
        plan = PLAN.validate_python(value if isinstance(value, list) else [value])
        self._active = [_Active(switch, dice=random.Random(switch.seed)) for switch in plan]

    def clear(self) -> None:
        """Let every request through."""
        self._active = []

    def decide(self, method: str, path: str, text: str) -> Switch | None:
        """The switch that is to spoil this request, or None; counts it."""
        for active in self._active:
            if active.switch.covers(method, path, text) and active.fires():
                return active.switch
        return None

    def describe(self) -> list[dict[str, Any]]:
        """The switches as they were set, each with how many requests it covered and how often it fired."""
        return [
            {**active.switch.model_dump(exclude_defaults=True), "seen": active.seen, "fired": active.fired}
            for active in self._active
        ]
