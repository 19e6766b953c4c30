"""Databases and object storage of a replay's responses, accessed with Airflow's connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import BaseHook, Connection, ObjectStoragePath
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from airflow.sdk.io import has_fs
from sqlalchemy.engine import URL

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.secrets import all_spellings, hide, names_secret
from airflow_whatsapp_flows.ledger.urls import hide_password

_DRIVERS = {"postgres": "postgresql+psycopg"}
_STORAGE_PROVIDERS = {
    "s3": "amazon", "s3a": "amazon", "s3n": "amazon", "gs": "google", "gcs": "google",
    "abfs": "microsoft-azure", "abfss": "microsoft-azure", "adl": "microsoft-azure",
}  # fmt: skip


class ConnectionDatabase:
    """A database from an Airflow connection, including its ``extra``.

    It uses the hook of the connection's provider, like every Airflow operator.

    Args:
        conn_id: id of the connection.
        creates_file: whether an SQLite file may be created.

    Raises:
        SourceError: the connection does not exist, or is not a database.
    """

    def __init__(self, conn_id: str, *, creates_file: bool = False) -> None:
        try:
            self._connection = BaseHook.get_connection(conn_id)
        except AirflowNotFoundException:
            raise SourceError(
                f"there is no Airflow connection {conn_id!r}; create it, or use another one, or the URL of a database"
            ) from None
        self._creates_file = creates_file
        self.name = _display_url(self._connection)
        self._conn_id = conn_id
        self._secrets = all_spellings(_secrets_of(self._connection))
        self._hook = _hook_of(self._connection, conn_id)

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Open a driver connection; everything is rolled back at the end.

        Raises:
            SourceError: the database cannot be reached.
        """
        file = self._connection.host
        may_be_absent = self._connection.conn_type != "sqlite" or self._creates_file
        if file and not may_be_absent and not Path(file).exists():
            raise SourceError(f"{self.name}: the file does not exist")  # SQLite would create it
        try:
            connection = self._hook.get_conn()
        except Exception as error:  # every driver has its own errors
            raise SourceError(
                f"{self.name}: the database of the connection {self._conn_id!r} cannot be reached: {self.reason(error)}"
            ) from None
        with closing(connection):
            try:
                yield connection
            finally:
                with suppress(Exception):  # not every database has transactions, and it is closed anyway
                    connection.rollback()

    def reason(self, error: Exception) -> str:
        """The first line of a driver error, without the secrets of the connection."""
        return hide((str(error).strip().splitlines() or [type(error).__name__])[0], self._secrets)


class AirflowAccess:
    """How a task accesses databases and storage: with Airflow connections and plain URLs."""

    def database(self, location: str) -> Any:
        """The database of a URL, or of an Airflow connection.

        Raises:
            SourceError: it does not exist or is invalid.
        """
        if "://" not in location:
            return ConnectionDatabase(location)
        return None

    def storage(self, location: str) -> tuple[Any, str] | None:
        """Airflow's file system for a URL such as ``s3://my_conn@bucket/key``, and the path in it.

        Returns:
            ``None`` for a URL that Airflow does not support, which fsspec then handles.

        Raises:
            SourceError: the connection does not exist or is invalid.
        """
        parts = urlsplit(location)
        conn_id = parts.netloc.rpartition("@")[0]
        if ":" in conn_id:  # a user and a password, not a connection
            return None
        if not has_fs(parts.scheme):
            provider = _STORAGE_PROVIDERS.get(parts.scheme)
            if not conn_id or provider is None or not _is_connection(conn_id):
                return None
            raise SourceError(
                f"{location}: using {parts.scheme}:// with an Airflow connection needs a provider that is not "
                f"installed: pip install 'apache-airflow-providers-{provider}' with its package for fsspec, "
                "such as s3fs, gcsfs or adlfs"
            )
        if conn_id and not _is_connection(conn_id):
            if parts.scheme.startswith("abfs"):
                return None  # Azure has its container there
            raise SourceError(f"{location}: there is no Airflow connection {conn_id!r}")
        path = ObjectStoragePath(location)
        return path.fs, path.path


def _is_connection(conn_id: str) -> bool:
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return False
    return True


def _hook_of(connection: Connection, conn_id: str) -> DbApiHook:
    kind = connection.conn_type
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]  # it has no types
    except ImportError as error:
        raise SourceError(
            f"the connection {conn_id!r} of type {kind!r}: its hook cannot be imported: {error}"
        ) from None
    except AirflowException:
        raise SourceError(
            f"the connection {conn_id!r} has the type {kind!r}, for which no installed provider has a hook; install "
            "the provider (for example, apache-airflow-providers-postgres for the type 'postgres')"
        ) from None
    if not isinstance(hook, DbApiHook):
        raise SourceError(
            f"the connection {conn_id!r} of type {kind!r} is not an SQL database: its hook {type(hook).__name__} is "
            "not a DbApiHook; use a connection to a database"
        )
    return hook


def _display_url(connection: Connection) -> str:
    """The URL of a connection without secrets, which a replay stores and compares when it is resumed."""
    if connection.conn_type == "sqlite":
        return f"sqlite:///{connection.host or ''}"
    driver = _DRIVERS.get(connection.conn_type or "", connection.conn_type or "")
    return hide_password(
        URL.create(driver, connection.login, connection.password, connection.host, connection.port, connection.schema)
    )


def _secrets_of(connection: Connection) -> list[str]:
    extra = connection.extra_dejson
    named = [value for name, value in extra.items() if isinstance(value, str) and names_secret(name)]
    return [secret for secret in (connection.password, *named) if secret]
