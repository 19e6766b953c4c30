"""The shapes of steps, by type, and lines with round corners, as SVG path data."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from airflow_whatsapp_flows.drawing.layout import Point, Size

_SLANT = 12.0
_CORNER = 7.0
_ROUND = 9.0


def outline(step_type: str, centre: Point, size: Size) -> list[tuple[str, str]]:
    """Class and path data of what is drawn for a step, from back to front."""
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
    """Path data of a line through points, its corners rounded."""
    first, *rest = points
    data = f"M{first.x:g} {first.y:g}"
    for before, corner, after in zip(points, points[1:], points[2:]):  # noqa: B905  # three that follow each other
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
