"""A replay of leads against a server on loopback, through the command line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.conftest import Cli, CommandResult, action, flow

LEADS = flow(
    {"name": "Ask name", "type": "question", "next": "Create contact"},
    action("Create contact", body_type="json", body={"name": "{{ step.Ask name }}", "phone": "{{ contact.phone }}"}),
    id="leads",
)


def lead(number: int, **more: Any) -> dict[str, Any]:
    contact = {"phone": f"+52551234{number:04}", "first_name": "Ana"}
    return {"id": f"r-{number}", "contact": contact, "step": {"Ask name": "Ana María"}, **more}


def json_lines(values: Sequence[Any]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


@dataclass
class Leads:
    """Files of a replay, and the arguments of commands that use them."""

    cli: Cli
    folder: Path
    url: str
    host: str
    ledger_url: str = ""

    def __post_init__(self) -> None:
        self.ledger_url = self.ledger_url or f"sqlite:///{self.database}"

    @property
    def flow(self) -> Path:
        return self.folder / "leads.json"

    @property
    def responses(self) -> Path:
        return self.folder / "leads.jsonl"

    @property
    def database(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def ledger(self) -> list[str]:
        return ["--ledger", self.ledger_url]

    @property
    def send_options(self) -> list[str]:
        return ["--connection", f"crm={self.url}", "--allow-host", self.host, *self.ledger]

    def write(self, count: int = 3, *more: str, flow: Any = LEADS) -> None:
        self.flow.write_text(json.dumps(flow), encoding="utf-8")
        text = json_lines([lead(n) for n in range(count)]) + "".join(more)
        if not self.responses.exists() or self.responses.read_text(encoding="utf-8") != text:
            self.responses.write_text(text, encoding="utf-8")  # a file that is written again is another source

    def run_words(self, *more: object) -> list[object]:
        return ["replay", "run", self.flow, "--responses", self.responses, *self.send_options, *more]

    def run(self, *more: object) -> CommandResult:
        return self.cli(*self.run_words(*more))

    def replay(self, *words: object) -> CommandResult:
        return self.cli("replay", *words, *self.ledger)

    def status(self, replay_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.replay("status", replay_id, "--format", "json").out)
        return found

    def results(self, replay_id: str, *more: object) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.replay("results", replay_id, *more).out.splitlines()]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.database) as connection:
            return connection.execute(statement).fetchall()
