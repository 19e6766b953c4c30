"""A real browser for tests of Airflow's pages: Chromium without a window, driven by Playwright."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.airflow.promises import report

if TYPE_CHECKING:
    from playwright.sync_api import Page

REASON_FILE = Path(__file__).resolve().parents[2] / ".pytest_cache" / "no-browser.txt"
"""Why ``tests/servers/install_browser.sh`` could not install one."""
PATIENCE_MS = 60_000
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


Shoot = Callable[["Page", str], None]
"""Takes a picture of a page under a name, or does nothing."""


class NoBrowserError(Exception):
    """No browser is available; the message says why."""


def run_checks(run: Callable[[Path], list[str]]) -> int:
    """Run the checks of a script that needs a browser, and print the broken promises.

    Args:
        run: runs them in a temporary folder; returns broken promises.

    Returns:
        The exit status: 0 if every promise was kept, or if there is no browser.
    """
    try:
        find_chromium()
        with tempfile.TemporaryDirectory(prefix="whatsapp-flows-airflow-") as folder:
            broken = run(Path(folder))
    except NoBrowserError as why:
        print(f"SKIPPED: {why}")
        return 0
    return report(broken)


def read_shoot(description: str | None) -> Shoot:
    """Read the option ``--screenshots`` of a script; returns what leaves its pictures where the option says."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--screenshots", type=Path, help="a folder to leave pictures of the pages in")
    folder = options.parse_args().screenshots

    def shoot(page: Page, name: str) -> None:
        if folder is not None:
            page.screenshot(path=folder / f"{name}.png")

    return shoot


@contextmanager
def open_browser(address: str) -> Iterator[Page]:
    """A page of a browser that talks to loopback only.

    Args:
        address: of the pages; what they load from elsewhere is refused.

    Raises:
        NoBrowserError: there is no browser.
    """
    program = find_chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowserError(_why("playwright is not installed")) from None
    with sync_playwright() as playwright:
        # Chromium can't start its sandbox as root; it opens only our own pages here.
        sandboxed = hasattr(os, "geteuid") and os.geteuid() != 0
        arguments = [] if sandboxed else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            page = browser.new_context(viewport={"width": 1400, "height": 1800}, base_url=address).new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.route(
                "**/*", lambda route: route.continue_() if route.request.url.startswith(address) else route.abort()
            )
            yield page
        finally:
            browser.close()


def find_barriers(page: Page) -> list[str]:
    """What keeps people with a keyboard, a screen reader, or weak eyes from using a page, as far as axe-core finds it.

    Returns:
        Serious and critical violations, each with the elements that have it.
    """
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[element['html'][:120] for element in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def find_chromium() -> str:
    """The path of a Chromium.

    Raises:
        NoBrowserError: there is none.
    """
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    raise NoBrowserError(_why("no Chromium is installed"))


def _why(missing: str) -> str:
    """The reason why there is no browser."""
    reason = REASON_FILE.read_text(encoding="utf-8").strip() if REASON_FILE.exists() else missing
    return f"{reason}; run tests/servers/install_browser.sh"
