"""The loops of a flow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def components(successors: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The strongly connected components in which one comes back to where one was.

    Tarjan's algorithm, "Depth-first search and linear graph algorithms" (1972), without recursion.

    Args:
        successors: name of every step to the names of those that may follow it.

    Returns:
        The names of the steps of each loop; steps and loops in the order of ``successors``.
    """
    order = {name: number for number, name in enumerate(successors)}
    if all(order[step] > order[name] for name, following in successors.items() for step in following):
        return []  # as in most flows, every step leads further down
    return sorted(_find_components(successors, order), key=lambda loop: order[loop[0]])


def _find_components(successors: Mapping[str, Iterable[str]], order: Mapping[str, int]) -> list[list[str]]:
    found: list[list[str]] = []
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_steps: list[str] = []
    is_open: set[str] = set()
    for root in successors:
        if root in index:
            continue
        trail = [(root, iter(list(successors[root])))]
        index[root] = lowest[root] = len(index)
        open_steps.append(root)
        is_open.add(root)
        while trail:
            name, following = trail[-1]
            step = next(following, None)
            if step is None:
                trail.pop()
                if trail:
                    above = trail[-1][0]
                    lowest[above] = min(lowest[above], lowest[name])
                if lowest[name] == index[name]:
                    at = open_steps.index(name)
                    together = open_steps[at:]
                    del open_steps[at:]
                    is_open.difference_update(together)
                    if len(together) > 1 or name in successors[name]:
                        found.append(sorted(together, key=order.__getitem__))
            elif step not in index:
                index[step] = lowest[step] = len(index)
                open_steps.append(step)
                is_open.add(step)
                trail.append((step, iter(list(successors[step]))))
            elif step in is_open:
                lowest[name] = min(lowest[name], index[step])
    return found
