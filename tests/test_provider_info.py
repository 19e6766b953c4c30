"""The provider metadata, as Airflow reads it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from airflow_whatsapp_flows.provider_info import get_provider_info
from airflow_whatsapp_flows.settings import Settings

pytestmark = pytest.mark.usefixtures("airflow")


def test_is_valid_in_airflows_schema() -> None:
    import airflow
    import jsonschema

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(get_provider_info(), schema)


def test_is_plain_data() -> None:
    assert json.loads(json.dumps(get_provider_info())) == get_provider_info()


def test_airflow_finds_the_provider_and_its_connection_type() -> None:
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    assert "airflow-whatsapp-flows" in ProvidersManager().providers
    hook = ProvidersManagerTaskRuntime().hooks["whatsapp_action"]
    assert hook is not None
    assert hook.hook_name == "WhatsApp Action"
    assert hook.connection_id_attribute_name == "http_conn_id"


def test_every_class_and_module_named_can_be_imported() -> None:
    info = get_provider_info()
    for part in ("operators", "hooks"):
        for entry in info[part]:
            for module in entry["python-modules"]:
                importlib.import_module(module)
    for kind in info["connection-types"]:
        module, _, name = kind["hook-class-name"].rpartition(".")
        hook = getattr(importlib.import_module(module), name)
        assert hook.conn_type == kind["connection-type"]
        assert hook.hook_name == kind["hook-name"]


def test_the_connection_form_names_what_connections_read() -> None:
    [kind] = [kind for kind in get_provider_info()["connection-types"] if kind["connection-type"] == "whatsapp_action"]
    assert set(kind["conn-fields"]) == {"auth", "header_name", "headers", "timeout", "verify", "cert", "proxy"}
    for name, field in kind["conn-fields"].items():
        assert "null" in field["schema"]["type"], f"{name} would be compulsory in Airflow's form"
    assert set(kind["ui-field-behaviour"]["hidden-fields"]) == {"schema", "port"}


def test_airflow_has_the_options_and_their_defaults() -> None:
    from airflow.configuration import conf as core
    from airflow.sdk.configuration import conf as sdk

    for conf in (core, sdk):
        assert conf.get("whatsapp_flows", "allowed_hosts") == ""
        assert conf.getint("whatsapp_flows", "response_max_bytes") == Settings().response_max_bytes
        assert conf.getfloat("whatsapp_flows", "request_timeout") == Settings().request_timeout
        assert conf.get("whatsapp_flows", "files_folder") == ""
        assert conf.get("whatsapp_flows", "ledger") == Settings().ledger
        assert conf.getint("whatsapp_flows", "xcom_max_bytes") == Settings().xcom_max_bytes


def test_the_options_are_those_that_are_read() -> None:
    from dataclasses import fields

    options = get_provider_info()["config"]["whatsapp_flows"]["options"]
    assert set(options) == {field.name for field in fields(Settings)}
