"""Extracts the steps of one flow version from what the platforms return, each step once."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.moments import parse_iso
from airflow_whatsapp_flows.hilos.notes import Report

Plain = dict[str, object]
_MAX_DEPTH = 32
_STEP_SIGNS = frozenset(
    ["step_type", "ordering_idx", "next_step_default", "next_steps_for_options", "action_request_url", "conditions"]
)
_LISTS = ("results", "execution_steps", "steps")


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step as found in one record.

    Attributes:
        step: the step's fields.
        version: id of the flow's version; empty if the record has none.
        at: when that version was created or seen; ``-inf`` if unknown.
    """

    step: Plain
    version: str
    at: float


@dataclass(slots=True)
class FlowRecords:
    """What the records contain about one version of a flow.

    Attributes:
        steps: the fields of each step, in order.
        version: id of the version; ``None`` if no record has one.
        name: the flow's name; ``None`` if no record has one.
        variables: names of its execution variables.
    """

    steps: list[Plain] = field(default_factory=list)
    version: str | None = None
    name: str | None = None
    variables: list[str] = field(default_factory=list)


def read_flow_records(records: object, report: Report) -> FlowRecords:
    """Collect the steps of the newest version.

    Args:
        records: steps, execution steps, execution records, pages of them, or lists of any of these.
        report: receives notes about what is not used.

    Raises:
        SourceError: the records contain no step.
    """
    reader = _Reader(report)
    reader.read(plain(records), "", -math.inf, 0)
    if not reader.steps:
        raise SourceError(
            "the records contain no steps; expected steps (with 'name', 'step_type', …), execution steps "
            "({'step': …}), or execution records as returned by the API call for one contact "
            "({'execution_steps': […]}); the list of execution records has no steps"
        )
    version = _newest(reader.steps, reader.current)
    others = {one.version for one in reader.steps} - {version, ""}
    if others:
        message = f"the records show {len(others) + 1} versions of the flow; the newest is imported, but not "
        report.add("lost", None, "flow_version", message + ", ".join(sorted(others)))
    used = [one.step for one in reader.steps if one.version in (version, "")]
    found = FlowRecords(_merge(used, report), version or None, reader.name, reader.variables)
    found.steps.sort(key=_order)
    return found


def plain(value: object, depth: int = 0) -> object:
    """Convert a value to plain JSON; values nested too deeply or not JSON become ``None``."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {str(plain(str(key))): plain(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    return None


class _Reader:
    def __init__(self, report: Report) -> None:
        self.steps: list[RecordedStep] = []
        self.current: str | None = None
        self.name: str | None = None
        self.variables: list[str] = []
        self._report = report

    def read(self, value: object, version: str, at: float, depth: int) -> None:
        if isinstance(value, list) and depth < 6:
            for item in value:
                self.read(item, version, at, depth + 1)
            return
        if not isinstance(value, dict) or depth >= 6:
            self._report.add("lost", None, "records", f"a record is {_kind(value)} and contains no step")
            return
        if "step" in value or any(isinstance(value.get(key), list) for key in _LISTS):
            version, at = self._about(value, version, at)
            inner = [value[key] for key in ("step", *_LISTS) if value.get(key) is not None]
            for item in inner:
                self.read(item, version, at, depth + 1)
        elif _STEP_SIGNS & value.keys() or isinstance(value.get("name"), str):
            own = _id_of(value.get("flow_version")) or version
            self.steps.append(RecordedStep(value, own, at))
        else:
            self._about(value, version, at)
            self._report.add(
                "lost", None, "records", "a record contains no step; the API call for one contact returns them"
            )

    def _about(self, record: Plain, version: str, at: float) -> tuple[str, float]:
        """Read flow, version and time from an execution record."""
        execution = record.get("flow_execution")
        for owner in (record, execution if isinstance(execution, dict) else {}):
            flow, flow_version = owner.get("flow"), owner.get("flow_version")
            if isinstance(flow, dict):
                if isinstance(flow.get("name"), str):
                    self.name = self.name or str(flow["name"]).strip() or None
                declared = flow.get("flow_execution_variables")
                names = declared if isinstance(declared, list) else []
                self.variables += [name for name in names if isinstance(name, str) and name not in self.variables]
            if flow_version is not None:
                version = _id_of(flow_version) or version
                if isinstance(flow_version, dict) and flow_version.get("is_current_version") is True:
                    self.current = version
        return version, max(at, _moment(record.get("created_on")))


def _newest(steps: list[RecordedStep], current: str | None) -> str:
    versions = list(dict.fromkeys(one.version for one in steps if one.version))
    if not versions:
        return ""
    if current in versions:
        return current or ""
    latest = {version: max(one.at for one in steps if one.version == version) for version in versions}
    count = {version: sum(one.version == version for one in steps) for version in versions}
    return max(versions, key=lambda version: (latest[version], count[version]))


def _merge(steps: list[Plain], report: Report) -> list[Plain]:
    """Merge the records of each step: the first one, completed from later ones."""
    merged: dict[object, Plain] = {}
    for position, step in enumerate(steps):
        known = merged.setdefault(_identity(step, position), step)
        if known is step:
            continue
        for key, value in step.items():
            if known.get(key) is None:
                known[key] = value
            elif value is not None and value != known[key]:
                name = step.get("name")
                shown = name if isinstance(name, str) else None
                report.add("inferred", shown, key, "the records of this step differ here; the first one is used")
    return list(merged.values())


def _identity(step: Plain, position: int) -> object:
    if isinstance(step.get("id"), (str, int)) and step["id"] != "":
        return ("id", step_id(step["id"]))
    if isinstance(step.get("name"), str):
        index = step.get("ordering_idx")
        return ("name", step["name"], index if isinstance(index, int) else None)
    return position


def step_id(value: object) -> str:
    """Normalize an id for comparison."""
    return str(value).strip().lower()


def _id_of(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("id")
    return step_id(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _moment(value: object) -> float:
    if not isinstance(value, str):
        return -math.inf
    try:
        moment = parse_iso(value.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return -math.inf


def _order(step: Plain) -> float:
    index = step.get("ordering_idx")
    return index if isinstance(index, (int, float)) and not isinstance(index, bool) else math.inf


def _kind(value: object) -> str:
    kinds: Iterator[tuple[type, str]] = iter(
        ((dict, "an object"), (list, "a list"), (str, "text"), (bool, "true or false"))
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null" if value is None else "a number")
