"""The tabs that Airflow shows beside a task and a DAG: part of :mod:`tests.airflow.pages`."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from tests.airflow.browser import Shoot
from tests.airflow.replay_with_killed_worker import Api, wait_until
from tests.servers.recording import RecordingServer

if TYPE_CHECKING:
    from playwright.sync_api import FrameLocator, Page

REQUEST = "whatsapp-request"
_ENDED = ("success", "failed")


def run_contact(api: Api, flow: str, run: str, phone: str, answer: str) -> None:
    """Run a flow's DAG for one contact, to its end."""
    conf = {"contact": {"phone": phone}, "step": {"Ask name": answer}}
    api("POST", f"/dags/{flow}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": conf})
    wait_until(f"{run} has ended", lambda: api("GET", f"/dags/{flow}/dagRuns/{run}")["state"] in _ENDED)


def look_at_request(page: Page, server: RecordingServer, place: tuple[str, str], shoot: Shoot) -> list[str]:
    """Open the tab Request of the task ``create``, and send its request again with what is copied there.

    Args:
        page: of the browser.
        server: that the request was sent to.
        place: id of the flow, and of its run.
        shoot: takes pictures.
    """
    flow, run = place
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto(f"/dags/{flow}/runs/{run}/tasks/create")
    page.get_by_role("link", name="Request", exact=True).click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Create").first.wait_for()
    shoot(page, "tabs-request")
    wrong = _read_request(frame)
    frame.get_by_text("Copy as cURL").click()
    shoot(page, "tabs-request-curl")
    command = frame.locator("details[open] pre").inner_text()
    before = server.received[-1]
    environment = {"PATH": os.environ["PATH"], "WF_CRM_AUTHORIZATION": "Basic of-the-reader"}
    subprocess.run(["sh", "-c", command], env=environment, check=True, capture_output=True, timeout=30)
    again = server.received[-1]
    if again is before or (again.target, again.content) != (before.target, before.content):
        wrong.append(f"the copied command sends {again}, not {before}")
    if again.header("Authorization") != "Basic of-the-reader":
        wrong.append("the copied command does not send the reader's credentials")
    return wrong + _look_at_another_task(page, place)


def _read_request(frame: FrameLocator) -> list[str]:
    shown = frame.locator("main").inner_text()
    wanted = (
        "422",
        "the server answered 422",
        "Arrived",
        "yes: the server answered",
        "this task, try 1",
        "What the contact",
    )
    return [f"the tab Request lacks {text!r}" for text in wanted if text not in shown]


def _look_at_another_task(page: Page, place: tuple[str, str]) -> list[str]:
    page.goto(f"/dags/{place[0]}/runs/{place[1]}/tasks/ask_name/plugin/{REQUEST}")
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="No request").wait_for()
    shown = frame.locator("main").inner_text()
    return [] if "for the task of an action" in shown else [f"the tab of another task says {json.dumps(shown)}"]


def look_at_flow(page: Page, flow: str, shoot: Shoot) -> list[str]:
    """Open the tab Flow of a DAG, and a step in its drawing.

    Args:
        page: of the browser.
        flow: id of the flow, which was replayed.
        shoot: takes pictures.
    """
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto(f"/dags/{flow}")
    page.get_by_role("link", name="Flow", exact=True).click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("region", name="Drawing of the flow").wait_for()
    shoot(page, "tabs-flow")
    frame.locator("svg a", has_text="Create").click()
    frame.locator("#step-name").wait_for()
    shoot(page, "tabs-flow-step")
    shown = frame.locator("main").inner_text()
    wanted = ("POST /contacts", "reached this step", "status 422", "{{ step.Ask name }}")
    wrong = [f"the tab Flow lacks {text!r}" for text in wanted if text not in shown]
    frame.get_by_role("region", name="Errors").get_by_role("link").first.click()
    frame.get_by_role("heading", name="Contacts", exact=True).wait_for()
    return wrong


def addresses(flow: str, run: str) -> dict[str, str]:
    """Names and paths of the pages in the tabs."""
    return {
        "request": f"/whatsapp-flows/tasks/{flow}/{run}/create/-1",
        "flow": f"/whatsapp-flows/flows/{flow}?step=Create",
        "walk": f"/whatsapp-flows/runs/{flow}/{run}",
    }


def look_at_walk(page: Page, place: tuple[str, str], shoot: Shoot) -> list[str]:
    """Open the tab Walk of a run of a flow, and follow a request to its task.

    Args:
        page: of the browser.
        place: id of the flow, and of its run.
        shoot: takes pictures.
    """
    flow, run = place
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto(f"/dags/{flow}/runs/{run}")
    page.get_by_role("link", name="Walk", exact=True).click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Walk").wait_for()
    shoot(page, "tabs-walk")
    shown = frame.locator("tbody").inner_text()
    wrong = [f"the tab Walk lacks {text!r}" for text in ("Ask name", "Create", "422") if text not in shown]
    frame.get_by_role("link", name="422").click()
    frame.get_by_role("heading", name="Create").first.wait_for()
    return wrong
