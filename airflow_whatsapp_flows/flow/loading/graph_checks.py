"""Checks of a flow as a graph: missing targets, unreachable steps, values read too early."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from airflow_whatsapp_flows.flow.did_you_mean import MOST_FAULTS, did_you_mean
from airflow_whatsapp_flows.flow.format import STEP_FORMATS
from airflow_whatsapp_flows.flow.json_source import FlowFault, Path, texts_in
from airflow_whatsapp_flows.flow.loops import components
from airflow_whatsapp_flows.flow.model import Answered, Step, TemplateMessage, exits_of
from airflow_whatsapp_flows.flow.template.references import Reference
from airflow_whatsapp_flows.flow.template.variables import Scope

_TARGET_KEYS = ("next", "on_no_answer", "on_answer_failed", "on_success", "on_error", "otherwise", "on_max_visits")
_WITHOUT_VALUE = ("on_no_answer", "on_answer_failed", "on_max_visits")
"""Exits that leave a step although this visit has stored no value."""
_ANYWHERE = ""
_MANY_NAMES = 8


def check_graph(value: dict[str, Any], valid: Collection[int], steps: Mapping[int, Step]) -> list[FlowFault]:
    """Every fault of the graph.

    Args:
        value: the file as plain data.
        valid: positions of the steps whose keys are valid; the targets of the others are unknown.
        steps: the steps that could be built, by their position.
    """
    written = value.get("steps")
    if not isinstance(written, list):
        return []
    raw = [(index, step) for index, step in enumerate(written) if isinstance(step, dict)]
    names = [step["name"] for _, step in raw if isinstance(step.get("name"), str)]
    graph = _Graph(set(names), valid)
    graph.check_names(raw)
    graph.check_identities(raw)
    graph.check_targets(value, raw)
    start = value.get("start") or (names[0] if names else "")
    if graph.is_whole and start in names and len(valid) == len(written):
        graph.check_reachable(start, raw)
        if len(steps) == len(written):
            graph.check_loops({step.name: (index, step) for index, step in steps.items()})
    if len(set(names)) == len(names):
        named = [(index, step) for index, step in raw if isinstance(step.get("name"), str) and step["name"]]
        graph.check_references(named, steps)
        graph.check_variables(value.get("variables"), named, steps)
    return graph.faults


def targets_of(step: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Every target of a step in the file, with its path below the step."""
    for key in _TARGET_KEYS:
        if step.get(key) is not None:
            yield (key,), step[key]
    options = step.get("options")
    if isinstance(options, dict):
        yield from ((("options", label), target) for label, target in options.items() if target is not None)
    paths = step.get("paths")
    if isinstance(paths, list):
        for index, path in enumerate(paths):
            if isinstance(path, dict) and path.get("next") is not None:
                yield ("paths", index, "next"), path["next"]


