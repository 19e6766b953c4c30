"""The provider's settings: section ``[whatsapp_flows]`` of Airflow's configuration, read without Airflow.

The environment (``AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS``) comes before ``airflow.cfg``, as in Airflow.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_whatsapp_flows.errors import ConnectionConfigError

SECTION = "whatsapp_flows"
AUTO = "auto"
MOST_WORKERS = 64
"""The most worker processes that one command may start."""
SENSITIVE = frozenset({"ledger"})
"""Options that Airflow masks, and can also read from a command (``_cmd``) or a secrets backend (``_secret``)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the deployment; a flow cannot change them.

    Attributes:
        allowed_hosts: hosts, ``host:port`` and CIDR ranges that may be reached even though they are private; loopback,
            link-local, and metadata addresses must be named exactly.
        media_hosts: the same, for files that a contact's answer refers to; ``allowed_hosts`` does not apply to them.
        response_max_bytes: maximum bytes of a reply, after decompression.
        request_timeout: maximum seconds of an exchange, whatever a flow sets.
        files_folder: folder from which local files may be sent; ``None`` allows no local files.
        ledger: SQLAlchemy URL of the ledger; an SQLite file in Airflow's home by default.
        xcom_max_bytes: maximum bytes of a result in XCom; a larger ``response`` stays in the ledger.
        ledger_reconnect_timeout: seconds to wait for a PostgreSQL ledger that becomes unavailable during a replay.
        replay_workers: number of processes of ``whatsapp-flows replay run`` and ``retry``, or ``"auto"``.
    """

    allowed_hosts: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] = ()
    response_max_bytes: int = 1_048_576
    request_timeout: float = 3600.0
    files_folder: str | None = None
    ledger: str = ""
    xcom_max_bytes: int = 65_536
    ledger_reconnect_timeout: float = 60.0
    replay_workers: int | str = AUTO

    @property
    def ledger_url(self) -> str:
        """The configured ledger, or the file ``whatsapp_flows.db`` in Airflow's home."""
        return self.ledger or f"sqlite:///{_airflow_home(os.environ).absolute() / 'whatsapp_flows.db'}"


def settings_from(read: Callable[[str], str | None]) -> Settings:
    """Build settings with a function that reads one option.

    Args:
        read: returns the text of an option; ``None`` or an empty string for the default.

    Raises:
        ConnectionConfigError: a number is invalid or out of range.
    """
    default = Settings()
    return Settings(
        allowed_hosts=_split_list(read("allowed_hosts")),
        media_hosts=_split_list(read("media_hosts")),
        response_max_bytes=_whole(read, "response_max_bytes", default.response_max_bytes),
        request_timeout=_number(read, "request_timeout", default.request_timeout),
        files_folder=read("files_folder") or None,
        ledger=(read("ledger") or "").strip(),
        xcom_max_bytes=_whole(read, "xcom_max_bytes", default.xcom_max_bytes),
        ledger_reconnect_timeout=_number(read, "ledger_reconnect_timeout", default.ledger_reconnect_timeout),
        replay_workers=_workers(read, "replay_workers"),
    )


def _split_list(text: str | None) -> tuple[str, ...]:
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())


def _number(read: Callable[[str], str | None], option: str, default: float) -> float:
    text = read(option)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConnectionConfigError(f"[{SECTION}] {option} = {text!r}: must be a number greater than 0")
    return number


def _whole(read: Callable[[str], str | None], option: str, default: int) -> int:
    text = read(option)
    if not text:
        return default
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ConnectionConfigError(f"[{SECTION}] {option} = {text!r}: must be a positive integer")
    return number


def _workers(read: Callable[[str], str | None], option: str) -> int | str:
    try:
        return read_workers(read(option) or AUTO)
    except ValueError as error:
        raise ConnectionConfigError(f"[{SECTION}] {option}: {error}") from None


def read_workers(text: str) -> int | str:
    """Parse a number of worker processes, or ``auto``.

    Raises:
        ValueError: it is neither, or more than :data:`MOST_WORKERS`.
    """
    if text == AUTO:
        return AUTO
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise ValueError(f"{text!r} is neither 'auto' nor a whole number from 1 to {MOST_WORKERS}")
    return int(text)


def settings_from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Read settings for code that runs without Airflow.

    Args:
        environ: environment variables; the process's own by default.

    Raises:
        ConnectionConfigError: a number is invalid, ``airflow.cfg`` cannot be read, the ledger's URL is in a secrets
            backend, or the command for it fails.
    """
    environ = os.environ if environ is None else environ
    file = _config_file(environ)

    def values_of(option: str) -> list[tuple[str, str | None]]:
        variable = f"AIRFLOW__{SECTION.upper()}__{option.upper()}"
        return [
            (variable, environ.get(variable)),
            (f"[{SECTION}] {option}", file.get(SECTION, option, fallback=None)),
        ]

    def read(option: str) -> str | None:
        for (_, text), command, secret in zip(
            values_of(option), values_of(f"{option}_cmd"), values_of(f"{option}_secret"), strict=True
        ):
            if text is not None:
                return text
            if option not in SENSITIVE:
                continue
            if command[1]:
                return _output_of(*command)
            if secret[1]:
                raise ConnectionConfigError(
                    f"{secret[0]} names a secret in Airflow's secrets backend, which can be read only by Airflow: set "
                    f"AIRFLOW__{SECTION.upper()}__{option.upper()}, or the same with _CMD"
                )
        return None

    return settings_from(read)


def _output_of(name: str, command: str | None) -> str:
    """Run a command as Airflow runs the ``_cmd`` of a sensitive option. No message shows its output."""
    import shlex  # neither is needed if the option itself is set
    import subprocess

    try:
        done = subprocess.run(shlex.split(command or ""), capture_output=True, text=True, check=True)  # noqa: S603  # the operator's own
    except (OSError, ValueError, IndexError) as error:
        raise ConnectionConfigError(f"{name}: the command cannot be run: {type(error).__name__}") from None
    except subprocess.CalledProcessError as error:
        raise ConnectionConfigError(f"{name}: the command ended with exit status {error.returncode}") from None
    return done.stdout


def _config_file(environ: Mapping[str, str]) -> configparser.RawConfigParser:
    path = Path(environ.get("AIRFLOW_CONFIG") or _airflow_home(environ) / "airflow.cfg").expanduser()
    file = configparser.RawConfigParser()
    try:
        file.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConnectionConfigError(f"{path} cannot be read: {error}") from None
    return file


def _airflow_home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
