"""A rate that falls when the server refuses, and grows otherwise."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.replay.learned_rate import LearnedRate


def after_traffic(ceiling: float | None, rate: int, seconds: int) -> LearnedRate:
    learned = LearnedRate(ceiling, 0.0)
    for number in range(rate * seconds):
        learned.note_accepted(number / rate)
    return learned


def refuse(learned: LearnedRate, now: float, until: float, times: int = 100) -> None:
    for _ in range(times):
        learned.note_refused(now, until)


def test_before_a_refusal_only_the_configured_limit_applies() -> None:
    assert after_traffic(None, 100, 10).rate(10) is None
    assert after_traffic(50.0, 50, 10).rate(10) == 50


@pytest.mark.parametrize("seconds", [1, 10, 300])
def test_falls_to_nine_tenths_of_the_accepted_rate(seconds: int) -> None:
    learned = after_traffic(None, 100, seconds)
    refuse(learned, seconds, seconds)
    assert learned.rate(seconds) == pytest.approx(90, rel=0.03)


def test_a_short_burst_counts_as_one_second() -> None:
    learned = LearnedRate(None, 0.0)
    for _ in range(400):
        learned.note_accepted(0.1)
    refuse(learned, 0.1, 1)
    assert learned.rate(1) == pytest.approx(360)


def test_never_falls_below_one_request_a_second() -> None:
    learned = LearnedRate(None, 0.0)
    refuse(learned, 5, 5)
    assert learned.rate(5) == 1


def test_keeps_a_slower_configured_limit() -> None:
    learned = LearnedRate(0.5, 0.0)
    refuse(learned, 5, 5)
    assert learned.rate(5) == pytest.approx(0.5)


def test_simultaneous_refusals_count_as_one() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 15)
    for moment in (10.01, 11.5, 14.9):
        refuse(learned, moment, 15)
    assert learned.rate(15) == pytest.approx(90)
    refuse(learned, 15.1, 15.1)
    assert (learned.rate(15.1) or 0) < 81.5


def test_grows_by_a_twentieth_per_quiet_second() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 20)
    assert [round(learned.rate(moment) or 0) for moment in (20, 21, 22, 30)] == [90, 94, 99, 147]


def test_returns_to_the_configured_limit() -> None:
    learned = after_traffic(50.0, 50, 10)
    refuse(learned, 10, 10)
    assert learned.rate(10) == pytest.approx(45)
    assert learned.rate(11) == pytest.approx(47.25)
    assert learned.rate(13) == 50
    assert learned.rate(1000) == 50


def test_an_unused_learned_rate_is_dropped() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 10)
    for number in range(1000):
        learned.note_accepted(10 + number / 10)  # 10 a second
    assert learned.rate(39) is not None
    assert learned.rate(110) is None


def test_time_spent_waiting_for_the_server_counts() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 60)
    for _ in range(100):
        learned.note_accepted(60.5)
    refuse(learned, 61, 110)
    assert learned.rate(110) == pytest.approx(0.9 * 100 / 51)


@pytest.mark.parametrize("ceiling", [None, 200.0])
def test_random_refusals_keep_the_rate_stable(ceiling: float | None) -> None:
    learned = LearnedRate(ceiling, 0.0)
    for number in range(6000):
        if number % 20 == 7:
            learned.note_refused(number / 100, number / 100)
        else:
            learned.note_accepted(number / 100)
    assert learned.rate(60) == ceiling


def test_does_not_grow_during_refusals() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 10)
    for number in range(1200):
        (learned.note_refused if number % 20 == 7 else lambda now, _: learned.note_accepted(now))(16 + number / 100, 0)
    assert learned.rate(28) == pytest.approx(learned.rate(17), rel=0.1)
