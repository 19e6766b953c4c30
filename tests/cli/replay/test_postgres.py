"""A replay whose ledger is in PostgreSQL."""

from __future__ import annotations

import json

from tests.cli.replaying import Leads, json_lines
from tests.servers.postgres import PostgresServer
from tests.servers.recording import Answer, RecordingServer


def test_run_status_list_and_results_are_the_same(
    leads: Leads, server: RecordingServer, postgres: PostgresServer
) -> None:
    leads.write(1200, json_lines([{"contact": {}}]), "{\n")
    leads.ledger_url = postgres.create_database()
    server.queued += [Answer(422), Answer(422)]

    ran = leads.run("--replay-id", "first")
    again = leads.run("--replay-id", "second", "--format", "json")

    told, results = leads.status("first"), leads.results("first")
    (listed, _) = json.loads(leads.replay("list", "--format", "json").out)
    assert (ran.status, told["completed"], told["failed"], told["rejected"]) == (3, 1198, 2, 2)
    assert "rejected: 1 row missing_id" in ran.out
    assert ": 2 contacts" in ran.out
    assert [one["id"] for one in results[:1200]] == [f"r-{n}" for n in range(1200)]
    assert (again.status, listed["replay_id"], listed["skipped"], len(server.received)) == (3, "second", 1198, 1202)


def test_a_table_of_the_user_may_be_in_postgresql(leads: Leads, postgres: PostgresServer) -> None:
    leads.write(2)
    leads.run("--replay-id", "first")
    url = postgres.create_database()

    for _ in range(2):
        done = leads.replay("results", "first", "--to", url, "--table", "public.crm_log")

        assert (done.status, done.out) == (0, "2 rows of the replay first in the table public.crm_log\n"), done.err
