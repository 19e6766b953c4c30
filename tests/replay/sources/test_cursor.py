"""A cursor reads the rows after a watermark, from every kind of source, and never hides a row that it cannot place."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.watermark import Watermark
from airflow_whatsapp_flows.replay.sources import Source, SourceSpec, files, open_source
from airflow_whatsapp_flows.replay.sources.cursor import Cursor, CursorReading
from tests.replay.sources.reading import FLOW
from tests.servers.postgres import PostgresServer

UTC = dt.timezone.utc
BOGOTA = ZoneInfo("America/Bogota")
TIMES = ["2026-11-20 10:00:00", "2026-11-20 12:00:00", "2026-11-20 11:00:00"]


def source(location: object, watermark: Watermark | None = None, column: str = "at", **keys: Any) -> Source:
    cursor = {name: keys.pop(name) for name in ("overlap", "is_given") if name in keys}
    parameters = {"watermark": None}
    spec = Cursor(column=column, zone=keys.pop("zone", UTC), watermark=watermark, **cursor)
    if spec.start is not None:
        parameters["watermark"] = spec.start.value
    return open_source(SourceSpec(str(location), cursor=spec, parameters=parameters, **keys), FLOW)


def ids(found: Source) -> list[Any]:
    rows = list(found)
    assert [row.problem for row in rows if row.problem] == []
    return [row.value["id"] for row in rows if row.value is not None]


def end(found: Source) -> tuple[str, str] | None:
    assert found.cursor_reading is not None
    watermark = found.cursor_reading.watermark
    return None if watermark is None else (watermark.kind, watermark.text)


def make_sqlite(folder: Path, values: list[Any]) -> str:
    with closing(sqlite3.connect(folder / "a.db")) as connection, connection:
        connection.execute("create table leads (id integer primary key, at)")
        connection.executemany("insert into leads (at) values (?)", [(value,) for value in values])
    return f"sqlite:///{folder / 'a.db'}"


SELECT = "select id, at from leads"
IN_QUERY = "select id, at from leads where at >= :watermark or :watermark is null"


@pytest.mark.parametrize("query", [SELECT, IN_QUERY], ids=["filtered", "in_query"])
def test_reads_sqlite_from_the_watermark_on(tmp_path: Path, query: str) -> None:
    url = make_sqlite(tmp_path, TIMES)
    everything = source(url, query=query)
    assert (ids(everything), end(everything)) == ([1, 2, 3], ("text_local_time", TIMES[1]))

    later = source(url, Watermark("text_local_time", TIMES[2]), query=query, overlap=0)
    assert (ids(later), end(later)) == ([2, 3], ("text_local_time", TIMES[1])), "a row of the same time is read again"
    with_overlap = source(url, Watermark("text_local_time", TIMES[1]), query=query, overlap=3600)
    assert ids(with_overlap) == [2, 3]
    nothing = source(url, Watermark("text_local_time", "2026-11-21 00:00:00"), query=query, overlap=0)
    assert (ids(nothing), end(nothing)) == ([], None)


@pytest.mark.parametrize("query", [SELECT, IN_QUERY], ids=["filtered", "in_query"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("timestamptz", [dt.datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in (10, 12, 11)]),
        ("timestamp", [dt.datetime(2026, 11, 20, hour) for hour in (10, 12, 11)]),
        ("date", [dt.date(2026, 11, day) for day in (10, 12, 11)]),
        ("bigint", [10, 12, 11]),
        ("numeric", [10, 12.5, 11]),
        ("text", TIMES),
        ("text", ["01J8A", "01J8C", "01J8B"]),
        ("uuid", [f"0193{n}000-0000-7000-8000-000000000000" for n in (1, 3, 2)]),
    ],
    ids=["timestamptz", "timestamp", "date", "bigint", "numeric", "text of times", "text", "uuid"],
)
def test_reads_postgresql_from_the_watermark_on(
    postgres: PostgresServer, query: str, kind: str, values: list[Any]
) -> None:
    url = postgres.create_database()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(f"create table leads (id int generated always as identity, at {kind})")
        for value in values:
            connection.execute("insert into leads (at) values (%s)", [value])
    everything = source(url, query=query)
    assert ids(everything) == [1, 2, 3]
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("delete from leads where id = 2")
    assert everything.cursor_reading is not None
    highest = everything.cursor_reading.watermark
    assert highest is not None
    assert (ids(source(url, highest, query=query, overlap=0))) == []
    third = Watermark.of(values[2])
    assert (ids(source(url, third, query=query, overlap=0))) == [3]


def test_says_in_which_order_postgresql_knows_the_type(postgres: PostgresServer) -> None:
    query = "select id, at from (select 1 id, 'x' at) leads where :watermark is null or at >= :watermark"
    with pytest.raises(SourceError, match="write the comparison first: at >= :watermark OR :watermark IS NULL"):
        ids(source(postgres.create_database(), query=query))


def test_reads_duckdb_from_the_watermark_on(tmp_path: Path) -> None:
    pytest.importorskip("duckdb_engine")
    import duckdb

    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute("create table leads (id integer, at timestamp)")
        connection.executemany("insert into leads values (?, ?)", list(enumerate(TIMES, 1)))
    for query in (SELECT, IN_QUERY):
        everything = source(f"duckdb:///{tmp_path / 'a.duckdb'}", query=query)
        assert (ids(everything), end(everything)) == ([1, 2, 3], ("local_time", "2026-11-20T12:00:00"))
        later = Watermark("local_time", "2026-11-20T11:00:00")
        assert ids(source(f"duckdb:///{tmp_path / 'a.duckdb'}", later, query=query)) == [2, 3]


FORMATS = ["csv", "jsonl", "parquet"]


def write(folder: Path, form: str, values: list[Any]) -> Path:
    file = folder / f"leads.{form}"
    if form == "csv":
        file.write_text("id,at\n" + "".join(f"{n},{'' if v is None else v}\n" for n, v in enumerate(values, 1)))
    elif form == "jsonl":
        file.write_text("".join(json.dumps({"id": n, "at": v}) + "\n" for n, v in enumerate(values, 1)))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"id": list(range(1, len(values) + 1)), "at": values}), file)
    return file


@pytest.mark.parametrize("form", FORMATS)
def test_reads_files_from_the_watermark_on(tmp_path: Path, form: str) -> None:
    file = write(tmp_path, form, TIMES)
    everything = source(file)
    assert ([str(one) for one in ids(everything)], end(everything)) == (["1", "2", "3"], ("text_local_time", TIMES[1]))
    assert list(everything.ignored_columns) == []
    later = source(file, Watermark("text_local_time", TIMES[2]), overlap=0)
    assert [str(one) for one in ids(later)] == ["2", "3"]


def test_a_column_of_times_in_parquet(tmp_path: Path) -> None:
    file = write(tmp_path, "parquet", [dt.datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in (10, 12, 11)])
    assert ids(source(file, Watermark("time", "2026-11-20T11:00:00+00:00"), overlap=0)) == [2, 3]


def test_numbers_of_csv_are_no_texts(tmp_path: Path) -> None:
    file = write(tmp_path, "csv", [9, 10, 100])
    everything = source(file)
    assert (len(ids(everything)), end(everything)) == (3, ("number", "100"))
    assert ids(source(file, Watermark("number", "10"))) == ["2", "3"]


def test_a_cursor_may_be_a_key_of_the_response(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"id": 1, "created_on": "2026-11-20T10:00:00Z"}))
    [row] = list(source(file, column="created_on"))
    assert row.value == {"id": 1, "created_on": "2026-11-20T10:00:00Z"}


@pytest.mark.parametrize("form", FORMATS)
def test_rows_without_a_value_are_always_read(tmp_path: Path, form: str) -> None:
    file = write(tmp_path, form, [TIMES[0], None, TIMES[1]])
    found = source(file, Watermark("text_local_time", TIMES[1]), overlap=0)
    assert [str(one) for one in ids(found)] == ["2", "3"]
    assert found.cursor_reading is not None
    assert found.cursor_reading.warnings() == ["1 row without 'at', the cursor: every replay reads them again"]


def test_rows_in_the_future_do_not_move_the_watermark(tmp_path: Path) -> None:
    file = write(tmp_path, "csv", [TIMES[0], "2099-01-01 00:00:00", TIMES[2]])
    found = source(file)
    assert (ids(found), end(found)) == (["1", "2", "3"], ("text_local_time", TIMES[2]))
    assert found.cursor_reading is not None
    assert "1 row with 'at' in the future" in found.cursor_reading.warnings()[0]
    assert ids(source(file, Watermark("text_local_time", TIMES[2]), overlap=0)) == ["2", "3"]


@pytest.mark.parametrize(("zone", "in_future"), [(UTC, 0), (BOGOTA, 1)], ids=["of_the_source", "of_a_flow_to_the_west"])
def test_a_wrong_time_zone_holds_the_watermark_back(zone: dt.tzinfo, in_future: int) -> None:
    now = dt.datetime(2026, 11, 20, 12, tzinfo=UTC)
    reading = CursorReading(Cursor(column="at", zone=zone), now=now)
    assert reading.admits("2026-11-20 11:59:59", "here")
    assert reading.in_future == in_future


@pytest.mark.parametrize("query", [SELECT, IN_QUERY], ids=["filtered", "in_query"])
@pytest.mark.parametrize(
    ("values", "watermark", "words"),
    [
        ([TIMES[0], "2026-11-20 12:00:00Z"], None, "some have a time zone and some have not"),
        ([TIMES[0], 7], None, "others are of the kind time without a time zone, and this is of the kind number"),
        ([7, "n/a"], None, "others are of the kind number, and this is of the kind text"),
        (["10"], None, "query:1: the cursor 'at' is '10', a text of digits"),
        ([b"10"], None, "is a bytes, which has no order"),
        ([7], ("time", "2026-11-20T12:00:00Z"), "is of the kind number, and its watermark of the kind time with a"),
        ([TIMES[0]], ("text", "x"), "the watermark of the cursor 'at' is a text"),
    ],
    ids=["zones", "kinds", "text", "digits", "bytes", "watermark", "overlap"],
)
def test_refuses_values_that_cannot_be_compared(
    tmp_path: Path, query: str, values: list[Any], watermark: Any, words: str
) -> None:
    url = make_sqlite(tmp_path, values)
    overlap = 60 if watermark == ("text", "x") else 0
    with pytest.raises(SourceError) as error:
        ids(source(url, watermark and Watermark(*watermark), query=query.replace(">=", "<>"), overlap=overlap))
    assert words in str(error.value)


def test_texts_of_mixed_shapes_are_compared_as_times_but_not_by_the_database(tmp_path: Path) -> None:
    url = make_sqlite(tmp_path, ["2026-11-20 12:00:00Z", "2026-11-20T13:30:00+01:00", "2026-11-20 12:00:00.5Z"])
    found = source(url, query=SELECT)
    assert (ids(found), end(found)) == ([1, 2, 3], ("text_time", "2026-11-20T13:30:00+01:00"))
    with pytest.raises(SourceError, match=r"query:2: the cursor 'at' is .*, written in another way than other times"):
        ids(source(url, query=IN_QUERY))
    with pytest.raises(SourceError, match=r"query:1: .* written in another way"):
        ids(source(url, Watermark("text_time", "2026-11-20T12:00:00Z"), query=IN_QUERY.replace(">=", "<>"), overlap=0))


@pytest.mark.parametrize("form", [*FORMATS, "query"])
def test_a_column_that_vanishes(tmp_path: Path, form: str) -> None:
    where = make_sqlite(tmp_path, TIMES) if form == "query" else write(tmp_path, form, TIMES)
    keys = {"query": SELECT} if form == "query" else {}
    with pytest.raises(SourceError, match=r"'att', which is the cursor.*no watermark moved"):
        ids(source(where, column="att", **keys))


def test_a_query_without_rows_still_needs_the_column(tmp_path: Path) -> None:
    url = make_sqlite(tmp_path, [])
    assert ids(source(url, query=SELECT)) == []
    with pytest.raises(SourceError, match="there is no column 'att', which is the cursor; did you mean 'at'"):
        ids(source(url, query=SELECT, column="att"))
    with pytest.raises(SourceError, match="appears twice"):
        ids(source(url, query="select id, at, at from leads"))


def test_a_file_that_changes_while_it_is_read_does_not_move_the_watermark(tmp_path: Path) -> None:
    file = write(tmp_path, "csv", TIMES)
    found = source(file)
    rows = iter(found)
    next(rows)
    with file.open("a") as stream:
        stream.write("4,2026-11-20 13:00:00\n")
    assert len(list(rows)) in (2, 3)
    assert end(found) is None
    assert found.cursor_reading is not None
    assert found.cursor_reading.warnings() == [
        f"the watermark of 'at' did not move: {file} was changed while it was read"
    ]


def test_reads_files_by_the_time_of_their_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_changed_ns", lambda status: status.st_mtime_ns)
    for name, seconds in (("a", 1_000), ("b", 3_000), ("c", 2_000)):
        write(tmp_path, "csv", [name]).rename(tmp_path / f"{name}.csv")
        os.utime(tmp_path / f"{name}.csv", (seconds, seconds))
    found = source(tmp_path / "*.csv", column="file_modified")
    assert [row.place for row in found] == [f"{tmp_path / name}.csv:2" for name in "abc"]
    assert end(found) == ("time", "1970-01-01T00:50:00+00:00")
    later = source(tmp_path / "*.csv", Watermark("time", "1970-01-01T00:33:20+00:00"), "file_modified", overlap=0)
    assert [row.place for row in later] == [f"{tmp_path / name}.csv:2" for name in "bc"]
    overlapped = source(tmp_path / "*.csv", Watermark("time", "1970-01-01T00:50:00+00:00"), "file_modified")
    assert [row.place for row in overlapped] == [f"{tmp_path / 'b'}.csv:2"]


def test_reads_a_file_that_was_written_long_ago_and_moved_here_since(tmp_path: Path) -> None:
    written = write(tmp_path, "csv", ["a"])
    os.utime(written, (1_000, 1_000))
    written.rename(tmp_path / "a.csv")
    watermark = Watermark("time", "2020-01-01T00:00:00+00:00")
    assert ids(source(tmp_path / "*.csv", watermark, "file_modified")) == ["1"]


@pytest.mark.parametrize("query", [SELECT, IN_QUERY], ids=["filtered", "in_query"])
def test_reads_the_hour_that_local_clocks_repeat(tmp_path: Path, query: str) -> None:
    """01:50 in daylight saving time is before 01:10 in standard time."""
    url = make_sqlite(tmp_path, ["2025-11-02 01:50:00", "2025-11-02 01:10:00", "2025-11-02 00:30:00"])
    keys: dict[str, Any] = {"query": query, "zone": ZoneInfo("America/New_York")}
    assert ids(source(url, Watermark("text_local_time", "2025-11-02 01:50:00"), **keys)) == [1, 2]
    assert ids(source(url, Watermark("text_local_time", "2025-11-02 01:50:00"), query=query)) == [1]
    assert ids(source(url, Watermark("text_local_time", "2025-11-02 02:00:00"), **keys)) == []


def test_refuses_texts_whose_numbers_do_not_sort(tmp_path: Path) -> None:
    url = make_sqlite(tmp_path, ["inv-10", "inv-9"])
    message = "'inv-10' and 'inv-9', which do not sort by their numbers"
    with pytest.raises(SourceError, match=message):
        ids(source(url, query=SELECT))
    with pytest.raises(SourceError, match="'inv-9' and 'inv-10', which do not sort"):
        ids(source(url, Watermark("text", "inv-9"), query=SELECT))


def test_what_has_no_cursor(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="standard input cannot be read again"):
        source("-")
    with pytest.raises(SourceError, match="a query has no files"):
        source(make_sqlite(tmp_path, TIMES), column="file_modified", query=SELECT)


@pytest.mark.parametrize("query", [SELECT, IN_QUERY], ids=["filtered", "in_query"])
def test_a_date_that_a_person_sets_is_midnight(tmp_path: Path, query: str) -> None:
    url = make_sqlite(tmp_path, ["2026-11-19 23:59:59", "2026-11-20 00:00:00"])
    assert ids(source(url, Watermark("date", "2026-11-20"), query=query, is_given=True)) == [2]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_without_ids_does_not_move_the_watermark(tmp_path: Path, form: str) -> None:
    file = write(tmp_path, form, TIMES)
    if form == "csv":
        file.write_text(file.read_text().replace("id,", "contact.meta.nr,", 1))
    else:
        from pyarrow import parquet

        parquet.write_table(parquet.read_table(file).rename_columns(["contact.meta.nr", "at"]), file)
    with pytest.raises(SourceError, match=r"there is no column 'id', so no row could be sent: .*; no watermark moved"):
        ids(source(file))
