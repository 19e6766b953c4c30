"""The public names, and that importing them loads nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import airflow_whatsapp_flows as package


def test_every_public_name_is_listed_in_order() -> None:
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) == set(package._MODULES)
    for name, module in package._MODULES.items():
        assert getattr(package, name) is getattr(importlib.import_module(f"airflow_whatsapp_flows.{module}"), name)
    assert set(package.__all__) <= set(dir(package))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nope"):
        package.nope  # noqa: B018


@pytest.mark.parametrize(
    "module", ["airflow_whatsapp_flows", "airflow_whatsapp_flows.provider_info", "airflow_whatsapp_flows.errors"]
)
def test_importing_it_imports_nothing_heavy(module: str) -> None:
    heavy = "airflow httptools jinja2 pydantic lxml yaml requests"
    program = (
        f"import sys, {module}; {module}.__name__\nprint([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["load_flow", "FlowFileError"])
def test_the_core_is_found_without_airflow(name: str) -> None:
    program = f"import sys; from airflow_whatsapp_flows import {name}; print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_dag_files_need_only_public_names() -> None:
    promised = {"load_dags", "build_dag", "WhatsAppActionOperator", "WhatsAppBranchOperator"}
    assert promised <= set(package.__all__)
