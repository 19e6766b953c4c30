"""Finds the files of a source, on disk and in object storage, and opens them as bytes."""

from __future__ import annotations

import datetime as dt
import glob
import gzip
import hashlib
import io
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from airflow_whatsapp_flows.errors import SourceError

_BUFFER_BYTES = 262_144
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")
# Storage URLs have no user: that part is a container, or the id of an Airflow connection.
_CONNECTION = re.compile(r"(?:s3[an]?|gcs|gs|abfss?|adl)://[\w.\-]+@", re.ASCII)

Open = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: for people, without credentials.
        open: opens its content as bytes, decompressed if its name ends in ``.gz``.
        mark: changes with the content; ``None`` if unknown.
        modified: when it was modified last, or moved to where it is; ``None`` if unknown.
        mark_now: finds the mark that it has now.
    """

    name: str
    open: Open
    mark: str | None = None
    modified: dt.datetime | None = None
    mark_now: Callable[[], str | None] = lambda: None


def hide_credentials(location: str) -> str:
    """Remove the credentials from a location's URL."""
    return location if _CONNECTION.match(location) else _CREDENTIALS.sub("***@", location)


Storage = Callable[[str], tuple[Any, str] | None]


def find_files(location: str, storage: Storage | None = None) -> list[SourceFile]:
    """Find the files at a location, sorted by name.

    Args:
        location: a path, a glob, ``-`` for standard input, or a URL of object storage.
        storage: file system of a URL, and path in it; by default from fsspec.

    Raises:
        SourceError: no file is found, or the search fails.
    """
    if not location:
        raise SourceError("the source of the responses is empty; use a file, a URL, or - for standard input")
    if location == "-":
        return [SourceFile("standard input", _standard_input)]
    if "://" in location:
        return _find_objects(location, storage)
    paths = [location] if os.path.lexists(location) else sorted(glob.glob(location, recursive=True))
    files = [_local_file(path) for path in paths if not (len(paths) > 1 and os.path.isdir(path))]
    if not files and glob.has_magic(location):
        raise SourceError(f"{location}: no file matches")
    if not files:
        raise SourceError(f"{location}: the file does not exist")
    return files


@contextmanager
def _standard_input() -> Iterator[BinaryIO]:
    if sys.stdin.isatty():
        raise SourceError("standard input is a terminal; send responses through a pipe, or use a file")
    yield sys.stdin.buffer


def _local_file(path: str) -> SourceFile:
    try:
        status = os.stat(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{path}: is a folder; specify its files, as in {Path(path) / '*.jsonl'}")
    is_regular = stat.S_ISREG(status.st_mode)
    seconds, rest = divmod(_changed_ns(status), 10**9)
    modified = dt.datetime.fromtimestamp(seconds, dt.timezone.utc).replace(microsecond=rest // 1000)
    return SourceFile(
        path,
        lambda: _open_buffered(lambda: open(path, "rb"), path),
        _mark_of_status(status) if is_regular else None,
        modified if is_regular else None,
        lambda: _mark_of_status(os.stat(path)) if is_regular else None,
    )


def _changed_ns(status: os.stat_result) -> int:
    # A file that is moved or copied into a folder may keep the time when it was written, long ago.
    return max(status.st_mtime_ns, status.st_ctime_ns)


def _mark_of_status(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}"


def _fsspec_storage(location: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # it has no types

    storage, path = url_to_fs(location)
    return storage, str(path)


def _find_objects(location: str, known: Storage | None) -> list[SourceFile]:
    name = hide_credentials(location)
    try:
        storage, path = (known and known(location)) or _fsspec_storage(location)
        paths = [path]
        if glob.has_magic(path) and not storage.exists(path):
            paths = sorted(found for found in storage.glob(path) if storage.isfile(found))
            if not paths:
                raise SourceError(f"{name}: no file matches")
        elif not storage.isfile(path):
            raise SourceError(f"{name}: the file does not exist")
        protocol = location.partition("://")[0]
        return [_object_file(storage, path, name if paths == [path] else f"{protocol}://{path}") for path in paths]
    except SourceError:
        raise
    except ImportError as error:
        raise SourceError(f"{name}: this storage needs a package that is not installed: {error}") from None
    except Exception as error:  # each storage has its own errors
        hint = "; files are at s3://…, gs://…, or similar, and a database needs a query" if _is_unknown(error) else ""
        raise SourceError(
            f"{name}: cannot be opened: {hide_credentials(str(error)) or type(error).__name__}{hint}"
        ) from None


def _is_unknown(error: Exception) -> bool:
    return isinstance(error, ValueError) and "rotocol" in str(error)


def _object_file(storage: Any, path: str, name: str) -> SourceFile:
    return SourceFile(
        name,
        lambda: _open_buffered(lambda: storage.open(path, "rb"), path),
        _mark_of_object(storage, path),
        _modification_time(storage, path),
        lambda: _mark_of_object(storage, path),
    )


def _mark_of_object(storage: Any, path: str) -> str | None:
    try:
        return str(storage.ukey(path))
    except Exception:  # each storage reports a missing file differently
        return None


def _modification_time(storage: Any, path: str) -> dt.datetime | None:
    try:
        found = storage.modified(path)
    except Exception:  # many storages do not say
        return None
    if not isinstance(found, dt.datetime):
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)


@contextmanager
def _open_buffered(open_raw: Callable[[], Any], path: str) -> Iterator[BinaryIO]:
    with open_raw() as raw:
        if path.endswith(".gz"):
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast("BinaryIO", io.BufferedReader(unpacked, _BUFFER_BYTES))
        elif isinstance(raw, io.BufferedReader):
            yield raw
        else:  # file objects of storages read lines slowly
            yield cast("BinaryIO", io.BufferedReader(raw, _BUFFER_BYTES))


def mark_of(files: list[SourceFile]) -> str | None:
    """Combine the marks of all files, in order; ``None`` if one of them has none."""
    marks = [file.mark for file in files]
    if None in marks:
        return None
    return hashlib.sha256("\n".join(map(str, marks)).encode()).hexdigest()[:32]
