"""Checks of operator arguments, so that an invalid one fails when the DAG is parsed, not when it runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, get_args

import msgspec

from airflow_whatsapp_flows.flow.body import BodyType
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.format import Method, RetryFormat
from airflow_whatsapp_flows.flow.request.headers import parse_headers
from airflow_whatsapp_flows.flow.template.language import LITERAL, TemplateFault

_RETRY_KEYS = RetryFormat.__struct_fields__
METHODS: tuple[str, ...] = get_args(Method)


def check_choices(body_type: Any, delivery: Any, on_error: Any) -> None:
    """Check arguments with a fixed set of values.

    Raises:
        ValueError: a value is not allowed; lists the allowed ones.
    """
    if body_type is not None:
        check_choice("body_type", body_type, [kind.value for kind in BodyType])
    if delivery is not None:
        check_choice("delivery", delivery, [mode.value for mode in Delivery])
    check_choice("on_error", on_error, ("branch", "continue", "fail"))


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Check an argument with a fixed set of values.

    Raises:
        ValueError: the value is not one of them; suggests the most similar one.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} cannot be {value!r}{did_you_mean(str(value), allowed)}")


def take_either(name: str, value: Any, alias: str, other: Any, *, absent: Any = None) -> Any:
    """Return the value of an argument that has two names.

    Raises:
        ValueError: both are given.
    """
    if value is not absent and other is not absent:
        raise ValueError(f"{name} and {alias} are two names for the same argument; use one of them")
    return other if value is absent else value


def check_method(method: Any) -> None:
    """Check a literal method; a template or an XComArg is checked when the task runs.

    Raises:
        ValueError: it is not allowed.
    """
    if isinstance(method, str) and "{{" not in method:
        check_choice("method", method.upper(), METHODS)


def check_header_name(argument: str, name: Any) -> None:
    """Check an argument that is the name of a header.

    Raises:
        ValueError: it is not a valid name, or the HTTP client sets this header.
    """
    try:
        parse_headers({name: ""}, LITERAL)
    except TemplateFault as fault:
        raise ValueError(f"{argument}: {fault.message}") from None
    if isinstance(name, str) and name.lower() == "content-type":
        raise ValueError(f"{argument}: the body sets Content-Type")


def check_timeout(timeout: Any) -> None:
    """Check a number of seconds.

    Raises:
        ValueError: it is not a number greater than 0.
    """
    if not _number(timeout) or timeout <= 0:
        raise ValueError(f"timeout must be a number of seconds greater than 0, not {timeout!r}")


def check_retry(retry: Any) -> None:
    """Check ``retry`` by the rules of a flow file.

    Raises:
        ValueError: a key is unknown or a value is invalid; names what is allowed.
    """
    if retry is None:
        return
    if not isinstance(retry, Mapping):
        raise ValueError(f"retry must be an object with {', '.join(_RETRY_KEYS)}, not {retry!r}")
    for key, value in retry.items():
        if key not in _RETRY_KEYS:
            raise ValueError(f"retry has no {key!r}{did_you_mean(str(key), _RETRY_KEYS)}")
        if not _is_valid_retry(key, value):
            raise ValueError(f"retry: {key} must be {_describe_retry(key)}, not {value!r}")


def _is_valid_retry(key: str, value: Any) -> bool:
    try:
        msgspec.convert({key: value}, RetryFormat)  # a DAG may write a tuple where a flow file has a list
    except msgspec.ValidationError:
        return False
    return not isinstance(value, (set, frozenset))


def _describe_retry(key: str) -> str:
    from airflow_whatsapp_flows.flow.format.pydantic_models import pydantic_model

    return _describe_schema(pydantic_model(RetryFormat).model_json_schema()["properties"][key])


def _describe_schema(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return _describe_schema(schema["anyOf"][0])
    if schema["type"] == "array":
        return f"a list, each {_describe_schema(schema['items'])}"
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    return f"{kind} from {schema['minimum']} to {schema['maximum']}"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
