"""The pages in a real Airflow and a real browser; takes three minutes.

The script starts a replay as a DAG run, watches it on its page until it ends, filters its contacts, opens one of them,
downloads the results, follows a link back into Airflow, resolves a contact in doubt, and retries those with one error.
It runs the flow for one contact, opens the tab of its action, and sends the request again with the command that is
copied there; in the tab of the DAG it follows an error of a step. It stops a long replay, resumes it, and erases a
person. It looks at every page in both themes, and on a screen of 390 pixels::

    python -m tests.airflow.pages [--screenshots FOLDER]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.airflow.browser import Shoot, find_barriers, open_browser, read_shoot, run_checks
from tests.airflow.changes import erase, stop_and_resume
from tests.airflow.replay_with_killed_worker import DAG_FILE, Api, running_airflow, wait_until
from tests.airflow.tabs import addresses, look_at_flow, look_at_request, look_at_walk, run_contact
from tests.servers.recording import Answer, Received, RecordingServer

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, FrameLocator, Page

FLOW = "shop_leads"
REPLAY = f"{FLOW}__replay"
RUN = "by-hand"
ONE = "for-one-contact"
REPLAY_ID = f"{FLOW}__{RUN}"
CONTACTS = 200
FAILED, LOST = range(100, 108), range(150, 153)
REFUSED = set(FAILED)
CANARY = "s3cret-canary-7291"
HOSTILE = "<script>document.title = 'broken'</script>\u202e"


def main() -> int:
    """Run all checks; returns 0 if every promise was kept, or if there is no browser."""
    shoot = read_shoot(__doc__)
    return run_checks(lambda folder: run(folder, shoot))


def answer(request: Received) -> Answer:
    """Answer slowly enough to be watched; some contacts are refused, and some replies are lost."""
    number = json.loads(request.content)["number"]
    time.sleep(0.06)
    if number in REFUSED:
        return Answer.json({"error": HOSTILE, "token": CANARY, "call": "+525512345678"}, 422)
    return Answer(drop=True) if number in LOST else Answer.json({"id": number})


def run(folder: Path, shoot: Shoot) -> list[str]:
    """Run the checks in a folder; returns broken promises."""
    server = RecordingServer(answer)
    write_dags(folder)
    connection = server.url.replace("://", f"://ana:{CANARY}@")
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    settings = {"AIRFLOW_CONN_CRM": connection, "AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS": server.host}
    noise: list[str] = []
    try:
        with running_airflow(folder, server.url, ledger, REPLAY, settings) as api, open_browser(api.address) as page:
            page.on("pageerror", lambda error: noise.append(f"{page.url}: {error}"))
            page.on("console", lambda message: noise.extend(_noise(message)))
            wrong = watch(page, api, shoot)
            wrong += look(page, shoot)
            wrong += resolve(page, shoot)
            run_contact(api, FLOW, ONE, f"+52555{FAILED[0]:07}", HOSTILE)
            wrong += look_at_request(page, server, (FLOW, ONE), shoot)
            wrong += look_at_walk(page, (FLOW, ONE), shoot)
            wrong += look_at_flow(page, FLOW, shoot)
            wrong += retry(page, shoot)
            wrong += stop_and_resume(page, api, FLOW, folder, shoot)
            wrong += fit(page, shoot)
            wrong += erase(page, f"+52555{CONTACTS - 1:07}", shoot)
    finally:
        server.close()
    return [*wrong, *(f"the browser's console says {one}" for one in noise)]


def _noise(message: ConsoleMessage) -> list[str]:
    is_own = "/whatsapp-flows/" in message.location.get("url", "")
    return [message.text] if message.type == "error" and is_own else []


def write_dags(folder: Path) -> None:
    """Write the DAG file, a flow and its responses, and a broken flow."""
    flows = folder / "dags" / "flows"
    flows.mkdir(parents=True)
    (folder / "dags" / "flows_of_this_test.py").write_text(DAG_FILE, encoding="utf-8")
    health = "from airflow_whatsapp_flows.dag_factory import raise_faults  # airflow dag\nraise_faults('flows')\n"
    (folder / "dags" / "health_of_this_test.py").write_text(health, encoding="utf-8")
    source = folder / "responses.jsonl"
    rows = (
        {"id": f"r/{n}", "contact": {"phone": f"+52555{n:07}"}, "step": {"Ask name": HOSTILE}} for n in range(CONTACTS)
    )
    source.write_text("\n".join([*map(json.dumps, rows), "not JSON"]), encoding="utf-8")
    flow = {
        "flow_format": 1,
        "id": FLOW,
        "name": f"Leads {HOSTILE}",
        "replay": {"source": str(source), "concurrency": 2, "fail_when": "never"},
        "steps": [
            {"name": "Ask name", "type": "question", "next": "Create"},
            {
                "name": "Create", "type": "action", "connection": "crm", "url": "/contacts", "retry": {"attempts": 1},
                "body": {"number": "{{ contact.phone | replace('+52555', '') | int }}", "name": "{{ step.Ask name }}"},
            },
        ],
    }  # fmt: skip
    (flows / f"{FLOW}.json").write_text(json.dumps(flow), encoding="utf-8")
    (flows / "offer.json").write_text('{"flow_format": 1,\n  "id": "offer", "stepps": []}', encoding="utf-8")


def watch(page: Page, api: Api, shoot: Shoot) -> list[str]:
    """Start the replay, open its page from the navigation, and watch it there until it ends."""
    page.goto("/")
    page.get_by_role("link", name="WhatsApp").click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Nothing was sent yet").wait_for()
    shoot(page, "pages-first")
    api("POST", f"/dags/{REPLAY}/dagRuns", {"dag_run_id": RUN, "logical_date": None})

    def is_listed() -> bool:
        page.reload()
        frame.get_by_role("heading", name="Flows", exact=True).wait_for()
        return frame.get_by_role("link", name=REPLAY_ID).count() > 0

    wait_until("the replay is listed", is_listed)
    frame.get_by_role("link", name=REPLAY_ID).first.click()
    tile = frame.locator("#tile-completed b")
    tile.wait_for()
    seen = {tile.inner_text()}
    tile.evaluate("() => { window.opened = true }")

    def has_ended() -> bool:
        seen.add(tile.inner_text())
        return "With errors" in frame.locator("main").inner_text()

    wait_until("the replay has ended", has_ended)
    frame.get_by_role("link", name="Show its errors and contacts").wait_for()
    shoot(page, "pages-replay")
    wrong = [] if tile.evaluate("() => window.opened") else ["the page was loaded again while the replay ran"]
    return wrong if len(seen) >= 3 else [*wrong, f"the page shows no progress: {sorted(seen)}"]


def look(page: Page, shoot: Shoot) -> list[str]:
    """Read what the replay's page says, follow it to a contact, and from there into Airflow."""
    frame = page.frame_locator("iframe")
    page.reload()
    frame.locator("#tile-failed b").wait_for()
    counts = dict(zip(STATES, frame.locator(".tiles b").all_inner_texts(), strict=True))
    expected = {"completed": CONTACTS - len(FAILED) - len(LOST), "failed": len(FAILED), "in_doubt": len(LOST)}
    wrong = [f"{state}: {counts[state]}" for state, count in expected.items() if counts[state] != str(count)]
    wrong += _leaks(frame, "the replay's page")
    with page.expect_download() as download:
        frame.get_by_role("link", name="JSON Lines").first.click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    if len(lines) != CONTACTS + 1:
        wrong.append(f"the download has {len(lines)} lines")
    frame.locator("#tile-failed").click()
    frame.get_by_role("link", name=f"r/{FAILED[0]}", exact=True).click()
    frame.get_by_role("heading", name=f"r/{FAILED[0]}").wait_for()
    shoot(page, "pages-contact")
    shown = frame.locator("main").inner_text()
    wrong += [f"the contact's page lacks {text!r}" for text in ("422", "+52…78", "Arrived") if text not in shown]
    wrong += _leaks(frame, "the contact's page")
    deep = page.url
    page.goto(deep)
    frame.get_by_role("heading", name=f"r/{FAILED[0]}").wait_for()
    frame.get_by_role("link", name=REPLAY_ID).first.click()
    frame.get_by_role("link", name=RUN, exact=True).click()
    page.wait_for_url(f"**/dags/{REPLAY}/runs/**")
    return wrong


