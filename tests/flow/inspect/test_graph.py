"""The graph of a flow, and its Mermaid text."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.inspect.graph import (
    Graph,
    escape_label,
    graph_of,
    mermaid,
    one_line,
    too_large_for_mermaid,
)
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from tests.conftest import REPOSITORY
from tests.flow.samples import action, flow_of

EXAMPLES = sorted((REPOSITORY / "dags" / "flows").glob("*.json"))
TYPES: list[dict[str, Any]] = [
    {"name": "Ask", "type": "question", "on_no_answer": "Stop", "next": "Choose"},
    {"name": "Choose", "type": "menu", "options": {"A": "Say", "B": None, "": "Greet"}},
    {"name": "Say", "type": "message", "next": "Decide"},
    {"name": "Greet", "type": "template", "options": {"Go": "Decide"}},
    {
        "name": "Decide",
        "type": "conditional",
        "paths": [{"conditions": [{"field": "contact.plan", "comparison": "exact", "value": "pro"}], "next": "Send"}],
        "otherwise": "Wait",
    },
    action("Send", on_success="Change", on_error="Send", max_visits=3, on_max_visits="Stop"),
    {"name": "Wait", "type": "delay", "amount": 90, "unit": "SECOND", "next": "Jump"},
    {"name": "Change", "type": "contact_update", "next": "Label"},
    {"name": "Label", "type": "tag", "contact_tags": ["x"], "next": "Assign"},
    {"name": "Assign", "type": "assignation", "next": "Other"},
    {"name": "Jump", "type": "go_to", "next": "Choose"},
    {"name": "Other", "type": "trigger_flow", "next_flow": "other"},
    {"name": "Stop", "type": "end", "state": "failed"},
]
"""A step of every type."""
WINDOW = {"weekday": 0, "start_at": "09:00", "end_at": "18:00"}

# A quoted label contains no quote, no line break, and nothing that ends an entity or a tag early.
_TEXT = r"""(?:[A-Za-z0-9 ,?!'()\u0080-\U0010ffff]|\#\d+;)+"""
_LABEL = rf'"{_TEXT}(?:<br/>{_TEXT})*"'
_NODE = re.compile(
    rf"  (?P<id>start|[se]\d+)(?:"
    rf"\[/{_LABEL}[/\\]\]|\[\\{_LABEL}/\]|\[\[{_LABEL}\]\]|\[{_LABEL}\]|\(\[{_LABEL}\]\)|\(\(\({_LABEL}\)\)\)|"
    rf"\({_LABEL}\)|\{{\{{{_LABEL}\}}\}}|\{{{_LABEL}\}}|>{_LABEL}\])"
)
_EDGE = re.compile(rf'  (?P<source>s\d+) (?P<arrow>-->|-\.->)\|"(?P<label>{_TEXT})"\| (?P<target>[se]\d+)')
_OTHER = re.compile(
    r"flowchart TD|  start --> s\d+|  classDef [a-z]+ fill:#\w{6},stroke:#\w{6},color:#\w{6}"
    r"|  class (?:[se]\d+,)*[se]\d+ [a-z]+"
)


def _parse(text: str) -> tuple[list[str], list[re.Match[str]]]:
    """Node ids and edges of a Mermaid text, whose every line is valid Mermaid."""
    nodes: list[str] = []
    edges: list[re.Match[str]] = []
    for line in text.splitlines():
        edge, node = _EDGE.fullmatch(line), _NODE.fullmatch(line)
        if edge:
            edges.append(edge)
        elif node:
            nodes.append(node["id"])
        else:
            assert _OTHER.fullmatch(line), line
    return nodes, edges


def _displayed_text(text: str) -> str:
    """A label as Mermaid displays it."""
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), text).replace("\u2060", "")


def _edges(graph: Graph) -> set[tuple[str, str, str, str]]:
    names = {node.id: node.name for node in graph.nodes}
    return {(names[edge.source], edge.label, names[edge.target], edge.kind) for edge in graph.edges}


def _expected_edges(flow: Flow) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for name, step in flow.steps.items():
        found.update((name, way.label, way.target or "") for way in step.exits)
        if step.on_max_visits is not None:
            found[(name, "too many visits", step.on_max_visits)] += 1
    return found


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_drawing_has_every_step_once_and_every_exit(file: Any) -> None:
    flow = load_flow(file.read_text(encoding="utf-8"))
    graph = graph_of(flow)

    nodes, edges = _parse(mermaid(graph))

    names = {node.id: node.name for node in graph.nodes}
    assert len(nodes) == len(set(nodes))
    assert sorted(names[node] for node in nodes if node.startswith("s") and node != "start") == sorted(flow.steps)
    drawn = Counter((names[edge["source"]], _displayed_text(edge["label"]), names[edge["target"]]) for edge in edges)
    assert drawn == _expected_edges(flow)


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"amount": 2, "unit": "HOUR"}, "2 h"),
        ({"amount": 2, "unit": "HOUR", "time_windows": [WINDOW]}, "2 h, at set hours"),
        ({"amount": 0, "unit": "SECOND", "time_windows": [WINDOW]}, "at set hours"),
        ({"until": "{{ contact.due }}"}, "until a moment"),
    ],
)
def test_a_delay_shows_its_wait(given: dict[str, object], detail: str) -> None:
    [node, _] = graph_of(flow_of({"name": "Wait", "type": "delay", **given})).nodes

    assert node.detail == detail