class _Graph:
    """Finds the faults.

    Attributes:
        faults: every one found so far.
        is_whole: whether all names are unique and all targets exist, so that the graph can be followed.
    """

    def __init__(self, names: set[str], valid: Collection[int]) -> None:
        self.faults: list[FlowFault] = []
        self.is_whole = True
        self._valid = valid
        self._names = names

    def check_names(self, raw: list[tuple[int, dict[str, Any]]]) -> None:
        seen: dict[str, int] = {}
        alike: dict[str, tuple[int, str]] = {}
        for index, step in raw:
            name = step.get("name")
            if not isinstance(name, str):
                continue
            if name in seen:
                path, line_of = ("steps", index, "name"), ("steps", seen[name], "name")
                message = f"the name {name!r} is already used on line "
                self.faults.append(FlowFault(message, path, name, line_of=line_of))
                self.is_whole = False
            elif name != name.strip() or any(ord(character) < 32 for character in name):
                self._add(
                    "a name cannot have leading or trailing spaces, or control characters",
                    ("steps", index, "name"),
                    name,
                )
            elif (folded := similar_key(name)) in alike:
                first, other = alike[folded]
                path, line_of = ("steps", index, "name"), ("steps", first, "name")
                message, after = (
                    f"{name!r} is too similar to {other!r} on line ",
                    ": people would confuse them",
                )
                after += "; rename one of them"
                self.faults.append(FlowFault(message, path, name, line_of=line_of, after=after))
            else:
                alike[folded] = index, name
            seen.setdefault(name, index)

    def check_identities(self, raw: list[tuple[int, dict[str, Any]]]) -> None:
        """Check that the identities of steps are unique: otherwise requests of one would count for another."""
        for key in ("platform_id", "id"):
            first: dict[str, int] = {}
            for index, step in raw:
                known_by = step.get(key)
                if not isinstance(known_by, str) or not known_by:
                    continue
                if known_by in first:
                    path, line_of = ("steps", index, key), ("steps", first[known_by], key)
                    message = f"the {key} {known_by!r} is already used on line "
                    name = str(step.get("name"))
                    self.faults.append(FlowFault(message, path, name, line_of=line_of, after=": it must be unique"))
                first.setdefault(known_by, index)
            if key == "platform_id":
                continue
            without_id = (step for _, step in raw if not step.get("id") and not step.get("platform_id"))
            by_name = {step["name"] for step in without_id if isinstance(step.get("name"), str)}
            for known_by, index in first.items():
                if known_by in by_name and raw[index][1].get("name") != known_by:
                    message = (
                        f"the step named {known_by!r} has no id, so its name identifies it: set another id for it, or "
                        "for this step"
                    )
                    self._add(message, ("steps", index, "id"), str(raw[index][1].get("name")))

    def check_targets(self, value: dict[str, Any], raw: list[tuple[int, dict[str, Any]]]) -> None:
        start = value.get("start")
        if isinstance(start, str) and start not in self._names:
            self._add(f"there is no step named {start!r}{did_you_mean(start, self._names)}", ("start",), None)
            self.is_whole = False
        for index, step in raw:
            for path, target in targets_of(step):
                if not isinstance(target, str) or target in self._names or len(self.faults) > MOST_FAULTS:
                    continue
                message = f"there is no step named {target!r}{did_you_mean(target, self._names)}"
                if not target:
                    message = "the name of the step is empty; write a name, or null to end the walk here"
                name = step.get("name")
                self._add(message, ("steps", index, *path), name if isinstance(name, str) else None)
                self.is_whole = False

    def check_reachable(self, start: str, raw: list[tuple[int, dict[str, Any]]]) -> None:
        targets = {step["name"]: {target for _, target in targets_of(step)} for _, step in raw}
        reached = {start} | _closure(start, targets)
        for index, step in raw:
            name = step["name"]
            if name not in reached:
                self._add(
                    "no step leads here; remove it, or make it the target of another step",
                    ("steps", index, "name"),
                    name,
                )

    def check_references(self, raw: list[tuple[int, dict[str, Any]]], steps: Mapping[int, Step]) -> None:
        types = {step["name"]: str(step.get("type")) for _, step in raw}
        kept: dict[str, set[str]] = {}  # steps that are reached after a step has stored its value
        # A misspelled target or key may lead to any step.
        leads_here: dict[str, set[str]] = {_ANYWHERE: set(), **{name: {_ANYWHERE} for name in types}}
        for index, step in raw:
            exits = [(path[0], target) for path, target in targets_of(step) if isinstance(target, str)]
            if index not in self._valid or not self._names.issuperset(target for _, target in exits):
                exits = [("", _ANYWHERE)]
            kept[step["name"]] = {target for key, target in exits if key not in _WITHOUT_VALUE}
            for _, target in exits:
                leads_here[target].add(step["name"])
        for index, written in raw:
            built = steps.get(index)
            read = {} if built is None else {reference.text: reference.step for reference in references_of(built)}
            before = _closure(written["name"], leads_here) if any(read.values()) else set()
            for text, name in read.items():
                if name is None or len(self.faults) > MOST_FAULTS:
                    continue
                problem = _problem(written["name"], name, types[name], before)
                if problem is None and kept[name].isdisjoint({*before, written["name"]}):
                    problem = f"on every way to {written['name']!r}, {name!r} is left without an answer to be kept"
                if problem:
                    path, offset = _find_text(written, text)
                    self._add(f"{text}: {problem}", ("steps", index, *path), written["name"], offset)

    def check_variables(
        self, declared: object, raw: list[tuple[int, dict[str, Any]]], steps: Mapping[int, Step]
    ) -> None:
        if not isinstance(declared, dict) or not declared:
            return
        for index, written in raw:
            for reference in dict.fromkeys(references_of(steps[index]) if index in steps else ()):
                if reference.scope != Scope.FLOW_EXECUTION_VARIABLES.value or not reference.path:
                    continue
                name = reference.path[0]
                if name not in declared and len(self.faults) <= MOST_FAULTS:
                    path, offset = _find_text(written, reference.text)
                    message = f"{reference.text}: {name!r} is not listed in the flow's 'variables'"
                    close = did_you_mean(name, declared)
                    self._add(message + close, ("steps", index, *path), written["name"], offset)

    def check_loops(self, steps: Mapping[str, tuple[int, Step]]) -> None:
        successors = {name: next_steps(step) for name, (_, step) in steps.items()}
        for loop in components(successors):
            inside = set(loop)
            leading_out = {name for name in loop if _leads_out(steps[name][1], inside)}
            if leading_out:
                self._check_exhaustion({name: steps[name] for name in loop}, successors, leading_out)
                continue
            names = ", ".join(map(repr, loop[:_MANY_NAMES])) + (", …" if len(loop) > _MANY_NAMES else "")
            who = f"{names} leads only to itself" if len(loop) == 1 else f"{names} lead only to each other"
            message = f"{who}, so the walk cannot get out; add an exit that leads elsewhere or ends the walk (null)"
            self._add(f"{message}, or 'on_max_visits'", ("steps", steps[loop[0]][0], "name"), loop[0])

    def _check_exhaustion(
        self, loop: Mapping[str, tuple[int, Step]], successors: Mapping[str, list[str]], leading_out: Collection[str]
    ) -> None:
        """Check that a step without visits left does not only lead to steps that fail for the same reason."""
        inside = {name: loop.keys() & successors[name] for name in loop}
        for name, (index, step) in loop.items():
            target = step.on_max_visits
            if target not in loop or target is None:
                continue
            reached = _closure(name, {**inside, name: {target}}) - {name}
            if reached.isdisjoint(leading_out):
                where = (
                    "to itself" if target == name else f"to {target!r}, and from there every way leads back to {name!r}"
                )
                message = f"when {name!r} has no visits left, 'on_max_visits' leads {where}, so the walk can only fail"
                self._add(f"{message}; name a step that leads elsewhere", ("steps", index, "on_max_visits"), name)

    def _add(self, message: str, path: Path, step: str | None, offset: int = 0) -> None:
        self.faults.append(FlowFault(message, path, step, offset))


