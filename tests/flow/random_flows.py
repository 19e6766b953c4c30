"""Random flows with every feature, random contacts, and servers with random replies."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow.format import STEP_FORMATS
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, Reply
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Waited
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.flow.walk.walk import drive, walk
from tests.cases.case import ORIGIN, Case, reply_of
from tests.roads.roads import by_walk, perform_action

NAMES = ("Ask name", "Start GPT thread", "v1.2 rate", "What's up?", "Menú ☎", "go", "7", "{brace}", "Ask name again")
VALUES = ("contact.phone", "contact.first_name", "contact.plan", "global.Weekday", "flow_execution_variables.campaign")
ANSWERS: tuple[Any, ...] = (
    "Ana", "41", "3.5", 41, None, "", "Buy", "a&b=c d", "<b>\"'</b>", "{{ 7 * 7 }}", "%contact.phone%", "true",
    "2026-11-22", "x@y.example", "+525512345678", "línea\r\ndos", "a: b # c", ["a", 1], {"url": f"{ORIGIN}/a.png"},
)  # fmt: skip
REPLIES: tuple[dict[str, Any], ...] = (
    *[{"status_code": 200, "response": value} for value in ({"id": 7, "ok": True}, [1, {"a": None}], {}, "text")],
    {"status_code": 201, "content": "<a>1</a>", "headers": {"Content-Type": "text/xml"}},
    {"status_code": 200, "content": "<html>", "headers": {"Content-Type": "application/json"}},
    {"status_code": 204},
    {"status_code": 302, "headers": {"Location": "/elsewhere"}},
    *[{"status_code": 404, "response": {"error": "none"}}] * 2,
    {"status_code": 422, "content": "no"},
    {"status_code": 429, "headers": {"Retry-After": "0"}},
    {"status_code": 500, "content": "broken"},
    {"status_code": 503},
    *[{"error": {"kind": "interrupted"}}] * 3,
)
ANSWER_TYPES = (
    "ANY",
    "FREE_TEXT",
    "SINGLE_OPTION",
    "NUMBER",
    "EMAIL",
    "PHONE",
    "DATE",
    "BOOL",
    "URL",
    "FILE",
    "LOCATION",
)
CALM = {"retry": {"attempts": 2, "wait": 0, "max_wait": 0}, "timeout": 20}

_OFTEN = (*["action"] * 6, "question", "conditional", "go_to")
Draw = Callable[[st.SearchStrategy[Any]], Any]


class _Flow:
    """A flow under construction.

    Args:
        draw: hypothesis' own.
        names: of its steps, in order.
        loops: whether steps lead back to earlier ones; without loops its DAG has many tasks.
    """

    def __init__(self, draw: Draw, names: Sequence[str], *, loops: bool) -> None:
        self._draw = draw
        self._names = names
        self._loops = loops
        self._here = 0
        self._kinds: dict[str, str] = {}

    def steps(self) -> list[dict[str, Any]]:
        first = ("action", "question", "menu", "contact_update")
        for place, name in enumerate(self._names):
            self._kinds[name] = self._one((*(STEP_FORMATS if place > 1 else first), *_OFTEN))
        made = []
        for place, (name, kind) in enumerate(self._kinds.items()):
            self._here = place
            made.append({"name": name, "type": kind, **getattr(self, f"_{kind}")()})
            if self._sometimes(5):
                made[-1] |= {"max_visits": self._one((1, 2)), "on_max_visits": self._anywhere()}
        return made

    def _one(self, choices: Sequence[Any]) -> Any:
        return self._draw(st.sampled_from(choices))

    def _sometimes(self, in_so_many: int) -> bool:
        return bool(self._draw(st.integers(1, in_so_many)) == in_so_many)

    def _onwards(self) -> str | None:
        return self._one((*self._names[self._here + 1 :][:1] * 3, *self._names[self._here + 2 :][:1], None)[:4])  # type: ignore[no-any-return]

    def _anywhere(self) -> str | None:
        return self._one((*self._reachable(), None))  # type: ignore[no-any-return]

    def _reachable(self) -> Sequence[str]:
        return self._names if self._loops else self._names[self._here + 1 :]

    def _exits(self, *keys: str) -> dict[str, Any]:
        return {key: self._anywhere() for key in keys if self._sometimes(2)}

    def _reference(self) -> str:
        name = self._one(self._names)
        if not STEP_FORMATS[self._kinds[name]].leaves_value:
            return self._one(VALUES)  # type: ignore[no-any-return]
        # The whole result of an action includes the server's clock.
        parts = (".response.id", ".response", ".status_code", ".ok") if self._kinds[name] == "action" else ("",)
        return self._one((*VALUES, *(f"step.{name}{part}" for part in parts)))  # type: ignore[no-any-return]

    def _text(self) -> str:
        return self._one(("plain é", "{{ %s }}", "a {{ %s }} b", "{{%s | upper}}!", "{{ %s | default('?') }}")).replace(  # type: ignore[no-any-return]
            "%s", self._reference()
        )

    def _message_keys(self) -> dict[str, Any]:
        said: dict[str, Any] = {"body": self._text()}
        if self._sometimes(4):
            said |= {"file_url": "https://cdn.example/{{ contact.phone }}", "whatsapp_template": "t"}
        return said

    def _question_keys(self) -> dict[str, Any]:
        asking = {**self._message_keys(), **self._exits("on_no_answer", "on_answer_failed")}
        if self._sometimes(3):
            asking["max_answer_attempts"] = self._one((1, 2))
        return asking

    def _question(self) -> dict[str, Any]:
        kind = self._one(ANSWER_TYPES)
        more = {"answer_range": {"min": 1, "max": 41}} if kind == "NUMBER" and self._sometimes(2) else {}
        more |= {"answer_options": ["Ana", "Buy"]} if kind == "SINGLE_OPTION" else {}
        more |= {"answer_phone_default_country": "MX"} if kind == "PHONE" and self._sometimes(2) else {}
        if self._sometimes(6):
            more = {"options_from_variable": {"list": self._reference(), "value": "id"}}
            kind = "ANY"
        return {**self._question_keys(), "answer_type": kind, **more, "next": self._onwards()}

    def _menu(self) -> dict[str, Any]:
        return {**self._question_keys(), "options": {"Buy": self._onwards(), "Sell": self._anywhere()}}

    def _template(self) -> dict[str, Any]:
        return {**self._question_keys(), "options": self._one(({}, {"Buy": self._anywhere()})), "next": self._onwards()}

    def _message(self) -> dict[str, Any]:
        return {**self._message_keys(), "next": self._onwards()}

    def _conditional(self) -> dict[str, Any]:
        paths = [
            {
                "conditions": [
                    {
                        "field": self._reference(),
                        "comparison": self._one(("exact", "!exact", "gt", "lte", "isnull", "icontains", "!icontains")),
                        "value": self._one((self._text(), 200, None, "false", "Buy")),
                    }
                ],
                "next": self._anywhere(),
            }
            for _ in range(self._one((1, 1, 2)))
        ]
        return {"paths": paths, "otherwise": self._onwards()}

    def _action(self) -> dict[str, Any]:
        kind = self._one(("json", "form", "multipart", "xml", "yaml", "plain", "none", "json text"))
        body: Any = {
            "json": {"a": self._text(), "b": [self._text(), 1, None]},
            "form": {"a": self._text(), "b": "{{ contact.phone }}"},
            "multipart": [{"name": "a", "value": self._text()}],
            "xml": f'<r a="{{{{ contact.phone }}}}"><x>{self._reference_text()}</x></r>',
            "yaml": {"a": self._text(), "b": [None, True, "no"]},
            "plain": self._text(),
            "json text": f'{{"a": {self._reference_text()}, "b": "x{self._reference_text()}"}}',
        }.get(kind)
        made: dict[str, Any] = {
            **CALM,
            "connection": "crm",
            "method": self._one(("POST", "PUT", "GET", "PATCH", "DELETE")),
            "url": self._one(("/v1/x", "/v1/{{ contact.phone }}/x?a=1")),
            "body_type": "json" if kind == "json text" else kind,
            "on_success": self._onwards(),
            **({} if body is None else {"body": body}),
            **({"on_error": self._error_exit()} if self._sometimes(2) or self._sometimes(2) else {}),
        }
        if self._sometimes(3):
            made["query_params"] = {"q": self._text()}
        if self._sometimes(3):
            made["delivery"] = self._one(("at_most_once", "idempotent", "keyed"))
        if self._sometimes(4):
            made["success_when"] = "response.id is defined"
        return made

    def _error_exit(self) -> str | None:
        """Often another action or the same one again: flows report errors or retry."""
        actions = [name for name in self._reachable() if self._kinds[name] == "action"]
        return self._anywhere() if not actions or self._sometimes(3) else self._one(actions)  # type: ignore[no-any-return]

    def _reference_text(self) -> str:
        return f"{{{{ {self._reference()} }}}}"

    def _delay(self) -> dict[str, Any]:
        replayed = self._one(("auto", "wait", "skip"))
        return {"amount": 0, "unit": "SECOND", "when_replayed": replayed, "next": self._onwards()}

    def _contact_update(self) -> dict[str, Any]:
        return {"first_name": self._text(), "meta": {"plan": self._text()}, "next": self._onwards()}

    def _tag(self) -> dict[str, Any]:
        return {"contact_tags": [self._text()], "next": self._onwards()}

    def _assignation(self) -> dict[str, Any]:
        return {"assign_to_teams": [1], "next": self._onwards()}

    def _go_to(self) -> dict[str, Any]:
        return {"next": self._one(self._reachable() or self._names)}

    def _trigger_flow(self) -> dict[str, Any]:
        return {"next_flow": "other"}

    def _end(self) -> dict[str, Any]:
        return {"state": self._one(("completed", "failed")), "reason": self._text()}


def _repair(flow: dict[str, Any]) -> dict[str, Any] | None:
    """Remove unreachable steps and variables that are read too early."""
    for _ in range(30):
        try:
            load_flow(flow)
        except FlowFileError as error:
            faults = error.faults
        else:
            return flow
        unreached = [fault.path[1] for fault in faults if "no step leads here" in fault.message]
        if unreached:
            flow["steps"] = [step for index, step in enumerate(flow["steps"]) if index not in unreached]
        elif not all(_repair_fault(flow, fault.path) for fault in faults):
            return None
    return None


def _repair_fault(flow: Any, path: Sequence[Any]) -> bool:
    """Replace an unreadable variable with one that always exists."""
    holder = flow
    for key in path[:-1]:
        holder = holder[key]
    if path[-1:] == ("on_max_visits",):
        return holder.pop("on_max_visits") is not None
    if not path or path[-1] in ("name", "type", "next") or not isinstance(holder[path[-1]], str):
        return False
    kept = "contact.phone" if path[-1] in ("field", "list") else "{{ contact.phone }}"
    bare = kept if path[-1] in ("field", "list") else re.sub(r"\{\{.*?\}\}", kept, holder[path[-1]])
    holder[path[-1]] = bare
    return True


@st.composite
def contacts_of_flows(draw: st.DrawFn) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """A flow, a response, and the replies of the server, as a case has them."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(3, 7))]
    flow = _repair(
        {
            "flow_format": 1,
            "id": "random_flow",
            "missing": draw(st.sampled_from(["null", "empty", "null", "error"])),
            "max_visits": draw(st.integers(1, 4)),
            "variables": {"campaign": {"default": "spring", "required": draw(st.sampled_from([False] * 30 + [True]))}},
            "steps": _Flow(draw, names, loops=draw(st.sampled_from([True, True, False]))).steps(),
        }
    )
    assume(flow is not None)
    assert flow is not None
    response: dict[str, Any] = {"id": f"r-{draw(st.integers(0, 9))}", "contact": draw(st.sampled_from(CONTACTS))}
    answered = [step["name"] for step in flow["steps"] if step["type"] in ("question", "menu", "template")]
    answers = st.sampled_from(ANSWERS) | st.sampled_from(["Buy", "41"])
    response["step"] = {name: draw(answers) for name in answered if draw(st.integers(0, 7))}
    if answered:
        entry = st.fixed_dictionaries({"step": st.sampled_from(answered), "value": answers})
        response["history"] = draw(st.lists(entry, max_size=3))
    return {"flow": flow, "response": response}, draw(st.lists(st.sampled_from(REPLIES), min_size=2, max_size=8))


