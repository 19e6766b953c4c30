"""Results as files: Parquet, CSV, or JSON Lines, on disk or in object storage."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, BinaryIO, Protocol

from airflow_whatsapp_flows.errors import MissingExtraError
from airflow_whatsapp_flows.replay.export.rows import ACTION_COLUMNS, CONTACT_COLUMNS, Batch, Column, Row, Written
from airflow_whatsapp_flows.replay.result_rows import csv_cells


def contacts_path(path: str) -> str:
    """Return the path of the file of contacts, beside that of the actions."""
    start, dot, ending = path.rpartition(".")
    return f"{start}_contacts{dot}{ending}"


def write_files(storage: Any, path: str, batches: Iterable[Batch]) -> Written:
    """Write rows to the file at a path, and to its file of contacts.

    Both files appear when they are complete, and replace those that are there.

    Args:
        storage: fsspec's file system.
        path: of the file of actions, in the storage; its ending is the format.
        batches: the rows.

    Raises:
        MissingExtraError: the package for Parquet is not installed.
    """
    writer = _WRITERS[f".{path.rpartition('.')[2]}"]
    protocols = (storage.protocol,) if isinstance(storage.protocol, str) else storage.protocol
    if "file" in protocols:
        storage.makedirs(storage._parent(path), exist_ok=True)
    written = Written()
    with storage.transaction, ExitStack() as files:
        actions = files.enter_context(writer(files.enter_context(storage.open(path, "wb")), ACTION_COLUMNS))
        others = storage.open(contacts_path(path), "wb")
        contacts = files.enter_context(writer(files.enter_context(others), CONTACT_COLUMNS))
        for batch in batches:
            actions.write(batch.actions)
            contacts.write(batch.contacts)
            written.actions += len(batch.actions)
            written.contacts += len(batch.contacts)
    return written


class _Writer(Protocol):
    def write(self, rows: Sequence[Row]) -> None: ...


class _JsonLines:
    def __init__(self, stream: BinaryIO, columns: Sequence[Column]) -> None:
        self._stream = stream
        self._names = [column.name for column in columns]

    def write(self, rows: Sequence[Row]) -> None:
        lines = (
            json.dumps({name: _as_text(row[name]) for name in self._names}, ensure_ascii=False) + "\n" for row in rows
        )
        self._stream.write("".join(lines).encode())


class _Csv:
    def __init__(self, stream: BinaryIO, columns: Sequence[Column]) -> None:
        self._stream = stream
        self._names = [column.name for column in columns]
        stream.write(csv_cells(self._names).encode())

    def write(self, rows: Sequence[Row]) -> None:
        lines = (csv_cells([_as_text(row[name]) for name in self._names]) for row in rows)
        self._stream.write("".join(lines).encode())


class _Parquet:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, rows: Sequence[Row]) -> None:
        from pyarrow import Table  # type: ignore[import-untyped]  # it has no types

        self._writer.write_table(Table.from_pylist(rows, schema=self._writer.schema))


@contextmanager
def _json_lines(stream: BinaryIO, columns: Sequence[Column]) -> Iterator[_Writer]:
    yield _JsonLines(stream, columns)


@contextmanager
def _csv(stream: BinaryIO, columns: Sequence[Column]) -> Iterator[_Writer]:
    yield _Csv(stream, columns)


@contextmanager
def _parquet(stream: BinaryIO, columns: Sequence[Column]) -> Iterator[_Writer]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("writing Parquet", "pyarrow", "parquet") from None
    types = {"number": pa.int32(), "id": pa.int64(), "time": pa.timestamp("us", tz="UTC")}
    schema = pa.schema([(column.name, types.get(column.kind, pa.string())) for column in columns])
    with pq.ParquetWriter(stream, schema) as writer:
        yield _Parquet(writer)


def _as_text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.datetime) else value


class _Open(Protocol):
    def __call__(self, stream: BinaryIO, columns: Sequence[Column], /) -> AbstractContextManager[_Writer]: ...


_WRITERS: dict[str, _Open] = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
