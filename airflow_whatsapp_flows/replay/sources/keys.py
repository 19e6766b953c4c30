"""Maps the columns of a table to the keys of a contact response."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.model import Flow, Menu, Question
from airflow_whatsapp_flows.flow.template.variables import Scope
from airflow_whatsapp_flows.replay.sources.cursor import CursorReading

PHONE = "contact.phone"
SCOPES = tuple(scope.value for scope in Scope)
PLAIN = ("id", "created_on")
NESTED = (*SCOPES, "history", "actions", "exits")
# "contcat.phone" is a misspelled scope; "Nro. Cliente" and "v1.2" are custom columns.
_DOTTED = re.compile(r"[^\W\d]\w*\.\S.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Column:
    """A column to read.

    Attributes:
        index: its position in the table, from 0.
        name: as in the table.
        key: key of the contact response, such as ``contact.phone``.
    """

    index: int
    name: str
    key: str


class Keys:
    """The keys of a flow's responses, and the user's mapping of them.

    Attributes:
        mapped: names of columns by key, from the user.
        id_column: name of the id column, if given by the user.
        ignored_columns: names of columns that are not part of a contact response, in order of occurrence.
        cursor_reading: decides by the cursor's column which rows are read; ``None`` without a cursor.

    Args:
        flow: its questions and menus are the ``step.`` keys.
        columns: names of columns by key.
        id_column: name of the id column.
        reading: decides which rows are read.

    Raises:
        SourceError: a key is not valid for a contact response of this flow.
    """

    def __init__(
        self,
        flow: Flow,
        columns: Mapping[str, str],
        id_column: str | None = None,
        reading: CursorReading | None = None,
    ) -> None:
        self.cursor_reading = reading
        self._steps = [step.name for step in flow.steps.values() if isinstance(step, (Question, Menu))]
        self._flow_id = flow.id
        if id_column is not None and columns.get("id", id_column) != id_column:
            raise SourceError(f"the id is in column {columns['id']!r} and in column {id_column!r}; use one of them")
        self.mapped = {**columns, **({} if id_column is None else {"id": id_column})}
        self.id_column = self.mapped.get("id")
        self.ignored_columns: dict[str, None] = {}
        for key in self.mapped:
            if key not in PLAIN and not self._is_key(key):
                raise SourceError(
                    f"{key!r} is not a key of a contact response; keys are id, created_on, and names that start with "
                    f"{', '.join(f'{scope}.' for scope in SCOPES)}"
                )

    def resolve(self, names: Sequence[str], place: str, nested: Collection[str] = ()) -> tuple[Column, ...]:
        """Select the columns to read.

        Other columns are left out, and their names are added to ``ignored_columns``.

        Args:
            names: names of the table's columns, in order.
            place: location for errors.
            nested: names of columns that contain objects or lists.

        Raises:
            SourceError: a requested column is missing; a ``step.`` column names neither a question nor a menu; a dotted
                name starts with no scope; a column to read is duplicated; no column can be read.
        """
        times = Counter(names)
        columns = [self._find_column(key, name, names, place) for key, name in self.mapped.items()]
        taken = {column.name for column in columns}
        for index, name in enumerate(names):
            if name in self.mapped or name in taken:
                continue
            try:
                if name in PLAIN or (name in nested and name in NESTED) or self._is_key(name):
                    columns.append(Column(index, name, name))
                elif self.cursor_reading is None or name != self.cursor_reading.cursor.column:
                    self.ignored_columns[name] = None
            except SourceError as error:
                raise SourceError(f"{place}: {error}") from None
        if columns and self.cursor_reading is not None and all(column.key != "id" for column in columns):
            raise SourceError(
                f"{place}: there is no column 'id', so no row could be sent: name one id in the source, or use --id "
                "COLUMN; no watermark moved"
            )
        for column in columns:
            if times[column.name] > 1:
                raise SourceError(f"{place}: the column {column.name!r} appears twice; only one of them would be used")
        if not columns:
            raise SourceError(
                f"{place}: no column is a key of a contact response; found {_join_names(names)}. Rename them to id, "
                f"contact.phone, {self._example()}, … or map them, as in --column contact.phone=COLUMN"
            )
        return tuple(columns)

    def _find_column(self, key: str, name: str, names: Sequence[str], place: str) -> Column:
        if name not in names:
            what = "the id" if key == "id" else f"{key!r}"
            raise SourceError(f"{place}: there is no column {name!r} for {what}{did_you_mean(name, set(names))}")
        return Column(names.index(name), name, key)

    def _is_key(self, name: str) -> bool:
        scope, dot, rest = name.partition(".")
        if not dot:
            return False
        if scope not in SCOPES:
            if _DOTTED.fullmatch(name) is None:
                return False
            hint = did_you_mean(scope, SCOPES)
            raise SourceError(f"unknown column {name!r}: the part before the dot must be a scope{hint}")
        if not rest.strip():
            raise SourceError(f"the column {name!r} has no name after the dot")
        if scope == "step" and rest not in self._steps:
            hint = did_you_mean(rest, self._steps)
            raise SourceError(
                f"the column {name!r} is not named after a question or menu of the flow {self._flow_id!r}{hint}"
            )
        return True

    def _example(self) -> str:
        return f"step.{self._steps[0]}" if self._steps else "contact.first_name"


def _join_names(names: Sequence[str]) -> str:
    shown = [repr(name[:60]) for name in names[:8]]
    return ", ".join([*shown, "…"] if len(names) > 8 else shown) or "none"
