"""The pictures of the documentation, taken in a real Airflow and a real browser; takes three minutes.

The demo's 1,000 responses are replayed against the demo CRM on a bad day, in one DAG run, and one contact goes through
the flow of the README. Then each page is photographed in the light theme::

    python -m tests.airflow.screenshots docs/images
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.airflow.browser import NoBrowserError, open_browser
from tests.airflow.replay_with_killed_worker import Api, call, running_airflow, wait_until
from tests.servers.crm_log import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docker"))

from demo_crm.process import running
from demo_replay import REFUSED, response, switches, write_responses

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLOW, LEAD = "campaign_leads", "lead"
REPLAY = f"{FLOW}__replay"
RUN = "spring"
PAGES = "/plugin/whatsapp-flows/whatsapp-flows/"
WIDTH = 1280
GRAPH_WIDTH = 908
"""Without the pane of details beside the graph."""
ANSWERS = {"contact.phone": "+525512345678", "step.Ask name": "Ana María"}


def main() -> int:
    """Take all pictures; returns 0, or 1 if there is no browser."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="where the pictures go; those of the same names are replaced")
    into: Path = options.parse_args().folder.resolve()
    into.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="whatsapp-flows-airflow-") as folder:
            os.chdir(folder)  # Airflow reads the source of a replay there, whose path is in the pictures
            take_pictures(Path(folder), into)
    except NoBrowserError as why:
        print(why, file=sys.stderr)
        return 1
    return 0


def take_pictures(folder: Path, into: Path) -> None:
    """Run Airflow and the demo CRM in a folder, and take the pictures."""
    shutil.copytree(REPOSITORY / "dags", folder / "dags")
    (folder / "dags" / "flows" / f"{LEAD}.json").write_text(readme_flow(), encoding="utf-8")
    write_responses(folder / "spring.jsonl")
    settings = {"AIRFLOW__CORE__PARALLELISM": "4"}
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    with running(folder / "crm.db") as crm:
        call(f"{crm}/_switches", "PUT", switches())
        with running_airflow(folder, crm, ledger, REPLAY, settings) as api, open_browser(api.address) as page:
            page.goto("/")
            page.evaluate("localStorage.setItem('theme', 'light')")
            conf = {"source": "spring.jsonl", "note": "leads of the spring campaign"}
            start(api, REPLAY, RUN, conf)
            start(api, LEAD, "ana", ANSWERS)
            shoot_graph(page, api, into)
            shoot_replay(page, api, into)


def readme_flow() -> str:
    """The flow of the README, its first block of JSON."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return readme.partition("```json\n")[2].partition("```")[0]


def start(api: Api, dag_id: str, run: str, conf: dict[str, object]) -> None:
    """Trigger a DAG."""
    api("POST", f"/dags/{dag_id}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": conf})


def await_end(api: Api, dag_id: str, run: str) -> None:
    """Wait until a DAG run has ended."""
    path = f"/dags/{dag_id}/dagRuns/{run}"
    wait_until(f"{dag_id} has ended", lambda: api("GET", path)["state"] in ("success", "failed"))


def shoot(page: Page, file: Path, height: int, width: int = WIDTH) -> None:
    """Take a picture of a page in a window of some height, or of its left part."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    fit = page.get_by_role("button", name="Fit View")
    if fit.count():
        fit.click()
    page.wait_for_timeout(2000)  # Airflow moves its panes and graphs, and tells nobody when it is done
    page.screenshot(path=file, clip={"x": 0, "y": 0, "width": width, "height": height})


def shoot_graph(page: Page, api: Api, into: Path) -> None:
    """The graph of a run of the flow."""
    await_end(api, LEAD, "ana")
    page.goto(f"/dags/{LEAD}/runs/ana")
    page.get_by_role("button", name="Show Graph").click()
    page.get_by_text("Create contact").first.wait_for()
    shoot(page, into / "graph.png", 680, GRAPH_WIDTH)


def shoot_replay(page: Page, api: Api, into: Path) -> None:
    """The list of replays and flows, the page of the replay, and that of one of its contacts."""
    replay = f"replays/{FLOW}__{RUN}"
    page.goto(f"{PAGES}{replay}")
    frame = page.frame_locator("iframe")
    await_end(api, REPLAY, RUN)
    page.goto(PAGES)
    frame.get_by_role("link", name=f"{FLOW}__{RUN}").first.wait_for()
    shoot(page, into / "overview.png", 600)
    page.goto(f"{PAGES}{replay}")
    frame.locator("#tile-failed b").wait_for()
    shoot(page, into / "replay.png", 780)
    page.goto(f"{PAGES}{replay}/contacts/{response(REFUSED[0])['id']}")
    frame.get_by_role("heading", level=1).wait_for()
    shoot(page, into / "contact.png", 1000)


if __name__ == "__main__":
    sys.exit(main())
