"""Checks of the blocks of a flow file other than its steps, with the keys of each block considered together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.durations import parse_duration
from airflow_whatsapp_flows.flow.format.replay import RESULT_FILES
from airflow_whatsapp_flows.flow.identity import IDENTIFIER_SCOPES, IdentityRule, read_opt_out
from airflow_whatsapp_flows.flow.json_source import FlowFault, Path
from airflow_whatsapp_flows.flow.loading.builder import FlowTexts
from airflow_whatsapp_flows.flow.loading.cursor_checks import check_cursor
from airflow_whatsapp_flows.flow.moments import parse_moment
from airflow_whatsapp_flows.flow.phones import is_country
from airflow_whatsapp_flows.flow.run_terms import parse_source, query_faults
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.references import Reference

_EFFECTS = ("messages", "contact_updates", "tags", "flows")


def read_sensitive(value: dict[str, Any]) -> tuple[tuple[Reference, ...], list[FlowFault]]:
    """Parse the sensitive variables, with the faults of invalid ones.

    Args:
        value: the file as plain data.
    """
    written = value.get("sensitive")
    texts = FlowTexts(value, frozenset(_names(value)))
    references: list[Reference] = []
    faults: list[FlowFault] = []
    for index, text in enumerate(written if isinstance(written, list) else []):
        if not isinstance(text, str):
            continue
        try:
            references.append(texts.reference(text))
        except TemplateFault as fault:
            faults.append(FlowFault(fault.message, ("sensitive", index)))
    return tuple(references), faults


def read_identity(value: dict[str, Any]) -> tuple[IdentityRule, list[FlowFault]]:
    """Parse ``default_country``, ``identifiers``, and ``replay.opt_out``, with their faults.

    Args:
        value: the file as plain data.
    """
    faults: list[FlowFault] = []
    country = value.get("default_country")
    if not isinstance(country, str):
        country = None
    elif len(country) == 2 and not is_country(country):
        message = f"{country!r} is not a country; use its two-letter code (ISO 3166-1), such as MX"
        faults.append(FlowFault(message, ("default_country",)))
        country = None
    texts = FlowTexts(value, frozenset(_names(value)))
    listed: list[Reference] = []
    for text, path in _strings(value.get("identifiers"), ("identifiers",)):
        try:
            reference = texts.reference(text)
        except TemplateFault as fault:
            faults.append(FlowFault(fault.message, path))
            continue
        if reference.scope not in IDENTIFIER_SCOPES or not reference.path:
            allowed = " or ".join(f"{scope}.…" for scope in IDENTIFIER_SCOPES)
            faults.append(FlowFault(f"{text!r} does not identify a contact; allowed: {allowed}", path))
        else:
            listed.append(reference)
    replay = value.get("replay")
    opt_out = replay.get("opt_out") if isinstance(replay, dict) else None
    for entry, path in _strings(opt_out, ("replay", "opt_out")):
        try:
            read_opt_out(entry, country)
        except ValueError as error:
            faults.append(FlowFault(str(error), path))
    return IdentityRule(country, tuple(listed)), faults


def check_effects(value: dict[str, Any]) -> list[FlowFault]:
    """Faults of ``effects``: no effect can be turned on yet.

    Args:
        value: the file as plain data.
    """
    found: list[tuple[str, Path]] = []
    effects = value.get("effects")
    if isinstance(effects, dict):
        found += [(key, ("effects", key)) for key in _EFFECTS if effects.get(key) is True]
    replay = value.get("replay")
    if isinstance(replay, dict) and replay.get("effects") is True:
        found.append(("effects", ("replay", "effects")))
    message = "{!r} cannot be turned on: this version sends nothing to WhatsApp or Hilos; remove it, or set it to false"
    return [FlowFault(message.format(key), path) for key, path in found]


def check_replay(replay: object) -> list[FlowFault]:
    """Faults of combinations of keys in ``replay``.

    Args:
        replay: the block as plain data; ``None`` when there is none.
    """
    if not isinstance(replay, dict):
        return []
    found: list[tuple[str, Path]] = []
    hours = replay.get("quiet_hours")
    if isinstance(hours, dict) and isinstance(hours.get("start"), str) and hours["start"] == hours.get("end"):
        message = "quiet hours cannot end when they start; change the end, or remove them"
        found.append((message, ("replay", "quiet_hours", "end")))
    if replay.get("query") is not None and replay.get("source") is None:
        message = "a query needs a 'source': the database to run it in"
        found.append((message, ("replay", "query")))
    approve = replay.get("approve")
    if approve is False and replay.get("approve_above") is not None:
        found.append(("'approve' is false, but 'approve_above' asks: remove one of them", ("replay", "approve")))
    if isinstance(approve, dict):
        found += _check_approval(approve)
    found += _check_duration(replay.get("deadline"), ("replay", "deadline"))
    limits = ("max_failures", "max_handled_errors")
    if replay.get("fail_when") == "budget" and all(replay.get(limit) is None for limit in limits):
        message = (
            "'budget' needs 'max_failures' or 'max_handled_errors': how many contacts may fail, or take an error exit"
        )
        found.append((message, ("replay", "fail_when")))
    return [FlowFault(message, path) for message, path in found] + _check_run_terms(replay) + check_cursor(replay)


def _check_approval(approve: dict[str, Any]) -> Iterable[tuple[str, Path]]:
    timeout = approve.get("timeout")
    yield from _check_duration(timeout, ("replay", "approve", "timeout"))
    if timeout is None and approve.get("on_timeout") is not None:
        yield "'on_timeout' needs a 'timeout', such as '4h'", ("replay", "approve", "on_timeout")
    if approve.get("smtp_connection") is not None and not approve.get("emails"):
        yield "'smtp_connection' needs 'emails': who is told", ("replay", "approve", "smtp_connection")


def _check_duration(written: object, path: Path) -> Iterable[tuple[str, Path]]:
    if isinstance(written, str):
        try:
            parse_duration(written)
        except ValueError as error:
            yield str(error), path


def _check_run_terms(replay: dict[str, Any]) -> list[FlowFault]:
    """Faults of the terms of a run in ``source`` and ``query``, and of a schedule that is empty."""
    faults: list[FlowFault] = []
    source, query, schedule = replay.get("source"), replay.get("query"), replay.get("schedule")
    if isinstance(source, str):
        try:
            parse_source(source)
        except TemplateFault as fault:
            faults += [FlowFault(one.message, ("replay", "source"), None, one.offset) for one in (fault, *fault.more)]
    faults += _check_results(replay.get("results_to"))
    if isinstance(query, str):
        faults += [FlowFault(one.message, ("replay", "query"), None, one.offset) for one in query_faults(query)]
    if isinstance(schedule, dict) and schedule.get("cron") is None and schedule.get("assets") is None:
        faults.append(FlowFault("a schedule needs 'cron', 'assets', or both", ("replay", "schedule")))
    return faults


def _check_results(results: object) -> list[FlowFault]:
    """Faults of ``results_to``: of a file's location, or of a table in what is not a connection."""
    path: Path = ("replay", "results_to")
    if isinstance(results, dict):
        connection = results.get("connection")
        if isinstance(connection, str) and ("://" in connection or "{{" in connection):
            message = "this must be the id of an Airflow connection; create one with this database, and write its id"
            return [FlowFault(message, (*path, "connection"))]
    if not isinstance(results, str):
        return []
    if not results.endswith(RESULT_FILES):
        message = (
            f"the name of a file ends with {', '.join(RESULT_FILES[:-1])}, or {RESULT_FILES[-1]}; for a table, write "
            '{"connection": "…", "table": "…"}'
        )
        return [FlowFault(message, path)]
    try:
        parse_source(results)
    except TemplateFault as fault:
        return [FlowFault(one.message, path, None, one.offset) for one in (fault, *fault.more)]
    return []


