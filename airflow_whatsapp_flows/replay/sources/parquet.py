"""Reads Parquet files batch by batch with pyarrow, an optional dependency."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.ledger.pages import PAGE_BYTES
from airflow_whatsapp_flows.replay.sources.cells import row_from_cells
from airflow_whatsapp_flows.replay.sources.keys import PHONE, Column, Keys
from airflow_whatsapp_flows.replay.sources.source import Row

_BATCH_ROWS = 1024


class Parquet:
    """Reads Parquet: dotted columns, and columns of objects named after a scope.

    Args:
        keys: keys of the flow's responses, and their columns.

    Raises:
        SourceError: pyarrow is not installed.
    """

    def __init__(self, keys: Keys) -> None:
        try:
            import pyarrow  # type: ignore[import-untyped]  # it has no types
            import pyarrow.parquet  # type: ignore[import-untyped]
        except ImportError:
            raise SourceError("Parquet needs pyarrow: pip install 'airflow-whatsapp-flows[parquet]'") from None
        self._arrow: Any = pyarrow
        self._keys = keys

    def read(self, stream: BinaryIO, name: str) -> Iterator[Row]:
        """Read the rows of one file, numbered from 1.

        Raises:
            SourceError: it is not Parquet, its columns are not the flow's, or its phones are numbers.
        """
        if not stream.seekable():
            raise SourceError(f"{name}: Parquet is read from the end, so it must be a file")
        try:
            file = self._arrow.parquet.ParquetFile(stream)
            columns = self._columns(file.schema_arrow, name)
            cursor = self._cursor(file.schema_arrow, name)
            number = 0
            for batch in self._batches(file, list({column.name: None for column in (*columns, *cursor)})):
                admitted = self._find_admitted(batch, cursor, f"{name}:{number + 1}")
                if not any(admitted):
                    number += batch.num_rows
                    continue
                for cells, is_read in zip(zip(*self._values(batch, columns), strict=True), admitted, strict=True):
                    number += 1
                    if is_read:
                        yield row_from_cells(number, f"{name}:{number}", columns, cells, self._keys.id_column)
        except self._arrow.ArrowException as error:
            raise SourceError(f"{name}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None
        except UnicodeDecodeError:  # values that are not UTF-8 reject their rows, see _values
            raise SourceError(f"{name}: cannot be read as Parquet: the name of a column is not UTF-8") from None

    def finish(self, name: str) -> None:
        """Do nothing: the schema of each file was already checked."""

    def _cursor(self, schema: Any, name: str) -> tuple[Column, ...]:
        """Return the column of the cursor, if there is one."""
        reading = self._keys.cursor_reading
        index = None if reading is None else reading.column_of(schema.names, name)
        return () if index is None else (Column(index, schema.names[index], ""),)

    def _find_admitted(self, batch: Any, cursor: tuple[Column, ...], place: str) -> list[bool]:
        """Return which rows of a batch are read."""
        reading = self._keys.cursor_reading
        if reading is None or not cursor:
            return [True] * int(batch.num_rows)
        return [reading.admits(cell, place) for cell in next(self._values(batch, cursor))]

    def _batches(self, file: Any, names: list[str]) -> Iterator[Any]:
        """Yield rows in batches, smaller if rows are long."""
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        longest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
        # One group after the other, by one thread: otherwise memory grows with their number.
        for group in range(file.metadata.num_row_groups):
            for batch in file.iter_batches(_batch_size(longest), [group], columns=names, use_threads=False):
                size = _batch_size(batch.nbytes // max(1, batch.num_rows))  # the file's own sizes are of encoded values
                for start in range(0, batch.num_rows, size):
                    yield batch.slice(start, size)

    def _columns(self, schema: Any, name: str) -> tuple[Column, ...]:
        types = self._arrow.types
        nested = [field.name for field in schema if types.is_nested(field.type)]
        columns = self._keys.resolve(schema.names, name, nested)
        for column in columns:
            kind = schema.types[column.index]
            if column.key == "contact" and types.is_struct(kind) and kind.get_field_index("phone") >= 0:
                self._check_phone(kind.field("phone").type, f"{column.name}.phone", name)
            elif column.key == PHONE:
                self._check_phone(kind, column.name, name)
        return columns

    def _check_phone(self, kind: Any, column: str, name: str) -> None:
        types = self._arrow.types
        if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
            raise SourceError(
                f"{name}: the phones in column {column!r} are numbers ({kind}), which cannot have + or leading zeros; "
                "write the column as text"
            )

    def _values(self, batch: Any, columns: tuple[Column, ...]) -> Iterator[list[Any]]:
        types = self._arrow.types
        for column in columns:
            values = batch.column(column.name)
            if types.is_timestamp(values.type) and values.type.unit == "ns":
                # Python's times have microseconds.
                values = values.cast(self._arrow.timestamp("us", values.type.tz), safe=False)
            try:
                yield values.to_pylist()
            except UnicodeDecodeError:
                yield [_text(item) for item in self._as_bytes(values, column.name)]

    def _as_bytes(self, values: Any, column: str) -> list[bytes | None]:
        try:
            texts: list[bytes | None] = values.cast(self._arrow.binary()).to_pylist()
        except self._arrow.ArrowException:
            raise SourceError(f"the column {column!r} contains text that is not UTF-8; write it as UTF-8") from None
        return texts


def _batch_size(row_bytes: int) -> int:
    return max(1, min(_BATCH_ROWS, PAGE_BYTES // max(1, row_bytes)))


def _text(item: bytes | None) -> str | bytes | None:
    # Arrow does not validate text; invalid text stays bytes, and rejects its row.
    try:
        return None if item is None else item.decode("utf-8")
    except UnicodeDecodeError:
        return item
