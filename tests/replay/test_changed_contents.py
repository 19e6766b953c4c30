"""One day, replayed several times with changed rows: the CRM has the newest content of every contact."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_whatsapp_flows import build_dag
from tests.airflow_runs import run_dag
from tests.operators.one_action import new_dag_id
from tests.replay.runs import Run, response, sqlite_url
from tests.servers.crm_log import running_crm

TOTAL = 200
KEYED, IDEMPOTENT = "sync_keyed", "sync_put"


def response_with_name(number: int, name: str) -> dict[str, Any]:
    one = response(number)
    return {**one, "contact": {**one["contact"], "first_name": name}}


def body_hash(one: Mapping[str, Any]) -> str:
    body = {"phone": one["contact"]["phone"], "name": one["contact"]["first_name"]}
    return hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()


class Day:
    """The contents of one day's contacts in order, and the expected requests."""

    def __init__(self) -> None:
        self.contents: dict[int, list[dict[str, Any]]] = {n: [response_with_name(n, "first")] for n in range(TOTAL)}

    def change(self, numbers: list[int], name: str) -> None:
        for number in numbers:
            self.contents[number].append(response_with_name(number, name))

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        return (contents[-1] for contents in self.contents.values())

    @property
    def hashes(self) -> dict[str, list[str]]:
        """Those of the bodies to be applied, by phone number."""
        known = self.contents.values()
        return {contents[0]["contact"]["phone"]: [body_hash(one) for one in contents] for contents in known}


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("shape", [KEYED, IDEMPOTENT])
@pytest.mark.usefixtures("airflow")
def test_replays_a_changing_day_with_kills_and_a_dag_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, shape: str, database: str
) -> None:
    url = sqlite_url(tmp_path)
    if database == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    chance, day = random.Random(8), Day()
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__LEDGER", url)
    monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", "127.0.0.1")
    with running_crm(tmp_path / "crm.log", dedupe=shape == KEYED) as crm:

        def replay(number: int) -> Run:
            run = Run(
                tmp_path / f"{number}", crm, url, shape, total=TOTAL, replay_id=f"day-{number}",
                begin={"on_changed": "update"}, flow_keys={"replay": {"on_changed": "update"}},
            )  # fmt: skip
            run.write_responses(day.rows)
            return run

        first = replay(1)
        first.kill_until_done(2, chance, 60)
        assert not set(first.states()) - {"completed"}, first.states()

        day.change(chance.sample(range(TOTAL), TOTAL // 10), "second")
        # A DAG run brings one more change, between two replays.
        flow = json.loads(first.flow.read_text(encoding="utf-8"))
        by_run = next(number for number, contents in day.contents.items() if len(contents) == 1)
        day.change([by_run], "by a DAG run")
        dag = build_dag({**flow, "name": new_dag_id()})
        assert run_dag(dag, day.contents[by_run][-1]).state == "success"
        second = replay(2)
        second.kill_until_done(2, chance, 5)
        assert second.states() == {"completed": TOTAL // 10 + 1, "skipped": TOTAL - TOTAL // 10 - 1}

        # Content that changes back is sent again; the replays know the content that the run sent.
        changed = [number for number, contents in day.contents.items() if len(contents) == 2]
        day.change(chance.sample(changed, 5), "first")
        day.change(chance.sample(sorted(set(range(TOTAL)) - set(changed)), TOTAL // 10 - 5), "third")
        third = replay(3)
        third.kill_until_done(2, chance, 5)
        again = replay(4)
        ended = again.finish()

        assert ended.told["requests"] == 0
        assert set(again.states()) == {"skipped"}, again.states()
        assert set(third.states()) == {"completed", "skipped"}
        assert third.states()["completed"] == TOTAL // 10
        assert third.broken_promises(kills=first.kills + second.kills + third.kills, contents=day.hashes) == []


@pytest.mark.long
@pytest.mark.parametrize("shape", [KEYED, IDEMPOTENT])
def test_replays_only_changes_with_kills(tmp_path: Path, shape: str) -> None:
    """Rows that only look changed are not sent, whenever a process dies; of others the CRM has the newest content."""
    chance, day, keys = random.Random(14), Day(), {"on_changed": "update", "send_when": "changed"}
    with running_crm(tmp_path / "crm.log", dedupe=shape == KEYED) as crm:

        def replay(number: int) -> Run:
            run = Run(
                tmp_path / f"{number}", crm, sqlite_url(tmp_path), shape, total=TOTAL, replay_id=f"day-{number}",
                begin={"on_changed": "update"}, flow_keys={"replay": keys},
            )  # fmt: skip
            # No request has the version of a row.
            run.write_responses({**one, "contact": {**one["contact"], "version": number}} for one in day.rows)
            return run

        first = replay(1)
        first.kill_until_done(2, chance, 60)
        day.change(chance.sample(range(TOTAL), TOTAL // 10), "second")
        second = replay(2)
        second.kill_until_done(2, chance, 10)
        third = replay(3)
        ended = third.finish()

        assert first.states() == {"completed": TOTAL}
        assert second.states() == {"completed": TOTAL // 10, "skipped": TOTAL - TOTAL // 10}
        assert (ended.told["requests"], third.states()) == (0, {"skipped": TOTAL})
        kills = first.kills + second.kills
        assert second.broken_promises(kills=kills, contents=day.hashes) == []
