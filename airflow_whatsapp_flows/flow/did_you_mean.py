"""What a misspelt word could have meant."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Collection
from functools import lru_cache

MOST_FAULTS = 200
"""Faults reported for one file: finding suggestions for each takes time, and nobody reads more."""
_COMPARED = 8
_CUTOFF = 0.6


def did_you_mean(word: str, choices: Collection[str]) -> str:
    """``"; did you mean 'x'?"`` where something close is among the choices, else a list of them if it is short."""
    folded = {choice.casefold(): choice for choice in choices}
    wanted = word.casefold()
    close = difflib.get_close_matches(wanted, _likely(wanted, folded), n=1, cutoff=_CUTOFF)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    if 0 < len(choices) <= 12:
        return f"; allowed: {', '.join(sorted(choices))}"
    return ""


def _likely(word: str, choices: Collection[str]) -> Collection[str]:
    # Letters that a word has more than a choice are not equal to any: 2 * len(choice) / (len(choice) + len(word)).
    longest = max(map(len, choices), default=0)
    if len(word) > longest * (2 / _CUTOFF - 1):
        return ()
    # To compare two long names takes as long as to compare the pairs of letters of hundreds.
    if len(choices) <= _COMPARED:
        return choices
    pairs = _pairs(word)
    return heapq.nlargest(
        _COMPARED, choices, key=lambda choice: len(pairs & _pairs(choice)) / (len(choice) + len(word))
    )


@lru_cache(maxsize=4096)
def _pairs(word: str) -> frozenset[str]:
    return frozenset(word[at : at + 2] for at in range(len(word) - 1))
