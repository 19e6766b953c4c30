"""Sources read through Airflow connections, which use all fields of the connection."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import DAG, Connection
from airflow.sdk.io import fs as airflow_storages
from airflow.sdk.io import store as airflow_stores
from cryptography import x509
from fsspec.implementations.memory import MemoryFileSystem

from airflow_whatsapp_flows import WhatsAppReplayOperator, build_replay_dag
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.airflow_runs import run_dag
from tests.operators.one_action import Failures, new_dag_id
from tests.servers.certificates import make_certificate
from tests.servers.postgres import NoPostgresError, find_programs, running_postgres, server_user
from tests.servers.recording import RecordingServer

pytestmark = pytest.mark.usefixtures("airflow")

STEP = {"name": "Create", "type": "action", "connection": "crm", "url": "/contacts", "body": "{{ contact }}"}
FLOW: dict[str, Any] = {"flow_format": 1, "id": "sourced", "steps": [STEP]}
PEOPLE = 'SELECT id, phone AS "contact.phone", name AS "contact.first_name" FROM people ORDER BY id'

Connect = Callable[..., None]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Defines an Airflow connection: its id, type and other fields."""

    def define(conn_id: str, conn_type: str, **fields: Any) -> None:
        value = json.dumps({"conn_type": conn_type, **fields})
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", value)

    return define


def run(**arguments: Any) -> tuple[str | None, str]:
    """State and error of a replay task."""
    failures = Failures()
    with DAG(new_dag_id()) as dag:
        WhatsAppReplayOperator(task_id="replay", flow=FLOW, **failures.callbacks, **arguments)
    finished = run_dag(dag)
    return finished.states["replay"], " ".join(map(str, failures.errors))


def names(server: RecordingServer) -> list[str]:
    return sorted(json.loads(request.content)["first_name"] for request in server.received)


