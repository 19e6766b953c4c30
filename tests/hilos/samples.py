"""Step records as returned by the two platforms; every value is invented."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_whatsapp_flows.hilos import ImportedFlow, Note, read_step_records

VERSION = "0f6f2f7e-0000-4000-8000-000000000001"
OPENAI_KEY = "sk-test-51HxAbCdEfGhIjKlMnOpQrSt"
CRM_KEY = "crm_9f8e7d6c5b4a39281706"


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def step(number: int, name: str, step_type: str = "", **fields: Any) -> dict[str, Any]:
    """A step with every default that the platform fills in."""
    return {
        "id": uuid(number),
        "flow_version": VERSION,
        "name": name,
        "step_type": step_type,
        "ordering_idx": number,
        "conditions": [],
        "paths": [],
        "next_steps_for_options": [],
        "next_steps_for_options_idx": None,
        "time_windows": [],
        "assign_to_users": [],
        "assign_to_teams": [],
        "body_file": None,
        "whatsapp_template": None,
        "whatsapp_template_variables": {},
        "append_tags": True,
        "has_max_wait_time": False,
        "max_wait_time_amount": 24,
        "max_wait_time_unit": "HOUR",
        "has_max_answer_attempts": False,
        "max_answer_attempts": 3,
        "answer_options_render": "BUTTONS",
        "answer_type": None,
        "body": None,
        "save_contact_answer": False,
        **fields,
    }


def request(method: str, url: str, **more: Any) -> dict[str, Any]:
    return {
        "action_request_method": method,
        "action_request_url": url,
        **{f"action_request_{k}": v for k, v in more.items()},
    }


def executions(*steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The steps as the run of one contact shows them."""
    return {
        "id": uuid(900),
        "contact": {"phone": "+525500000000"},
        "status": "COMPLETED",
        "execution_steps": [
            {"id": uuid(800), "step": dict(one), "status": "COMPLETED", "messages": []} for one in steps
        ],
        **more,
    }


def read(*steps: Mapping[str, Any], **more: Any) -> ImportedFlow:
    return read_step_records([dict(one) for one in steps], **{"flow_id": "a_flow", **more})


def only(*steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The first step of the flow, as it was imported."""
    return steps_of(read(*steps, **more))[0]


def steps_of(imported: ImportedFlow) -> list[dict[str, Any]]:
    steps = imported.flow["steps"]
    assert isinstance(steps, list)
    return steps


def notes(imported: ImportedFlow, kind: str, step_name: str | None = "*") -> list[Note]:
    return [note for note in imported.report if note.kind == kind and step_name in ("*", note.step)]


def full_text(imported: ImportedFlow) -> str:
    """The complete output of the import as one text."""
    return json.dumps(imported.flow, ensure_ascii=False) + repr(imported.report)


def gpt_records() -> dict[str, Any]:
    """The guide that starts a thread, asks for a run and polls for its answer."""
    threads = "https://api.openai.com/v1/threads"
    thread = threads + "/{{step.Start GPT thread.response.id}}"
    headers = {
        "Authorization": f"Bearer {OPENAI_KEY}",
        "OpenAI-Beta": "assistants=v2",
        "Content-Type": "application/json",
    }
    polled = "step.Get generated GPT response.response.data.0"

    def action(number: int, name: str, method: str, url: str, body: str, then: int) -> dict[str, Any]:
        exits = {"next_step_default": uuid(then), "next_step_alternate": uuid(9)}
        return step(number, name, "ACTION", **request(method, url, headers=headers, params={}, body=body), **exits)

    return executions(
        step(
            1,
            "Ask question",
            "QUESTION",
            body="What do you want to know?",
            answer_type="FREE_TEXT",
            next_step_default=uuid(2),
        ),
        action(2, "Start GPT thread", "POST", threads, "{}", 3),
        step(
            3,
            "Keep it",
            "CONTACT_UPDATE",
            contact_custom_properties=[{"key": "gpt_response", "value": "{{step.Ask question}}"}],
            next_step_default=uuid(4),
        ),
        action(
            4, "Add message", "POST", f"{thread}/messages", '{"role": "user", "content": "{{contact.gpt_response}}"}', 5
        ),
        action(5, "Run", "POST", f"{thread}/runs", '{"assistant_id": "asst_abc"}', 6),
        action(6, "Get generated GPT response", "GET", f"{thread}/messages", "", 7),
        step(
            7,
            "Is it ready",
            "CONDITIONAL",
            conditions=[
                {"id": 1, "field": f"{polled}.role", "comparison": "exact", "value": "assistant"},
                {"id": 2, "field": "{{" + polled + ".content.0.text.value}}", "comparison": "isnull", "value": "false"},
            ],
            next_step_default=uuid(8),
            next_step_alternate=uuid(10),
        ),
        step(8, "Answer", "MESSAGE", body="{{" + polled + ".content.0.text.value}}", body_type="text"),
        step(9, "Sorry", "MESSAGE", body="Something went wrong.", body_type="text"),
        step(
            10,
            "Wait",
            "DELAY",
            delay_type="AMOUNT",
            max_wait_time_amount=10,
            max_wait_time_unit="SECOND",
            next_step_default=uuid(11),
        ),
        step(11, "Ask again", "GO_TO", next_step_default=uuid(6)),
        flow_execution={"flow": {"id": "f", "name": "ChatGPT"}, "flow_version": {"id": VERSION}},
    )


def crm_records() -> list[dict[str, Any]]:
    """ActiveCampaign's dialect: a menu, an upsert with an error branch, tags, and a template, from two contacts."""
    upsert = request(
        "POST",
        "https://api.yourcrm.example/v1/contacts?api_key=" + CRM_KEY,
        headers={"Content-Type": "application/json", "X-Source": "whatsapp"},
        params={"upsert": "true"},
        body='{"name": "%step.Ask name%", "age": %step.Ask age%, "auth": {"client_secret": "s3cr3t-value-1"}}',
    )
    ask = step(1, "Ask name", "question", body="Your name?", answer_type="FREE_TEXT", next_step_default=uuid(2))
    age = step(
        2,
        "Ask age",
        "question",
        body="Your age, %contact.first_name%?",
        answer_type="NUMBER",
        answer_has_range=True,
        answer_range_min="18",
        answer_range_max="99",
        has_max_wait_time=True,
        max_wait_time_amount=2,
        next_step_default=uuid(3),
        next_step_alternate=uuid(7),
        has_max_answer_attempts=True,
        answer_failed_next_step=uuid(7),
    )
    menu = step(
        3,
        "Plan",
        "menu",
        body="Which plan?",
        answer_type="SINGLE_OPTION",
        answer_options=["Basic", "Pro", "None"],
        answer_option_descriptions=["cheap", None, None],
        next_steps_for_options=[uuid(4), uuid(4)],
        next_steps_for_options_idx=[4, 4, None],
    )
    update = step(4, "Save", "contact update", firstname="%step.Ask name%", next_step_default=uuid(5))
    call = step(5, "Upsert", "action", **upsert, next_step_default=uuid(6), next_step_alternate=uuid(7))
    tag = step(6, "Tag", "tag", contact_tags=["lead"], append_tags=False, next_step_default=uuid(99))
    sorry = step(7, "Call you", "assignation", assign_to_teams=[12])
    about = {
        "flow": {"id": "f", "name": "Lead to CRM", "flow_execution_variables": ["campaign"]},
        "flow_version": {"id": VERSION, "is_current_version": True},
    }
    return [executions(ask, age, menu, update, call, tag, **about), executions(ask, age, sorry, **about)]
