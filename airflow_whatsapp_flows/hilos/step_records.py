"""Converts step records of Hilos and ActiveCampaign to a flow of format 1.

Neither platform has an API call that returns a flow. Their records of each contact's run contain the steps as they
were, so every step that a contact has reached can be recovered. What the records lack is guessed by fixed rules, and
every guess and gap is reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_whatsapp_flows.errors import FlowFileError, SourceError
from airflow_whatsapp_flows.flow.format import FLOW_ID
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.hilos.links import Links
from airflow_whatsapp_flows.hilos.names import Names
from airflow_whatsapp_flows.hilos.notes import Note, Report
from airflow_whatsapp_flows.hilos.record import Record
from airflow_whatsapp_flows.hilos.record_masking import Syntax
from airflow_whatsapp_flows.hilos.record_versions import FlowRecords, Plain, read_flow_records
from airflow_whatsapp_flows.hilos.secrets import SecretStore, scrub, slug
from airflow_whatsapp_flows.hilos.step_actions import action_keys
from airflow_whatsapp_flows.hilos.step_answers import answer_keys
from airflow_whatsapp_flows.hilos.step_bodies import BODIES
from airflow_whatsapp_flows.hilos.step_kinds import STEP_TYPES, kind_of

_ID = re.compile(FLOW_ID)
_READ_VARIABLE = re.compile(r"\bflow_execution_variables\s*\.\s*([^\W\d]\w*)")


@dataclass(frozen=True, slots=True)
class ImportedFlow:
    """A flow rebuilt from records.

    Attributes:
        flow: format 1 as plain data, with keys in the usual order.
        report: what was guessed, lost, renamed or left out, and every fault that prevents the flow from loading.
    """

    flow: Plain
    report: tuple[Note, ...]

    @property
    def loads(self) -> bool:
        """Whether the flow loads without changes."""
        return not any(note.kind == "fault" for note in self.report)


def read_step_records(
    records: object,
    *,
    flow_id: str,
    name: str | None = None,
    syntax: Syntax = "hilos",
    step_types: Mapping[str, str] = STEP_TYPES,
) -> ImportedFlow:
    """Rebuild a flow from step records.

    Args:
        records: plain data: steps, execution steps, execution records of contacts, pages or lists of these.
        flow_id: id for the flow.
        name: its display name; by default the one in the records.
        syntax: platform that created the records.
        step_types: type suggested by each ``step_type``; the filled fields take precedence.

    Raises:
        SourceError: the id is invalid, or the records contain no step.
    """
    if not _ID.fullmatch(flow_id):
        hint = slug(flow_id)
        raise SourceError(
            f"{flow_id[:100]!r} cannot be the id of a flow: use lowercase letters, digits, '_', and '-', at most 100"
            + (f"; for example, {hint!r}" if hint else "")
        )
    report = Report()
    found = read_flow_records(records, report)
    secrets = SecretStore(report)
    secrets.reserve(_variables_read(found.steps))
    steps, start = _Steps(found, report, secrets, syntax).read(step_types)
    scrubbed = [scrub(step, secrets, syntax) for step in steps]
    flow: Plain = {"flow_format": 1, "id": flow_id}
    if (name or found.name or "").strip():
        flow["name"] = (name or found.name or "").strip()[:200]
    flow |= {"syntax": syntax} if syntax != "hilos" else {}
    flow |= {"start": start} if start != steps[0]["name"] else {}
    if secrets.variables:
        flow["sensitive"] = [f"flow_execution_variables.{variable}" for variable in secrets.variables]
    flow["imported"] = {"from": syntax, "flow_version": found.version}
    if variables := _variables(scrubbed, found, secrets, report):
        flow["variables"] = variables
    flow["steps"] = scrubbed
    _report_platform(scrubbed, report)
    _report_faults(flow, report)
    return ImportedFlow(flow, report.notes(secrets.values))


class _Steps:
    """Converts the steps of a flow, in the order of the records."""

    def __init__(self, found: FlowRecords, report: Report, secrets: SecretStore, syntax: Syntax) -> None:
        written = [name if isinstance(name := step.get("name"), str) else "" for step in found.steps]
        names = Names(written, syntax)
        self._records = [
            Record(step, final, names, report, syntax) for step, final in zip(found.steps, names.final, strict=True)
        ]
        self._links = Links([(record.raw, record.name) for record in self._records])
        self._secrets = secrets
        self._report = report
        for record, name in zip(self._records, written, strict=True):
            if record.name != name:
                message = f"{name[:110]!r} is {record.name!r} here; references to it were updated"
                record.note("renamed", "name", message if name.strip() else "it has no name")

    def read(self, step_types: Mapping[str, str]) -> tuple[list[Plain], str]:
        """Return the steps and the name of the first one."""
        steps = [self._step(record, step_types) for record in self._records]
        names = [record.name for record in self._records]
        first = [name for name in names if name not in self._links.led_to]
        if len(first) != 1:
            message = (
                "several steps are not the target of another step"
                if first
                else "every step is the target of another step"
            )
            message += "; the one with the lowest position is used as the first step"
            self._report.add("inferred", None, "start", message)
        return steps, (first or names)[0]

    def _step(self, record: Record, step_types: Mapping[str, str]) -> Plain:
        kind = kind_of(record, step_types)
        if kind == "action":
            keys = action_keys(record, self._links, self._secrets)
        elif kind in ("question", "menu", "template"):
            keys = answer_keys(record, self._links, kind)
        elif kind in BODIES:
            keys = BODIES[kind](record, self._links)
        else:
            target = self._links.target(record, "next_step_default") if kind == "go_to" else None
            kind, keys = ("go_to", {"next": target}) if target is not None else ("end", {})
        record.note_left_over()
        step: Plain = {"name": record.name, "type": kind, **keys}
        platform_id = record.raw.get("id")
        if isinstance(platform_id, (str, int)) and 0 < len(str(platform_id)) <= 100:
            step["platform_id"] = str(platform_id)
        return step


def _variables_read(value: object) -> list[str]:
    """Find the execution variables that texts read."""
    return list(dict.fromkeys(_READ_VARIABLE.findall(json.dumps(value, ensure_ascii=False))))


def _variables(steps: list[Plain], found: FlowRecords, secrets: SecretStore, report: Report) -> Plain:
    if not secrets.variables and not found.variables:
        return {}
    read = _variables_read(steps)
    declared: Plain = {}
    for name in dict.fromkeys([*found.variables, *read]):  # if some are declared, only those can be read
        if name not in secrets.variables:
            declared[name] = {"type": "text", "required": name in read}
            message = "its type is not recorded: it is treated as text, and as required if a step reads it"
            report.add("inferred", None, f"variables.{name}", message)
    for name, kind in secrets.variables.items():
        description = "a secret that a request in the records contained; it was left out"
        declared[name] = {"type": kind, "required": True, "description": description}
    return declared


def _report_platform(steps: list[Plain], report: Report) -> None:
    """Note what applies to every flow of a platform and is in no record."""
    text = json.dumps(steps, ensure_ascii=False)
    if any(step.get("on_error") for step in steps):
        message = "used as the error exit of actions, and next_step_default as the success exit"
        report.add("inferred", None, "next_step_alternate", message)
    if '"time_windows"' in text or '"until"' in text or "global." in text:
        report.add("lost", None, "timezone", "it is an account setting and not recorded; UTC is used")
    if "{{" in text or "%" in text:
        message = "the behavior for a variable without a value is not recorded; here it is an error, see 'missing'"
        report.add("inferred", None, "missing", message)


def _report_faults(flow: Plain, report: Report) -> None:
    try:
        load_flow(flow, str(flow["id"]))
    except FlowFileError as error:
        for fault in error.faults:
            report.add("fault", fault.step, fault.where(), fault.message)
