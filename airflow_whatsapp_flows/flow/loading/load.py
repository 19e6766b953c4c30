"""From the text of a flow file to a :class:`~airflow_whatsapp_flows.flow.model.Flow`, or to every fault in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import msgspec

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.did_you_mean import MOST_FAULTS
from airflow_whatsapp_flows.flow.format import FlowFormat
from airflow_whatsapp_flows.flow.json_source import FlowFault, JsonSource
from airflow_whatsapp_flows.flow.literal_secrets import check_literal_secrets, possible_secrets
from airflow_whatsapp_flows.flow.loading.block_checks import (
    check_airflow,
    check_effects,
    check_replay,
    check_tests,
    read_identity,
    read_sensitive,
)
from airflow_whatsapp_flows.flow.loading.build import build_steps
from airflow_whatsapp_flows.flow.loading.graph_checks import check_graph, next_steps, references_of
from airflow_whatsapp_flows.flow.loading.placeholder_limits import check_placeholders, may_have_too_many
from airflow_whatsapp_flows.flow.loading.schedule_checks import check_cron, check_schedule
from airflow_whatsapp_flows.flow.loops import components
from airflow_whatsapp_flows.flow.model import Action, Flow, Step

_FORMAT = msgspec.json.Decoder(FlowFormat)


def load_flow(source: str | Mapping[str, object], name: str = "<flow>") -> Flow:
    """Read a flow.

    Args:
        source: JSON text of format 1, or the same as plain data.
        name: file name for error messages.

    Raises:
        FlowFileError: the flow has faults; holds all of them, each with line and column when read from text.
    """
    text = source if isinstance(source, str) else _as_text(source, name)
    flow, faults = read_flow(JsonSource(text.removeprefix("\ufeff")))
    if not isinstance(source, str):
        faults = [Fault(fault.message, fault.path, step=fault.step) for fault in faults]
    if flow is None or faults:
        raise FlowFileError(name, faults)
    return flow


def _as_text(source: Mapping[str, object], name: str) -> str:
    try:
        return json.dumps(source, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FlowFileError(name, [Fault(f"a flow must be plain JSON data: {error}")]) from None


def read_flow(source: JsonSource) -> tuple[Flow | None, list[Fault]]:
    """Read a flow from a JSON text.

    Returns:
        The flow and no fault, or ``None`` and every fault in the order of the text.
    """
    value, faults = source.load()
    if value is None and faults:
        return None, faults
    if not isinstance(value, dict):
        return None, faults or [Fault("a flow must be a JSON object: { … }", line=1, column=1)]
    found: list[FlowFault] = []
    uncertain: set[object] = set()  # positions of steps of which nobody knows where they lead
    written = None if faults else _read_format(source.text)
    if written is not None:
        formats = dict(enumerate(written.steps))
    else:
        from airflow_whatsapp_flows.flow.loading.schema_faults import read_with_faults

        written, formats, found = read_with_faults(source.text, value)
        uncertain = {fault.path[1] for fault in found if fault.path[:1] == ("steps",) and len(fault.path) > 1}
    too_many = check_placeholders(value) if may_have_too_many(source.text) else []
    if too_many:
        return None, _locate(faults, [*found, *too_many], source)
    steps, more = build_steps(value, formats)
    found += more
    found += _check_timezone(value.get("timezone", "UTC"))
    sensitive, more = read_sensitive(value)
    found += more
    identity, more = read_identity(value)
    found += more
    found += check_replay(value.get("replay"))
    found += check_effects(value)
    found += check_airflow(value.get("airflow"))
    found += check_schedule(value)
    found += check_tests(value)
    found += check_literal_secrets(value)
    found += check_graph(value, formats.keys() - uncertain, steps)
    if faults or found or written is None:
        return None, _locate(faults, found, source)
    by_name = {step.name: step for step in steps.values()}
    flow = Flow(
        id=written.id,
        name=written.name or written.id,
        steps=by_name,
        start=written.start or written.steps[0].name,
        timezone=written.timezone,
        missing=written.missing,
        variables=written.variables,
        loops=tuple(tuple(loop) for loop in components({name: next_steps(step) for name, step in by_name.items()})),
        sensitive=sensitive,
        replies_read=_replies_read(by_name),
        literals=possible_secrets(value),
        identity=identity,
        replay=written.replay,
        airflow=written.airflow,
        tests=tuple(written.tests),
        source=value,
    )
    return flow, []


def check_replay_dag(flow: Flow, source: JsonSource) -> list[Fault]:
    """Return the faults of a flow that keep the DAG of its replays from being built, but not its own.

    Args:
        flow: read from the source, without faults.
        source: its JSON text.
    """
    return _locate([], check_cron(flow.source), source)


def _read_format(text: str) -> FlowFormat | None:
    """Read a file without faults of its keys; ``None`` if it has any."""
    try:
        return _FORMAT.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None


def _replies_read(steps: Mapping[str, Step]) -> frozenset[str]:
    """Names of the actions whose result a step reads."""
    read = {reference.step for step in steps.values() for reference in references_of(step)}
    return frozenset(name for name, step in steps.items() if isinstance(step, Action) and name in read)


def _check_timezone(timezone: object) -> list[FlowFault]:
    if not isinstance(timezone, str):
        return []
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        message = f"{timezone!r} is not a time zone; use an IANA name such as America/Mexico_City or UTC"
        return [FlowFault(message, ("timezone",))]
    return []


def _locate(faults: list[Fault], found: list[FlowFault], source: JsonSource) -> list[Fault]:
    """All faults in the order of the text."""
    unique = dict.fromkeys([*faults, *(one.locate(source) for one in found)])
    return _first(sorted(unique, key=_position))


def _first(faults: list[Fault]) -> list[Fault]:
    if len(faults) <= MOST_FAULTS:
        return faults
    last = faults[MOST_FAULTS - 1]
    more = Fault(f"there are more faults; only {MOST_FAULTS} are shown", last.path, last.line, last.column)
    return [*faults[:MOST_FAULTS], more]


def _position(fault: Fault) -> tuple[int, int]:
    return fault.line or 0, fault.column or 0