def resolve(page: Page, shoot: Shoot) -> list[str]:
    """Record that a request in doubt arrived."""
    page.goto(f"/plugin/whatsapp-flows/whatsapp-flows/replays/{REPLAY_ID}/contacts/r~2F{LOST[-1]}")
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="It arrived").click()
    dialog = frame.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").click()
    frame.get_by_role("button", name="It arrived").click()
    shoot(page, "pages-dialog")
    dialog.get_by_role("button", name="Record it").click()
    frame.get_by_text("sent, by").wait_for()
    shown = frame.locator("main").inner_text()
    return [] if "Pending" in shown else [f"the contact is not pending: {shown[:500]}"]


def retry(page: Page, shoot: Shoot) -> list[str]:
    """Retry the contacts with one error, now that the server takes them, and watch them complete."""
    REFUSED.clear()
    page.goto(f"/plugin/whatsapp-flows/whatsapp-flows/replays/{REPLAY_ID}")
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="Retry this group").click()
    dialog = frame.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("the CRM has the field now")
    shoot(page, "pages-retry")
    dialog.get_by_role("button", name="Start the run").click()
    note = frame.get_by_text("retries contacts")
    note.wait_for()
    tile = frame.locator("#tile-failed b")
    wait_until("the retry has ended", lambda: "has ended" in note.inner_text())
    shoot(page, "pages-retried")
    # The contact whose request was recorded as arrived is resumed too.
    counts = dict(zip(STATES, frame.locator(".tiles b").all_inner_texts(), strict=True))
    wrong = [] if tile.inner_text() == "0" else [f"{tile.inner_text()} contacts are still failed after a retry"]
    if counts["completed"] != str(CONTACTS - len(LOST) + 1):
        wrong.append(f"after the retry there are {counts}")
    note.get_by_role("link").click()
    page.wait_for_url(f"**/dags/{REPLAY}/runs/manual__**")
    return wrong


