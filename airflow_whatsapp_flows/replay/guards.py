"""Guards: whether and when a recorded response may be sent, by age, opt-out, quiet hours and identity."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_whatsapp_flows.flow.identity import UNREADABLE_PHONE, Identity, IdentityRule, OptOut
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.moments import parse_iso
from airflow_whatsapp_flows.flow.phones import phone_key
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.replay.run_settings import replay_block

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_FURTHEST = dt.timedelta(hours=48)  # an hour that is not quiet comes within a day, except for clock changes


class SkipReason(str, Enum):
    """Why nothing is sent for a response."""

    OPTED_OUT = "opted_out"
    NO_CREATED_ON = "no_created_on"
    TOO_OLD = "too_old"
    UNIDENTIFIED = "unidentified"


@dataclass(frozen=True, slots=True)
class Go:
    """The response may be walked now."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The response is not walked.

    Attributes:
        reason: why.
        detail: what is missing, for people; may be empty.
    """

    reason: SkipReason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value


@dataclass(frozen=True, slots=True)
class Later:
    """The response may be walked, but not yet.

    Attributes:
        until: end of the quiet hours, in UTC.
        reason: why.
    """

    until: dt.datetime
    reason: str = "quiet_hours"


Verdict = Go | Skip | Later
_GO = Go()


@dataclass(frozen=True, slots=True)
class GuardRules:
    """The guards in a flow file.

    Attributes:
        max_age: maximum age of a response in seconds; ``None`` for any age.
        opt_out: phone numbers, e-mail addresses and ids that get nothing.
        quiet_hours: start and end in the contact's own time, ``("21:00", "08:00")``; ``None`` for none.
        timezone: the flow's IANA time zone: for contacts whose own is unknown, and for times without an offset.
        identity: how contacts are identified.
        only_once: whether each person gets each step only once: then a contact that cannot be identified gets nothing.
    """

    max_age: float | None = None
    opt_out: tuple[str, ...] = ()
    quiet_hours: tuple[str, str] | None = None
    timezone: str = "UTC"
    identity: IdentityRule = field(default_factory=IdentityRule)
    only_once: bool = False


def guard_rules(flow: Flow, *, force: bool = False) -> GuardRules:
    """Return the guards of a flow.

    Args:
        force: whether everything is resent intentionally; then ``only_once`` does not apply.
    """
    block = replay_block(flow)
    quiet = block.quiet_hours
    return GuardRules(
        max_age=block.max_age,
        opt_out=tuple(block.opt_out),
        quiet_hours=(quiet.start, quiet.end) if quiet else None,
        timezone=flow.timezone,
        identity=flow.identity,
        only_once=block.only_once and not force,
    )


class Guards:
    """Applies the guards of a flow to responses.

    Args:
        rules: the guards of a flow.

    Raises:
        ValueError: a quiet-hours time is not like 21:00, both are equal, the time zone is unknown, or an entry of
            ``opt_out`` can never match.
    """

    def __init__(self, rules: GuardRules) -> None:
        self._max_age = rules.max_age
        self._identity, self._only_once = rules.identity, rules.only_once
        self._opt_out = OptOut(rules.opt_out, rules.identity.country)
        zone = _zone(rules.timezone)
        if zone is None:
            raise ValueError(f"timezone {rules.timezone!r} is not an IANA name such as America/Mexico_City")
        self._zone = zone
        self._quiet = None if rules.quiet_hours is None else _QuietHours.of(*rules.quiet_hours)

    def judge(self, response: ContactResponse, now: dt.datetime) -> Verdict:
        """Decide whether a response is sent now, later or never.

        Args:
            now: an aware time.
        """
        if self._opt_out or self._only_once:
            skip = self._judge_person(self._identity.of(response.contact, response.flow_execution_variables))
            if skip is not None:
                return skip
        if self._max_age is not None:
            created_on = self._parse_created_on(response)
            if created_on is None:
                return Skip(SkipReason.NO_CREATED_ON)
            if (now - created_on).total_seconds() > self._max_age:
                return Skip(SkipReason.TOO_OLD)
        if self._quiet is None:
            return _GO
        until = self._quiet.over(now, self._zones(response), self._zone)
        return _GO if until is None else Later(until)

    def _judge_person(self, identity: Identity) -> Skip | None:
        if self._opt_out:
            if self._opt_out.holds(identity):
                return Skip(SkipReason.OPTED_OUT)
            missing = self._opt_out.reason_unchecked(identity)
            if missing is not None:
                return Skip(SkipReason.UNIDENTIFIED, missing)
        if self._only_once and not identity.is_comparable:
            why = UNREADABLE_PHONE if identity.phone_text else "the contact has no phone, id, user_id or email"
            return Skip(SkipReason.UNIDENTIFIED, f"only_once compares people, but {why}")
        return None

    def _parse_created_on(self, response: ContactResponse) -> dt.datetime | None:
        try:
            moment = parse_iso((response.created_on or "").strip())
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=self._zone)

    def _zones(self, response: ContactResponse) -> tuple[ZoneInfo, ...]:
        contact = response.contact
        meta = contact.get("meta")
        for name in (contact.get("timezone"), meta.get("timezone") if isinstance(meta, dict) else None):
            zone = _zone(name) if isinstance(name, str) else None
            if zone is not None:
                return (zone,)
        phone = phone_key(contact.get("phone"), self._identity.country)
        return (_zones_of_phone(phone) if phone else ()) or (self._zone,)


@dataclass(frozen=True, slots=True)
class _QuietHours:
    start: dt.time
    end: dt.time

    @classmethod
    def of(cls, start: str, end: str) -> _QuietHours:
        for text in (start, end):
            if not _TIME.fullmatch(text):
                raise ValueError(f"quiet_hours: {text!r} is not a time such as 21:00")
        if start == end:
            raise ValueError(f"quiet_hours: start and end are both {start}, so it would always be quiet, or never")
        return cls(dt.time.fromisoformat(start), dt.time.fromisoformat(end))

    def over(self, now: dt.datetime, zones: Iterable[ZoneInfo], fallback: ZoneInfo) -> dt.datetime | None:
        """Return the first time that is quiet in none of the zones; ``None`` if that is now.

        If the zones leave no such hour, as those of a whole continent, only the fallback counts.
        """
        start = now.astimezone(dt.timezone.utc)
        moment, zones = start, tuple(zones)
        while moment - start <= _FURTHEST:
            ends = [self._end(moment, zone) for zone in zones if self._covers(moment.astimezone(zone).time())]
            if not ends:
                return None if moment == start else moment
            moment = max(ends)
        return self.over(now, (fallback,), fallback) if zones != (fallback,) else moment

    def _covers(self, time: dt.time) -> bool:
        if self.start < self.end:
            return self.start <= time < self.end
        return time >= self.start or time < self.end

    def _end(self, moment: dt.datetime, zone: ZoneInfo) -> dt.datetime:
        today = moment.astimezone(zone).date()
        ends = (
            dt.datetime.combine(day, self.end.replace(fold=fold), zone).astimezone(dt.timezone.utc)
            for day in (today, today + dt.timedelta(days=1))
            for fold in (0, 1)  # when clocks are set back, the end occurs twice
        )
        return min(end for end in ends if end > moment)


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@lru_cache(maxsize=4096)
def _zones_of_phone(phone: str) -> tuple[ZoneInfo, ...]:
    from phonenumbers import NumberParseException, parse  # needed by few flows; its tables take time to import
    from phonenumbers.timezone import time_zones_for_number

    try:
        names = time_zones_for_number(parse(phone))
    except NumberParseException:
        return ()
    return tuple(zone for zone in map(_zone, names) if zone is not None)
