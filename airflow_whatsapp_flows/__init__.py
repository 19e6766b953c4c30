"""The Action step of WhatsApp messaging flows for Apache Airflow.

Airflow imports this package at every start to read the provider's description, and the command line must
start without Airflow: so importing it imports nothing else, and public names are found when first used
(PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_whatsapp_flows.dag_factory import build_dag, load_dags
    from airflow_whatsapp_flows.dag_factory.replay_dag import build_replay_dag
    from airflow_whatsapp_flows.errors import FlowFileError, FlowsError
    from airflow_whatsapp_flows.flow.loading.load import load_flow
    from airflow_whatsapp_flows.hooks.action import WhatsAppActionHook
    from airflow_whatsapp_flows.operators.action import WhatsAppActionOperator
    from airflow_whatsapp_flows.operators.branch import WhatsAppBranchOperator
    from airflow_whatsapp_flows.operators.replay import WhatsAppReplayOperator

__version__ = "0.1.0"

_MODULES = {
    "FlowFileError": "errors",
    "FlowsError": "errors",
    "WhatsAppActionHook": "hooks.action",
    "WhatsAppActionOperator": "operators.action",
    "WhatsAppBranchOperator": "operators.branch",
    "WhatsAppReplayOperator": "operators.replay",
    "build_dag": "dag_factory",
    "build_replay_dag": "dag_factory.replay_dag",
    "load_dags": "dag_factory",
    "load_flow": "flow.loading.load",
}

__all__ = [
    "FlowFileError",
    "FlowsError",
    "WhatsAppActionHook",
    "WhatsAppActionOperator",
    "WhatsAppBranchOperator",
    "WhatsAppReplayOperator",
    "build_dag",
    "build_replay_dag",
    "load_dags",
    "load_flow",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
