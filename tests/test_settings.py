"""Settings come from the environment, then from airflow.cfg; a number that is none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.settings import Settings, settings_from_environment


def test_defaults_hold_without_environment_and_file(tmp_path: Path) -> None:
    assert settings_from_environment({"AIRFLOW_HOME": str(tmp_path)}) == Settings()


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").write_text(
        "[whatsapp_flows]\nallowed_hosts = a, b:1 ,\nresponse_max_bytes = 10\nfiles_folder = 50%\n", encoding="utf-8"
    )
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__RESPONSE_MAX_BYTES": "20"}
    assert settings_from_environment(environ) == Settings(("a", "b:1"), 20, 3600.0, "50%")


@pytest.mark.parametrize("text", ["x", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("option", ["response_max_bytes", "request_timeout"])
def test_a_number_that_is_none_is_named(tmp_path: Path, option: str, text: str) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), f"AIRFLOW__WHATSAPP_FLOWS__{option.upper()}": text}
    with pytest.raises(ConnectionConfigError, match=option):
        settings_from_environment(environ)


@pytest.mark.parametrize("text", ["0.5", "1.5", "1e6", "1,000"])
def test_a_number_of_bytes_is_whole(tmp_path: Path, text: str) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__RESPONSE_MAX_BYTES": text}
    with pytest.raises(ConnectionConfigError, match=r"response_max_bytes = .* whole number from 1"):
        settings_from_environment(environ)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").write_text("no section", encoding="utf-8")
    with pytest.raises(ConnectionConfigError, match=r"airflow\.cfg"):
        settings_from_environment({"AIRFLOW_HOME": str(tmp_path)})
