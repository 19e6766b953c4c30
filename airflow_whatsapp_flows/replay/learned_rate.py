"""A rate learned from refusals: it falls when the server refuses requests, and grows while it does not."""

from __future__ import annotations

_FALL = 0.9  # of what got through before the refusal
_GROWTH = 1.05  # in every quiet second
_FLOOR = 1.0  # requests a second
_MEMORY = 60.0  # seconds; older traffic says little about the current limit
_RECENT = 2.0  # seconds over which refusals are counted
_FEW = 5  # refusals; fewer are not significant
_TOLERATED = 0.1  # share of replies; an occasionally busy server refuses fewer
_NOTICED = 0.02  # share of replies; above it the rate does not grow
_FORGET_AFTER = 30.0  # quiet seconds
_FORGET_ABOVE = 4.0  # times what is asked for


class LearnedRate:
    """The rate at which one process may send to one host, learned from refusals.

    Works across processes: each learns from its own traffic, so together they slow down as one would.

    Args:
        ceiling: configured requests per second; ``None`` if nothing is known before the first refusal.
        now: current time of the clock used for all times, in seconds.
    """

    def __init__(self, ceiling: float | None, now: float) -> None:
        self._ceiling = ceiling
        self._base: float | None = None
        self._quiet_from = now
        self._same_refusal_until = now
        self._counted_from = now
        self._accepted = 0.0
        self._recent_from = now
        self._recent = {True: 0.0, False: 0.0}  # whether each was accepted

    def note_accepted(self, now: float) -> None:
        """Count a request that the server accepted."""
        self._accepted += 1
        self._note(now, let_in=True)
        if now - self._counted_from > _MEMORY:
            self._accepted /= 2
            self._counted_from += (now - self._counted_from) / 2

    def note_refused(self, now: float, held_until: float) -> None:
        """Lower the rate if refusals are frequent, unless it was already lowered for this burst.

        A few refusals among many replies only keep it from growing: a server may refuse at random, at any rate.

        Args:
            now: seconds.
            held_until: nothing is sent before this time; ``now`` if the server did not ask for a wait.
        """
        self._note(now, let_in=False)
        refusals = self._recent[False]
        share = refusals / (refusals + self._recent[True])
        if refusals < _FEW or share < _TOLERATED:
            if share >= _NOTICED and self._base is not None:
                self._base, self._quiet_from = self.rate(now), max(now, held_until)
            return
        same = self._base is not None and now < self._same_refusal_until
        rate = self.rate(now)
        self._quiet_from = max(self._quiet_from if same else now, held_until)
        self._same_refusal_until = max(self._same_refusal_until if same else now + 1.0, held_until)
        if same:
            return
        if self._ceiling is None:
            # Time that the server made us wait counts: what it lets in over a minute is what it lets in.
            seen = self._accepted / max(1.0, now - self._counted_from)
            rate = seen if rate is None else min(rate, seen)
        self._base = max(_FLOOR, _FALL * (rate or 0.0))
        self._counted_from, self._accepted = now, 0.0

    def _note(self, now: float, *, let_in: bool) -> None:
        elapsed = now - self._recent_from
        if elapsed > _RECENT:
            kept = 0.5 ** min(elapsed - _RECENT / 2, 100.0)
            self._recent = {True: kept * self._recent[True], False: kept * self._recent[False]}
            self._recent_from = now - _RECENT / 2
        self._recent[let_in] += 1

    def rate(self, now: float) -> float | None:
        """Return the requests per second, at most the ceiling; ``None`` for no limit."""
        if self._base is None:
            return self._ceiling
        quiet = max(0.0, now - self._quiet_from)
        rate: float = self._base * _GROWTH ** min(quiet, 1000.0)
        if self._ceiling is not None:
            if rate < self._ceiling:
                return rate
            self._base = None
            return self._ceiling
        asked_for = self._accepted / max(1.0, now - self._counted_from)
        if quiet > _FORGET_AFTER and rate > max(_FLOOR, _FORGET_ABOVE * asked_for):
            self._base = None
            return None
        return rate
