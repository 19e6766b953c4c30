"""Layered layout of a graph's steps and exits, computed by graphlay, an optional dependency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_whatsapp_flows.errors import MissingExtraError

if TYPE_CHECKING:
    import graphlay

_LARGE = 150
"""Above this number of nodes, the engine spends less time improving the layout."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height, in pixels."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Point:
    """A point in the drawing; ``y`` grows downward."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Link:
    """An edge to lay out.

    Attributes:
        source: index of the node where it starts.
        target: index of the node where it ends.
        label: size of its text.
        is_back: whether it points upward.
    """

    source: int
    target: int
    label: Size
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """The path of an edge.

    Attributes:
        parts: corners of the line before and after its label; a self-loop has only one part.
        label: center of its text.
    """

    parts: tuple[tuple[Point, ...], ...]
    label: Point


@dataclass(frozen=True, slots=True)
class Placement:
    """The layout of a graph.

    Attributes:
        centres: centers of the nodes, in order.
        routes: paths of the edges, in order.
    """

    centres: tuple[Point, ...]
    routes: tuple[Route, ...]


def place(nodes: Sequence[Size], links: Sequence[Link]) -> Placement:
    """Lay out a graph from top to bottom; the same graph always gets the same layout.

    Raises:
        MissingExtraError: graphlay is not installed.
    """
    try:
        import graphlay
    except ImportError as error:
        raise MissingExtraError("an SVG drawing", "graphlay", "draw") from error
    graph = graphlay.Graph()
    for size in nodes:
        graph.node(width=size.width, height=size.height)
    for link in links:
        _add(graph, link)
    options: dict[str, object] = {
        "direction": "topbottom",
        "spacing": {"layer_gap": 22.0, "node_gap": 30.0, "dummy_gap": 24.0, "port_gap": 14.0},
    }
    if len(nodes) > _LARGE:
        options["effort"] = "fast"
    layout = graphlay.layout(graph, preset="layered", options=options)
    laid = [(tuple(map(_point, edge["points"])), edge["label_anchor"]) for edge in layout.edges]
    spots = [_point(node["center"]) for node in layout.nodes]
    labels = iter(spots[len(nodes) :])
    lines = iter(laid)
    return Placement(tuple(spots[: len(nodes)]), tuple(_route(link, lines, labels) for link in links))


def _add(graph: graphlay.Graph, link: Link) -> None:
    """Add an edge as two edges with its label as a node between them, so that no other line crosses the label."""
    if link.source == link.target:
        graph.edge(link.source, link.target, label_size={"width": link.label.width, "height": link.label.height})
        return
    label = graph.node(width=link.label.width, height=link.label.height)
    # Back edges are reversed; otherwise the engine would choose which step of a loop is on top.
    first, last = (link.target, link.source) if link.is_back else (link.source, link.target)
    graph.edge(first, label)
    graph.edge(label, last)


def _route(link: Link, lines: Iterator[tuple[tuple[Point, ...], object]], labels: Iterator[Point]) -> Route:
    points, anchor = next(lines)
    if link.source == link.target:
        return Route((points,), _point(anchor))
    parts = (points, next(lines)[0])
    if link.is_back:
        parts = (parts[1][::-1], parts[0][::-1])
    return Route(parts, next(labels))


def _point(place: object) -> Point:
    if not isinstance(place, dict):
        raise TypeError(f"not a point: {place!r}")
    return Point(round(place["x"], 1) + 0.0, round(place["y"], 1) + 0.0)
