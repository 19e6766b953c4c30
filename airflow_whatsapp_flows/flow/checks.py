"""Faults of a flow as a graph: targets that are not there, steps never reached, values read too early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_whatsapp_flows.errors import Fault
from airflow_whatsapp_flows.flow.json_source import JsonSource, Path
from airflow_whatsapp_flows.flow.model import Action, Conditional, End, Menu, Message, Question, Step
from airflow_whatsapp_flows.flow.template.references import Reference, did_you_mean

_TARGET_KEYS = ("next", "on_no_answer", "on_answer_failed", "on_success", "on_error", "otherwise", "on_max_visits")


def check_graph(value: dict[str, Any], steps: Mapping[int, Step], source: JsonSource) -> list[Fault]:
    """Every fault of the graph.

    Args:
        value: the file as plain data.
        steps: the steps that could be built, by their position.
        source: the file's text.
    """
    written = value.get("steps")
    if not isinstance(written, list):
        return []
    raw = [(index, step) for index, step in enumerate(written) if isinstance(step, dict)]
    names = [step["name"] for _, step in raw if isinstance(step.get("name"), str)]
    graph = _Graph(source, set(names))
    graph.check_names(raw)
    graph.check_targets(value, raw)
    if not graph.faults and len(steps) == len(written):
        start = value.get("start") or names[0]
        graph.check_reachable(start, steps)
        graph.check_references(steps)
    return graph.faults


def targets_of(step: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Every target that a step of the file names, with the path below the step where it stands."""
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
    def __init__(self, source: JsonSource, names: set[str]) -> None:
        self.faults: list[Fault] = []
        self._source = source
        self._names = names

    def check_names(self, raw: list[tuple[int, dict[str, Any]]]) -> None:
        seen: dict[str, int] = {}
        for index, step in raw:
            name = step.get("name")
            if not isinstance(name, str):
                continue
            if name in seen:
                line, _ = self._source.place(("steps", seen[name], "name"))
                self._add(f"a step called {name!r} stands in line {line} already", ("steps", index, "name"), name)
            elif name != name.strip() or any(ord(character) < 32 for character in name):
                self._add("a name has no blanks around it and no control characters", ("steps", index, "name"), name)
            seen.setdefault(name, index)

    def check_targets(self, value: dict[str, Any], raw: list[tuple[int, dict[str, Any]]]) -> None:
        start = value.get("start")
        if isinstance(start, str) and start not in self._names:
            self._add(f"there is no step called {start!r}{did_you_mean(start, self._names)}", ("start",), None)
        for index, step in raw:
            for path, target in targets_of(step):
                if isinstance(target, str) and target not in self._names:
                    message = f"there is no step called {target!r}{did_you_mean(target, self._names)}"
                    self._add(message, ("steps", index, *path), step.get("name"))

    def check_reachable(self, start: str, steps: Mapping[int, Step]) -> None:
        by_name = {step.name: step for step in steps.values()}
        reached, waiting = {start}, [start]
        while waiting:
            step = by_name[waiting.pop()]
            for target in next_steps(step):
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
        for index, step in steps.items():
            if step.name not in reached:
                self._add("no step leads here; remove it, or name it as a target", ("steps", index, "name"), step.name)

    def check_references(self, steps: Mapping[int, Step]) -> None:
        by_name = {step.name: step for step in steps.values()}
        before = _ancestors(by_name)
        for index, step in steps.items():
            for reference in references_of(step):
                if reference.step is None:
                    continue
                problem = _problem(step, by_name[reference.step], before)
                if problem:
                    self._add(f"{reference.text}: {problem}", ("steps", index, "name"), step.name)

    def _add(self, message: str, path: Path, step: str | None) -> None:
        line, column = self._source.place(path)
        self.faults.append(Fault(message, path, line, column, step))


def next_steps(step: Step) -> list[str]:
    """Names of the steps that may follow a step."""
    targets = [way.target for way in step.exits] + [step.on_max_visits]
    return [target for target in targets if target is not None]


def references_of(step: Step) -> list[Reference]:
    """Every reference that a step reads."""
    if isinstance(step, Conditional):
        conditions = [condition for path in step.paths for condition in path.conditions]
        templates: list[Any] = [condition.value for condition in conditions]
        fields = [condition.field for condition in conditions]
    elif isinstance(step, Action):
        templates, fields = list(step.plan.templates), []
    elif isinstance(step, (Question, Menu)):
        templates, fields = [step.body], []
    elif isinstance(step, Message):
        templates, fields = [step.body, step.file_url], []
    else:
        templates, fields = [step.reason], []
    return fields + [reference for template in templates for reference in getattr(template, "references", ())]


def _problem(step: Step, read: Step, before: Mapping[str, set[str]]) -> str | None:
    if isinstance(read, (Message, Conditional, End)):
        return f"a {type(read).__name__.lower()} step leaves no value"
    if read.name == step.name and read.name not in before[step.name]:
        return "a step cannot read its own result"
    if read.name not in before[step.name]:
        return f"{read.name!r} cannot have run before {step.name!r}"
    return None


def _ancestors(steps: Mapping[str, Step]) -> dict[str, set[str]]:
    """For each step the steps that may come before it; itself when it stands in a loop."""
    before: dict[str, set[str]] = {name: set() for name in steps}
    changed = True
    while changed:
        changed = False
        for name, step in steps.items():
            for target in next_steps(step):
                size = len(before[target])
                before[target] |= before[name] | {name}
                changed = changed or len(before[target]) != size
    return before


def find_loop(steps: Mapping[str, Step], start: str) -> list[str] | None:
    """Names of the steps of one loop, the first one again at the end; ``None`` when the flow has none.

    Args:
        steps: by name.
        start: name of the first step.
    """
    trail: list[str] = []
    done: set[str] = set()
    waiting = [(start, False)]
    while waiting:
        name, leaving = waiting.pop()
        if leaving:
            trail.pop()
            done.add(name)
        elif name in trail:
            return [*trail[trail.index(name) :], name]
        elif name not in done:
            trail.append(name)
            waiting.append((name, True))
            waiting.extend((target, False) for target in next_steps(steps[name]))
    return None
