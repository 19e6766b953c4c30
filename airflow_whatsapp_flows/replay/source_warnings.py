"""Warnings about unusual rows of a source that are no reason to reject them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.format.replay import Empty
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.replay.sources import Row

_SHOWN = 5  # names
_KEPT = 1000  # names: memory does not grow with the number of rows
_LONGEST = 60  # characters of a name


class SourceWarnings:
    """Collects warnings about responses.

    Args:
        flow: flow of the responses.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._rows = 0
        self._names: Counter[str] = Counter()

    def check(self, response: ContactResponse) -> None:
        """Check a response: each name in it should be the name of a step."""
        steps = self._flow.steps.keys()
        if response.step.keys() <= steps and not (response.history or response.actions or response.exits):
            return
        strange: set[str] = set()
        for scope in (response.step, response.history, response.actions, response.exits):
            if scope and not scope.keys() <= steps:
                strange |= scope.keys() - steps
        if strange:
            self._rows += 1
            self._names.update(name for name in strange if name in self._names or len(self._names) < _KEPT)

    def warnings(self, rows: int, ignored_columns: Iterable[str], empty: Empty | None = None) -> list[str]:
        """Return the warnings, one sentence each.

        Args:
            rows: number of rows in the source.
            ignored_columns: names of columns that are not read.
            empty: what a source without rows means; by default a warning.
        """
        found = [] if rows or empty == "ok" else ["0 responses: the source has no rows, so there is nothing to send"]
        if self._rows:
            has = "1 response names a step" if self._rows == 1 else f"{self._rows:,} responses name steps"
            found.append(
                f"{has} that the flow {self._flow.id!r} does not have, and their values are not used: "
                + _join(self._name_text(name, number) for name, number in self._most())
            )
        columns = [repr(name[:_LONGEST]) for name in ignored_columns]
        if columns:
            found.append(f"not read, because they are not keys of a contact response: the columns {_join(columns)}")
        return found

    def _most(self) -> list[tuple[str, int]]:
        return sorted(self._names.items(), key=lambda item: (-item[1], item[0]))

    def _name_text(self, name: str, number: int) -> str:
        hint = did_you_mean(name, self._flow.steps)
        return f"{name[:_LONGEST]!r} ({number:,}{hint if 'did you mean' in hint else ''})"


def _join(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f", and {more:,} more" if more > 0 else "")


def empty_means(flow: Flow, given: Empty | None) -> Empty | None:
    """Return what a source without rows means: as given, or else as the flow says."""
    return given or (flow.replay.empty if flow.replay else None)


def rows_or_error(rows: Iterable[Row], empty: Empty | None) -> Iterator[Row]:
    """Iterate over the rows of a source.

    Args:
        rows: of the source.
        empty: what a source without rows means.

    Raises:
        SourceError: there are none, and that is an error; raised before anything of the replay counts.
    """
    found = False
    for row in rows:
        found = True
        yield row
    if empty == "fail" and not found:
        name = getattr(rows, "name", "the source")
        raise SourceError(
            f"{name}: 0 responses, and `empty` is 'fail'; nothing was recorded: check the source and its query, then "
            "run this again; or set `empty` to 'ok' if having none is normal"
        )