def test_every_step_type_has_a_label_and_a_shape() -> None:
    graph = graph_of(flow_of(*TYPES))

    text = mermaid(graph)

    _, edges = _parse(text)
    assert len(edges) == sum(_expected_edges(flow_of(*TYPES)).values())
    told = {node.name: (node.type, node.detail, node.does) for node in graph.nodes if node.name}
    assert told["Send"] == ("action", "POST crm.example", "sends")
    assert told["Wait"] == ("delay", "90 s", "waits")
    assert told["Other"] == ("trigger_flow", "other", "leads")
    assert told["Stop"] == ("end", "failed", "fails")
    assert [kind for kind, _, _ in told.values()] == [step["type"] for step in TYPES]
    assert '[["Send<br/>action POST crm#46;example<br/>loop 2"]]' in text
    assert "trigger flow other" in text


def test_an_exit_without_a_target_has_its_own_end() -> None:
    graph = graph_of(flow_of({"name": "A", "type": "menu", "options": {"x": None, "y": None, "z": "B"}},
                             {"name": "B", "type": "message"}))  # fmt: skip

    assert [node.id for node in graph.nodes] == ["s1", "e1", "s2", "e2"]
    assert [(edge.source, edge.label, edge.target) for edge in graph.edges] == [
        ("s1", "x", "e1"), ("s1", "y", "e1"), ("s1", "z", "s2"), ("s2", "next", "e2"),
    ]  # fmt: skip


def test_loops_have_back_edges() -> None:
    graph = graph_of(flow_of(*TYPES))

    back = {(source, target) for source, _, target, kind in _edges(graph) if kind == "back"}
    assert back == {("Send", "Send"), ("Jump", "Choose")}
    assert {node.name for node in graph.nodes if node.loop == 2} == {"Send"}
    assert {node.name for node in graph.nodes if node.loop == 1} == {
        "Choose", "Say", "Greet", "Decide", "Wait", "Jump",
    }  # fmt: skip
    assert mermaid(graph).count("-.->") == 2


def test_removing_back_exits_leaves_no_loop() -> None:
    graph = graph_of(flow_of(*TYPES))
    ways: dict[str, set[str]] = {}
    for edge in graph.edges:
        if edge.kind != "back":
            ways.setdefault(edge.source, set()).add(edge.target)

    def is_reached(source: str, target: str) -> bool:
        seen, left = set(), [source]
        while left:
            for other in ways.get(left.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        return target in seen

    assert not any(is_reached(node.id, node.id) for node in graph.nodes)


def test_the_start_is_the_declared_step() -> None:
    flow = flow_of({"name": "B", "type": "message"}, {"name": "A", "type": "message", "next": "B"}, start="A")

    graph = graph_of(flow)

    assert (graph.start, "  start --> s2\n" in mermaid(graph)) == ("s2", True)


def test_reports_only_the_host_of_a_url() -> None:
    url = "https://hooks.example:8443/services/T0/B0/sEcReT?token=abc"

    [node] = [node for node in graph_of(flow_of(action("Send", url=url))).nodes if node.name]

    assert node.detail == "POST hooks.example:8443"


@pytest.mark.parametrize(
    "name",
    [
        "end", '"', "`md`", "[a]{b}(c)", "%% comment", '%%{init: {"theme": "dark"}}%%', "<script>alert(1)</script>",
        "<b>&amp;</b>", "#35;", "#quot;", "1. list", "- item", "# head", "**b** _i_", "https://a.example www.b.example",
        "fa:fa-car", "$$x^2$$", "x --> y", "a|b;c", "style x:y#35;", "ﬂ°°35¶ß", "back\\nslash", "👩‍👩‍👧 日本 ñ",
    ],
)  # fmt: skip
def test_mermaid_shows_any_step_name_as_text(name: str) -> None:
    flow = flow_of(
        {"name": name, "type": "menu", "options": {name: "Other"}}, {"name": "Other", "type": "message"}, name=name
    )

    text = mermaid(graph_of(flow))

    nodes, edges = _parse(text)
    assert len(nodes) == 4
    assert _displayed_text(edges[0]["label"]) == name
    assert f'  s1{{{{"{escape_label(name)}<br/>menu"}}}}' in text


def test_separates_text_that_mermaid_interprets_late() -> None:
    assert escape_label("\\n") == "#92;\u2060n"
    assert escape_label("fab:fa-x $$") == "fab#58;\u2060fa#45;x #36;\u2060#36;"
    assert escape_label("ﬂ°¶ß") == "ﬂ\u2060°¶\u2060ß"


@given(st.text())
def test_mermaid_shows_any_text_unchanged(text: str) -> None:
    written = escape_label(text)

    assert re.fullmatch(_TEXT, written) or written == ""
    assert _displayed_text(written) == one_line(text).replace("\u2060", "")


def test_an_option_without_letters_has_a_label() -> None:
    flow = flow_of({"name": "A", "type": "menu", "options": {"": "B", " \n": "B"}}, {"name": "B", "type": "message"})

    _, edges = _parse(mermaid(graph_of(flow)))

    assert [edge["label"] for edge in edges] == ["(empty)", "(empty)", "next"]


def test_lists_what_mermaid_cannot_draw() -> None:
    graph = graph_of(flow_of(*TYPES))
    text = mermaid(graph)

    assert not too_large_for_mermaid(graph, text)
    assert too_large_for_mermaid(graph, text * 40)
    many = flow_of(*({"name": f"S{number}", "type": "message", "next": f"S{number + 1}"} for number in range(499)),
                   {"name": "S499", "type": "message"})  # fmt: skip
    assert too_large_for_mermaid(graph_of(many), "")


def test_the_same_flow_gives_the_same_text() -> None:
    again = json.loads(json.dumps(TYPES))

    assert mermaid(graph_of(flow_of(*again))) == mermaid(graph_of(flow_of(*TYPES)))
