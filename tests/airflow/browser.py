"""A real browser for tests of Airflow's pages: Chromium without a window, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

REASON_FILE = Path(__file__).resolve().parents[2] / ".pytest_cache" / "no-browser.txt"
"""Why ``tests/servers/install_browser.sh`` could not install one."""
PATIENCE_MS = 60_000
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


class NoBrowserError(Exception):
    """No browser is available; the message says why."""


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
