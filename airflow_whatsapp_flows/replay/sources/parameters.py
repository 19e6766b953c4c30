"""Binds the named parameters of a query, in the way of the database's driver."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from airflow_whatsapp_flows.errors import RenderError, SourceError
from airflow_whatsapp_flows.flow.run_terms import RUN_TERMS, RunTerms, query_faults, render_source, why_missing
from airflow_whatsapp_flows.flow.sql_parameters import find_parameters
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.replay.sources.files import hide_credentials


class BoundQuery(NamedTuple):
    """A statement for a driver.

    Attributes:
        text: the statement.
        values: of its parameters; ``None`` if it has none, and is sent unchanged.
    """

    text: str
    values: Sequence[Any] | Mapping[str, Any] | None


def fill_location(text: str, terms: RunTerms, zone: dt.tzinfo) -> str:
    """Fill the terms of a run in the location of a source.

    Args:
        text: the location as entered.
        terms: of the run.
        zone: time zone of dates.

    Raises:
        SourceError: a placeholder is not one of the terms, or the run does not have it.
    """
    try:
        return render_source(text, terms, zone)
    except TemplateFault as fault:
        raise SourceError(f"{hide_credentials(text)}: {fault.message}") from None
    except RenderError as error:
        raise SourceError(f"{hide_credentials(text)}: {error.reason}") from None


def check_parameters(query: str, values: Mapping[str, Any], optional: Collection[str] = ()) -> None:
    """Check that every parameter of a query has a value.

    Args:
        query: one statement.
        values: values by name; ``None`` for a term that the run does not have.
        optional: names of terms that are NULL then.

    Raises:
        SourceError: one has none.
    """
    fault = next(query_faults(query, {**dict.fromkeys(RUN_TERMS), **values}), None)
    if fault is not None:
        raise SourceError(f"the query: {fault.message}")
    for name in parameters_of(query):
        if values.get(name) is None and name in RUN_TERMS and name not in optional:
            raise SourceError(f"the query uses :{name}, and the run has none, {why_missing(name)}")


def parameters_of(query: str) -> list[str]:
    """Names of the parameters of a query, each once."""
    return list(dict.fromkeys(name for name, _, _ in find_parameters(query) if name is not None))


def bind(query: str, values: Mapping[str, Any], connection: object) -> BoundQuery:
    """Write a statement with the placeholders of a driver.

    Args:
        query: one statement with named parameters.
        values: values by name.
        connection: a connection of the driver (PEP 249).

    Raises:
        SourceError: the driver is not known to bind parameters.
    """
    plain, names = number_parameters(query)
    if not names:
        return BoundQuery(plain, None)
    module = type(connection).__module__
    style = _paramstyle(module)
    if style not in _STYLES:
        raise SourceError(f"the driver {module} does not say how a query takes parameters")
    write, by_name = _STYLES[style]
    literal: Callable[[str], str] = _double_percent if style in ("format", "pyformat") else str
    parts: list[str] = []
    order: list[str] = []
    end = 0
    for name, start, stop in find_parameters(query):
        parts.append(literal(query[end:start]))
        end = stop
        if name is not None:
            order.append(name)
        parts.append(":" if name is None else write(name, len(order)))
    text = "".join([*parts, literal(query[end:])])
    given = {name: _as_sqlite(values[name]) if module == "sqlite3" else values[name] for name in names}
    return BoundQuery(text, given if by_name else [given[name] for name in order])


def _paramstyle(module: str) -> str:
    """How a driver's queries take parameters; the package that says so contains the class of its connections."""
    parts = module.removeprefix("_").split(".")
    for end in range(1, len(parts) + 1):
        package = importlib.import_module(".".join(parts[:end]))
        if isinstance(found := getattr(package, "paramstyle", None), str):
            return found
    return ""


def number_parameters(query: str) -> tuple[str, list[str]]:
    """Write a statement as PostgreSQL's protocol has it, with ``$1``, and return the names in order."""
    parts: list[str] = []
    names: list[str] = []
    end = 0
    for name, start, stop in find_parameters(query):
        parts.append(query[end:start])
        end = stop
        if name is not None and name not in names:
            names.append(name)
        parts.append(":" if name is None else f"${names.index(name) + 1}")
    return "".join([*parts, query[end:]]), names


def _double_percent(text: str) -> str:
    return text.replace("%", "%%")


def _as_sqlite(value: Any) -> Any:
    # SQLite has no dates: this is what its own functions datetime() and date() return.
    if isinstance(value, Decimal):
        return float(value)
    if not isinstance(value, dt.datetime):
        return value.isoformat() if isinstance(value, dt.date) else value
    utc = value if value.tzinfo is None else value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    return utc.isoformat(" ", "microseconds" if utc.microsecond else "seconds")


_STYLES: Mapping[str, tuple[Callable[[str, int], str], bool]] = {
    "qmark": (lambda name, number: "?", False),
    "numeric": (lambda name, number: f":{number}", False),
    "format": (lambda name, number: "%s", False),
    "named": (lambda name, number: f":{name}", True),
    "pyformat": (lambda name, number: f"%({name})s", True),
}
"""How each style of PEP 249 writes a parameter, and whether values are given by name."""