class TestPostgres:
    @pytest.fixture(autouse=True)
    def _people(self, postgres_url: str, connect: Connect) -> Iterator[None]:
        pytest.importorskip("airflow.providers.postgres", reason="apache-airflow-providers-postgres is not installed")
        self.url = postgres_url.replace("+psycopg", "")
        parts = urlsplit(self.url)
        where = {"host": parts.hostname, "port": parts.port, "login": parts.username, "schema": parts.path[1:]}
        self.define = lambda **extra: connect("warehouse", "postgres", **where, password="s3cr3t-pw", extra=extra)
        with psycopg.connect(self.url, autocommit=True) as session:
            for schema, name in (("public", "Public"), ("crm", "Crm")):
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
                session.execute(f"CREATE TABLE {schema}.people (id text, phone text, name text)")
                session.execute(f"INSERT INTO {schema}.people VALUES ('a', '+525550000001', '{name}')")
        yield
        with psycopg.connect(self.url, autocommit=True) as session:
            session.execute("DROP SCHEMA crm CASCADE; DROP TABLE public.people")

    def test_a_query_reads_from_the_connection(self, server: RecordingServer) -> None:
        self.define()
        assert run(source="warehouse", query=PEOPLE)[0] == "success"
        assert names(server) == ["Public"]

    def test_options_of_its_extra_are_kept(self, server: RecordingServer) -> None:
        self.define(options="-c search_path=crm")
        assert run(source="warehouse", query=PEOPLE)[0] == "success"
        assert names(server) == ["Crm"]

    def test_the_server_sees_the_name_of_the_application(self, server: RecordingServer) -> None:
        self.define(application_name="nightly-sync")
        query = (
            'SELECT pid::text AS id, \'+525550000001\' AS "contact.phone", application_name AS "contact.first_name" '
            "FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
        assert run(source="warehouse", query=query)[0] == "success"
        assert names(server) == ["nightly-sync"]

    def test_reads_dictionary_rows(self, server: RecordingServer) -> None:
        self.define(cursor="dictcursor")
        assert run(source="warehouse", query=PEOPLE)[0] == "success"
        assert names(server) == ["Public"]

    def test_tls_that_the_extra_requires_is_not_done_without(self, server: RecordingServer) -> None:
        self.define(sslmode="require")
        state, message = run(source="warehouse", query=PEOPLE)
        assert state == "failed"
        assert "the database of the connection 'warehouse' cannot be reached" in message
        assert "server does not support SSL, but SSL was required" in message
        assert "s3cr3t-pw" not in message
        assert server.received == []

    def test_a_query_changes_nothing(self, server: RecordingServer) -> None:
        self.define()
        query = PEOPLE.replace("SELECT", "DELETE FROM people RETURNING").replace(" FROM people ORDER BY id", "")
        assert run(source="warehouse", query=query)[0] == "success"
        with psycopg.connect(self.url) as session:
            assert session.execute("SELECT count(*) FROM people").fetchone() == (1,)

    def test_reports_the_servers_error_about_a_wrong_query(self, server: RecordingServer) -> None:
        self.define()
        state, message = run(source="warehouse", query="SELECT * FROM absent")
        assert (state, server.received) == ("failed", [])
        assert 'the query cannot be run: relation "absent" does not exist' in message


class TestPostgresWithTls:
    """A server that refuses connections without TLS."""

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path, connect: Connect) -> Iterator[None]:
        pytest.importorskip("airflow.providers.postgres", reason="apache-airflow-providers-postgres is not installed")
        try:
            find_programs()
        except NoPostgresError as missing:
            pytest.skip(str(missing))
        folder = Path(tempfile.mkdtemp(prefix="whatsapp-flows-tls-"))  # that the server's user can read
        folder.chmod(0o755)
        made = make_certificate(folder, x509.DNSName("localhost"))
        other = tmp_path / "other"
        other.mkdir()
        self.authorities = made.authorities
        self.other_authorities = make_certificate(other, x509.DNSName("localhost")).authorities
        key, rules = Path(made.key), folder / "pg_hba.conf"
        rules.write_text("hostssl all all 127.0.0.1/32 trust\nhostnossl all all all reject\n", encoding="utf-8")
        key.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(key, server_user().pw_uid, server_user().pw_gid)
        settings = {"ssl": "on", "ssl_cert_file": made.certificate, "ssl_key_file": made.key, "hba_file": str(rules)}
        with running_postgres(settings=settings) as server:
            where = {"host": "localhost", "port": server.port, "login": "postgres", "schema": "postgres"}
            self.define = lambda **extra: connect("warehouse", "postgres", **where, password="s3cr3t-pw", extra=extra)
            address = f"host=localhost port={server.port} user=postgres dbname=postgres sslmode=require"
            self.session = lambda: psycopg.connect(address, autocommit=True)
            with self.session() as session:
                session.execute("CREATE TABLE people (id text, phone text, name text)")
                session.execute("INSERT INTO people VALUES ('a', '+525550000001', 'Ana')")
            yield
        shutil.rmtree(folder)

    def test_the_certificate_is_verified_for_reading_and_for_results(self, server: RecordingServer) -> None:
        table = {"connection": "warehouse", "table": "sync_log"}
        self.define(sslmode="verify-full", sslrootcert=self.authorities)
        assert run(source="warehouse", query=PEOPLE, results_to=table, replay_id="one")[0] == "success"
        with self.session() as session:
            assert session.execute("SELECT state FROM sync_log_contacts").fetchall() == [("completed",)]

        self.define(sslmode="verify-full", sslrootcert=self.other_authorities)
        state, message = run(source="warehouse", query=PEOPLE, replay_id="two")
        assert (state, len(server.received)) == ("failed", 1)
        assert "the database of the connection 'warehouse' cannot be reached" in message
        assert "certificate verify failed" in message
        assert "s3cr3t-pw" not in message
        self.define(sslmode="disable")
        assert "cannot be reached" in run(source="warehouse", query=PEOPLE, replay_id="two")[1]

        self.define(sslmode="verify-full", sslrootcert=self.authorities)
        assert run(source="warehouse", query=PEOPLE, replay_id="two")[0] == "success", "nothing blocks the next try"


