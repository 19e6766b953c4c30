"""SQL: the rows of a query are streamed, with the usual rules for columns and types."""

from __future__ import annotations

import sqlite3
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from tests.replay.sources.reading import FLOW, codes, rows, values
from tests.servers.postgres import PostgresServer


@pytest.fixture
def database(tmp_path: Path) -> str:
    file = tmp_path / "crm.db"
    with sqlite3.connect(file) as connection:
        connection.execute("create table answers (folio integer, tel text, name text, age real, photo blob)")
        connection.executemany(
            "insert into answers values (?, ?, ?, ?, ?)",
            [(1, "+525512345678", "Ana", 41.5, None), (2, "0049", None, None, None), (3, "+52", "Bo", None, b"x")],
        )
    connection.close()
    return f"sqlite:///{file}"


def test_columns_of_a_query_are_keys(database: str) -> None:
    query = 'select folio as id, tel as "contact.phone", name as "step.Ask name", age from answers order by folio'

    found = rows(database, query=query)

    assert values(found) == [
        {"id": 1, "contact.phone": "+525512345678", "step.Ask name": "Ana"},
        {"id": 2, "contact.phone": "0049"},
        {"id": 3, "contact.phone": "+52", "step.Ask name": "Bo"},
    ]
    assert [(row.number, row.place) for row in found] == [(n, f"query:{n}") for n in (1, 2, 3)]


def test_columns_may_be_named(database: str) -> None:
    columns = {"contact.phone": "tel", "contact.meta.age": "age"}

    found = rows(database, query="select * from answers limit 2", columns=columns, id_column="folio")

    assert values(found) == [
        {"id": 1, "contact.phone": "+525512345678", "contact.meta.age": 41.5},
        {"id": 2, "contact.phone": "0049"},
    ]


def test_sends_the_query_unchanged(database: str) -> None:
    query = "select name || ' :x %s %' as \"step.Ask name\" from answers where tel like '+5255%' and name != ':name'"

    assert values(rows(database, query=query)) == [{"step.Ask name": "Ana :x %s %"}]


def test_bytes_reject_their_row_and_the_next_is_read(database: str) -> None:
    query = 'select folio as id, photo as "step.Ask name" from answers order by folio desc'

    found = rows(database, query=query)

    assert codes(found) == ["bytes", "ok", "ok"]
    assert found[0].shown_id == "3"


def test_a_query_changes_nothing(database: str) -> None:
    with pytest.raises(SourceError, match="the query returns no rows"):
        rows(database, query="delete from answers")
    assert codes(rows(database, query="delete from answers returning folio as id")) == ["ok"] * 3
    assert len(rows(database, query="select folio as id from answers")) == 3


@pytest.mark.parametrize(
    ("query", "keys", "words"),
    [
        ("select absent from answers", {}, "the query cannot be run: no such column: absent"),
        ("selec", {}, "the query cannot be run: .*syntax error"),
        ("", {}, "returns no rows"),
        ("select name from answers", {}, "query: no column is a key of a contact response; found 'name'"),
        ('select name as "step.Ask nam" from answers', {}, "did you mean 'Ask name'"),
        ("select name from answers", {"id_column": "folio"}, "query: there is no column 'folio' for the id"),
        ('select 5255 as "contact.phone"', {}, r"query:1: the phones in column 'contact\.phone' are numbers \(int\)"),
        ("select folio as id from answers", {"format": "csv"}, "a query has no format, but 'csv' was given"),
    ],
)
def test_refuses_an_unusable_query(database: str, query: str, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        rows(database, query=query, **keys)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("responses.db", "is not an SQLAlchemy URL of a database, such as sqlite:///responses.db"),
        ("nosuch://me:secret@db/x", r"nosuch://me:\*\*\*@db/x: SQLAlchemy has no dialect 'nosuch'"),
        ("oracle://me:secret@db/x", "the driver of the database is not installed"),
        ("sqlite:///absent/absent.db", "the file does not exist"),
        (
            "postgresql://me:secret@127.0.0.1:1/x?password=secret",
            r"me:\*\*\*@.*password=.*the database cannot be reached: connection failed",
        ),
    ],
)
def test_reports_an_unreachable_database_without_its_password(location: str, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        rows(location, query="select 1 as id")
    assert "secret" not in str(caught.value)


def test_a_missing_database_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        rows(f"sqlite:///{tmp_path}/typo.db", query="select 1 as id")
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_a_source_has_no_password(database: str) -> None:
    source = open_source(SourceSpec("postgresql://me:secret@db/x", query="select 1"), FLOW)

    assert (source.name, source.mark) == ("postgresql+psycopg://me:***@db/x", None)
    assert open_source(SourceSpec(database, query="select 1"), FLOW).name == database


def test_memory_does_not_grow_with_the_number_of_rows(database: str) -> None:
    query = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000) "
        'select i as id, hex(zeroblob(250)) as "step.Ask name" from n'
    )
    tracemalloc.start()
    try:
        count = sum(1 for _ in open_source(SourceSpec(database, query=query), FLOW))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 50_000
    assert peak < 8_000_000


