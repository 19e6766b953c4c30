"""The second half of ``make demo``: 1,000 recorded responses, replayed against a CRM that fails in every way it can."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from demo_desk import call, say

FLOW = "dags/flows/campaign_leads.json"
REPLAY = "spring"
CAMPAIGN = "spring"
RESPONSES = 1000
REFUSED = tuple(range(100, 112))
"""Contacts that the CRM refuses until it is fixed."""
UNHEARD = (250, 500, 750)
"""Contacts that the CRM takes in, and whose reply gets lost however often they are sent."""
_NAMES = ("Ana María", "Luis", "Sofía", "Diego {{ 7*7 }}", "Camila", "Mateo", "Valentina", "Emiliano")
_WIDEST = 170
_STATES = 9  # lines of a summary, down to the number of requests
_STATUS = {3: ": it finished, and some contacts are failed, rejected, or in doubt"}
_INTERESTS = ("the yearly plan", "prices", "a visit to the shop", "delivery")


def replay_batch(crm: str, state: Path, repository: Path) -> bool:
    """Replay a batch, look at what failed, fix the CRM, and retry.

    Args:
        crm: base URL of the demo CRM.
        state: folder of the demo, which holds the CRM's database.
        repository: folder of the checkout, where commands run.

    Returns:
        Whether in the end the CRM holds every contact once, and the ledger says so.
    """
    batch = Batch(state, repository)
    say(f"Now the batch: {RESPONSES:,} recorded responses, to be sent to a CRM that has a bad day.\n")
    write_responses(batch.responses)
    call("PUT", f"{crm}/_switches", switches())
    say("  2 rows cannot be read, and 1 stands there twice. The CRM answers 1 request in 20 with 500, carries out 1 in")
    say("  25 and drops the reply, asks three times to slow down (429), and refuses 12 contacts (422).\n")
    batch.run("replay", "run", FLOW, "--responses", batch.shown, "--replay-id", REPLAY)
    batch.compare()
    say("Requests in doubt were sent, but their replies were lost. The client can't know that the CRM applied them,")
    say("so their contacts aren't completed, and nothing is sent again until a person decides.\n")

    say("Failed contacts (the first three):\n")
    batch.run("replay", "results", REPLAY, "--state", "failed", lines=3)
    say("The CRM is fixed: all its switches are off. Retry only the failed contacts:\n")
    call("DELETE", f"{crm}/_switches")
    batch.run("replay", "retry", REPLAY, lines=_STATES)

    say("Then the contacts in doubt. The flow has `delivery: keyed`: every attempt has the same Idempotency-Key, and")
    say("the CRM answers a known key with its first reply and does nothing, so they can be sent again.\n")
    batch.run("replay", "retry", REPLAY, "--state", "in_doubt", lines=_STATES)
    is_consistent = batch.compare()

    say("The first command now sends nothing:\n")
    batch.run("replay", "run", FLOW, "--responses", batch.shown, "--replay-id", REPLAY, lines=0)
    return is_consistent


class Batch:
    """The replay of the demo, and the two sides that tell what came of it.

    Args:
        state: folder of the demo.
        repository: folder of the checkout.
    """

    def __init__(self, state: Path, repository: Path) -> None:
        self.responses = state / "responses.jsonl"
        self.shown = os.path.relpath(self.responses, repository)
        self._database = state / "crm.db"
        self._repository = repository

    def run(self, *words: str, lines: int | None = None) -> None:
        """Show a command and run it; its progress goes to the terminal as it comes.

        Args:
            *words: behind the command's name.
            lines: how many lines of its output to show at most; None for all of them.
        """
        say(f"$ whatsapp-flows {shlex.join(words)}")
        done = self._run(words)
        for line in done.stdout.splitlines()[:lines]:
            say(f"  {line}".rstrip() if len(line) <= _WIDEST else f"  {line[:_WIDEST]}…")
        say(f"  (exit status {done.returncode}{_STATUS.get(done.returncode, '')})\n")

    def compare(self) -> bool:
        """Show the ledger's states beside what the CRM holds; returns whether all have ended, and are there once."""
        status = json.loads(self._run(("replay", "status", REPLAY, "--format", "json")).stdout)
        held = self.held()
        completed, in_doubt = self._phones("completed"), self._phones("in_doubt")
        lost, unexpected = completed - held.keys(), held.keys() - completed - in_doubt
        twice = sum(count - 1 for count in held.values())
        say("  the ledger says               the CRM holds")
        say(f"    completed {status['completed']:>6,}            of these  {len(completed & held.keys()):>6,}")
        say(f"    in doubt  {status['in_doubt']:>6,}            of these  {len(in_doubt & held.keys()):>6,}")
        say(f"    failed    {status['failed']:>6,}            others    {len(unexpected):>6,}")
        say(f"    rejected  {status['rejected']:>6,}            together  {len(held):>6,} contacts")
        say(f"    skipped   {status['skipped']:>6,}            lost      {len(lost):>6,}")
        say(f"    pending   {status['pending']:>6,}            twice     {twice:>6,}")
        say(f"    together  {status['total']:>6,} rows, in {status['requests']:,} requests\n")
        agreed = not (lost or unexpected or twice)
        say(f"  The two sides {'agree: nobody is lost, and nobody is there twice' if agreed else 'DO NOT AGREE'}.\n")
        ended = not (status["failed"] or status["in_doubt"] or status["pending"])
        return ended and status["total"] == RESPONSES and agreed

    def held(self) -> Counter[str]:
        """Phone numbers of the batch's leads in the CRM's own database, and how often each is there."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT data FROM leads").fetchall()
        leads = (json.loads(data) for (data,) in rows)
        return Counter(lead["phone"] for lead in leads if lead.get("campaign") == CAMPAIGN)

    def _phones(self, state: str) -> set[str]:
        lines = self._run(("replay", "results", REPLAY, "--state", state)).stdout.splitlines()
        return {phone(int(json.loads(line)["id"].removeprefix("lead-"))) for line in lines}

    def _run(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "airflow_whatsapp_flows.cli", *words]
        return subprocess.run(command, cwd=self._repository, stdout=subprocess.PIPE, text=True, check=False)


def write_responses(file: Path) -> None:
    """Write the recorded responses, one in each line; two of them are of no use and one is there twice."""
    file.write_text("".join(f"{line}\n" for line in _lines()), encoding="utf-8")


def switches() -> list[dict[str, Any]]:
    """What goes wrong at the CRM; the first switch that covers a request and fires decides."""
    leads = {"path": "/v1/leads"}
    return [
        {**leads, "phones": [phone(number) for number in REFUSED], "status": 422},
        {**leads, "phones": [phone(number) for number in UNHEARD], "drop": "after"},
        {**leads, "every": 300, "times": 3, "status": 429, "retry_after": 1},
        {**leads, "every": 20, "status": 500},
        {**leads, "every": 25, "drop": "after"},
    ]


def phone(number: int) -> str:
    """The phone number of a contact."""
    return f"+52552000{number:04}"


def response(number: int) -> dict[str, Any]:
    """What one contact answered."""
    name = _NAMES[number % len(_NAMES)]
    return {
        "id": f"lead-{number:04}",
        "contact": {"phone": phone(number), "first_name": name},
        "step": {"Ask name": name, "Ask interest": _INTERESTS[number % len(_INTERESTS)]},
        "flow_execution_variables": {"campaign": CAMPAIGN},
    }


def _lines() -> Iterator[str]:
    for number in range(1, RESPONSES + 1):
        recorded = response(number)
        if number == 42:
            del recorded["id"]
        if number == 43:
            yield '{"id": "lead-0043", "contact": {"phone": "+5255'
            continue
        yield json.dumps(response(44) if number == 45 else recorded, ensure_ascii=False)
