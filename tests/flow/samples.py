"""Shared by tests of the core: a valid flow, a contact, and shortcuts to load and walk."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.reply.result import SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import HttpResponse, Reply
from airflow_whatsapp_flows.flow.template.cage import MissingPolicy
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.variables import Variables, global_variables
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.walk import Walk, drive, walk

NOW = dt.datetime(2026, 11, 22, 16, 4, 5, tzinfo=dt.timezone.utc)
STEPS = frozenset({"Ask name", "Ask name again", "What's up?", "v1.2 rate", "Start GPT thread", "ask"})
ANSWERS: dict[str, Any] = {
    "Ask name": "Ana",
    "Ask name again": "Ana María",
    "What's up?": "nothing",
    "v1.2 rate": 7,
    "ask": 41,
    "Start GPT thread": {"status_code": 200, "response": {"id": "t-1", "items": [{"id": 5}, {"id": 6}]}},
}
VALUES = Variables(
    contact={"first_name": "Ana", "phone": "+5215512345678", "email": None, "meta": {"plan": "pro", "shoe size": 38}},
    step=ANSWERS,
    global_variables=global_variables(NOW),
    flow_execution_variables={"campaign": "spring", "ids": [1, 2, 3]},
)

FLOW: dict[str, Any] = {
    "flow_format": 1,
    "id": "lead_to_crm",
    "name": "Lead to CRM",
    "timezone": "America/Mexico_City",
    "missing": "error",
    "variables": {"campaign": {"type": "text", "default": "none"}},
    "steps": [
        {"name": "Ask name", "type": "question", "answer_type": "FREE_TEXT", "next": "Choose"},
        {"name": "Choose", "type": "menu", "options": {"Sales": "Decide", "Support": "Say thanks"}},
        {
            "name": "Decide",
            "type": "conditional",
            "paths": [
                {
                    "name": "adults",
                    "conditions": [{"field": "contact.meta.age", "comparison": "gte", "value": "18"}],
                    "next": "Create contact",
                }
            ],
            "otherwise": "Say thanks",
        },
        {
            "name": "Create contact",
            "type": "action",
            "method": "POST",
            "url": "https://crm.example/v1/contacts/{{ contact.phone }}?upsert=true",
            "headers": {"X-Source": "whatsapp"},
            "query_params": {"name": "{{ step.Ask name }}"},
            "body": {"name": "{{ step.Ask name }}", "tags": ["whatsapp", 1, None, True]},
            "retry": {"attempts": 2, "statuses": [429]},
            "success_when": "response.error is none",
            "on_success": "Say thanks",
            "on_error": "Give up",
        },
        {"name": "Say thanks", "type": "message", "body": "Thanks {{ contact.first_name }}", "next": "Remind"},
        {
            "name": "Remind",
            "type": "template",
            "whatsapp_template": "t-1",
            "whatsapp_template_variables": {"name": "{{ contact.first_name }}"},
            "options": {"Stop": "Note it"},
            "on_no_answer": "A day later",
        },
        {
            "name": "A day later",
            "type": "delay",
            "amount": 1,
            "unit": "DAY",
            "time_windows": [{"weekday": 0, "start_at": "09:00", "end_at": "17:00"}],
            "next": "Note it",
        },
        {"name": "Note it", "type": "contact_update", "meta": {"told": "{{ step.Ask name }}"}, "next": "Mark"},
        {"name": "Mark", "type": "tag", "contact_tags": ["{{ step.Choose }}"], "next": "Hand over"},
        {"name": "Hand over", "type": "assignation", "assign_to_teams": [3], "next": "Onwards"},
        {"name": "Onwards", "type": "go_to", "next": "Survey"},
        {"name": "Survey", "type": "trigger_flow", "next_flow": "survey"},
        {"name": "Give up", "type": "end", "state": "failed", "reason": "{{ step.Create contact.error.kind }}"},
    ],
}
"""One step of every type, and no fault."""


def language(missing: MissingPolicy = "error") -> CagedLanguage:
    return CagedLanguage(STEPS, missing)


def render(text: str, missing: MissingPolicy = "error") -> str:
    template = language(missing).parse(text)
    return template if isinstance(template, str) else template.render(VALUES)


def evaluate(text: str, missing: MissingPolicy = "error") -> object:
    template = language(missing).parse(text)
    return template if isinstance(template, str) else template.evaluate(VALUES)


def refusal(text: str) -> str:
    """The fault of a template that is refused at load."""
    with pytest.raises(TemplateFault) as caught:
        language().parse(text)
    return caught.value.message


def faults_of(source: str | Mapping[str, Any], name: str = "<flow>") -> list[str]:
    """The lines of a faulty flow's error."""
    with pytest.raises(FlowFileError) as caught:
        load_flow(source, name)
    assert len(caught.value.faults) == len(str(caught.value).splitlines())
    return str(caught.value).splitlines()


def flow_of(*steps: dict[str, Any], **keys: Any) -> Flow:
    return load_flow({"flow_format": 1, "id": "f", "steps": list(steps), **keys})


def action(name: str = "Send", **keys: Any) -> dict[str, Any]:
    return {"name": name, "type": "action", "url": "https://crm.example/", **keys}


def json_reply(status: int = 200, value: object = None) -> HttpResponse:
    content = b"" if value is None else json.dumps(value).encode()
    return HttpResponse(status, headers=(("Content-Type", "application/json"),), content=content)


def walk_flow(
    flow: Flow,
    response: Mapping[str, Any] | None = None,
    reply: Reply | Callable[[Effect], Reply] | None = None,
    effects: list[Effect] | None = None,
) -> Walk:
    """Walk one contact; every request gets the reply, and effects are collected."""

    def do(effect: Effect) -> EffectResult:
        if effects is not None:
            effects.append(effect)
        assert not isinstance(effect, FetchFile)
        if isinstance(effect, Wait):
            return Waited()
        assert isinstance(effect, SendAction)
        came = reply(effect) if callable(reply) else reply or json_reply()
        return classify(came, SentRequest(effect.request, 1, effect.idempotency_key), effect.step.success_when)

    return drive(walk(flow, read_response(response or {}), now=NOW), do)


def exits(record: Walk) -> list[tuple[str, str | None]]:
    """The visited steps with their exits."""
    return [(visit.step, visit.exit) for visit in record.visits]
