"""Draws the graph of a flow as self-contained SVG, light or dark by the viewer's preference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from xml.etree import ElementTree

from airflow_whatsapp_flows.drawing.layout import Link, Placement, Point, Size, place
from airflow_whatsapp_flows.drawing.text_layout import width_of, wrap_text
from airflow_whatsapp_flows.flow.inspect.graph import Edge, Graph, Node, one_line

# Kind of step → fill and stroke, on a light and a dark page. Text contrast is at least 7 (WCAG 2.2, AAA).
_COLOURS = {
    "asks": ("#dbeafe", "#2563eb", "#172554", "#60a5fa"),
    "says": ("#dcfce7", "#16a34a", "#052e16", "#4ade80"),
    "chooses": ("#fef3c7", "#d97706", "#451a03", "#fbbf24"),
    "sends": ("#ede9fe", "#7c3aed", "#2e1065", "#a78bfa"),
    "waits": ("#cffafe", "#0891b2", "#083344", "#22d3ee"),
    "records": ("#f3f4f6", "#6b7280", "#1f2937", "#9ca3af"),
    "leads": ("#fce7f3", "#db2777", "#500724", "#f472b6"),
    "ends": ("#e5e7eb", "#374151", "#1f2937", "#d1d5db"),
    "fails": ("#fee2e2", "#dc2626", "#450a0a", "#f87171"),
}
_PAGE = ("#ffffff", "#0f172a")
_TEXT = ("#111827", "#f3f4f6")
_MUTED = ("#374151", "#d1d5db")
_LINES = {"next": ("#4b5563", "#9ca3af"), "back": ("#7c3aed", "#c4b5fd"), "error": ("#b91c1c", "#fca5a5")}
_ROOT = ".whatsapp-flow"


def _sheet(dark: int) -> str:
    rules = [
        f".page,.label rect{{fill:{_PAGE[dark]}}}",
        f".name{{fill:{_TEXT[dark]}}}",
        f".about,.exit{{fill:{_MUTED[dark]}}}",
        f".starts .box{{fill:{_TEXT[dark]};stroke:{_TEXT[dark]}}}",
    ]
    for does, colours in _COLOURS.items():
        fill, line = colours[2 * dark : 2 * dark + 2]
        rules.append(f".{does} .box{{fill:{fill};stroke:{line}}}")
        rules.append(f".{does} .rule{{stroke:{line}}}")
    rules.append(f".ends .inner{{fill:{_COLOURS['ends'][2 * dark + 1]}}}")
    for kind, tones in _LINES.items():
        rules.append(f".edge.{kind}{{stroke:{tones[dark]}}}")
        rules.append(f".arrow.{kind} path{{fill:{tones[dark]}}}")
        if kind != "next":
            rules.append(f".{kind} .exit{{fill:{tones[dark]}}}")
    return "".join(map(_scope, rules))


def _scope(rule: str) -> str:
    """Limit a CSS rule to drawings: the surrounding page may use the same class names."""
    selectors, _, declarations = rule.partition("{")
    return ",".join(f"{_ROOT} {selector}" for selector in selectors.split(",")) + "{" + declarations


_SHAPES = (
    f'{_ROOT}{{font-family:system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}}'
    f"{_ROOT} text{{text-anchor:middle}}"
    f"{_ROOT} .name{{font-size:14px;font-weight:600}}{_ROOT} .about{{font-size:11px}}{_ROOT} .exit{{font-size:12px}}"
    f"{_ROOT} .box{{stroke-width:1.5}}{_ROOT} .loop .box{{stroke-width:2.5}}{_ROOT} .rule{{stroke-width:1}}"
    f"{_ROOT} .edge{{fill:none;stroke-width:1.5}}{_ROOT} .edge.back{{stroke-dasharray:6 4;stroke-width:2}}"
)
STYLE = (
    # Programs without a page, which ignore media rules, would treat the height 'auto' as 0.
    f"@media all{{{_ROOT}{{max-width:100%;height:auto}}}}"
    f"{_SHAPES}{_sheet(0)}@media(prefers-color-scheme:dark){{{_sheet(1)}}}"
)


def page_style(dark: str) -> str:
    """Return the style sheet of a page that contains drawings.

    Args:
        dark: selector of the page in its dark theme.
    """
    return f"{_SHAPES}{_sheet(0)}{_sheet(1).replace(_ROOT, f'{dark} {_ROOT}')}"


_NAME, _ABOUT, _LABEL = 14.0, 11.0, 12.0
_LINE = 1.25
_BOLD = 1.08
_MAX_NAME, _MAX_LABEL = 190.0, 150.0
_PAD_X, _PAD_Y, _MIN_WIDTH = 10.0, 9.0, 96.0
_END = 22.0
_MARGIN = 24.0
_CORNER = 7.0
_ROUND = 9.0
_SLANT = 12.0
"""Width that a slanted or pointed side takes from the text."""


@dataclass(frozen=True, slots=True)
class _Card:
    node: Node
    names: list[str]
    about: list[str]
    size: Size


@dataclass(frozen=True, slots=True)
class _Label:
    lines: list[str]
    size: Size


def draw(graph: Graph, addresses: Mapping[str, str] | None = None) -> str:
    """Draw a graph as SVG, deterministically and without external references.

    Args:
        graph: of a flow.
        addresses: of pages, by id of the node; for a page that contains the drawing and has :func:`page_style`.
    """
    start = Node("start", does="starts")
    cards = [_card(node) for node in (start, *graph.nodes)]
    edges = [Edge("start", graph.start, ""), *graph.edges]
    labels = [_label(edge.label if edge.source == "start" else edge.label or "(empty)") for edge in edges]
    index = {card.node.id: number for number, card in enumerate(cards)}
    links = [
        Link(index[edge.source], index[edge.target], label.size, edge.kind == "back")
        for edge, label in zip(edges, labels, strict=True)
    ]
    placement = place([card.size for card in cards], links)
    least, most = _bounds(cards, labels, placement)
    svg = _head(graph, least, most, is_part=addresses is not None)
    # Labels come last: a crossing line must not strike through the label of another exit.
    for edge, label, route in zip(edges, labels, placement.routes, strict=True):
        parts = route.parts if label.lines else (sum(route.parts, ()),)
        data = "".join(map(path_through, parts))
        shape = ElementTree.SubElement(
            svg, "path", {"class": f"edge {edge.kind}{' unused' if edge.is_unused else ''}", "d": data}
        )
        shape.set("marker-end", f"url(#{_id(graph, edge.kind)})")
    for card, centre in zip(cards, placement.centres, strict=True):
        link = (addresses or {}).get(card.node.id)
        _draw_card(svg if link is None else ElementTree.SubElement(svg, "a", {"href": link}), card, centre)
    for edge, label, route in zip(edges, labels, placement.routes, strict=True):
        _draw_label(svg, edge, label, route.label)
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _card(node: Node) -> _Card:
    if not node.name:
        return _Card(node, [], [], Size(_END, _END))
    names = wrap_text(_clean(node.name), _NAME * _BOLD, _MAX_NAME, 4)
    parts = [node.type.replace("_", " "), node.detail, f"loop {node.loop}" if node.loop else ""]
    texts = [" · ".join(part for part in parts if part), *([node.note] if node.note else [])]
    about = [line for text in texts for line in wrap_text(_clean(text), _ABOUT, _MAX_NAME + 30, 1)]
    text = max(*(width_of(line, _NAME * _BOLD) for line in names), *(width_of(line, _ABOUT) for line in about))
    width = max(_MIN_WIDTH, text + 2 * (_PAD_X + _SLANT))
    height = len(names) * _NAME * _LINE + len(about) * _ABOUT * _LINE + 2 * _PAD_Y
    return _Card(node, names, about, Size(round(width), round(height)))


def _label(text: str) -> _Label:
    if not text:
        return _Label([], Size(1, 1))
    lines = wrap_text(_clean(text), _LABEL, _MAX_LABEL, 3)
    width = max(width_of(line, _LABEL) for line in lines) + 8
    return _Label(lines, Size(round(width), round(len(lines) * _LABEL * _LINE + 4)))


def _clean(text: str) -> str:
    # XML 1.0 does not allow these, not even as entities; invisible characters were removed before.
    return re.sub("[\ufffe\uffff\ud800-\udfff]", "\ufffd", one_line(text))


def _bounds(cards: Sequence[_Card], labels: Sequence[_Label], placement: Placement) -> tuple[Point, Point]:
    boxes = [(card.size, centre) for card, centre in zip(cards, placement.centres, strict=True)]
    boxes += [(label.size, route.label) for label, route in zip(labels, placement.routes, strict=True)]
    boxes += [(Size(0, 0), point) for route in placement.routes for part in route.parts for point in part]
    lefts = [centre.x - size.width / 2 for size, centre in boxes]
    tops = [centre.y - size.height / 2 for size, centre in boxes]
    rights = [centre.x + size.width / 2 for size, centre in boxes]
    bottoms = [centre.y + size.height / 2 for size, centre in boxes]
    return Point(min(lefts) - _MARGIN, min(tops) - _MARGIN), Point(max(rights) + _MARGIN, max(bottoms) + _MARGIN)


def _id(graph: Graph, part: str) -> str:
    # A flow's id is a slug. One page may contain several drawings.
    return f"flow-{graph.id}-{part}"


def _head(graph: Graph, least: Point, most: Point, *, is_part: bool) -> ElementTree.Element:
    width, height = most.x - least.x, most.y - least.y
    svg = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "whatsapp-flow",
            "role": "group" if is_part else "img",  # an image has no links in it
            "aria-labelledby": f"{_id(graph, 'title')} {_id(graph, 'desc')}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "viewBox": f"{least.x:g} {least.y:g} {width:g} {height:g}",
        },
    )
    ElementTree.SubElement(svg, "title", {"id": _id(graph, "title")}).text = _clean(graph.title)
    steps = sum(1 for node in graph.nodes if node.name)
    loops = max((node.loop for node in graph.nodes), default=0)
    about = f"Flow of {_plural(steps, 'step')}, {_plural(len(graph.edges), 'exit')} and {_plural(loops, 'loop')}."
    ElementTree.SubElement(svg, "desc", {"id": _id(graph, "desc")}).text = about
    if not is_part:
        ElementTree.SubElement(svg, "style").text = STYLE
    defs = ElementTree.SubElement(svg, "defs")
    for kind in ("next", "back", "error"):
        marker = ElementTree.SubElement(
            defs,
            "marker",
            {
                "id": _id(graph, kind),
                "class": f"arrow {kind}",
                "viewBox": "0 0 10 10",
                "refX": "9",
                "refY": "5",
                "markerUnits": "userSpaceOnUse",
                "markerWidth": "10",
                "markerHeight": "10",
                "orient": "auto-start-reverse",
            },
        )
        ElementTree.SubElement(marker, "path", {"d": "M0 0L10 5L0 10z"})
    page = {"x": f"{least.x:g}", "y": f"{least.y:g}", "width": f"{width:g}", "height": f"{height:g}"}
    ElementTree.SubElement(svg, "rect", {"class": "page", **page})
    return svg


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _draw_card(svg: ElementTree.Element, card: _Card, centre: Point) -> None:
    node = card.node
    group = ElementTree.SubElement(svg, "g", {"class": f"node {node.does}{' loop' if node.loop else ''}"})
    if not node.name:
        ElementTree.SubElement(group, "title").text = "start" if node.does == "starts" else "end"
        _circle(group, centre, _END / 2)
        if node.does == "ends":
            _circle(group, centre, _END / 2 - 5, "inner")
        return
    # A tooltip shows shortened text in full.
    ElementTree.SubElement(group, "title").text = f"{_clean(node.name)} ({node.type})"
    for name, data in outline(node.type, centre, card.size):
        ElementTree.SubElement(group, "path", {"class": name, "d": data})
    top = centre.y - card.size.height / 2 + _PAD_Y
    for number, line in enumerate(card.names):
        _text(group, "name", line, Point(centre.x, top + (number + 0.78) * _NAME * _LINE))
    top += len(card.names) * _NAME * _LINE
    for number, line in enumerate(card.about):
        _text(group, "about", line, Point(centre.x, top + number * _ABOUT * _LINE + _ABOUT))


def _circle(group: ElementTree.Element, centre: Point, radius: float, name: str = "box") -> None:
    place = {"cx": f"{centre.x:g}", "cy": f"{centre.y:g}", "r": f"{radius:g}"}
    ElementTree.SubElement(group, "circle", {"class": name, **place})


def _draw_label(svg: ElementTree.Element, edge: Edge, label: _Label, centre: Point) -> None:
    if not label.lines:
        return
    group = ElementTree.SubElement(svg, "g", {"class": f"label {edge.kind}"})
    ElementTree.SubElement(group, "title").text = _clean(edge.label) or "(empty)"
    left, top = centre.x - label.size.width / 2, centre.y - label.size.height / 2
    size = {"width": f"{label.size.width:g}", "height": f"{label.size.height:g}"}
    ElementTree.SubElement(group, "rect", {"x": f"{left:g}", "y": f"{top:g}", "rx": "3", **size})
    for number, line in enumerate(label.lines):
        _text(group, "exit", line, Point(centre.x, top + 2 + (number + 0.78) * _LABEL * _LINE))


def _text(group: ElementTree.Element, name: str, line: str, base: Point) -> None:
    place = {"x": f"{base.x:g}", "y": f"{round(base.y, 1):g}"}
    ElementTree.SubElement(group, "text", {"class": name, **place}).text = line


def outline(step_type: str, centre: Point, size: Size) -> list[tuple[str, str]]:
    """Return class and path data of a step's shapes, from back to front."""
    left, right = centre.x - size.width / 2, centre.x + size.width / 2
    top, bottom = centre.y - size.height / 2, centre.y + size.height / 2
    if step_type in ("conditional", "menu"):
        corners = [
            (left + _SLANT, top), (right - _SLANT, top), (right, centre.y),
            (right - _SLANT, bottom), (left + _SLANT, bottom), (left, centre.y),
        ]  # fmt: skip
        return [("box", _polygon(corners))]
    if step_type == "question":
        corners = [(left + _SLANT, top), (right, top), (right - _SLANT, bottom), (left, bottom)]
        return [("box", _polygon(corners))]
    if step_type == "delay":
        corners = [(left, top), (right, top), (right - _SLANT, bottom), (left + _SLANT, bottom)]
        return [("box", _polygon(corners))]
    if step_type == "trigger_flow":
        corners = [(left + _SLANT, top), (right - _SLANT, top), (right, bottom), (left, bottom)]
        return [("box", _polygon(corners))]
    if step_type == "end":
        return [("box", _box(left, top, size, size.height / 2))]
    if step_type == "action":
        sides = f"M{left + 6:g} {top:g}V{bottom:g}M{right - 6:g} {top:g}V{bottom:g}"
        return [("box", _box(left, top, size, 2)), ("rule", sides)]
    return [("box", _box(left, top, size, _ROUND if step_type in ("message", "template") else 2))]


