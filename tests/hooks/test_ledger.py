"""The ledger in Airflow's configuration: one for all workers, or an error."""

from __future__ import annotations

import os

import pytest

from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.hooks.ledger import airflow_ledger, ledger_url, task_ledger
from airflow_whatsapp_flows.settings import Settings

pytestmark = pytest.mark.usefixtures("airflow")


def test_the_default_ledger_is_a_file_in_airflow_home() -> None:
    assert ledger_url(Settings()) == f"sqlite:///{os.environ['AIRFLOW_HOME']}/whatsapp_flows.db"


@pytest.mark.parametrize(
    "executors",
    [
        "LocalExecutor",
        "airflow.executors.local_executor.LocalExecutor",
        "Here:airflow.executors.local_executor.LocalExecutor",
        "LocalExecutor, SequentialExecutor",
        "LocalExecutor;sales=LocalExecutor",
    ],
)
def test_a_file_is_allowed_on_a_single_machine(monkeypatch: pytest.MonkeyPatch, executors: str) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executors)
    assert ledger_url(Settings(ledger="sqlite:///ledger.db")) == "sqlite:///ledger.db"


@pytest.mark.parametrize(
    "executors",
    [
        "CeleryExecutor",
        "LocalExecutor,KubernetesExecutor",
        "LocalExecutor;sales=CeleryExecutor",
        "LocalExecutor:my.remote.Executor",
        "my.NotALocalExecutor",
    ],
)
def test_a_file_is_refused_if_tasks_may_run_elsewhere(monkeypatch: pytest.MonkeyPatch, executors: str) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executors)
    for entry in (ledger_url, task_ledger, airflow_ledger):
        with pytest.raises(ConnectionConfigError, match="AIRFLOW__WHATSAPP_FLOWS__LEDGER"):
            entry(Settings(ledger="sqlite:///ledger.db"))
    assert ledger_url(Settings(ledger="postgresql://db/flows")) == "postgresql://db/flows"
