"""What is changed on the pages, in a real browser: a replay is stopped and resumed, and a person is erased."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.airflow.browser import Shoot
from tests.airflow.replay_with_killed_worker import Api, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = 800  # contacts of the replay that is stopped
FIRST = 10_000  # number of the first of them


def stop_and_resume(page: Page, api: Api, flow: str, folder: Path, shoot: Shoot) -> list[str]:
    """Start a long replay, stop its run on its page while it sends, and resume what is pending by another run."""
    source = folder / "long.jsonl"
    answers = {"step": {"Ask name": "Ana"}}
    rows = ({"id": f"long-{n}", "contact": {"phone": f"+52555{FIRST + n:07}"}, **answers} for n in range(LONG))
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run = "long"
    body = {"dag_run_id": run, "logical_date": None, "conf": {"source": str(source)}}
    api("POST", f"/dags/{flow}__replay/dagRuns", body)
    own = f"/plugin/whatsapp-flows/whatsapp-flows/replays/{flow}__{run}"
    frame = page.frame_locator("iframe")

    def count_completed() -> int:
        tile = frame.locator("#tile-completed b")
        return int(tile.inner_text().replace(",", "")) if tile.count() else 0

    def is_sending() -> bool:
        page.goto(own)
        frame.locator("h1").first.wait_for()
        return count_completed() > 0

    def is_listed() -> bool:
        page.goto("/plugin/whatsapp-flows/whatsapp-flows/replays?q=long")
        frame.get_by_role("heading", name="Replays", exact=True).wait_for()
        return frame.get_by_role("link", name=f"{flow}__{run}").count() > 0

    wait_until("the long replay is listed", is_listed)
    wait_until("the long replay sends", is_sending)
    frame.get_by_role("button", name="Stop").click()
    shoot(page, "pages-stop")
    frame.get_by_role("dialog").get_by_role("button", name="Stop the run").click()
    frame.get_by_text("is marked as failed").wait_for()
    state = api("GET", f"/dags/{flow}__replay/dagRuns/{run}")["state"]
    wrong = [] if state == "failed" else [f"the run that was stopped is {state}"]

    def can_resume() -> bool:
        page.goto(own)
        frame.locator("#tile-pending b").wait_for()
        return frame.get_by_role("button", name="Resume").count() > 0

    wait_until("the replay has stopped", can_resume)
    shoot(page, "pages-stopped")
    before = count_completed()
    if not 0 < before < LONG:
        wrong.append(f"{before} of {LONG} contacts are completed when the replay has stopped")
    frame.get_by_role("button", name="Resume").click()
    frame.get_by_role("dialog").get_by_role("button", name="Start the run").click()
    note = frame.get_by_text("retries contacts")
    note.wait_for()
    ended = ("has ended", "has failed")
    wait_until("the resumed replay has ended", lambda: any(one in note.inner_text() for one in ended))
    shoot(page, "pages-resumed")
    in_doubt = int(frame.locator("#tile-in_doubt b").inner_text())
    if count_completed() + in_doubt != LONG or in_doubt > 2:  # at most what was in flight when the task was killed
        wrong.append(f"after it was resumed, {count_completed()} of {LONG} contacts are completed, {in_doubt} in doubt")
    return wrong


def erase(page: Page, phone: str, shoot: Shoot) -> list[str]:
    """Erase a person on their page, and look at what remains."""
    page.goto(f"/plugin/whatsapp-flows/whatsapp-flows/people?q=%2B{phone.lstrip('+')}")
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="Erase this person's data").click()
    frame.get_by_role("heading", name="This is erased").wait_for()
    shoot(page, "pages-erase")
    frame.get_by_role("button", name="Erase for good").click()
    frame.get_by_text("Erased: 1 contact and 1 request").wait_for()
    shoot(page, "pages-erased")
    frame.get_by_role("link", name="Show what remains").click()
    frame.get_by_role("heading", name="What remains of an erased person").wait_for()
    shoot(page, "pages-remains")
    shown = frame.locator("main").inner_text()
    wrong = [f"what remains of a person lacks {text!r}" for text in ("erased by", "Success") if text not in shown]
    return [*wrong, *(["the phone number remains"] if phone in shown else [])]
