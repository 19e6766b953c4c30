"""Drawings of flows as SVG."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
from lxml import etree

from airflow_whatsapp_flows.drawing import draw
from airflow_whatsapp_flows.drawing.layout import Link, Size, place
from airflow_whatsapp_flows.drawing.svg import STYLE
from airflow_whatsapp_flows.drawing.text_layout import width_of, wrap_text
from airflow_whatsapp_flows.flow.inspect.graph import graph_of
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from tests.conftest import REPOSITORY
from tests.flow.samples import action, flow_of

EXAMPLES = sorted((REPOSITORY / "dags" / "flows").glob("*.json"))
LOOP: list[dict[str, Any]] = [
    action("Ask for it", method="GET", on_success="Is it ready?", on_error="Ask for it", max_visits=9),
    {
        "name": "Is it ready?",
        "type": "conditional",
        "paths": [
            {
                "name": "ready",
                "conditions": [{"field": "step.Ask for it.status_code", "comparison": "exact", "value": 200}],
                "next": "Done",
            }
        ],
        "otherwise": "Wait",
    },
    {"name": "Wait", "type": "delay", "amount": 10, "unit": "SECOND", "next": "Ask for it"},
    {"name": "Done", "type": "end"},
]
S = "{http://www.w3.org/2000/svg}"


def _svg(flow: Flow) -> Any:
    return etree.fromstring(draw(graph_of(flow)).encode("utf-8"))


def _texts(svg: Any, name: str) -> list[str]:
    return [text.text for text in svg.iter(f"{S}text") if text.get("class") == name]


def _sixty_steps() -> Flow:
    choose = random.Random(60)
    steps: list[dict[str, Any]] = []
    for number in range(60):
        after = [f"Step {min(59, number + far)}" for far in (1, 2, 5)]
        if number == 59:
            steps.append({"name": "Step 59", "type": "end"})
        elif number % 3 == 0:
            options = dict(zip(("Yes, please", "No, thanks", "Talk to somebody"), after, strict=True))
            steps.append({"name": f"Step {number}", "type": "menu", "options": options})
        elif number % 3 == 1:
            back = f"Step {choose.randrange(max(1, number - 9), number + 1)}"
            steps.append(action(f"Step {number}", on_success=after[0], on_error=back))
        else:
            steps.append({"name": f"Step {number}", "type": "message", "next": after[0]})
    return flow_of(*steps)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_drawing_has_every_step_once_and_every_exit(file: Any) -> None:
    flow = load_flow(file.read_text(encoding="utf-8"))

    svg = _svg(flow)

    titles = [title.text for title in svg.iter(f"{S}title")]
    exits = Counter(way.label for step in flow.steps.values() for way in step.exits)
    exits["too many visits"] += sum(step.on_max_visits is not None for step in flow.steps.values())
    labels = [group for group in svg.iter(f"{S}g") if (group.get("class") or "").startswith("label ")]
    types = {step["name"]: step["type"] for step in flow.source["steps"]}  # type: ignore[attr-defined]
    assert all(titles.count(f"{name} ({types[name]})") == 1 for name in flow.steps)
    # A label may be split into lines; its title has the full text.
    assert Counter(label.find(f"{S}title").text for label in labels) == +exits
    lines = [path for path in svg.iter(f"{S}path") if (path.get("class") or "").startswith("edge ")]
    assert len(lines) == sum(exits.values()) + 1
    assert all(line.get("marker-end") for line in lines)


def test_a_drawing_has_a_text_alternative() -> None:
    svg = _svg(flow_of(*LOOP, name="Poll & wait"))

    assert svg.get("role") == "img"
    assert svg.get("aria-labelledby") == "flow-f-title flow-f-desc"
    assert (svg[0].tag, svg[0].get("id"), svg[0].text) == (f"{S}title", "flow-f-title", "Poll & wait")
    assert svg.find(f"{S}desc").text == "Flow of 4 steps, 5 exits and 1 loop."


def test_a_drawing_is_self_contained() -> None:
    text = draw(graph_of(flow_of(*LOOP)))

    assert re.findall(r"(?:https?:)?//[^\s\"']+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@import|<image|<use|<script|<foreignObject|href|\son\w+=", text)
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#flow-f-next", "#flow-f-back"}
    assert "@media(prefers-color-scheme:dark)" in text


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "\"&amp;'", "]]>", "</text>", "<!--", "&#x0;", "a\ufffeb", "日本語", "👩‍👩‍👧 ok"],
)
def test_any_step_name_is_text(name: str) -> None:
    svg = _svg(flow_of({"name": name, "type": "menu", "options": {name: None}}, name=name))

    shown = name.replace("\ufffe", " ")
    assert svg.find(f"{S}title").text == shown
    # A long word may be split into lines.
    for kind in ("name", "exit"):
        assert "".join(_texts(svg, kind)).replace(" ", "") == shown.replace(" ", "")
    assert {element.tag.removeprefix(S) for element in svg.iter() if isinstance(element.tag, str)} <= {
        "svg", "title", "desc", "style", "defs", "marker", "path", "rect", "g", "circle", "text",
    }  # fmt: skip


def test_labels_with_control_characters_are_drawn_without() -> None:
    svg = _svg(flow_of({"name": "A", "type": "menu", "options": {"a\x0b\u202eb": None, "": None}}))

    assert _texts(svg, "exit") == ["a b", "(empty)"]


def test_the_same_flow_gives_the_same_drawing() -> None:
    again = json.loads(json.dumps(LOOP))

    assert draw(graph_of(flow_of(*LOOP))) == draw(graph_of(flow_of(*again)))


def test_draws_back_edges_upward_in_their_own_style() -> None:
    svg = _svg(flow_of(*LOOP))

    back = [path.get("d") for path in svg.iter(f"{S}path") if path.get("class") == "edge back"]
    assert len(back) == 2
    ends = [[float(number) for number in re.findall(r"-?[\d.]+", line)] for line in back]
    assert any(numbers[1] > numbers[-1] + 100 for numbers in ends)
    assert sum("loop" in (group.get("class") or "").split() for group in svg.iter(f"{S}g")) == 3


def test_the_start_is_above_every_step_even_in_a_loop() -> None:
    steps: list[dict[str, Any]] = [
        {"name": "First", "type": "message", "next": "Second"},
        {"name": "Second", "type": "menu", "options": {"on": "Third", "again": "First"}},
        {"name": "Third", "type": "menu", "options": {"again": "First", "no": None}},
    ]
    svg = _svg(flow_of(*steps))

    [start] = [group for group in svg.iter(f"{S}g") if group.get("class") == "node starts"]
    names = {text.text: float(text.get("y")) for text in svg.iter(f"{S}text") if text.get("class") == "name"}
    assert float(start.find(f"{S}circle").get("cy")) < min(names.values())
    assert sorted(names, key=lambda name: (names[name], name)) == ["First", "Second", "Third"]


def test_boxes_and_labels_of_sixty_steps_are_clear_of_each_other() -> None:
    graph = graph_of(_sixty_steps())
    index = {node.id: number for number, node in enumerate(graph.nodes)}
    sizes = [Size(140, 44) for _ in graph.nodes]
    links = [
        Link(index[edge.source], index[edge.target], Size(90, 19), edge.kind == "back")
        for edge in graph.edges
        if edge.source != edge.target
    ]

    placement = place(sizes, links)

    boxes = [(centre, size) for centre, size in zip(placement.centres, sizes, strict=True)]
    boxes += [(route.label, link.label) for route, link in zip(placement.routes, links, strict=True)]
    for (one, first), (other, second) in combinations(boxes, 2):
        apart_x = abs(one.x - other.x) * 2 >= first.width + second.width
        apart_y = abs(one.y - other.y) * 2 >= first.height + second.height
        assert apart_x or apart_y


def test_lines_connect_steps_in_any_direction() -> None:
    sizes = [Size(100, 40)] * 3
    links = [Link(0, 1, Size(40, 19)), Link(1, 2, Size(40, 19)), Link(2, 0, Size(40, 19), is_back=True),
             Link(1, 1, Size(40, 19), is_back=True)]  # fmt: skip

    placement = place(sizes, links)

    for link, route in zip(links, placement.routes, strict=True):
        for point, node in ((route.parts[0][0], link.source), (route.parts[-1][-1], link.target)):
            centre = placement.centres[node]
            assert abs(point.x - centre.x) <= 50.1
            assert abs(point.y - centre.y) <= 20.1


def test_everything_is_inside_the_drawing() -> None:
    svg = _svg(_sixty_steps())

    left, top, width, height = map(float, svg.get("viewBox").split())
    for element in svg.iter(f"{S}text", f"{S}rect", f"{S}circle"):
        x, y = float(element.get("x") or element.get("cx")), float(element.get("y") or element.get("cy"))
        assert left <= x <= left + width
        assert top <= y <= top + height


@pytest.mark.parametrize("text", ["one", "a few words that go on", "x" * 100, "日本語" * 20, "a " * 50, "👩‍👩‍👧" * 12])
def test_lines_are_never_wider_than_they_may_be(text: str) -> None:
    lines = wrap_text(text, 14, 120, 4)

    assert 1 <= len(lines) <= 4
    assert all(width_of(line, 14) <= 120 for line in lines)
    whole = "".join(wrap_text(text, 14, 120, 1000)).replace(" ", "")
    assert whole == text.replace(" ", "")


def test_a_shortened_text_is_marked_and_available_in_full() -> None:
    name = "A name that goes on and on, with many words, far beyond what a box of a drawing has room for, or so"
    svg = _svg(flow_of({"name": name, "type": "end"}))

    assert len(wrap_text(name, 14, 90, 3)) == 3
    assert wrap_text(name, 14, 90, 3)[-1].endswith("…")
    assert f"{name} (end)" in [title.text for title in svg.iter(f"{S}title")]


def test_no_emoji_of_several_is_broken() -> None:
    assert all(not line.startswith(("\u200d", "\ufe0f")) for line in wrap_text("👩‍👩‍👧" * 12, 14, 60, 99))
    assert all(not line.endswith("\u200d") for line in wrap_text("👩‍👩‍👧" * 12, 14, 60, 99))


def test_programs_without_pages_ignore_page_styles() -> None:
    # Converters to PNG and PDF that ignore @media rules treated a height of 'auto' as none, and drew nothing.
    rules = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*\}", "", STYLE)

    assert "max-width:100%;height:auto" in STYLE
    assert "auto" not in rules
    assert ".name{font-size" in rules
