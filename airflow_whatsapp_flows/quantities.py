"""Formats numbers and durations for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format a duration in its two largest units: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def plural(number: int, noun: str) -> str:
    """Format a number with its noun: ``1 contact``, ``2,000 contacts``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
