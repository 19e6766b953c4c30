"""Opens a source: finds its files and their format."""

from __future__ import annotations

import datetime as dt
import os
import zlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast, get_args

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.watermark import FILE_MODIFIED
from airflow_whatsapp_flows.replay.sources.cursor import CursorReading
from airflow_whatsapp_flows.replay.sources.delimited import Delimited
from airflow_whatsapp_flows.replay.sources.files import SourceFile, find_files, hide_credentials, mark_of
from airflow_whatsapp_flows.replay.sources.json_lines import JsonLines
from airflow_whatsapp_flows.replay.sources.keys import Keys
from airflow_whatsapp_flows.replay.sources.source import Format, Row, Source, SourceSpec

if TYPE_CHECKING:  # SQLAlchemy is slow to import
    from airflow_whatsapp_flows.replay.sources.sql import Database

_FORMATS: tuple[Format, ...] = get_args(Format)
_ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
}


class _Reader(Protocol):
    def read(self, stream: BinaryIO, name: str) -> Iterator[Row]: ...

    def finish(self, name: str) -> None: ...


class Access(Protocol):
    """Access to databases and storages other than by URL, such as through Airflow's connections in a task."""

    def database(self, location: str) -> Database | None:
        """Return the database of a location; ``None`` for a URL, which SQLAlchemy opens.

        Raises:
            SourceError: it does not exist or cannot be used.
        """

    def storage(self, location: str) -> tuple[Any, str] | None:
        """Return the fsspec file system of a URL, and the path in it; ``None`` to let fsspec open the URL.

        Raises:
            SourceError: it does not exist or cannot be used.
        """


def open_source(spec: SourceSpec, flow: Flow, access: Access | None = None) -> Source:
    """Open a source of contact responses.

    Args:
        spec: location of the source, and how to read it.
        flow: flow of the responses; its questions and menus are the ``step.`` columns.
        access: access to databases and storages; by default only by URL and fsspec.

    Returns:
        The source. Files are located now and read on iteration; a query runs on iteration.

    Raises:
        SourceError: the file does not exist, its format is unknown, a column is mapped to an invalid key, a package is
            not installed, or a database URL is invalid.
    """
    reading = None if spec.cursor is None else CursorReading(spec.cursor)
    keys = Keys(flow, spec.columns, spec.id_column, reading)
    if spec.query is not None:
        from airflow_whatsapp_flows.replay.sources.sql import QuerySource, UrlDatabase  # slow to import

        if spec.format is not None:
            raise SourceError(f"a query has no format, but {spec.format!r} was given")
        if reading is not None and reading.cursor.column == FILE_MODIFIED:
            raise SourceError(f"a query has no files, so its cursor cannot be {FILE_MODIFIED!r}; use a column")
        database = None if access is None else access.database(spec.location)
        return QuerySource(database or UrlDatabase(spec.location), spec.query, keys, spec.parameters)
    if spec.format is not None and spec.format not in _FORMATS:
        raise SourceError(f"unknown format {spec.format!r}{did_you_mean(spec.format, _FORMATS)}")
    files = find_files(spec.location, None if access is None else access.storage)
    formats = {_format(file, spec) for file in files}
    if len(formats) > 1:
        raise SourceError(
            f"{hide_credentials(spec.location)}: files of several formats, {', '.join(sorted(formats))}; use one format"
        )
    name = files[0].name if len(files) == 1 else hide_credentials(spec.location)
    form = formats.pop()
    if reading is not None:
        reading.is_untyped = form == "csv"
        if spec.location == "-":
            raise SourceError("standard input cannot be read again, so it has no cursor; use a file")
        if reading.cursor.column == FILE_MODIFIED:
            files = [file for file in files if reading.admits(_modification_time(file), file.name)]
    return _FileSource(name, files, _reader(form, keys), keys)


def display_location(spec: SourceSpec) -> str:
    """Return the location of a source as entered, without passwords; open nothing."""
    if spec.query is None or "://" not in spec.location:
        return hide_credentials(spec.location)
    from airflow_whatsapp_flows.replay.sources.sql import display_url

    return display_url(spec.location)


def absolute_location(spec: SourceSpec) -> str:
    """Return the location of a source without passwords; the same path in another folder is another location."""
    if "://" not in spec.location and spec.location != "-" and spec.query is None:
        return os.path.abspath(spec.location)
    if "://" not in spec.location or spec.query is None:
        return hide_credentials(spec.location)
    from airflow_whatsapp_flows.replay.sources.sql import display_absolute_url

    return display_absolute_url(spec.location)


def _format(file: SourceFile, spec: SourceSpec) -> Format:
    if spec.format is not None:
        return cast("Format", spec.format)
    if spec.location == "-":
        return "jsonl"
    name = file.name.lower().removesuffix(".gz")
    for ending, form in _ENDINGS.items():
        if name.endswith(ending):
            return form
    raise SourceError(
        f"{file.name}: the format is unknown, because the name does not end with any of {', '.join(_ENDINGS)}; rename "
        f"it, or specify the format, one of {', '.join(_FORMATS)}"
    )


def _modification_time(file: SourceFile) -> dt.datetime:
    if file.modified is None:
        raise SourceError(f"{file.name}: its storage does not say when it was modified; use a column as cursor")
    return file.modified


def _reader(form: Format, keys: Keys) -> _Reader:
    if form == "jsonl":
        return JsonLines(keys)
    if form == "csv":
        return Delimited(keys)
    from airflow_whatsapp_flows.replay.sources.parquet import Parquet

    return Parquet(keys)


class _FileSource:
    """Rows of files, one file after the other."""

    def __init__(self, name: str, files: list[SourceFile], reader: _Reader, keys: Keys) -> None:
        self.name = name
        self.ignored_columns: Collection[str] = keys.ignored_columns
        self.cursor_reading = keys.cursor_reading
        self.mark = mark_of(files)
        self._files = files
        self._reader = reader

    def __iter__(self) -> Iterator[Row]:
        for file in self._files:
            try:
                with file.open() as stream:
                    yield from self._reader.read(stream, file.name)
            except (OSError, EOFError, zlib.error) as error:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise SourceError(f"{file.name}: cannot be read completely: {reason}") from None
        self._reader.finish(self.name)
        if self.cursor_reading is not None and self.cursor_reading.cursor.column != FILE_MODIFIED:
            changed = next((file.name for file in self._files if file.mark_now() != file.mark), None)
            if changed is not None:
                self.cursor_reading.blocked = f"{changed} was changed while it was read"
