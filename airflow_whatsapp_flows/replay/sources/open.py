"""Opening a source: which files, in which format, for which flow."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast, get_args

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.replay.sources.delimited import Delimited
from airflow_whatsapp_flows.replay.sources.files import SourceFile, find_files, hide_credentials, mark_of
from airflow_whatsapp_flows.replay.sources.json_lines import JsonLines
from airflow_whatsapp_flows.replay.sources.keys import Keys
from airflow_whatsapp_flows.replay.sources.source import Format, Row, Source, SourceSpec

if TYPE_CHECKING:  # SQLAlchemy takes a moment to import
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
    """How databases and storages are reached where URLs are not all, as in a task, which has Airflow's connections."""

    def database(self, location: str) -> Database | None:
        """The database of a location; ``None`` for a URL, which SQLAlchemy knows.

        Raises:
            SourceError: there is none, or it cannot be used.
        """

    def storage(self, location: str) -> tuple[Any, str] | None:
        """The file system of a URL, as fsspec has them, and the path in it; ``None`` for one that fsspec knows.

        Raises:
            SourceError: there is none, or it cannot be used.
        """


def open_source(spec: SourceSpec, flow: Flow, access: Access | None = None) -> Source:
    """Open a source of contact responses.

    Args:
        spec: where it is, and how it is to be read.
        flow: whose responses it holds; its questions and menus are the ``step.`` columns.
        access: how databases and storages are reached; by default by URLs and fsspec alone.

    Returns:
        The source. Files are looked for now and read when it is iterated; a query runs when it is iterated.

    Raises:
        SourceError: there is no such file, its format cannot be told, a column is meant for no key of a response,
            a package is not installed, or the URL of a database is none.
    """
    keys = Keys(flow, spec.columns, spec.id_column)
    if spec.query is not None:
        from airflow_whatsapp_flows.replay.sources.sql import QuerySource, UrlDatabase  # takes a moment to import

        if spec.format is not None:
            raise SourceError(f"a query has no format, but {spec.format!r} was given")
        database = None if access is None else access.database(spec.location)
        return QuerySource(database or UrlDatabase(spec.location), spec.query, keys)
    if spec.format is not None and spec.format not in _FORMATS:
        raise SourceError(f"unknown format {spec.format!r}{did_you_mean(spec.format, _FORMATS)}")
    files = find_files(spec.location, None if access is None else access.storage)
    formats = {_format(file, spec) for file in files}
    if len(formats) > 1:
        raise SourceError(
            f"{hide_credentials(spec.location)}: files of several formats, {', '.join(sorted(formats))}; use one format"
        )
    name = files[0].name if len(files) == 1 else hide_credentials(spec.location)
    return _FileSource(name, files, _reader(formats.pop(), keys), keys.ignored_columns)


def display_location(spec: SourceSpec) -> str:
    """Where a source is looked for, as it was written, without passwords; nothing is opened."""
    if spec.query is None or "://" not in spec.location:
        return hide_credentials(spec.location)
    from airflow_whatsapp_flows.replay.sources.sql import display_url

    return display_url(spec.location)


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


def _reader(form: Format, keys: Keys) -> _Reader:
    if form == "jsonl":
        return JsonLines(keys)
    if form == "csv":
        return Delimited(keys)
    from airflow_whatsapp_flows.replay.sources.parquet import Parquet

    return Parquet(keys)


class _FileSource:
    """Rows of files, one file after the other."""

    def __init__(self, name: str, files: list[SourceFile], reader: _Reader, ignored_columns: Collection[str]) -> None:
        self.name = name
        self.ignored_columns = ignored_columns
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
