"""What the arguments of a command are read as."""

from __future__ import annotations

import argparse
import datetime as dt

MAX_CONCURRENCY = 1024


def whole(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def concurrency(text: str) -> int:
    """How many requests may be under way at once."""
    number = whole(text)
    if number > MAX_CONCURRENCY:
        raise argparse.ArgumentTypeError(f"{number} is too many: at most {MAX_CONCURRENCY}")
    return number


def rate(text: str) -> tuple[str, float]:
    """A host, or the empty text for every one, and its requests a second."""
    host, _, number = text.rpartition("=")
    try:
        found = float(number)
    except ValueError:
        found = 0.0
    if not 0 < found <= 100_000 or ("=" in text and not host):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of requests a second nor HOST=NUMBER")
    return host, found


def handled_errors(text: str) -> int | str:
    """A number or a share of contacts that may take an error exit."""
    from airflow_whatsapp_flows.replay.budget import read_handled_errors

    try:
        return read_handled_errors(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pair(text: str) -> tuple[str, str]:
    """A name and a value."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError("it is written NAME=VALUE")  # what was given may hold a password
    return name.strip(), value.strip()


def renamed(text: str) -> tuple[str, str]:
    """The old name of a step and its new one, which is empty where the step was removed."""
    old, equals, new = text.rpartition("=")
    if not (old and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not written OLD=NEW")
    return old, new


def moment(text: str) -> float:
    """A date, or a date and time, as seconds since the epoch; UTC where it names no offset.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    from airflow_whatsapp_flows.flow.moments import parse_iso

    try:
        found = parse_iso(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date and time such as 2026-11-22T16:04") from None
    return (found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)).timestamp()