class TestDuckDB:
    """A database without a provider for Airflow 3: its hook is the smallest there can be."""

    @pytest.fixture(autouse=True)
    def _people(self, tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
        self.duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
        self.file = str(tmp_path / "people.duckdb")
        with self.duckdb.connect(self.file) as people:
            people.execute("CREATE TABLE people (id TEXT, phone TEXT, name TEXT)")
            people.execute("INSERT INTO people VALUES ('a', '+525550000001', 'Ana'), ('b', '+525550000002', 'Bo')")
        connect("warehouse", "duckdb", host=self.file)

        class DuckDBHook(DbApiHook):
            conn_name_attr = "duckdb_conn_id"

            def get_conn(self) -> Any:
                return duckdb_of(self.connection.host)

        duckdb_of = self.duckdb.connect
        monkeypatch.setattr(Connection, "get_hook", lambda self: DuckDBHook(duckdb_conn_id=self.conn_id))

    def test_is_read_and_gets_the_results(self, server: RecordingServer) -> None:
        query = PEOPLE.replace("ORDER", "WHERE id <= :last ORDER")
        table = {"connection": "warehouse", "table": "sync_log"}
        assert run(source="warehouse", query=query, parameters={"last": "b"}, results_to=table) == ("success", "")
        assert names(server) == ["Ana", "Bo"]
        with self.duckdb.connect(self.file) as people:
            assert people.execute("SELECT state, count(*) FROM sync_log GROUP BY ALL").fetchall() == [("completed", 2)]

    def test_a_table_that_is_missing_is_named(self, server: RecordingServer) -> None:
        state, message = run(source="warehouse", query="SELECT * FROM absent")
        assert (state, server.received) == ("failed", [])
        assert "the query cannot be run: Catalog Error: Table with name absent does not exist" in message


def test_a_connection_that_is_absent_is_named(server: RecordingServer) -> None:
    state, message = run(source="warehouse", query=PEOPLE)
    assert state == "failed"
    assert "there is no Airflow connection 'warehouse'; create it, or use another one" in message


class TestSqlite:
    @pytest.fixture(autouse=True)
    def _people(self, tmp_path: Path) -> None:
        pytest.importorskip("airflow.providers.sqlite", reason="apache-airflow-providers-sqlite is not installed")
        self.file = tmp_path / "people.db"
        with closing(sqlite3.connect(self.file)) as people:
            people.execute("CREATE TABLE people (id TEXT, phone TEXT, name TEXT)")
            people.execute("INSERT INTO people VALUES ('a', '+525550000001', 'Ana'), ('b', '+525550000002', 'Bo')")
            people.commit()

    def test_a_query_reads_from_the_connection(self, server: RecordingServer, connect: Connect) -> None:
        connect("warehouse", "sqlite", host=str(self.file))
        assert run(source="warehouse", query=PEOPLE)[0] == "success"
        assert names(server) == ["Ana", "Bo"]

    def test_its_extra_is_kept(self, server: RecordingServer, connect: Connect) -> None:
        connect("warehouse", "sqlite", host=str(self.file), extra={"mode": "ro"})
        assert run(source="warehouse", query=PEOPLE)[0] == "success"
        state, message = run(source="warehouse", query="DELETE FROM people RETURNING id")
        assert state == "failed"
        assert "the query cannot be run: attempt to write a readonly database" in message

    def test_does_not_create_a_missing_file(self, server: RecordingServer, connect: Connect, tmp_path: Path) -> None:
        connect("warehouse", "sqlite", host=str(tmp_path / "typo.db"))
        state, message = run(source="warehouse", query=PEOPLE)
        assert (state, (tmp_path / "typo.db").exists()) == ("failed", False)
        assert "typo.db: the file does not exist" in message


@pytest.mark.parametrize(
    ("conn_type", "words"),
    [
        pytest.param("http", "is not an SQL database: its hook HttpHook is not a DbApiHook", id="no-database"),
        pytest.param("snowfall", "has the type 'snowfall', for which no installed provider has a hook", id="no-hook"),
    ],
)
def test_a_connection_that_leads_to_no_database_is_refused(
    server: RecordingServer, connect: Connect, conn_type: str, words: str
) -> None:
    connect("warehouse", conn_type, host="example.com")
    state, message = run(source="warehouse", query=PEOPLE)
    assert state == "failed"
    assert f"the connection 'warehouse' of type {conn_type!r}" in message or "the connection 'warehouse' has" in message
    assert words in message


ROW = '{"id": "r-1", "contact": {"phone": "+525550000001", "first_name": "%s"}}\n'


class TestStorage:
    """Files in storages of providers; this one has a separate store for each connection."""

    @pytest.fixture(autouse=True)
    def _storage(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        stores: dict[str | None, Any] = {}

        def get_fs(conn_id: str | None, options: dict[str, Any]) -> Any:
            if conn_id not in stores:
                store = type("Store", (MemoryFileSystem,), {"store": {}, "pseudo_dirs": [""], "cachable": False})
                stores[conn_id] = store()
            return stores[conn_id]

        self.get_fs = get_fs
        monkeypatch.setitem(airflow_storages._BUILTIN_SCHEME_TO_FS, "gs", get_fs)
        monkeypatch.setattr(airflow_stores, "_STORE_CACHE", {})
        airflow_storages._register_filesystems.cache_clear()
        yield
        airflow_storages._register_filesystems.cache_clear()

    def put(self, conn_id: str | None, path: str, name: str) -> None:
        with self.get_fs(conn_id, {}).open(path, "wb") as file:
            file.write((ROW % name).encode())

    def test_opens_a_file_with_the_connection_in_its_url(self, server: RecordingServer, connect: Connect) -> None:
        connect("archive", "generic")
        self.put("archive", "/leads/r.jsonl", "by connection")
        self.put(None, "/leads/r.jsonl", "without")

        assert run(source="gs://archive@leads/r.jsonl", replay_id="with")[0] == "success"
        assert run(source="gs://leads/r.jsonl", replay_id="without", force=True)[0] == "success"

        assert names(server) == ["by connection", "without"]

    def test_every_file_that_matches_is_read(self, server: RecordingServer, connect: Connect) -> None:
        connect("archive", "generic")
        self.put("archive", "/leads/a.jsonl", "Ana")
        self.put("archive", "/leads/b.csv.jsonl", "Bo")
        self.put("archive", "/leads/c.txt", "Cyn")
        with self.get_fs("archive", {}).open("/leads/b.csv.jsonl", "wb") as file:
            file.write((ROW % "Bo").replace("r-1", "r-2").encode())

        assert run(source="gs://archive@leads/*.jsonl")[0] == "success"
        assert names(server) == ["Ana", "Bo"]

    def test_a_connection_that_is_absent_is_refused(self, server: RecordingServer) -> None:
        state, message = run(source="gs://archive@leads/r.jsonl")
        assert state == "failed"
        assert "gs://archive@leads/r.jsonl: there is no Airflow connection 'archive'" in message

    def test_a_file_that_is_absent_is_refused(self, server: RecordingServer, connect: Connect) -> None:
        connect("archive", "generic")
        state, message = run(source="gs://archive@leads/r.jsonl")
        assert state == "failed"
        assert "the file does not exist" in message

    def test_a_replay_does_not_resume_with_another_connection(self, server: RecordingServer, connect: Connect) -> None:
        connect("archive", "generic")
        connect("backup", "generic")
        for conn_id in ("archive", "backup"):
            self.put(conn_id, "/leads/r.jsonl", conn_id)
        assert run(source="gs://archive@leads/r.jsonl", replay_id="one")[0] == "success"
        state, message = run(source="gs://backup@leads/r.jsonl", replay_id="one")
        assert state == "failed"
        assert "was started with another source" in message


def test_a_file_by_its_url_is_read(server: RecordingServer, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(ROW % "Ana", encoding="utf-8")
    assert run(source=f"file://{tmp_path}/r.jsonl")[0] == "success"
    assert names(server) == ["Ana"]


def test_a_storage_without_its_provider_names_it(server: RecordingServer, connect: Connect) -> None:
    connect("lake", "aws", login="AKIA", password="s3cr3t")
    state, message = run(source="s3://lake@bucket/leads/r.jsonl")
    assert state == "failed"
    assert "pip install 'apache-airflow-providers-amazon'" in message


def test_tasks_of_a_replay_dag_read_by_connection(server: RecordingServer, connect: Connect, tmp_path: Path) -> None:
    pytest.importorskip("airflow.providers.sqlite", reason="apache-airflow-providers-sqlite is not installed")
    file = tmp_path / "people.db"
    with closing(sqlite3.connect(file)) as people:
        people.execute("CREATE TABLE people (id TEXT, phone TEXT, name TEXT)")
        people.execute("INSERT INTO people VALUES ('a', '+525550000001', 'Ana')")
        people.commit()
    connect("warehouse", "sqlite", host=str(file), extra={"mode": "ro"})
    flow = {**FLOW, "id": "built", "replay": {"source": "warehouse", "query": PEOPLE}}
    assert run_dag(build_replay_dag(load_flow(flow))).state == "success"
    assert names(server) == ["Ana"]
