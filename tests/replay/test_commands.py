"""Commands that people copy mean the names in them, whatever these are."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

import pytest

from airflow_whatsapp_flows.cli import add_commands
from airflow_whatsapp_flows.replay.commands import replay_command, why_not_copyable

NAMES = ["first", "--fingerprint=f-lost", "--handled", "-h", "-5", "a b; rm -rf $HOME", "it's", "`x`", "=", "", "ünï ☃"]
OPTIONS = {
    "resolve": ["--as sent", "--fingerprint f-1 --as not_sent", "--ledger sqlite:///x.db --as sent"],
    "retry": ["", "--handled", "--state in_doubt --fingerprint f-1", "--accept-duplicates"],
    "results": ["", "--state rejected"],
}
COMMANDS = [(verb, options) for verb, given in OPTIONS.items() for options in given]


def _parse(command: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="whatsapp-flows", exit_on_error=False)
    add_commands(parser)
    return parser.parse_args(shlex.split(command))


def _options(found: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(found).items() if name not in ("id", "response")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("verb", "options"), COMMANDS)
def test_no_replay_is_read_as_an_option(verb: str, options: str, name: str) -> None:
    found = _parse(replay_command(verb, name, options=options))
    assert found.id == name
    assert _options(found) == _options(_parse(replay_command(verb, "x", options=options)))


@pytest.mark.parametrize("response", NAMES)
@pytest.mark.parametrize("name", ["first", "--handled", "--"])
def test_no_response_is_read_as_an_option(name: str, response: str) -> None:
    found = _parse(replay_command("resolve", name, response, options="--as sent"))
    assert (found.id, found.response, found.as_) == (name, response, "sent")
    assert (found.fingerprint, found.handled, found.step) == (None, False, None)


def test_what_replaces_the_placeholder_is_not_read_as_an_option() -> None:
    command = replay_command("resolve", "first", "RESPONSE", options="--as sent")
    assert command == "replay resolve --as sent -- first RESPONSE"
    assert _parse(command.replace("RESPONSE", "--fingerprint=f-lost")).fingerprint is None


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "a\u202eb", "a\u200bb", "x" * 201])
def test_a_name_that_cannot_be_seen_whole_is_in_no_command(name: str) -> None:
    assert why_not_copyable("first", name)
    assert why_not_copyable(name, "r-1")
    assert replay_command("resolve", name, name, options="--as sent") == "replay resolve --as sent -- ID RESPONSE"
    assert replay_command("retry", name) == "replay retry ID"


def test_an_id_that_the_command_line_drops_is_in_no_command() -> None:
    assert why_not_copyable("first", "--")
    assert replay_command("resolve", "first", "--", options="--as sent") == "replay resolve --as sent -- first RESPONSE"
    assert why_not_copyable("--", "r-1") is None
    assert why_not_copyable("first", *NAMES[:1]) is None
