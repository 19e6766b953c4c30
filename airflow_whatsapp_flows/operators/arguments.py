"""Checks of an operator's arguments, so that a wrong one fails when the DAG is parsed and not when it runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, get_args

from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.delivery import Delivery
from airflow_whatsapp_flows.flow.format import Method
from airflow_whatsapp_flows.flow.template.references import did_you_mean

METHODS: tuple[str, ...] = get_args(Method)
_RETRY_KEYS = ("attempts", "wait", "max_wait", "backoff", "statuses")


def check_choices(body_type: Any, delivery: Any, on_error: Any) -> None:
    """Check the arguments that are one of a few words.

    Raises:
        ValueError: one is not; names it, and what is allowed.
    """
    if body_type is not None:
        check_choice("body_type", body_type, [kind.value for kind in BodyType])
    if delivery is not None:
        check_choice("delivery", delivery, [mode.value for mode in Delivery])
    check_choice("on_error", on_error, ("branch", "fail"))


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Check that an argument is one of a few words.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} cannot be {value!r}{did_you_mean(str(value), allowed)}")


def check_timeout(timeout: Any) -> None:
    """Check a number of seconds.

    Raises:
        ValueError: it is not a number above 0.
    """
    if not _number(timeout) or timeout <= 0:
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")


def check_retry(retry: Any) -> None:
    """Check ``retry``.

    Raises:
        ValueError: a key is unknown, or a value cannot be used; names it.
    """
    if retry is None:
        return
    if not isinstance(retry, Mapping):
        raise ValueError(f"retry is an object with {', '.join(_RETRY_KEYS)}, not {retry!r}")
    for key, value in retry.items():
        if key not in _RETRY_KEYS:
            raise ValueError(f"retry has no {key!r}{did_you_mean(str(key), _RETRY_KEYS)}")
        if key == "statuses":
            if not isinstance(value, (list, tuple)) or not all(_whole(status) for status in value):
                raise ValueError(f"retry: statuses is a list of status codes, not {value!r}")
        elif key == "attempts":
            if not _whole(value) or value < 1:
                raise ValueError(f"retry: attempts is a whole number from 1, not {value!r}")
        elif not _number(value) or value < (1 if key == "backoff" else 0):
            raise ValueError(f"retry: {key} is a number from {1 if key == 'backoff' else 0}, not {value!r}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
