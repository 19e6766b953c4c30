"""Waits requested by rate limit headers."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.delivery.rate_headers import nothing_remains, reset_after

NOW = dt.datetime(2026, 11, 22, 10, tzinfo=dt.timezone.utc)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"ratelimit": '"default";r=0;t=5'}, 5.0),
        ({"RateLimit": '"default"; r=0; t=5'}, 5.0),
        ({"ratelimit": '"hour";r=0;t=3600, "second";r=0;t=1'}, 3600.0),
        ({"ratelimit": '"hour";r=12;t=3600, "second";r=0;t=1'}, 1.0),
        ({"ratelimit": '"a, b; r=0; t=9";r=0;t=5'}, 5.0),
        ({"ratelimit": '"default";r=3;t=5'}, None),
        ({"ratelimit": "limit=100, remaining=0, reset=5"}, 5.0),
        ({"ratelimit": "limit=100, remaining=7, reset=5"}, None),
        ({"ratelimit-reset": "5"}, 5.0),
        ({"ratelimit-reset": "5", "ratelimit-remaining": "0"}, 5.0),
        ({"ratelimit-reset": "5", "ratelimit-remaining": "1"}, None),
        ({"ratelimit-limit": "100"}, None),
        ({"X-RateLimit-Reset": "1.5"}, 1.5),
        ({"x-ratelimit-reset": str(EPOCH + 30)}, 30.0),
        ({"x-ratelimit-reset": str(EPOCH - 30)}, 0.0),
        ({"x-ratelimit-reset": str((EPOCH + 30) * 1000)}, 30.0),
        ({"x-rate-limit-reset": str(EPOCH + 30), "x-rate-limit-remaining": "0"}, 30.0),
        ({"x-ratelimit-reset": "5, 5"}, 5.0),
        ({"x-ratelimit-reset": "-5"}, None),
        ({"x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-reset": "1e9"}, None),
        ({"x-ratelimit-reset": "٥"}, None),
        ({"x-ratelimit-reset": "9" * 400}, None),
        ({"ratelimit": '"default'}, None),
        ({"ratelimit": ""}, None),
        ({}, None),
    ],
)
def test_the_wait_of_a_reply(headers: dict[str, str], wait: float | None) -> None:
    assert reset_after(headers, NOW) == wait


@pytest.mark.parametrize(
    ("headers", "nothing"),
    [
        ({"RateLimit-Remaining": "0"}, True),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "5"}, True),
        ({"ratelimit": '"hour";r=12;t=3600, "second";r=0;t=1'}, True),
        ({"ratelimit": "limit=100, remaining=0, reset=5"}, True),
        ({"ratelimit-remaining": "1"}, False),
        ({"ratelimit-reset": "5"}, False),
        ({}, False),
    ],
)
def test_detects_an_exhausted_quota_in_a_reply(headers: dict[str, str], nothing: bool) -> None:
    assert nothing_remains(headers) is nothing


names = st.sampled_from(["ratelimit", "RateLimit-Reset", "x-ratelimit-reset", "x-ratelimit-remaining"])


@given(st.dictionaries(names, st.text(max_size=50) | st.text(alphabet='"\\;=,rt05 ', max_size=2000)))
def test_any_field_value_is_accepted(headers: dict[str, str]) -> None:
    wait = reset_after(headers, NOW)
    assert wait is None or wait >= 0
