"""A case converted to a flow's own test gives the same requests, path, and state."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from airflow_whatsapp_flows.flow.inspect.testing import run_flow_test
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.roads.roads import CONNECTION_HEADERS, ORIGIN, Case, all_cases, by_walk, content_of


def sends_once(case: Case) -> bool:
    """Whether every reply of the case answers a request that is sent once."""
    multipart = '"file":' in case.source
    attempts = [result["attempts"] for result in by_walk(case).results.values()]
    return not multipart and all(made == 1 for made in attempts) and len(attempts) == len(case.data.get("replies", []))


def as_test(case: Case) -> dict[str, Any]:
    """The case as a flow's own test."""
    replies = []
    for reply in case.data.get("replies", []):
        if "error" in reply:
            replies.append({"step": reply["step"], "error": reply["error"]["kind"]})
            continue
        response = reply["response"] if "response" in reply else content_of(reply).decode()
        told = {"step": reply["step"], "status_code": reply["status_code"], "headers": reply.get("headers", {})}
        replies.append({**told, "response": response})
    requests = [
        {"method": one["method"], "headers": headers_of_the_flow(one), "body": body_of(one)}
        for one in case.data["expect"]["requests"]
    ]
    expect = {key: case.data["expect"][key] for key in ("path", "state")}
    return {
        "name": case.name,
        "response": case.response(),
        "replies": replies,
        "now": case.now.isoformat(),
        "expect": expect if any("error" in reply for reply in replies) else {**expect, "requests": requests},
    }


def headers_of_the_flow(request: dict[str, Any]) -> dict[str, str]:
    """The headers without those of the connection, which a test doesn't need."""
    added = {name for headers in CONNECTION_HEADERS.values() for name in headers}
    return {name: value for name, value in request.get("headers", {}).items() if name not in added}


def body_of(request: dict[str, Any]) -> str:
    if "body_base64" in request:
        return base64.b64decode(request["body_base64"]).decode("utf-8", "replace")
    return str(request["body"])


CASES = [case for case in all_cases() if sends_once(case)]


def test_most_cases_can_be_converted_to_tests() -> None:
    assert len(CASES) > len(all_cases()) // 2


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_a_case_converted_to_a_test_passes(case: Case) -> None:
    flow = load_flow(json.dumps({**json.loads(case.source), "tests": [as_test(case)]}))

    run = run_flow_test(flow, flow.tests[0])

    assert run.mismatches == ()
    if flow.tests[0].expect.requests is not None:
        urls = [effect.request.url.removeprefix(ORIGIN) for effect in run.requests]
        assert urls == [one["url"] for one in case.data["expect"]["requests"]]
    assert run.walk.unanswered == case.data["expect"].get("unanswered", False)
