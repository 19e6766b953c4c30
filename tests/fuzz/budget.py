"""The number of fuzzing examples: a few seconds per test in the suite, more with ``make fuzz``.

``FUZZ_FACTOR=100`` tries a hundred times as many examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))


def fuzz_settings(examples: int) -> settings:
    """Settings for a number of examples, times :data:`FACTOR`, without a deadline."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(max_examples=examples * FACTOR, deadline=None, suppress_health_check=slow)


RESERVED = frozenset({"__id__", "__classname__"})
"""Keys that Airflow's XCom does not store; a reply's get one more underscore. Hypothesis draws them from the source."""

_KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6).filter(
    lambda key: key not in RESERVED
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=10,
)
"""Plain data that every database keeps."""


@st.composite
def mutate(draw: st.DrawFn, original: bytes, pieces: list[bytes]) -> bytes:
    """Bytes with a few changes: truncated, duplicated, replaced, or with an inserted piece."""
    content = original
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.sampled_from([0, 0, 1, 1, 4, 40])))
        new = draw(st.sampled_from([*pieces, content[at:end] * 2]) | st.binary(max_size=3))
        content = content[:at] + new + content[end:]
    return content
