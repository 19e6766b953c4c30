"""Checks of a replay's options, for operators and the command line. They need neither the engine nor the ledger."""

from __future__ import annotations

import re

from airflow_whatsapp_flows.flow.format.replay import MAX_CONCURRENCY, MAX_RATE

HandledErrors = int | str
"""Contacts that may take an error exit: a number, or a percentage of the contacts walked, such as ``"20%"``."""

_SHARE = re.compile(r"(100|[0-9]{1,2}(?:\.[0-9]{1,2})?)%")


def read_handled_errors(written: int | str) -> HandledErrors:
    """Parse a limit of handled errors from a flow, an operator or the command line.

    Raises:
        ValueError: it is neither a number from 0 nor a share from ``"0%"`` to ``"100%"``.
    """
    if isinstance(written, str):
        if written.isascii() and written.isdecimal():
            return int(written)
        if _SHARE.fullmatch(written):
            return written
    elif not isinstance(written, bool) and isinstance(written, int) and written >= 0:
        return written
    raise ValueError(f"{written!r} is neither a number of contacts nor a percentage such as '20%'")


def check_concurrency(number: int) -> int:
    """Check and return a number of concurrent requests.

    Raises:
        ValueError: it is not allowed.
    """
    if number < 1:
        raise ValueError(f"{number} is not a positive integer")
    if number > MAX_CONCURRENCY:
        raise ValueError(f"{number} is too high; the maximum is {MAX_CONCURRENCY}")
    return number


def check_rate(rate: float) -> float:
    """Check and return a number of requests per second.

    Raises:
        ValueError: it is not allowed.
    """
    if not 0 < rate <= MAX_RATE:
        raise ValueError(f"{rate:g} is not a number of requests per second from above 0 to {MAX_RATE:,}")
    return rate
