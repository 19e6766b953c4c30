"""A flow as a graph: its steps, and their exits as labelled edges; and that graph as Mermaid text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_whatsapp_flows.flow.model import TOO_MANY_VISITS, Action, Delay, End, Flow, Step, TriggerFlow, exits_of

MERMAID_EDGES = 500
MERMAID_CHARACTERS = 50_000
"""Limits of Mermaid, if its page does not raise ``maxEdges`` and ``maxTextSize``."""

# What Mermaid's text may hold as it is. Everything else of ASCII has a meaning somewhere: in its grammar, in the
# Markdown or HTML that labels are read as, or in a link that is made of an address.
_PLAIN = re.compile(r"[A-Za-z0-9 ,?!'()\u0080-\U0010ffff]")
# What Mermaid reads after entity codes were put back: line breaks, formulas, icons, and its own stand-ins for entities.
_READ_LATE = re.compile("\\\\(?=n)|[$](?=[$])|fa[a-z]?:(?=fa-)|\ufb02(?=\u00b0)|\u00b6(?=\u00df)")
_WORD_JOINER = "\u2060"
_SHAPES = {
    "question": '[/"{}"/]',
    "menu": '{{{{"{}"}}}}',
    "message": '("{}")',
    "template": '("{}")',
    "conditional": '{{"{}"}}',
    "action": '[["{}"]]',
    "delay": '[\\"{}"/]',
    "go_to": '>"{}"]',
    "trigger_flow": '[/"{}"\\]',
    "end": '(["{}"])',
}
_RECTANGLE = '["{}"]'
_CLASSES = {
    "question": "asks",
    "menu": "asks",
    "message": "says",
    "template": "says",
    "conditional": "chooses",
    "action": "sends",
    "delay": "waits",
    "contact_update": "records",
    "tag": "records",
    "assignation": "records",
    "go_to": "leads",
    "trigger_flow": "leads",
    "end": "ends",
}
"""Step type to what its steps do, which determines their color."""
# Middle tones that dark text can be read on, on a light page and on a dark one.
_COLOURS = {
    "asks": "fill:#bfdbfe,stroke:#2563eb,color:#172554",
    "says": "fill:#bbf7d0,stroke:#16a34a,color:#052e16",
    "chooses": "fill:#fde68a,stroke:#d97706,color:#451a03",
    "sends": "fill:#ddd6fe,stroke:#7c3aed,color:#2e1065",
    "waits": "fill:#a5f3fc,stroke:#0891b2,color:#083344",
    "records": "fill:#e5e7eb,stroke:#6b7280,color:#111827",
    "leads": "fill:#fbcfe8,stroke:#db2777,color:#500724",
    "ends": "fill:#d1d5db,stroke:#374151,color:#111827",
    "fails": "fill:#fecaca,stroke:#dc2626,color:#450a0a",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A step, or the point where its exits that lead nowhere end.

    Attributes:
        id: unique in the graph, and the same each time: ``s1``, ``s2``, … and ``e1``, … for ends.
        name: of the step; empty for an end.
        type: of the step, as in the file; empty for an end.
        detail: what it does, in a few words: where a request goes, how long it waits.
        does: what steps of its type do: ``asks``, ``says``, ``sends``, …
        loop: number of the loop that it stands in, from 1; 0 when it stands in none.
        note: a line of its own in a drawing.
    """

    id: str
    name: str = ""
    type: str = ""
    detail: str = ""
    does: str = "ends"
    loop: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """One exit of a step.

    Attributes:
        source: id of its node.
        target: id of the node that it leads to.
        label: what the exit is called.
        kind: ``back`` where it leads to a step that was on the way already, ``error`` for an exit of something gone
            wrong, else ``next``.
        is_unused: whether nobody took it, as far as is known.
    """

    source: str
    target: str
    label: str
    kind: str = "next"
    is_unused: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """The graph of a flow.

    Attributes:
        id: of the flow.
        title: name of the flow.
        start: id of the node of the first step.
        nodes: steps in the file's order, each before its end.
        edges: exits in the order of their steps.
    """

    id: str
    title: str
    start: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(flow: Flow) -> Graph:
    """The graph of a flow: a node for every step, and an edge for every exit."""
    ids = {name: f"s{number}" for number, name in enumerate(flow.steps, 1)}
    loops = {name: number for number, loop in enumerate(flow.loops, 1) for name in loop}
    types = _types(flow)
    backwards = _backwards(flow)
    nodes: list[Node] = []
    edges: list[Edge] = []
    for name, step in flow.steps.items():
        does = "fails" if isinstance(step, End) and step.state == "failed" else _CLASSES[types[name]]
        nodes.append(Node(ids[name], name, types[name], _detail(step), does, loops.get(name, 0)))
        end = "e" + ids[name][1:]
        if any(way.target is None for way in exits_of(step)):
            nodes.append(Node(end))
        for way in exits_of(step):
            kind = "back" if (name, way.target) in backwards else _kind(step, way.label)
            edges.append(Edge(ids[name], end if way.target is None else ids[way.target], way.label, kind))
    return Graph(flow.id, flow.name, ids[flow.start], tuple(nodes), tuple(edges))


