"""Airflow's pages of a flow, in a real Airflow and a real browser; takes two minutes.

The script finds the DAGs by their ids in the list, checks questions and defaults in the trigger form, checks the masked
plan of a replay on the approval page, and approves it there::

    python -m tests.airflow.flow_pages [--screenshots FOLDER]
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.airflow.browser import Shoot, open_browser, read_shoot, run_checks
from tests.airflow.replay_with_killed_worker import DAG_FILE, Api, none_if_unreachable, running_airflow, wait_until
from tests.servers.recording import RecordingServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLOW = "shop_leads"
REPLAY = f"{FLOW}__replay"
QUESTION = "Hi! What is your *full* name?"
CONTACTS = 5
PHONE = "+52555000000"


def main() -> int:
    """Run all checks; returns 0 if every promise was kept, or if there is no browser."""
    shoot = read_shoot(__doc__)
    return run_checks(lambda folder: run(folder, shoot))


def run(folder: Path, shoot: Shoot) -> list[str]:
    """Run the checks in a folder; returns broken promises."""
    write_dags(folder)
    server = RecordingServer()
    try:
        ledger = f"sqlite:///{folder / 'ledger.db'}"
        with running_airflow(folder, server.url, ledger, REPLAY) as api, open_browser(api.address) as page:
            api("POST", f"/dags/{REPLAY}/dagRuns", {"dag_run_id": "by-hand", "logical_date": None})
            wrong = find(page, shoot)
            wrong += trigger(page, api, shoot)
            wrong += approve(page, api, server.url, shoot)
    finally:
        server.close()
    bodies = [json.loads(request.content) for request in server.received]
    expected = [{"name": f"Ana {number}", "campaign": "spring"} for number in range(CONTACTS)]
    if sorted(bodies, key=str) != sorted([*expected, {"name": "Eva", "campaign": "spring"}], key=str):
        wrong.append(f"the server got {bodies}")
    return wrong


def write_dags(folder: Path) -> None:
    """Write the DAG file, the flow, and its responses."""
    flows = folder / "dags" / "flows"
    flows.mkdir(parents=True)
    (folder / "dags" / "flows_of_this_test.py").write_text(DAG_FILE, encoding="utf-8")
    source = folder / "responses.jsonl"
    rows = (
        {"id": f"r-{n}", "contact": {"phone": f"{PHONE}{n}"}, "step": {"Ask name": f"Ana {n}"}} for n in range(CONTACTS)
    )
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    flow = {
        "flow_format": 1,
        "id": FLOW,
        "name": "Leads of the shop",
        "variables": {"campaign": {"default": "spring", "description": "Which campaign it was"}},
        "replay": {"source": str(source), "approve_above": 1},
        "steps": [
            {"name": "Ask name", "type": "question", "answer_type": "FREE_TEXT", "body": QUESTION, "next": "Create"},
            {
                "name": "Create",
                "type": "action",
                "connection": "crm",
                "url": "/contacts",
                "headers": {"X-Source": "whatsapp"},
                "body": {"name": "{{ step.Ask name }}", "campaign": "{{ flow_execution_variables.campaign }}"},
            },
        ],
    }
    (flows / f"{FLOW}.json").write_text(json.dumps(flow), encoding="utf-8")


def find(page: Page, shoot: Shoot) -> list[str]:
    """Search the list of DAGs."""
    wrong = []
    page.goto("/dags")
    page.get_by_role("link", name=FLOW).first.wait_for()
    for typed in (FLOW, REPLAY, "shop"):
        # Ctrl+K opens the search of the page.
        page.keyboard.press("Control+k")
        page.keyboard.press("Control+a")
        with page.expect_response(lambda reply: "/ui/dags?" in reply.url and "pattern=" in reply.url):
            page.keyboard.type(typed)
        page.wait_for_timeout(500)
        shoot(page, f"search-{typed}")
        shown = page.locator("a[href^='/dags/']").all_inner_texts()
        if not any(text.startswith(typed) for text in shown):
            wrong.append(f"a search for {typed!r} finds {shown}")
    # On the page of a DAG, Ctrl+K opens a search of its own.
    page.goto(f"/dags/{FLOW}")
    page.get_by_role("button", name="Search Dags").wait_for()
    page.keyboard.press("Control+k")
    page.keyboard.type(REPLAY)
    page.get_by_role("option", name=re.compile(f"^{REPLAY}")).first.wait_for()
    shoot(page, "ctrl-k")
    page.keyboard.press("Escape")
    return wrong


def trigger(page: Page, api: Api, shoot: Shoot) -> list[str]:
    """Fill in the trigger form, and trigger the DAG."""
    page.goto(f"/dags/{FLOW}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    answer = form.locator("[name='element_step.Ask name']")
    answer.wait_for()
    shoot(page, "trigger")
    wrong = [f"the form does not say {text!r}" for text in (QUESTION, "Which campaign it was") if not shows(form, text)]
    default = form.locator("[name='element_flow_execution_variables.campaign']").input_value()
    if default != "spring":
        wrong.append(f"the form shows {default!r} as the campaign")
    answer.fill("Eva")
    answer.blur()
    form.get_by_role("button", name="Trigger").last.click()
    form.wait_for(state="hidden")

    def final_state() -> str | None:
        states = [one["state"] for one in api("GET", f"/dags/{FLOW}/dagRuns")["dag_runs"]]
        return states[0] if states and states[0] in ("success", "failed") else None

    state = wait_until("the triggered run has ended", final_state)
    return wrong if state == "success" else [*wrong, f"the triggered run ended as {state}"]


def approve(page: Page, api: Api, server: str, shoot: Shoot) -> list[str]:
    """Read the plan of the replay, and approve it."""
    task = f"/dags/{REPLAY}/dagRuns/by-hand/taskInstances/approve"
    wait_until("the question is asked", lambda: none_if_unreachable(lambda: api("GET", f"{task}/-1/hitlDetails")))
    page.goto(f"/dags/{REPLAY}/runs/by-hand/tasks/approve/required_actions")
    page.get_by_role("button", name="Approve").wait_for()
    shoot(page, "approve")
    wrong = []
    cells = page.locator("td").all_inner_texts()
    for row in (["to be sent", str(CONTACTS)], ["Create", "success", str(CONTACTS)]):
        if not any(cells[at : at + len(row)] == row for at in range(len(cells))):
            wrong.append(f"the page has no row {row} in a table: {cells}")
    places = page.locator("code").evaluate_all(
        "found => found.map(one => [one.innerText, one.getBoundingClientRect().y])"
    )
    lines = [text for text, _ in sorted(places, key=lambda place: place[1])]
    method, *headers, body = lines or ["", ""]
    if not method.startswith(f"POST {server}/contacts") or "X-Source: whatsapp" not in headers:
        wrong.append(f"the page shows no sample request: {lines}")
    if json.loads(body or "{}") != {"name": "A…", "campaign": "s…"}:
        wrong.append(f"the body of the sample is {body!r}")
    if len({height for _, height in places}) != len(places):
        wrong.append(f"lines of the sample stand side by side: {places}")
    shown = page.locator("body").inner_text()
    wrong += [f"the page shows {text!r}" for text in (PHONE, "Ana 0") if text in shown]
    page.get_by_role("button", name="Approve").click()
    run_path = f"/dags/{REPLAY}/dagRuns/by-hand"
    wait_until("the replay has ended", lambda: api("GET", run_path)["state"] in ("success", "failed"))
    state = api("GET", run_path)["state"]
    return wrong if state == "success" else [*wrong, f"the approved replay ended as {state}"]


def shows(form: Any, text: str) -> bool:
    """Whether a form contains a text."""
    return bool(form.get_by_text(text).count())


if __name__ == "__main__":
    sys.exit(main())
