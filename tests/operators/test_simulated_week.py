"""A week of a scheduled sync that sends only what changed: a model says what the CRM holds, after how many requests."""

from __future__ import annotations

import datetime as dt
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_whatsapp_flows import build_replay_dag
from airflow_whatsapp_flows.cli import main
from airflow_whatsapp_flows.flow.loading.load import load_flow
from tests.airflow_runs import FinishedRun
from tests.operators.clearing import run_cleared
from tests.operators.flows import action, flow
from tests.operators.starting import start_runs
from tests.servers.recording import Answer, Received, RecordingServer

pytestmark = [pytest.mark.usefixtures("airflow"), pytest.mark.long]

START = dt.datetime(2026, 11, 20, tzinfo=dt.timezone.utc)
STEP = dt.timedelta(hours=12)
RUNS = 14
DOWN, SKIPPED, AFTER = 4, (6, 7), 9
"""The CRM is down in one run; two are left out at first, and backfilled later."""
DONE = {"success", "skipped"}
QUERY = (
    'SELECT id, id AS "contact.key", name AS "contact.first_name", deleted AS "contact.deleted", '
    'updated_at AS "contact.updated_at" FROM leads '
    # A day is read again, for rows that arrive late.
    "WHERE updated_at >= datetime(:data_interval_start, '-1 day') AND updated_at < datetime(:data_interval_end) "
    "ORDER BY id"
)


class Leads:
    """The table, and what happens to it."""

    def __init__(self, file: Path) -> None:
        self.file, self.chance, self.last = file, random.Random(14), 0
        self._write("CREATE TABLE leads (id TEXT PRIMARY KEY, name TEXT, deleted TEXT, updated_at TEXT)")

    def live(self, number: int) -> None:
        """What happens in one interval: new, changed, touched, deleted, restored, and late rows."""
        at = START + number * STEP
        for late in (0, 0, 0, 12 if number > 2 else 0):
            self.last += 1
            self._put(
                f"l-{self.last:03}", f"name {self.last}", "no", at + dt.timedelta(hours=1) - dt.timedelta(hours=late)
            )
        known = self.rows()
        for which, (id_, name, deleted, _) in enumerate(self.chance.sample(known, min(8, len(known)))):
            change = ("rename", "rename", "touch", "touch", "touch", "delete", "restore", "rename")[which]
            name = f"{name}+" if change == "rename" else name
            deleted = {"delete": "yes", "restore": "no"}.get(change, deleted)
            self._put(id_, name, deleted, at + dt.timedelta(hours=2, minutes=which))

    def rows(self, number: int | None = None) -> list[tuple[str, str, str, str]]:
        """All rows, or those that the run of an interval reads."""
        with closing(sqlite3.connect(self.file)) as connection:
            rows = connection.execute("SELECT * FROM leads ORDER BY id").fetchall()
        if number is None:
            return rows
        begin, end = START + number * STEP - dt.timedelta(days=1), START + (number + 1) * STEP
        return [row for row in rows if _text(begin) <= row[3] < _text(end)]

    def _put(self, *row: Any) -> None:
        self._write("INSERT OR REPLACE INTO leads VALUES (?, ?, ?, ?)", (*row[:3], _text(row[3])))

    def _write(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(statement, values)


class Crm:
    """What the server holds."""

    def __init__(self) -> None:
        self.contacts: dict[str, str] = {}
        self.is_down = False
        self.requests = 0

    def answer(self, request: Received) -> Answer:
        self.requests += 1
        if self.is_down:
            return Answer(503)
        key = request.target.rpartition("/")[2]
        if request.method == "DELETE":
            self.contacts.pop(key, None)
        else:
            self.contacts[key] = json.loads(request.content)["name"]
        return Answer()


class Model:
    """What the CRM must hold, and how many requests that takes. It knows only the table and the last requests."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[str, str]] = {}
        self.requests = 0

    def run(self, rows: list[tuple[str, str, str, str]]) -> int:
        """Take over the rows of a run; return how many requests that takes."""
        before = self.requests
        for id_, name, deleted, _ in rows:
            wanted = ("removed", "") if deleted == "yes" else ("saved", name)
            if self.sent.get(id_) != wanted:
                self.sent[id_] = wanted
                self.requests += 1
        return self.requests - before

    @property
    def contacts(self) -> dict[str, str]:
        return {id_: name for id_, (state, name) in self.sent.items() if state == "saved"}


def _text(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def sync(database: Path) -> DAG:
    """The flow of the sync: a conditional, and a request that saves or removes."""
    deleted = [{"field": "contact.deleted", "comparison": "exact", "value": "yes"}]
    once = {"retry": {"attempts": 1}}
    written = flow(
        {
            "name": "Choose", "type": "conditional", "otherwise": "Save",
            "paths": [{"name": "deleted", "conditions": deleted, "next": "Remove"}],
        },
        action("Save", method="PUT", url="/leads/{{ contact.key }}", body={"name": "{{ contact.first_name }}"}, **once),
        action("Remove", method="DELETE", url="/leads/{{ contact.key }}", **once),
        replay={
            "schedule": "0 */12 * * *", "source": f"sqlite:///{database}", "query": QUERY, "concurrency": 1,
            "send_when": "changed", "on_changed": "update", "stop_when_refused": False,
        },
        airflow={"start_date": "2026-11-20"},
    )  # fmt: skip
    return build_replay_dag(load_flow(written))


def test_the_crm_holds_what_the_model_says(server: RecordingServer, tmp_path: Path, url: str) -> None:
    leads, crm, model = Leads(tmp_path / "leads.db"), Crm(), Model()
    server._script = crm.answer
    dag = sync(leads.file)
    run_ids = start_runs(dag, START, STEP, RUNS)

    def run(number: int) -> FinishedRun:
        return run_cleared(dag, run_ids[number], [])

    def clear(number: int) -> set[str | None]:
        return set(run_cleared(dag, run_ids[number], ["replay", "report"]).states.values())

    for number in range(RUNS):
        leads.live(number)
        if number in SKIPPED:
            continue
        expected = model.run(leads.rows(number))
        if number == DOWN:
            crm.is_down = True
            assert run(number).state == "failed"
            crm.is_down = False
            # What may have been applied is not sent again by a clear alone.
            replay_id = f"{dag.dag_id.removesuffix('__replay')}__{run_ids[number]}"
            assert main(["replay", "retry", replay_id, "--state", "in_doubt", "--ledger", url]) == 0
            assert clear(number) <= DONE
            model.requests += expected  # each was sent, and answered with 503
        else:
            assert run(number).state == "success", number
        assert (crm.contacts, crm.requests) == (model.contacts, model.requests), number
        if number == AFTER:  # a backfill
            for skipped in SKIPPED:
                model.run(leads.rows(skipped))
                assert run(skipped).state == "success"
                assert (crm.contacts, crm.requests) == (model.contacts, model.requests), skipped
    for number in (3, DOWN, RUNS - 1):  # an old interval brings nothing back
        assert clear(number) <= DONE

    assert crm.requests == model.requests
    assert crm.contacts == {id_: name for id_, name, deleted, _ in leads.rows() if deleted == "no"}
