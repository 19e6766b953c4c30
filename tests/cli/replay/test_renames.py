"""A renamed step is the same step: nothing is sent twice, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, CommandResult, Write, action, flow
from tests.servers.recording import Answer, RecordingServer

BODY = {"id": "{{ contact.phone }}"}
COUNT = 20


class Replays:
    """Replays of two actions, and their server."""

    def __init__(self, cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
        self.cli, self.write = cli, write
        self.answers: dict[str, int] = {}
        self.server = RecordingServer(lambda one: Answer.json({"id": 1}, self.answers.get(one.target, 200)))
        monkeypatch.setenv("AIRFLOW_CONN_CRM", self.server.url)
        monkeypatch.setenv("AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS", self.server.host)
        self.ledger = ["--ledger", ledger_url]
        values = [{"id": f"r-{n}", "contact": {"phone": f"+5255000000{n:02}"}} for n in range(COUNT)]
        self.responses = write("r.jsonl", "".join(json.dumps(value) + "\n" for value in values))

    def run(self, steps: list[dict[str, Any]], *words: object, replay_id: str = "b", **keys: Any) -> CommandResult:
        file = self.write("a_flow.json", flow(*steps, **keys))
        command = ["replay", "run", file, "--responses", self.responses, "--replay-id", replay_id]
        return self.cli(*command, *self.ledger, *words)

    def retry(self, steps: list[dict[str, Any]] | None, *words: object) -> CommandResult:
        new = [] if steps is None else ["--flow", self.write("new.json", flow(*steps))]
        return self.cli("replay", "retry", "b", *new, *self.ledger, *words)

    def count(self, target: str) -> int:
        return sum(one.target == target for one in self.server.received)

    @property
    def states(self) -> set[str]:
        rows = map(json.loads, self.cli("replay", "results", "b", *self.ledger).out.splitlines())
        return {row["state"] for row in rows}


@pytest.fixture(params=["sqlite", "postgresql"])
def replays(
    request: pytest.FixtureRequest, cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Replays]:
    postgres = request.param == "postgresql"
    url = request.getfixturevalue("postgres").create_database() if postgres else f"sqlite:///{tmp_path / 'l.db'}"
    made = Replays(cli, write, monkeypatch, url)
    yield made
    made.server.close()


def steps(first: str = "First", second: str = "Second", **more: Any) -> list[dict[str, Any]]:
    return [
        action(first, url="/v1/first", body=BODY, on_success=second, **more),
        action(second, url="/v1/second", body=BODY),
    ]


@pytest.fixture
def half_sent(replays: Replays) -> Replays:
    replays.answers = {"/v1/second": 422}
    assert replays.run(steps()).status == 3
    assert (replays.count("/v1/first"), replays.count("/v1/second")) == (COUNT, COUNT)
    replays.answers.clear()
    return replays


def test_a_renamed_step_is_not_resent_until_the_rename_is_confirmed(half_sent: Replays) -> None:
    refusal = half_sent.retry(steps("Primary"))

    assert refusal.status == 1
    assert "'First' was sent for 20 responses" in refusal.err
    assert "'Primary' does the same" in refusal.err
    assert '"id": "First"' in refusal.err
    assert "--renamed First=Primary" in refusal.err
    assert half_sent.states == {"failed"}

    done = half_sent.retry(steps("Primary"), "--renamed", "First=Primary")

    assert (done.status, half_sent.states) == (0, {"completed"})
    assert (half_sent.count("/v1/first"), half_sent.count("/v1/second")) == (COUNT, 2 * COUNT)


def test_a_step_that_gains_an_id_keeps_its_attempts(half_sent: Replays) -> None:
    done = half_sent.retry(steps("Primary", id="First"))

    assert (done.status, half_sent.states) == (0, {"completed"})
    assert (half_sent.count("/v1/first"), half_sent.count("/v1/second")) == (COUNT, 2 * COUNT)
    first = json.loads(half_sent.cli("replay", "results", "b", *half_sent.ledger).out.splitlines()[0])
    assert [(one["step"], one["attempts"]) for one in first["actions"]] == [("First", 1), ("Second", 2)]


def test_a_resume_and_another_replay_refuse_a_rename_too(half_sent: Replays) -> None:
    assert half_sent.retry(None).status == 0  # all is sent
    words = ["--accept-changed-flow"]

    resumed = half_sent.run(steps("Primary"), *words)
    other = half_sent.run(steps("Primary"), replay_id="other")

    assert (resumed.status, "--renamed First=Primary" in resumed.err) == (1, True)
    assert other.status == 0  # done elsewhere: nothing is sent
    assert half_sent.count("/v1/first") == COUNT
    assert half_sent.run(steps("Primary"), *words, "--renamed", "First=Primary").status == 0
    assert half_sent.count("/v1/first") == COUNT


def test_another_replay_of_contacts_that_failed_refuses_a_rename(half_sent: Replays) -> None:
    refusal = half_sent.run(steps("Primary"), replay_id="other")

    assert (refusal.status, "--renamed First=Primary" in f"{refusal.err}{refusal.out}") == (4, True)
    assert half_sent.count("/v1/first") == COUNT
    assert half_sent.run(steps("Primary"), "--renamed", "First=Primary", replay_id="other").status == 0
    assert (half_sent.count("/v1/first"), half_sent.count("/v1/second")) == (COUNT, 2 * COUNT)
    # From now on it applies on every road, including the first replay's.
    assert half_sent.retry(steps("Primary")).status in (0, 3)
    assert half_sent.count("/v1/first") == COUNT


def test_requests_in_doubt_stay_in_doubt_under_another_name(replays: Replays) -> None:
    replays.answers = {"/v1/first": 500}
    assert replays.run(steps()).status == 3
    replays.answers.clear()

    assert replays.retry(steps("Primary"), "--state", "in_doubt").status == 1
    done = replays.retry(steps("Primary"), "--state", "in_doubt", "--renamed", "First=Primary")

    assert (done.status, replays.states, replays.count("/v1/first")) == (3, {"in_doubt"}, COUNT)


def test_refuses_exchanged_names_until_each_step_has_an_id(half_sent: Replays) -> None:
    exchanged = [
        action("Second", url="/v1/first", body=BODY, on_success="First"),
        action("First", url="/v1/second", body=BODY),
    ]

    refusal = half_sent.retry(exchanged)
    flag = half_sent.retry(exchanged, "--renamed", "First=Second", "--renamed", "Second=First")

    assert (refusal.status, "it is unknown which of them is that step" in refusal.err) == (1, True)
    assert (flag.status, "give each an" in flag.err) == (1, True)
    with_ids = [{**exchanged[0], "id": "First"}, {**exchanged[1], "id": "Second"}]
    assert half_sent.retry(with_ids).status == 0
    assert (half_sent.count("/v1/first"), half_sent.count("/v1/second")) == (COUNT, 2 * COUNT)


def test_a_chain_of_renames_is_refused_until_each_step_has_an_id(half_sent: Replays) -> None:
    chain = steps("Second", "Third")

    refusal = half_sent.retry(chain)

    assert (refusal.status, half_sent.count("/v1/first")) == (1, COUNT)
    with_ids = [{**chain[0], "id": "First"}, {**chain[1], "id": "Second"}]
    assert half_sent.retry(with_ids).status == 0
    assert (half_sent.count("/v1/first"), half_sent.count("/v1/second")) == (COUNT, 2 * COUNT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["First=Primari"], "did you mean 'Primary'", id="no such step"),
        pytest.param(["Second=Primary"], "still has a step known as 'Second'", id="still there"),
        pytest.param(["First=Primary", "Other=Primary"], "only one previous name", id="merged"),
    ],
)
def test_rejects_an_impossible_rename(half_sent: Replays, words: list[str], message: str) -> None:
    options = [part for word in words for part in ("--renamed", word)]

    done = half_sent.retry(steps("Primary"), *options)

    assert (done.status, message in done.err) == (1, True)
    assert half_sent.count("/v1/first") == COUNT


def test_a_step_renamed_back_is_the_same_step(half_sent: Replays) -> None:
    half_sent.answers = {"/v1/second": 422}
    assert half_sent.retry(steps("Primary"), "--renamed", "First=Primary").status == 3
    half_sent.answers.clear()

    done = half_sent.retry(steps())

    assert (done.status, half_sent.states) == (0, {"completed"})
    assert half_sent.count("/v1/first") == COUNT


def test_a_new_step_that_takes_the_old_name_needs_an_id(half_sent: Replays) -> None:
    assert half_sent.retry(steps("Primary"), "--renamed", "First=Primary").status == 0
    taken = [*steps("Primary"), action("First", url="/v1/third", body=BODY)]
    taken[1]["on_success"] = "First"

    refusal = half_sent.retry(taken, "--state", "completed")

    assert (refusal.status, "give that step its own" in refusal.err) == (1, True)
    with_id = [*taken[:2], {**taken[2], "id": "third"}]
    assert half_sent.retry(with_id, "--state", "completed").status == 0
    assert (half_sent.count("/v1/first"), half_sent.count("/v1/third")) == (COUNT, COUNT)


def test_a_removed_step_is_reported(half_sent: Replays) -> None:
    other = [action("Third", url="/v1/third", body=BODY, on_success="Second"), steps()[1]]

    assert half_sent.retry(other).status == 1
    assert half_sent.retry(other, "--renamed", "First=").status == 0
    assert (half_sent.count("/v1/first"), half_sent.count("/v1/third")) == (COUNT, COUNT)


def test_keys_stay_the_same_when_a_step_gets_a_platform_id(replays: Replays) -> None:
    keyed = steps(delivery="keyed", retry={"attempts": 1})
    replays.answers = {"/v1/first": 503}
    assert replays.run(keyed).status == 3
    replays.answers.clear()
    imported = [{**keyed[0], "platform_id": "77"}, keyed[1]]

    assert replays.retry(imported, "--state", "in_doubt").status == 0

    sent = [one for one in replays.server.received if one.target == "/v1/first"]
    keys = {one.header("Idempotency-Key") for one in sent}
    assert (len(sent), len(keys)) == (2 * COUNT, COUNT)
    renamed = [{**imported[0], "name": "Primary"}, imported[1]]
    assert replays.retry(renamed, "--renamed", "First=Primary", "--state", "completed").status == 0
    assert replays.count("/v1/first") == 2 * COUNT


def test_a_step_with_a_platform_id_can_be_renamed_freely(replays: Replays) -> None:
    replays.answers = {"/v1/second": 422}
    assert replays.run(steps(platform_id="77")).status == 3
    replays.answers.clear()

    assert replays.retry(steps("Primary", platform_id="77")).status == 0
    assert (replays.count("/v1/first"), replays.count("/v1/second")) == (COUNT, 2 * COUNT)


def test_only_once_counts_what_was_sent_under_another_name(replays: Replays) -> None:
    once = {"replay": {"only_once": True}}
    assert replays.run(steps(), **once).status == 0
    for row in ("other", "one more"):
        values = [{"id": f"{row}-{n}", "contact": {"phone": f"+5255000000{n:02}"}} for n in range(COUNT)]
        replays.responses = replays.write("more.jsonl", "".join(json.dumps(value) + "\n" for value in values))
        assert replays.run(steps("Primary"), replay_id=row, **once).status == 0
    assert (replays.count("/v1/first"), replays.count("/v1/second")) == (COUNT, COUNT)


def test_refuses_a_rename_after_other_contacts_used_the_new_name(half_sent: Replays) -> None:
    batch = half_sent.responses
    half_sent.responses = half_sent.write("new.jsonl", json.dumps({"id": "n-1", "contact": {"phone": "+525511"}}))
    assert half_sent.run(steps("Primary"), replay_id="new").status == 0
    half_sent.responses = batch

    refusal = half_sent.run(steps("Primary"), replay_id="other", timezone="America/Lima")

    assert (refusal.status, "--renamed First=Primary" in f"{refusal.err}{refusal.out}") == (4, True)
    assert half_sent.count("/v1/first") == COUNT + 1


def test_refuses_exchanged_names_after_other_contacts_used_them(half_sent: Replays) -> None:
    def steps_with_exchanged_names() -> list[dict[str, Any]]:
        return [
            action("Second", url="/v1/first", body=BODY, on_success="First"),
            action("First", url="/v1/second", body=BODY),
        ]

    batch = half_sent.responses
    half_sent.responses = half_sent.write("new.jsonl", json.dumps({"id": "n-1", "contact": {"phone": "+525511"}}))
    assert half_sent.run(steps_with_exchanged_names(), replay_id="new").status == 0
    half_sent.responses = batch

    refusal = half_sent.run(steps_with_exchanged_names(), replay_id="other", timezone="America/Lima")

    assert (refusal.status, "it is unknown which of them is that step" in f"{refusal.err}{refusal.out}") == (4, True)
    assert half_sent.count("/v1/first") == COUNT + 1


@pytest.mark.parametrize("replay_id", ["b", "other"])
def test_a_plan_refuses_a_rename_with_the_message_of_a_run(half_sent: Replays, replay_id: str) -> None:
    file = half_sent.write("a_flow.json", flow(*steps("Primary")))
    words = [file, "--responses", half_sent.responses, "--replay-id", replay_id, *half_sent.ledger]
    words += ["--accept-changed-flow"] if replay_id == "b" else []

    plan = half_sent.cli("replay", "plan", *words)
    named = half_sent.cli("replay", "plan", *words, "--renamed", "First=Primary", "--format", "json")
    again = half_sent.cli("replay", "plan", *words)
    run = half_sent.cli("replay", "run", *words)

    (refusal,) = [line for line in plan.err.splitlines() if "'First' was sent for 20 responses" in line]
    assert plan.status == again.status == 1  # a plan does not store --renamed
    assert refusal.removeprefix("error: ") in f"{run.err}{run.out}"
    assert half_sent.count("/v1/first") == COUNT
    assert (named.status, json.loads(named.out)["calls_by_step"].get("Primary")) == (0, None)
    if replay_id == "other":
        assert json.loads(named.out)["calls_by_step"] == {"Second": COUNT}
