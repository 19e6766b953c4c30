"""A rate that falls when the server refuses, and grows while it does not."""

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


def test_before_the_first_refusal_there_is_no_limit_but_the_one_configured() -> None:
    assert after_traffic(None, 100, 10).rate(10) is None
    assert after_traffic(50.0, 50, 10).rate(10) == 50


@pytest.mark.parametrize("seconds", [1, 10, 300])
def test_it_falls_to_nine_tenths_of_what_was_let_in(seconds: int) -> None:
    learned = after_traffic(None, 100, seconds)
    refuse(learned, seconds, seconds)
    assert learned.rate(seconds) == pytest.approx(90, rel=0.03)


def test_a_short_burst_counts_as_what_was_let_in_in_a_second() -> None:
    learned = LearnedRate(None, 0.0)
    for _ in range(400):
        learned.note_accepted(0.1)
    refuse(learned, 0.1, 1)
    assert learned.rate(1) == pytest.approx(360)


def test_one_request_a_second_is_always_tried() -> None:
    learned = LearnedRate(None, 0.0)
    refuse(learned, 5, 5)
    assert learned.rate(5) == 1


def test_a_slower_limit_that_is_configured_stays_slower() -> None:
    learned = LearnedRate(0.5, 0.0)
    refuse(learned, 5, 5)
    assert learned.rate(5) == pytest.approx(0.5)


def test_refusals_that_come_together_count_as_one_and_later_ones_do_not() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 15)
    for moment in (10.01, 11.5, 14.9):
        refuse(learned, moment, 15)
    assert learned.rate(15) == pytest.approx(90)
    refuse(learned, 15.1, 15.1)
    assert (learned.rate(15.1) or 0) < 81.5


def test_it_grows_by_a_twentieth_in_every_quiet_second_and_a_hold_is_not_quiet() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 20)
    assert [round(learned.rate(moment) or 0) for moment in (20, 21, 22, 30)] == [90, 94, 99, 147]


def test_a_configured_limit_returns_when_it_is_quiet() -> None:
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


def test_time_waited_for_the_server_counts() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 60)
    for _ in range(100):
        learned.note_accepted(60.5)
    refuse(learned, 61, 110)
    assert learned.rate(110) == pytest.approx(0.9 * 100 / 51)


@pytest.mark.parametrize("ceiling", [None, 200.0])
def test_refusals_at_random_neither_slow_it_down_nor_let_it_grow(ceiling: float | None) -> None:
    learned = LearnedRate(ceiling, 0.0)
    for number in range(6000):
        if number % 20 == 7:
            learned.note_refused(number / 100, number / 100)
        else:
            learned.note_accepted(number / 100)
    assert learned.rate(60) == ceiling


def test_it_does_not_grow_while_some_are_refused() -> None:
    learned = after_traffic(None, 100, 10)
    refuse(learned, 10, 10)
    for number in range(1200):
        (learned.note_refused if number % 20 == 7 else lambda now, _: learned.note_accepted(now))(16 + number / 100, 0)
    assert learned.rate(28) == pytest.approx(learned.rate(17), rel=0.1)
