"""Parameters of a query are bound by the driver, never written into its text."""

from __future__ import annotations

import datetime as dt
import sqlite3
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.replay.sources.parameters import bind
from tests.replay.sources.reading import FLOW, values
from tests.servers.postgres import PostgresServer

UTC = dt.timezone.utc
START = dt.datetime(2026, 11, 20, 6, tzinfo=UTC)
INTERVAL = {"data_interval_start": START, "data_interval_end": START + dt.timedelta(hours=1)}
QUERY = (
    'select id, tel as "contact.phone" from answers where updated_at >= :data_interval_start '
    "and updated_at < :data_interval_end and tel like '+52%' and tel <> :other order by id"
)


def read(location: str, query: str, **parameters: Any) -> list[Any]:
    spec = SourceSpec(location=location, query=query, parameters={**INTERVAL, "other": "x' or ''='", **parameters})
    return values(list(open_source(spec, FLOW)))


def test_reads_an_interval_of_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "crm.db"
    with sqlite3.connect(file) as connection:
        connection.execute("create table answers (id integer, tel text, updated_at text)")
        times = ["2026-11-20 05:59:59", "2026-11-20 06:00:00", "2026-11-20 06:59:59.9", "2026-11-20 07:00:00"]
        connection.executemany("insert into answers values (?, '+52', ?)", enumerate(times))
    connection.close()
    assert [row["id"] for row in read(f"sqlite:///{file}", QUERY)] == [1, 2]
    local = START.astimezone(dt.timezone(dt.timedelta(hours=-6)))
    assert [row["id"] for row in read(f"sqlite:///{file}", QUERY, data_interval_start=local)] == [1, 2]


def test_reads_an_interval_of_postgresql(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("create table answers (id integer, tel text, updated_at timestamptz)")
        connection.execute(
            "insert into answers select n, '+52', '2026-11-20 05:30+00'::timestamptz + n * interval '30 minutes' "
            "from generate_series(0, 3) n"
        )
    assert [row["id"] for row in read(url, QUERY)] == [1, 2]
    assert read(url, QUERY.replace(":data_interval_end", ":data_interval_start")) == [], (
        "columns are known all the same"
    )
    assert [row["id"] for row in read(url, "select 7 as id where :run_id = 'a'", run_id="a")] == [7]
    alone = "select 7 as id where :data_interval_start is null"
    assert read(url, alone) == [], "the type of its value is known, so the columns are"


@pytest.mark.parametrize(
    ("style", "text", "given"),
    [
        ("qmark", "a ? b '%' c ? d : ?", [1, 2, 1]),
        ("numeric", "a :1 b '%' c :2 d : :3", [1, 2, 1]),
        ("format", "a %s b '%%' c %s d : %s", [1, 2, 1]),
        ("named", "a :x b '%' c :y d : :x", {"x": 1, "y": 2}),
        ("pyformat", "a %(x)s b '%%' c %(y)s d : %(x)s", {"x": 1, "y": 2}),
    ],
)
def test_writes_parameters_in_the_way_of_the_driver(
    monkeypatch: pytest.MonkeyPatch, style: str, text: str, given: Any
) -> None:
    package, module = ModuleType("a_driver"), ModuleType("a_driver.sub")
    module.paramstyle = style  # type: ignore[attr-defined]  # as snowflake.connector has it
    monkeypatch.setitem(sys.modules, "a_driver", package)
    monkeypatch.setitem(sys.modules, "a_driver.sub", module)
    connection = type("Connection", (), {"__module__": "a_driver.sub.connection"})()
    query = "a :x b '%' c :y d \\: :x"
    assert bind(query, {"x": 1, "y": 2, "z": 3}, connection) == (text, given)


def test_a_query_without_parameters_is_sent_unchanged() -> None:
    assert bind("select '%' || ':x' like 'a%'::text", {"x": 1}, object()) == (
        "select '%' || ':x' like 'a%'::text",
        None,
    )
    assert bind("select a\\:b", {}, object()) == ("select a:b", None)


def test_a_driver_that_does_not_say_how_is_refused() -> None:
    with pytest.raises(SourceError, match="the driver builtins does not say how"):
        bind("select :x", {"x": 1}, object())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select :nothing", "there is no parameter 'nothing'; "),
        ("select :othr", "did you mean 'other'?"),
        (
            "select :logical_date",
            "the query uses :logical_date, and the run has none, because it was",
        ),
        ("select '{{ ds }}'", "a query is no template"),
    ],
)
def test_a_parameter_without_a_value_is_an_error(query: str, message: str) -> None:
    with pytest.raises(SourceError) as raised:
        read("sqlite://", query)
    assert message in str(raised.value)
