"""`make demo` and `make ui` never use the Airflow of the user who runs them."""

import os
from typing import Any

import pytest

THEIRS = {
    "AIRFLOW_HOME": "/srv/prod",
    "AIRFLOW_CONFIG": "/srv/prod/airflow.cfg",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://prod.example/airflow",
    "AIRFLOW_CONN_OTHER": "https://prod.example",
    "AIRFLOW_VAR_NAME": "prod",
}


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of someone who has exported the settings of a real Airflow."""
    exported = {"PATH": "/usr/bin", **THEIRS}
    monkeypatch.setattr(os, "environ", exported)
    return exported


def airflows(environ: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in environ.items() if name.startswith("AIRFLOW"))


def test_the_demo_sets_every_variable_of_airflow_itself(environ: dict[str, str]) -> None:
    import demo

    demo.configure("http://127.0.0.1:1")
    assert "prod" not in airflows(environ)
    assert environ["AIRFLOW_HOME"] == str(demo.STATE / "airflow")
    assert environ["AIRFLOW_CONN_CRM"] == "http://127.0.0.1:1"
    assert environ["PATH"] == "/usr/bin"


def test_the_pages_set_every_variable_of_airflow_themselves(environ: dict[str, str]) -> None:
    import ui

    made = ui.environment("http://127.0.0.1:1", 8080)
    assert "prod" not in airflows(made)
    assert made["AIRFLOW_HOME"] == str(ui.STATE / "airflow")
    assert environ["AIRFLOW_HOME"] == "/srv/prod"
