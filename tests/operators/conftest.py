"""Logs of tasks before Airflow masks them, and a ledger for each test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest


class TaskLog:
    """Everything logged at INFO or above; at DEBUG Airflow logs messages between its processes."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.warnings: list[str] = []  # those of them that are warnings

    @property
    def text(self) -> str:
        return "\n".join(self.entries)

    def __call__(self, _logger: object, method: str, event: object) -> object:
        import structlog

        self.entries.append(repr(event))
        if method == "warning":
            self.warnings.append(repr(event))
        raise structlog.DropEvent


class _Handler(logging.Handler):
    def __init__(self, log: TaskLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.entries.append(f"{record.getMessage()} {record.exc_info}")
        if record.levelno == logging.WARNING:
            self._log.warnings.append(record.getMessage())


@pytest.fixture
def task_log() -> Iterator[TaskLog]:
    import structlog

    log = TaskLog()
    before = structlog.get_config()
    handler, root = _Handler(log), logging.getLogger()
    level = root.level
    structlog.configure(processors=[log], wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield log
    root.setLevel(level)
    root.removeHandler(handler)
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def ledger_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The ledger of this test alone."""
    file = tmp_path / "ledger.db"
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, ledger_file: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ledger, in each database."""
    if request.param == "sqlite":
        return f"sqlite:///{ledger_file}"
    made: str = request.getfixturevalue("postgres").create_database()
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", made)
    return made
