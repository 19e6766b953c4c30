"""Settings come from the environment, then from airflow.cfg; invalid numbers are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.settings import Settings, settings_from_environment


def test_defaults_hold_without_environment_and_file(tmp_path: Path) -> None:
    assert settings_from_environment({"AIRFLOW_HOME": str(tmp_path)}) == Settings()


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").write_text(
        "[whatsapp_flows]\nallowed_hosts = a, b:1 ,\nresponse_max_bytes = 10\nfiles_folder = 50%\n", encoding="utf-8"
    )
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__RESPONSE_MAX_BYTES": "20"}
    assert settings_from_environment(environ) == Settings(
        allowed_hosts=("a", "b:1"), response_max_bytes=20, request_timeout=3600.0, files_folder="50%"
    )


@pytest.mark.parametrize("text", ["x", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("option", ["response_max_bytes", "request_timeout"])
def test_an_invalid_number_is_named(tmp_path: Path, option: str, text: str) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), f"AIRFLOW__WHATSAPP_FLOWS__{option.upper()}": text}
    with pytest.raises(ConnectionConfigError, match=option):
        settings_from_environment(environ)


@pytest.mark.parametrize("text", ["0.5", "1.5", "1e6", "1,000"])
def test_a_number_of_bytes_is_whole(tmp_path: Path, text: str) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__RESPONSE_MAX_BYTES": text}
    with pytest.raises(ConnectionConfigError, match=r"response_max_bytes = .* positive integer"):
        settings_from_environment(environ)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").write_text("no section", encoding="utf-8")
    with pytest.raises(ConnectionConfigError, match=r"airflow\.cfg"):
        settings_from_environment({"AIRFLOW_HOME": str(tmp_path)})


_URL = "postgresql://ana:s3cret@db/ledger"


@pytest.mark.parametrize("newline", ["", "\n"])
def test_the_ledger_may_come_from_a_command_as_in_airflow(tmp_path: Path, newline: str) -> None:
    (tmp_path / "url").write_text(_URL + newline)
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__LEDGER_CMD": f"cat '{tmp_path / 'url'}'"}
    assert settings_from_environment(environ).ledger == _URL

    (tmp_path / "airflow.cfg").write_text(f"[whatsapp_flows]\nledger_cmd = cat '{tmp_path / 'url'}'\n")
    assert settings_from_environment({"AIRFLOW_HOME": str(tmp_path)}).ledger == _URL
    written = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__LEDGER": "sqlite:////srv/l.db"}
    assert settings_from_environment(written).ledger == "sqlite:////srv/l.db"


@pytest.mark.parametrize("command", ["false", "no-such-program-here", "'", "sh -c 'echo s3cret >&2; exit 3'"])
def test_a_failed_ledger_command_is_named_without_its_output(tmp_path: Path, command: str) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__LEDGER_CMD": command}
    with pytest.raises(ConnectionConfigError, match="LEDGER_CMD") as raised:
        settings_from_environment(environ)
    assert "s3cret" not in str(raised.value)


def test_without_airflow_a_secrets_backend_is_refused(tmp_path: Path) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__LEDGER_SECRET": "ledger"}
    with pytest.raises(ConnectionConfigError, match=r"LEDGER_SECRET .*AIRFLOW__WHATSAPP_FLOWS__LEDGER, or"):
        settings_from_environment(environ)


def test_only_a_sensitive_option_is_read_from_a_command(tmp_path: Path) -> None:
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__WHATSAPP_FLOWS__FILES_FOLDER_CMD": "echo /"}
    assert settings_from_environment(environ).files_folder is None
