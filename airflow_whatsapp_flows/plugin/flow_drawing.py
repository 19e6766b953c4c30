"""The drawing in the tab "Flow", with the number of contacts on steps and exits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

from markupsafe import Markup

from airflow_whatsapp_flows.drawing import draw
from airflow_whatsapp_flows.errors import MissingExtraError
from airflow_whatsapp_flows.flow.concealing import mask_secrets
from airflow_whatsapp_flows.flow.inspect.graph import Edge, Graph, Node, graph_of
from airflow_whatsapp_flows.flow.model import Flow, exits_of
from airflow_whatsapp_flows.ledger.paths import PathCounts
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.quantities import plural

# The layout takes about half a second for this many, whatever leads where, and minutes for some flows of 1,000 exits.
MOST_STEPS = 100
MOST_EXITS = 100


def draw_flow(
    flow: Flow, paths: PathCounts | None, link: Callable[[str], str], known: Collection[str]
) -> tuple[Markup | None, str]:
    """Draw a flow.

    Args:
        flow: the flow.
        paths: the ways of its contacts; ``None`` if there are none.
        link: returns the address of a step's part of the page.
        known: steps that the flow had when it was counted.

    Returns:
        The drawing, or ``None`` and why there is none.
    """
    exits = sum(len(exits_of(step)) for step in flow.steps.values())
    if len(flow.steps) > MOST_STEPS or exits > MOST_EXITS:
        size = f"{plural(len(flow.steps), 'step')} and {plural(exits, 'exit')}"
        most = f"{MOST_STEPS} steps and {MOST_EXITS} exits"
        return None, f"The flow has {size}. This page draws {most} at most; `whatsapp-flows graph` draws more."
    graph = graph_of(flow)
    names = {node.id: node.name for node in graph.nodes}
    links = {node.id: link(names[node.id]) for node in graph.nodes if node.name}
    try:
        # XML, made of elements and escaped texts.
        return Markup(draw(_mask(_add_counts(graph, paths, known)), links)), ""  # noqa: S704
    except MissingExtraError as error:
        text = str(error)
        return None, f"{text[:1].upper()}{text[1:]}."


def _add_counts(graph: Graph, paths: PathCounts | None, known: Collection[str]) -> Graph:
    """Add counts to the steps, and to those exits that alone lead from one step to another, or to the end."""
    if paths is None or not paths.contacts:
        return graph
    names = {node.id: node.name for node in graph.nodes}
    several = Counter((edge.source, edge.target) for edge in graph.edges)
    edges = []
    for edge in graph.edges:
        source, target = names[edge.source], names[edge.target]
        if several[edge.source, edge.target] == 1 and {source, target or source} <= {*known}:
            edge = _add_count(edge, _count(paths, source, target))
        edges.append(edge)
    nodes = tuple(_add_contacts(node, paths) if node.name in known else node for node in graph.nodes)
    return replace(graph, nodes=nodes, edges=tuple(edges))


def _count(paths: PathCounts, source: str, target: str) -> int:
    return paths.ways.get((source, target), 0) if target else paths.ends.get((source, ContactState.COMPLETED), 0)


def _add_count(edge: Edge, number: int) -> Edge:
    count = plural(number, "contact")
    return replace(edge, label=count if edge.label == "next" else f"{edge.label} · {count}", is_unused=not number)


def _add_contacts(node: Node, paths: PathCounts) -> Node:
    return replace(node, note=plural(paths.steps.get(node.name, 0), "contact"))


def _mask(graph: Graph) -> Graph:
    """Hide secrets in texts of the flow's author."""
    nodes = (replace(node, name=mask_secrets(node.name), detail=mask_secrets(node.detail)) for node in graph.nodes)
    edges = (replace(edge, label=mask_secrets(edge.label)) for edge in graph.edges)
    return replace(graph, title=mask_secrets(graph.title), nodes=tuple(nodes), edges=tuple(edges))