def check_airflow(airflow: object) -> list[FlowFault]:
    """Faults of ``airflow``.

    Args:
        airflow: the block as plain data; ``None`` when there is none.
    """
    if not isinstance(airflow, dict):
        return []
    faults: list[FlowFault] = []
    start = airflow.get("start_date")
    if isinstance(start, str):
        try:
            parse_moment(start, dt.timezone.utc)
        except ValueError as error:
            faults.append(FlowFault(str(error), ("airflow", "start_date")))
    if airflow.get("catchup") is True and start is None:
        faults.append(FlowFault("'catchup' needs a 'start_date' to catch up from", ("airflow", "catchup")))
    return faults


def check_tests(value: dict[str, Any]) -> list[FlowFault]:
    """Faults of ``tests``: unknown steps, replies to steps that are not actions, duplicate names.

    Args:
        value: the file as plain data.
    """
    tests = value.get("tests")
    faults: list[FlowFault] = []
    seen: set[str] = set()
    for index, test in enumerate(tests if isinstance(tests, list) else []):
        if not isinstance(test, dict):
            continue
        name = test.get("name")
        if isinstance(name, str) and name in seen:
            faults.append(FlowFault(f"a test called {name!r} already exists above", ("tests", index, "name")))
        seen.add(str(name))
        faults += _check_test(test, index, value)
    return faults


def _check_test(test: dict[str, Any], index: int, value: dict[str, Any]) -> list[FlowFault]:
    names, actions = _names(value), _names(value, "action")
    expect = test.get("expect")
    expect = expect if isinstance(expect, dict) else {}
    faults = [
        FlowFault(f"there is no step named {step!r}{did_you_mean(step, names)}", path)
        for step, path in _strings(expect.get("path"), ("tests", index, "expect", "path"))
        if step not in names
    ]
    for path, listed in ((("replies",), test.get("replies")), (("expect", "requests"), expect.get("requests"))):
        for number, item in enumerate(listed if isinstance(listed, list) else []):
            step = item.get("step") if isinstance(item, dict) else None
            if isinstance(step, str) and step not in actions:
                what = "is not an action" if step in names else "is not a step"
                message = f"{step!r} {what}{did_you_mean(step, actions)}"
                faults.append(FlowFault(message, ("tests", index, *path, number, "step")))
    now = test.get("now")
    if isinstance(now, str):
        try:
            parse_moment(now, dt.timezone.utc)
        except ValueError as error:
            faults.append(FlowFault(str(error), ("tests", index, "now")))
    texts = FlowTexts(value, frozenset(names))
    variables = expect.get("variables")
    for written in variables if isinstance(variables, dict) else {}:
        try:
            texts.reference(written)
        except TemplateFault as fault:
            faults.append(FlowFault(fault.message, ("tests", index, "expect", "variables", written), at_key=True))
    return faults


def _strings(value: object, path: Path) -> Iterable[tuple[str, Path]]:
    items = value if isinstance(value, list) else []
    return [(item, (*path, index)) for index, item in enumerate(items) if isinstance(item, str)]


def _names(value: dict[str, Any], kind: str | None = None) -> list[str]:
    steps = value.get("steps")
    return [
        step["name"]
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, dict) and isinstance(step.get("name"), str) and kind in (None, step.get("type"))
    ]