def _types(flow: Flow) -> dict[str, str]:
    steps = flow.source["steps"]
    return {step["name"]: step["type"] for step in steps} if isinstance(steps, list) else {}


def _kind(step: Step, label: str) -> str:
    failures = ("error",) if isinstance(step, Action) else ("no answer", "answer failed")
    # An option of a menu may be called "no answer" too; in a drawing it does no harm to see it as one.
    return "error" if label in (*failures, TOO_MANY_VISITS) else "next"


def _backwards(flow: Flow) -> set[tuple[str, str | None]]:
    """Pairs of steps whose exit leads back to a step on the way to it: depth first, in the order of the exits."""
    found: set[tuple[str, str | None]] = set()
    seen: set[str] = set()
    for root in (flow.start, *flow.steps):
        if root in seen:
            continue
        seen.add(root)
        trail = [(root, iter(exits_of(flow.steps[root])))]
        on_trail = {root}
        while trail:
            name, exits = trail[-1]
            way = next(exits, None)
            if way is None:
                trail.pop()
                on_trail.discard(name)
                continue
            target = way.target
            if target in on_trail:
                found.add((name, target))
            elif target is not None and target not in seen:
                seen.add(target)
                on_trail.add(target)
                trail.append((target, iter(exits_of(flow.steps[target]))))
    return found


def _detail(step: Step) -> str:
    if isinstance(step, Action):
        # No path and no query: addresses of hooks hold their secret there.
        url = step.plan.url
        return f"{step.plan.method} {step.plan.connection or urlsplit(url.origin).netloc.rpartition('@')[2]}"
    if isinstance(step, Delay):
        seconds, windows = step.rule.seconds, "at set hours" if step.rule.windows else ""
        length = "until a moment" if step.until is not None else _length(seconds) if seconds or not windows else ""
        return ", ".join(part for part in (length, windows) if part)
    if isinstance(step, TriggerFlow):
        return step.next_flow
    return step.state if isinstance(step, End) else ""


def _length(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart: a text for Markdown pages, ending with a line break.

    Names are written so that Mermaid shows them as they are: with entity codes for every character that could mean
    something in its grammar, in Markdown or in HTML.
    """
    # A title of Mermaid's own would be read as HTML, and knows no entity codes.
    lines = ["flowchart TD", f'  start(["{escape_label(graph.title)}"])']
    for node in graph.nodes:
        lines.append(f"  {node.id}{_node(node)}")
    lines.append(f"  start --> {graph.start}")
    for edge in graph.edges:
        arrow = "-.->" if edge.kind == "back" else "-->"
        lines.append(f'  {edge.source} {arrow}|"{escape_label(edge.label) or "(empty)"}"| {edge.target}')
    lines += _styles(graph)
    return "\n".join(lines) + "\n"


def _node(node: Node) -> str:
    if not node.name:
        return '((("end")))'
    about = " ".join(part for part in (node.type.replace("_", " "), node.detail) if part)
    loop = f"<br/>loop {node.loop}" if node.loop else ""
    return _SHAPES.get(node.type, _RECTANGLE).format(f"{escape_label(node.name)}<br/>{escape_label(about)}{loop}")


def _styles(graph: Graph) -> Iterator[str]:
    by_class: dict[str, list[str]] = {}
    for node in graph.nodes:
        by_class.setdefault(node.does, []).append(node.id)
    for does, ids in by_class.items():
        yield f"  classDef {does} {_COLOURS[does]}"
        yield f"  class {','.join(ids)} {does}"


def escape_label(text: str) -> str:
    """A text as it may stand between the quotes of a Mermaid label, on one line."""
    apart = _READ_LATE.sub(lambda match: match.group() + _WORD_JOINER, one_line(text))
    return "".join(character if _PLAIN.match(character) else f"#{ord(character)};" for character in apart)


def one_line(text: str) -> str:
    """A text as it may stand in a drawing: on one line, without control characters and marks that turn text round."""
    return " ".join("".join(map(_visible, text)).split())


def _visible(character: str) -> str:
    # Joiners are not seen, and yet make one emoji, or one letter of Persian or Hindi, of several.
    return character if character.isprintable() or character in "\u200c\u200d" else " "


def too_large_for_mermaid(graph: Graph, text: str) -> bool:
    """Whether Mermaid draws it only where its page raises ``maxEdges`` or ``maxTextSize``."""
    return len(graph.edges) + 1 > MERMAID_EDGES or len(text) > MERMAID_CHARACTERS
