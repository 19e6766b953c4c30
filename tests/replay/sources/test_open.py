"""Files, globs, standard input, and object storage, and the errors if they are missing."""

from __future__ import annotations

import gzip
import io
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from tests.replay.sources.reading import FLOW, rows, rows_of, values

LINE = '{"id": "1"}\n'


class _Pipe:
    """Standard input that is not a terminal."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BufferedReader(io.BytesIO(content))  # type: ignore[arg-type]

    def isatty(self) -> bool:
        return False


@pytest.fixture
def storage() -> Iterator[Any]:
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/", recursive=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.jsonl", LINE),
        ("r.ndjson", LINE),
        ("r.JSON", LINE),
        ("r.csv", "id\n1\n"),
        ("r.tsv", "id\n1\n"),
        ("r.txt", "id\n1\n"),
        ("r.jsonl.gz", gzip.compress(LINE.encode(), mtime=0)),
        ("r.csv.gz", gzip.compress(b"id\n1\n", mtime=0)),
    ],
)
def test_infers_the_format_from_the_file_name(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert values(rows_of(tmp_path, name, content)) == [{"id": "1"}]


def test_accepts_an_explicit_format(tmp_path: Path) -> None:
    assert values(rows_of(tmp_path, "r.dat", LINE, format="jsonl")) == [{"id": "1"}]
    assert values(rows_of(tmp_path, "r.json", "id\n1\n", format="csv")) == [{"id": "1"}]


def test_a_glob_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"id": "{name}"}}\n')
    (tmp_path / "d.jsonl").mkdir()

    found = rows(tmp_path / "*.jsonl")

    assert [row.value for row in found] == [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    assert [row.place for row in found] == [f"{tmp_path}/{name}.jsonl:1" for name in "abc"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    assert values(rows_of(tmp_path, "r[1].jsonl", LINE)) == [{"id": "1"}]


@pytest.mark.parametrize(
    ("location", "keys", "words"),
    [
        ("absent.jsonl", {}, "absent.jsonl: the file does not exist"),
        ("x*.csv", {}, "no file matches"),
        (".", {}, "is a folder; specify its files, as in .*jsonl"),
        ("r.dat", {}, "does not end with any of .jsonl, .ndjson.* one of jsonl, csv, parquet"),
        ("r.jsonl", {"format": "cvs"}, "unknown format 'cvs'; did you mean 'csv'"),
        ("r.jsonl", {"query": "select 1"}, "is not an SQLAlchemy URL"),
        ("r*", {}, "does not end with any of|several formats"),
        ("r2.*", {}, "files of several formats, csv, jsonl"),
        ("bad.jsonl.gz", {}, "cannot be read completely"),
        ("cut.jsonl.gz", {}, "cannot be read completely"),
        ("torn.jsonl.gz", {}, "cannot be read completely"),
    ],
)
def test_a_source_that_does_not_exist_is_refused(
    tmp_path: Path, location: str, keys: dict[str, str], words: str
) -> None:
    for name in ("r.dat", "r.jsonl", "r2.jsonl", "r2.csv", "bad.jsonl.gz"):
        (tmp_path / name).write_text(LINE)
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b"")[:10] + b"\xff" * 99)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(LINE.encode() * 999)[:-12])

    with pytest.raises(SourceError, match=words):
        rows(tmp_path / location, **keys)


def test_refuses_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(LINE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(SourceError, match=r"r\.jsonl: cannot be read completely: Permission denied"):
        rows(file)


@pytest.mark.parametrize(("form", "content"), [(None, LINE), ("jsonl", LINE), ("csv", "id\n1\n")])
def test_reads_standard_input(monkeypatch: pytest.MonkeyPatch, form: str | None, content: str) -> None:
    monkeypatch.setattr("sys.stdin", _Pipe(content.encode()))

    source = open_source(SourceSpec("-", format=form), FLOW)

    assert (source.name, source.mark) == ("standard input", None)
    assert [row.value for row in source] == [{"id": "1"}]


def test_rows_of_standard_input_have_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Pipe(LINE.encode() * 2))

    assert [row.place for row in rows("-")] == ["standard input:1", "standard input:2"]


def test_refuses_a_terminal_as_source(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = _Pipe(b"")
    pipe.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", pipe)

    with pytest.raises(SourceError, match="standard input is a terminal"):
        rows("-")


class TestObjectStorage:
    def test_an_object_is_read(self, storage: Any) -> None:
        storage.pipe("/bucket/r.jsonl", LINE.encode())
        storage.pipe("/bucket/r.csv.gz", gzip.compress(b"id\n1\n"))

        found = rows("memory://bucket/r.jsonl")

        assert values(found) == values(rows("memory://bucket/r.csv.gz")) == [{"id": "1"}]
        assert found[0].place == "memory://bucket/r.jsonl:1"

    def test_a_glob_is_read_in_the_order_of_names(self, storage: Any) -> None:
        for name in ("b", "a"):
            storage.pipe(f"/bucket/{name}.jsonl", f'{{"id": "{name}"}}\n'.encode())

        assert [row.value for row in rows("memory://bucket/*.jsonl")] == [{"id": "a"}, {"id": "b"}]

    @pytest.mark.parametrize(
        ("location", "words"),
        [
            ("memory://bucket/absent.jsonl", "the file does not exist"),
            ("memory://bucket/*.jsonl", "no file matches"),
            ("s33://bucket/r.jsonl", "cannot be opened: .*s33; files are at s3://"),
            ("postgresql://me:secret@db/x", "a database needs a query"),
        ],
    )
    def test_refuses_missing_items(self, location: str, words: str) -> None:
        with pytest.raises(SourceError, match=words) as caught:
            rows(location)
        assert "secret" not in str(caught.value)

    def test_a_package_that_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: str) -> None:
            raise ImportError("Install s3fs to access S3")

        monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
        with pytest.raises(SourceError, match="a package that is not installed: Install s3fs"):
            rows("s3://bucket/r.jsonl")


def test_a_password_in_a_url_is_hidden(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        rows("memory33://me:secret@host/r.jsonl")

    assert "memory33://***@host/r.jsonl" in str(caught.value)
    assert "secret" not in str(caught.value)


class TestMark:
    def mark(self, location: object) -> str | None:
        return open_source(SourceSpec(str(location)), FLOW).mark

    def test_the_mark_changes_with_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "r.jsonl"
        file.write_text(LINE)
        os.utime(file, ns=(1, 1))
        before = self.mark(file)

        assert self.mark(file) == before == self.mark(tmp_path / "*.jsonl")
        os.utime(file, ns=(1, 2))
        touched = self.mark(file)
        file.write_text(LINE * 2)
        os.utime(file, ns=(1, 2))
        longer = self.mark(file)
        (tmp_path / "s.jsonl").write_text(LINE)
        assert len({before, touched, longer, self.mark(tmp_path / "*.jsonl"), None}) == 5

    def test_the_mark_changes_with_an_object(self, storage: Any) -> None:
        storage.pipe("/r.jsonl", LINE.encode())
        before = self.mark("memory://r.jsonl")
        assert self.mark("memory://r.jsonl") == before
        storage.pipe("/r.jsonl", LINE.encode() * 2)
        assert self.mark("memory://r.jsonl") != before

    def test_a_pipe_has_no_mark(self, tmp_path: Path) -> None:
        pipe = tmp_path / "r.jsonl"
        os.mkfifo(pipe)

        source = open_source(SourceSpec(str(pipe)), FLOW)
        assert source.mark is None
        thread = threading.Thread(target=pipe.write_text, args=(LINE,))
        thread.start()
        assert [row.value for row in source] == [{"id": "1"}]
        thread.join()


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path, form: str) -> None:
    """50 MB through a pipe, with only a few in memory at a time."""
    pipe = tmp_path / f"r.{form}"
    os.mkfifo(pipe)
    answer = "x" * 1000
    row = f'{{"id": "r-1", "step": {{"Ask name": "{answer}"}}}}\n' if form == "jsonl" else f"r-1,{answer}\n"
    header = "" if form == "jsonl" else "id,step.Ask name\n"

    def write() -> None:
        with pipe.open("w") as stream:
            stream.write(header)
            for _ in range(500):
                stream.write(row * 100)

    thread = threading.Thread(target=write)
    thread.start()
    tracemalloc.start()
    try:
        count = sum(1 for found in open_source(SourceSpec(str(pipe)), FLOW) if found.value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    thread.join()

    assert count == 50_000
    assert peak < 5_000_000