def _closure(start: str, successors: Mapping[str, AbstractSet[str]]) -> set[str]:
    """Every name that can be reached from the start; includes the start if it is in a loop."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        more = successors[waiting.pop()] - found
        found |= more
        waiting.extend(more)
    return found


def similar_key(name: str) -> str:
    """A key that is equal for names of steps that people cannot distinguish; a flow cannot have two of them."""
    folded = unicodedata.normalize("NFKC", name.casefold())
    return re.sub(r"[\s_]+", " ", folded).strip()


def _leads_out(step: Step, inside: Collection[str]) -> bool:
    """Whether a contact can leave a loop through one of its steps, other than by failing."""
    if (
        isinstance(step, Answered)
        and step.on_no_answer is None
        and (not isinstance(step, TemplateMessage) or step.waits)
    ):
        return True  # the walk ends without an answer
    return any(way.target not in inside for way in exits_of(step))


def _find_text(step: object, text: str) -> tuple[Path, int]:
    """Path and offset of the first text of a step that contains another text; its name if none does."""
    found = ((path, written.index(text)) for path, written in texts_in(step) if path != ("name",) and text in written)
    return next(found, (("name",), 0))


def next_steps(step: Step) -> list[str]:
    """Names of the steps that may follow a step."""
    return [way.target for way in exits_of(step) if way.target is not None]


def references_of(step: Step) -> list[Reference]:
    """Every reference that a step reads."""
    return [*step.fields, *(read for text in step.templates for read in getattr(text, "references", ()))]


def _problem(step: str, read: str, read_type: str, before: set[str]) -> str | None:
    if read_type in STEP_FORMATS and not STEP_FORMATS[read_type].leaves_value:
        return f"{'an' if read_type == 'end' else 'a'} {read_type} step has no value"
    if read in before:
        return None
    return "a step cannot read its own result" if read == step else f"{read!r} cannot have run before {step!r}"