def _polygon(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in corners) + "z"


def _box(left: float, top: float, size: Size, radius: float) -> str:
    inner_width, inner_height = size.width - 2 * radius, size.height - 2 * radius
    arc = f"a{radius:g} {radius:g} 0 0 1 "
    return (
        f"M{left + radius:g} {top:g}h{inner_width:g}{arc}{radius:g} {radius:g}v{inner_height:g}"
        f"{arc}{-radius:g} {radius:g}h{-inner_width:g}{arc}{-radius:g} {-radius:g}v{-inner_height:g}"
        f"{arc}{radius:g} {-radius:g}z"
    )


def path_through(points: Sequence[Point]) -> str:
    """Return the path data of a line through points, with rounded corners."""
    first, *rest = points
    data = f"M{first.x:g} {first.y:g}"
    for before, corner, after in zip(points, points[1:], points[2:]):  # noqa: B905  # triples of consecutive points
        start, end = _towards(corner, before), _towards(corner, after)
        data += f"L{start.x:g} {start.y:g}Q{corner.x:g} {corner.y:g} {end.x:g} {end.y:g}"
    return data + (f"L{rest[-1].x:g} {rest[-1].y:g}" if rest else "")


def _towards(corner: Point, other: Point) -> Point:
    length = hypot(other.x - corner.x, other.y - corner.y)
    share = min(_CORNER, length / 2) / length if length else 0.0
    return Point(
        round(corner.x + (other.x - corner.x) * share, 1),
        round(corner.y + (other.y - corner.y) * share, 1),
    )
