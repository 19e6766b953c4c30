"""Stale responses, opted-out people, and quiet hours."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.identity import IdentityRule
from airflow_whatsapp_flows.flow.template.references import Reference
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.replay.guards import Go, GuardRules, Guards, Later, Skip, SkipReason

MEXICO = "+525512345678"  # UTC-6 all year
NIGHT = ("21:00", "08:00")


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text + "+00:00")


def response(created_on: str | None = None, **contact: Any) -> ContactResponse:
    return ContactResponse(contact=contact, created_on=created_on)


NOW = at("2026-11-22T18:00")


def test_without_rules_everything_is_allowed() -> None:
    assert Guards(GuardRules()).judge(response(), NOW) == Go()


# -- opt-out --


@pytest.mark.parametrize("listed", ["+525512345678", "+5215512345678", "52 55 1234 5678", "0052-55-1234-5678"])
@pytest.mark.parametrize("phone", ["+525512345678", "+52 1 55 1234 5678", "5215512345678", 5215512345678])
def test_opt_out_matches_any_spelling_of_a_number(listed: str, phone: object) -> None:
    guards = Guards(GuardRules(opt_out=(listed,)))
    assert guards.judge(response(phone=phone), NOW) == Skip(SkipReason.OPTED_OUT)


@pytest.mark.parametrize(
    "phone",
    [
        "+５２５５１２３４５６７８",
        "+٥٢٥٥١٢٣٤٥٦٧٨",
        "+52 (0)55 1234 5678",
        "+52 55 1234 5678 ext 0",
        "011 52 55 1234 5678",
        "whatsapp:+5215512345678",
        "tel:+52-55-1234-5678",
        "55 1234 5678",
    ],
)
def test_no_spelling_gets_past_opt_out(phone: str) -> None:
    guards = Guards(GuardRules(opt_out=(MEXICO,), identity=IdentityRule("MX")))
    assert guards.judge(response(phone=phone), NOW) == Skip(SkipReason.OPTED_OUT)


@pytest.mark.parametrize("phone", ["+525512345679", "525512345679"])
def test_sends_to_contacts_that_did_not_opt_out(phone: object) -> None:
    assert Guards(GuardRules(opt_out=(MEXICO,))).judge(response(phone=phone), NOW) == Go()


@pytest.mark.parametrize("phone", ["", None, True, ["+525512345678"]])
def test_a_contact_without_a_phone_is_unidentified_for_opt_outs_by_phone(phone: object) -> None:
    verdict = Guards(GuardRules(opt_out=(MEXICO,))).judge(response(phone=phone, id="77"), NOW)
    assert str(verdict) == "unidentified: opt_out lists phones, but the contact has none"


@pytest.mark.parametrize("contact", [{"phone": "5512345678"}, {"phone": "Ana", "id": "77"}])
def test_a_phone_that_cannot_be_compared_is_unidentified(contact: dict[str, Any]) -> None:
    words = "contact.phone cannot be compared: write the number with + and its country code, or set default_country"
    verdict = Guards(GuardRules(opt_out=(MEXICO, "id:78"))).judge(response(**contact), NOW)
    assert str(verdict) == f"unidentified: opt_out lists phones, and {words}"
    verdict = Guards(GuardRules(only_once=True)).judge(response(**contact), NOW)
    assert str(verdict) == f"unidentified: only_once compares people, but {words}"


OPTED_OUT = ("BR.1502345678901234", "Ana@Example.com", "id:525512345678")


@pytest.mark.parametrize(
    ("contact", "verdict"),
    [
        ({"user_id": "BR.1502345678901234"}, Skip(SkipReason.OPTED_OUT)),
        ({"id": "BR.1502345678901234"}, Skip(SkipReason.OPTED_OUT)),
        ({"user_id": "1502345678901234"}, Go()),
        ({"user_id": "br.1502345678901234"}, Go()),
        ({"email": " ANA@example.COM ", "phone": MEXICO}, Skip(SkipReason.OPTED_OUT)),
        ({"email": "eva@example.com", "phone": "+525512345670"}, Go()),
        ({"id": 525512345678}, Skip(SkipReason.OPTED_OUT)),
        ({"phone": MEXICO, "id": "1"}, Go()),
        ({"meta": {"crm_id": "BR.1502345678901234"}}, Skip(SkipReason.OPTED_OUT)),
        (
            {"phone": MEXICO},
            Skip(SkipReason.UNIDENTIFIED, "opt_out lists ids and e-mail addresses, but the contact has none"),
        ),
    ],
)
def test_people_opt_out_by_any_identifier(contact: dict[str, Any], verdict: object) -> None:
    listed = Reference("contact", ("meta", "crm_id"), "contact.meta.crm_id")
    guards = Guards(GuardRules(opt_out=OPTED_OUT, identity=IdentityRule(listed=(listed,))))
    assert guards.judge(response(**contact), NOW) == verdict


def test_opt_out_matches_whatsapp_ids() -> None:
    guards = Guards(GuardRules(opt_out=("5215512345678",)))
    assert guards.judge(response(phone="+525512345670", id="5215512345678"), NOW) == Skip(SkipReason.OPTED_OUT)


def test_only_once_needs_an_identifier() -> None:
    guards = Guards(GuardRules(only_once=True))
    for contact in ({"phone": MEXICO}, {"user_id": "BR.15"}, {"email": "a@b.example"}, {"id": 7}):
        assert guards.judge(response(**contact), NOW) == Go()
    verdict = guards.judge(response(first_name="Ana", email="none"), NOW)
    expected = "unidentified: only_once compares people, but the contact has no phone, id, user_id or email"
    assert str(verdict) == expected


# -- maximum age --


@pytest.mark.parametrize(
    ("created_on", "verdict"),
    [
        ("2026-11-22T17:00:00Z", Go()),
        ("2026-11-22T16:59:59Z", Skip(SkipReason.TOO_OLD)),
        (" 2026-11-22T11:30:00-06:00 ", Go()),
        ("2026-11-22T10:30:00-06:00", Skip(SkipReason.TOO_OLD)),
        ("2026-11-23T10:00:00Z", Go()),
        ("2026-11-22T11:30", Go()),
        ("2026-11-22T10:30", Skip(SkipReason.TOO_OLD)),
        ("yesterday", Skip(SkipReason.NO_CREATED_ON)),
        ("1795370400", Skip(SkipReason.NO_CREATED_ON)),
        ("", Skip(SkipReason.NO_CREATED_ON)),
        (None, Skip(SkipReason.NO_CREATED_ON)),
    ],
)
def test_skips_responses_that_are_too_old(created_on: str | None, verdict: object) -> None:
    guards = Guards(GuardRules(max_age=3600, timezone="America/Mexico_City"))
    assert guards.judge(response(created_on), NOW) == verdict


# -- quiet hours --


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-22T02:59", None),  # 20:59 in Mexico City
        ("2026-11-22T03:00", "2026-11-22T14:00"),
        ("2026-11-22T06:00", "2026-11-22T14:00"),
        ("2026-11-22T13:59", "2026-11-22T14:00"),
        ("2026-11-22T14:00", None),
    ],
)
def test_postpones_night_sends_to_the_morning(now: str, until: str | None) -> None:
    verdict = Guards(GuardRules(quiet_hours=NIGHT)).judge(response(phone=MEXICO), at(now))
    assert verdict == (Go() if until is None else Later(at(until)))


def test_quiet_hours_can_be_within_one_day() -> None:
    guards = Guards(GuardRules(quiet_hours=("14:00", "16:00"), timezone="UTC"))
    assert guards.judge(response(), at("2026-11-22T15:00")) == Later(at("2026-11-22T16:00"))
    assert guards.judge(response(), at("2026-11-22T16:00")) == Go()


@pytest.mark.parametrize(
    ("contact", "zone"),
    [
        ({"timezone": "Asia/Tokyo", "phone": MEXICO}, "Asia/Tokyo"),
        ({"meta": {"timezone": "Asia/Tokyo"}, "phone": MEXICO}, "Asia/Tokyo"),
        ({"timezone": "Tokyo", "phone": MEXICO}, "America/Mexico_City"),
        ({"timezone": "../../etc/passwd", "phone": MEXICO}, "America/Mexico_City"),
        ({"timezone": "America", "phone": MEXICO}, "America/Mexico_City"),
        ({"timezone": 9, "phone": "+5215512345678"}, "America/Mexico_City"),
        ({"meta": "x", "phone": "+81312345678"}, "Asia/Tokyo"),
        ({"phone": "+5511987654321"}, "America/Sao_Paulo"),
        ({"phone": "+551187654321"}, "America/Sao_Paulo"),
        ({"phone": "+5491123456789"}, "America/Buenos_Aires"),
        ({"phone": "+99999"}, "Europe/Madrid"),
        ({"phone": "hello"}, "Europe/Madrid"),
        ({}, "Europe/Madrid"),
    ],
)
def test_uses_the_zone_of_the_contact_the_number_or_the_flow(contact: dict[str, Any], zone: str) -> None:
    guards = Guards(GuardRules(quiet_hours=NIGHT, timezone="Europe/Madrid"))
    morning = dt.datetime(2026, 11, 22, 8, tzinfo=ZoneInfo(zone))
    assert guards.judge(response(**contact), morning) == Go()
    verdict = guards.judge(response(**contact), morning - dt.timedelta(minutes=1))
    assert verdict == Later(morning.astimezone(dt.timezone.utc))


def test_waits_until_it_is_day_in_all_zones_of_a_number() -> None:
    guards = Guards(GuardRules(quiet_hours=NIGHT))
    australia = response(phone="+61412345678")  # from the Cocos Islands, UTC+6:30, to Sydney, UTC+11
    assert guards.judge(australia, at("2026-11-22T01:29")) == Later(at("2026-11-22T01:30"))
    assert guards.judge(australia, at("2026-11-22T01:30")) == Go()
    assert guards.judge(australia, at("2026-11-22T09:59")) == Go()
    assert guards.judge(australia, at("2026-11-22T10:00")) == Later(at("2026-11-23T01:30"))


def test_uses_the_flows_zone_if_the_zones_leave_no_hour() -> None:
    guards = Guards(GuardRules(quiet_hours=("18:00", "09:00"), timezone="America/New_York"))
    toll_free = response(phone="+18005550123")  # from Guam to Newfoundland
    assert guards.judge(toll_free, at("2026-11-22T18:00")) == Go()
    assert guards.judge(toll_free, at("2026-11-22T03:00")) == Later(at("2026-11-22T14:00"))


@pytest.mark.parametrize(
    ("now", "until"),
    [
        # Clocks go from 2:00 to 3:00 on 29 March 2026, and from 3:00 back to 2:00 on 25 October.
        ("2026-03-29T00:10", "2026-03-29T01:30"),
        ("2026-10-24T23:10", "2026-10-25T00:30"),
        ("2026-10-25T01:10", "2026-10-25T01:30"),
    ],
)
def test_quiet_hours_end_even_when_clocks_change(now: str, until: str) -> None:
    guards = Guards(GuardRules(quiet_hours=("21:00", "02:30"), timezone="Europe/Madrid"))
    assert guards.judge(response(), at(now)) == Later(at(until))


minutes = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02d}:{minute % 60:02d}")
zones = st.sampled_from(
    ["America/Mexico_City", "Europe/Madrid", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]
)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(minutes, minutes).filter(lambda hours: hours[0] != hours[1]),
    zones,
    st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2027, 1, 1), timezones=st.just(dt.timezone.utc)),
)
def test_a_postponed_contact_is_sent_after_quiet_hours(hours: tuple[str, str], zone: str, now: dt.datetime) -> None:
    guards = Guards(GuardRules(quiet_hours=hours))
    one = response(timezone=zone)
    verdict = guards.judge(one, now)
    if isinstance(verdict, Later):
        assert now < verdict.until <= now + dt.timedelta(hours=26)
        assert guards.judge(one, verdict.until) == Go()


# -- together --


def test_skips_contacts_that_opted_out_instead_of_postponing_them() -> None:
    guards = Guards(GuardRules(max_age=60, opt_out=(MEXICO,), quiet_hours=NIGHT))
    night = at("2026-11-22T06:00")
    assert guards.judge(response(phone=MEXICO), night) == Skip(SkipReason.OPTED_OUT)
    assert guards.judge(response("2026-11-22T05:00:00Z", phone="+525512345679"), night) == Skip(SkipReason.TOO_OLD)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (GuardRules(quiet_hours=("9pm", "08:00")), "'9pm' is not a time such as 21:00"),
        (GuardRules(quiet_hours=("24:00", "08:00")), "'24:00' is not a time"),
        (GuardRules(quiet_hours=("08:00", "08:00")), "start and end are both 08:00"),
        (GuardRules(opt_out=("5512345678",)), "is not a phone number that can be compared"),
        (GuardRules(timezone="Mexico City"), "is not an IANA name such as America/Mexico_City"),
    ],
)
def test_wrong_rules_are_reported(rules: GuardRules, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Guards(rules)
