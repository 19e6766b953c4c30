"""A step as its flow's file says it, with secrets hidden: for Airflow's pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.result import mask_parameter, mask_url
from airflow_whatsapp_flows.flow.secrets import HIDDEN, names_secret
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.filters import text_of
from airflow_whatsapp_flows.flow.template.spelling import Syntax, find_opening


def step_for_display(flow: Flow, name: str) -> dict[str, Any]:
    """Return the keys of a step without the flow's literal secrets, and of a request only what is harmless.

    Args:
        flow: any flow.
        name: of the step.
    """
    steps: Any = flow.source["steps"]
    found: Mapping[str, Any] = next(written for written in steps if written["name"] == name)
    shown = Hidden((), flow.literals).conceal(dict(found))
    if shown["type"] == "action":
        shown["url"] = mask_url(shown["url"])
        for key, mask in (("headers", _mask_headers), ("query_params", _mask_parameters)):
            if shown.get(key) is not None:
                shown[key] = mask(shown[key], flow)
    return shown


def _mask_headers(headers: Mapping[str, Any], _flow: Flow) -> dict[str, Any]:
    return {name: HIDDEN if names_secret(name) else value for name, value in headers.items()}


def _mask_parameters(parameters: Any, flow: Flow) -> dict[str, Any]:
    language = CagedLanguage(syntax=_syntax(flow))

    def mask(name: str, value: Any) -> Any:
        if isinstance(value, str) and find_opening(value, language):
            return value
        return HIDDEN if isinstance(value, (dict, list)) else mask_parameter(name, text_of(value))

    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
    return {name: mask(name, value) for name, value in pairs}


def _syntax(flow: Flow) -> Syntax:
    return "activecampaign" if flow.source.get("syntax") == "activecampaign" else "hilos"
