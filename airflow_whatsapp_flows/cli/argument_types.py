"""Parsers for the values of command-line arguments."""

from __future__ import annotations

import argparse
import datetime as dt


def whole(text: str) -> int:
    """Parse a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def concurrency(text: str) -> int:
    """Parse the number of concurrent requests."""
    from airflow_whatsapp_flows.replay.option_checks import check_concurrency

    try:
        return check_concurrency(whole(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def workers(text: str) -> int | str:
    """Parse the number of worker processes, or ``auto``."""
    from airflow_whatsapp_flows.settings import read_workers

    try:
        return read_workers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def rate(text: str) -> tuple[str, float]:
    """Parse a host (empty for every host) and its number of requests per second."""
    from airflow_whatsapp_flows.replay.option_checks import check_rate

    host, equals, number = text.rpartition("=")
    try:
        found = check_rate(float(number))
    except ValueError:
        found = None
    if found is None or (equals and not host):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of requests per second nor HOST=NUMBER")
    return host, found


def handled_errors(text: str) -> int | str:
    """Parse the number or share of contacts that may take an error exit."""
    from airflow_whatsapp_flows.replay.option_checks import read_handled_errors

    try:
        return read_handled_errors(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def overlap(text: str) -> float:
    """Parse what to read again before a watermark: a number of at least 0."""
    from airflow_whatsapp_flows.flow.watermark import MAX_OVERLAP

    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= MAX_OVERLAP:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {MAX_OVERLAP:,}")
    return found


def pair(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError("expected NAME=VALUE")  # without the value, which may be a password
    return name.strip(), value.strip()


def rename(text: str) -> tuple[str, str]:
    """Parse the old and the new name of a step; the new one is empty for a removed step."""
    old, equals, new = text.rpartition("=")
    if not (old and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old, new


def moment(text: str) -> float:
    """Parse a date, or a date and time, to seconds since the epoch; UTC if it has no offset."""
    from airflow_whatsapp_flows.flow.moments import parse_iso

    try:
        found = parse_iso(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date or date and time, such as 2026-11-22T16:04") from None
    return (found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)).timestamp()
