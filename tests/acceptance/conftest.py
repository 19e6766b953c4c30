"""Third-party programs, each started once; tests are skipped with a reason where one is not installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.acceptance.texts import NAUGHTY
from tests.acceptance.werkzeug_server import running_werkzeug
from tests.cli.conftest import cli as cli
from tests.cli.conftest import write as write
from tests.conftest import SHARED
from tests.servers.foreign_programs import NotInstalledError, find_program, run_node, running_express, running_php


def _of(program: AbstractContextManager[str]) -> Iterator[str]:
    try:
        url = program.__enter__()
    except NotInstalledError as missing:
        pytest.skip(str(missing))
    try:
        yield url
    finally:
        program.__exit__(None, None, None)


@pytest.fixture(scope="session")
def node() -> Callable[[str, bytes], bytes]:
    """Runs one of the scripts for Node.js: its name, and what it reads."""
    try:
        find_program("node")
    except NotInstalledError as missing:
        pytest.skip(str(missing))
    return run_node


@pytest.fixture(scope="session")
def php() -> Iterator[str]:
    """URL of PHP's own server."""
    yield from _of(running_php())


@pytest.fixture(scope="session")
def express() -> Iterator[str]:
    """URL of Express."""
    yield from _of(running_express())


@pytest.fixture(scope="session")
def werkzeug() -> Iterator[str]:
    """URL of Werkzeug, which is Flask's parser."""
    yield from _of(running_werkzeug())


@pytest.fixture(scope="session", params=["ours", "big list"])
def texts(request: pytest.FixtureRequest) -> list[str]:
    """Naughty texts: our own, and the Big List where it is at hand."""
    if request.param == "ours":
        return NAUGHTY
    file: Path = SHARED / "vectors" / "blns.json"
    if not file.exists():
        pytest.skip("the Big List of Naughty Strings is not beside the checkout")
    return [str(text) for text in json.loads(file.read_text(encoding="utf-8"))]