def test_rows_can_be_read_by_different_threads_in_turn(database: str) -> None:
    found = iter(open_source(SourceSpec(database, query="select folio as id from answers"), FLOW))

    ids = []
    for _ in range(3):
        with ThreadPoolExecutor() as thread:
            ids.append(thread.submit(next, found).result().value)
    assert ids == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert list(found) == []


class TestPostgres:
    def test_typed_columns_are_plain_data(self, postgres_url: str) -> None:
        query = """
            select 7 as id, '{"phone": "+52", "email": null}'::jsonb as contact, 12.50::numeric as "step.v1.2 rate",
            timestamptz '2026-11-20 10:00:00Z' at time zone 'UTC' as created_on, array['a', 'b'] as "contact.meta.tags",
            '0c5fb5a8-0000-4000-8000-000000000000'::uuid as "contact.meta.key", 'NaN'::float8 as "contact.meta.none",
            '100% :x %s %(y)s' as "step.Ask name"
        """
        assert values(rows(postgres_url, query=query)) == [
            {
                "id": 7,
                "contact": {"phone": "+52"},
                "step.v1.2 rate": "12.50",
                "created_on": "2026-11-20T10:00:00",
                "contact.meta.tags": ["a", "b"],
                "contact.meta.key": "0c5fb5a8-0000-4000-8000-000000000000",
                "step.Ask name": "100% :x %s %(y)s",
            }
        ]

    def test_the_url_may_omit_the_driver(self, postgres_url: str) -> None:
        for scheme in ("postgres", "postgresql"):
            url = postgres_url.replace("postgresql+psycopg", scheme)
            assert values(rows(url, query="select 'a' as id")) == [{"id": "a"}]

    def test_numbers_as_phones_refuse_the_query(self, postgres_url: str) -> None:
        with pytest.raises(SourceError, match=r"query:1: the phones .* are numbers \(Decimal\)"):
            rows(postgres_url, query='select 525512345678::numeric as "contact.phone"')

    def test_a_wrong_query_is_refused(self, postgres_url: str) -> None:
        with pytest.raises(SourceError, match='the query cannot be run: relation "absent" does not exist'):
            rows(postgres_url, query="select * from absent")

    def test_checks_columns_without_rows(self, postgres_url: str) -> None:
        assert rows(postgres_url, query="select 'a' as id where false") == []
        with pytest.raises(SourceError, match="no column is a key of a contact response; found 'name'"):
            rows(postgres_url, query="select 'a' as name where false")

    @pytest.mark.parametrize("query", ["", "create temporary table made (id text)", "analyze"])
    def test_a_statement_without_rows_is_refused(self, postgres_url: str, query: str) -> None:
        with pytest.raises(SourceError, match="the query returns no rows"):
            rows(postgres_url, query=query)

    def test_rows_are_streamed_one_by_one(self, postgres: PostgresServer, postgres_url: str) -> None:
        query = "select i as id, repeat('x', 1000) as \"step.Ask name\" from generate_series(1, 40000) i"
        tracemalloc.start()
        try:
            found = iter(open_source(SourceSpec(postgres_url, query=query), FLOW))
            count = sum(1 for _ in zip(found, range(30_000), strict=False))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert count == 30_000
        assert peak < 8_000_000
        postgres.terminate_sessions()
        with pytest.raises(SourceError, match="the query cannot be run"):
            list(found)


def test_reports_an_invalid_port_without_the_password() -> None:
    with pytest.raises(SourceError, match="is not an SQLAlchemy URL") as raised:
        rows("postgresql://ana:s3cret@db:bad/x", query="select 1 as id")
    assert "s3cret" not in str(raised.value)