STATES = ("completed", "skipped", "failed", "in_doubt", "rejected", "pending")


def _leaks(frame: FrameLocator, where: str) -> list[str]:
    html = frame.locator("html").evaluate("html => html.outerHTML")
    return [f"{where} contains {text!r}" for text in (CANARY, "+52555", "\u202e", "<script>document") if text in html]


def fit(page: Page, shoot: Shoot) -> list[str]:
    """Look at every page in both themes, wide and narrow."""
    own = f"/whatsapp-flows/replays/{REPLAY_ID}"
    paths = {"overview": "/whatsapp-flows/", "replays": "/whatsapp-flows/replays", "replay": own}
    paths |= {"contact": f"{own}/contacts/r~2F{LOST[0]}", **addresses(FLOW, ONE)}
    paths["person"] = f"/whatsapp-flows/people?q=%2B52555{LOST[0]:07}"
    paths["erase"] = f"/whatsapp-flows/people/erase?q=%2B52555{LOST[0]:07}"
    wrong = []
    for theme in ("light", "dark"):
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for width in (1400, 390):
            page.set_viewport_size({"width": width, "height": 900})
            for name, path in paths.items():
                reply = page.goto(path)
                page.locator("h1").first.wait_for()
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                if reply is None or reply.status != 200 or wide > 0:
                    wrong.append(f"{path} at {width} pixels: {reply and reply.status}, {wide} pixels too wide")
                if page.evaluate("document.documentElement.classList.contains('dark')") != (theme == "dark"):
                    wrong.append(f"{path} is not {theme}")
                wrong += [f"{path} at {width} pixels, {theme}: {one}" for one in find_barriers(page)]
                shoot(page, f"pages-{name}-{theme}-{width}")
    if page.title().startswith("broken"):
        wrong.append("a text was run as a script")
    page.goto(paths["person"])
    if "In doubt" not in page.locator("tbody").inner_text():
        wrong.append("the page of a person lacks their request")
    page.goto("/whatsapp-flows/")
    if "stepps" not in page.locator("main").inner_text():
        wrong.append("the faults of the broken flow are not shown")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
