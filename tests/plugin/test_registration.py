"""Airflow finds the plugin once, and importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from airflow_whatsapp_flows.plugin import PREFIX, WhatsAppFlowsPlugin
from airflow_whatsapp_flows.provider_info import get_provider_info

IMPORTED_LATER = ("fastapi.staticfiles", "airflow_whatsapp_flows.plugin.app", "airflow_whatsapp_flows.ledger")
COST = f"""
import sys
from airflow.sdk import plugins_manager
before = set(sys.modules)
import airflow_whatsapp_flows.plugin
print(len(set(sys.modules) - before), *[m for m in {IMPORTED_LATER} if m in sys.modules])
"""


INSTALLED = [one for one in entry_points(group="airflow.plugins") if one.value.startswith("airflow_whatsapp_flows.")]


def test_is_not_registered_twice() -> None:
    # Airflow reports a plugin that the provider's metadata names too.
    assert "plugins" not in get_provider_info()
    assert {one.load() for one in INSTALLED} <= {WhatsAppFlowsPlugin}


@pytest.mark.usefixtures("airflow")
@pytest.mark.skipif(not INSTALLED, reason="the package was installed before it had pages: run make setup")
def test_airflow_accepts_it() -> None:
    from airflow.plugins_manager import get_import_errors, get_plugin_info

    assert not [one for one in get_import_errors() if "whatsapp" in str(one)]
    [own] = [one for one in get_plugin_info() if one["name"] == "whatsapp_flows"]
    assert own["fastapi_apps"][0]["url_prefix"] == PREFIX
    assert own["external_views"][0]["url_route"] == "whatsapp-flows"


def test_importing_it_imports_none_of_the_pages() -> None:
    run = subprocess.run([sys.executable, "-c", COST], capture_output=True, text=True, check=True)
    modules, *others = run.stdout.split()
    assert others == []
    assert int(modules) <= 2