CONTACTS: tuple[Mapping[str, Any], ...] = (
    {"phone": "+525512345678"},
    {"phone": "+525512345678", "first_name": 'Ana "María" & Co', "meta": {"plan": "pro"}},
    {"phone": "5512345678", "first_name": None, "meta": {"plan": 7}},
)


def with_replies(data: dict[str, Any], replies: Sequence[Mapping[str, Any]]) -> Case:
    """The case of a flow and a response, with as many replies as are requested, then successes."""
    case, told = Case("random_flow", data), iter(replies)
    used: list[dict[str, Any]] = []

    def exchange(step: str, _: HttpRequest) -> Reply:
        used.append({"step": step, **next(told, REPLIES[0])})
        return reply_of(used[-1])

    def do(effect: Effect) -> EffectResult:
        assert not isinstance(effect, FetchFile), "no random flow sends files"
        return perform_action(effect, exchange) if isinstance(effect, SendAction) else Waited()

    drive(walk(case.flow, read_response(case.response()), now=case.now), do)
    return Case(case.name, {**data, "replies": used})


def features(case: Case) -> set[str]:
    """The features of a walk that roads could treat differently."""
    seen = by_walk(case)
    kinds = {name: type(step).__name__ for name, step in case.flow.steps.items()}
    onwards = list(itertools.pairwise(seen.visits))
    passed = [one for one, after in onwards if case.flow.steps[one.step].on_max_visits == after.step]
    found = {
        seen.state: True,
        "a loop": len(seen.path) > len(set(seen.path)),
        "a drop": any("error" in reply for reply in case.data["replies"]),
        "a refusal": any(400 <= reply.get("status_code", 0) <= 499 for reply in case.data["replies"]),
        "an error exit that is an action": any(
            one.exit == "error" and kinds[after.step] == "Action" for one, after in onwards
        ),
        "visits used up": "which is the limit" in seen.reason or bool(passed),
        "a doubt that the walk went on with": any(task_id.endswith("__in_doubt") for task_id in seen.red_tasks),
        "an error and no way to handle it": seen.state == "failed" and kinds[(seen.path or [""])[-1]] == "Action",
        "several tasks": len(set(seen.path)) > 3 and not case.flow.loops,
    }  # fmt: skip
    return {name for name, holds in found.items() if holds}
