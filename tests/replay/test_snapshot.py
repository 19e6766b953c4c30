"""Every row of a source becomes one contact, in one state, in one chunk."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.flow.identity import IdentityRule
from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.epochs import KnownResponse
from airflow_whatsapp_flows.ledger.replays import Replay, create_replay, find_replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.snapshot import Snapshot, classify_row, read_row
from airflow_whatsapp_flows.replay.sources import Row
from tests.replay.ledger_history import read_contacts, read_reasons, read_states
from tests.replay.runs import response


@pytest.fixture
def ledger(ledger_in_each: Ledger) -> Ledger:
    return ledger_in_each


def _url(ledger: Ledger) -> str:
    return ledger.url


def _replay(ledger: Ledger, name: str = "one") -> Replay:
    return create_replay(ledger, name, "crm_flow", "{}", ("r.jsonl", None))


def _rows(values: Iterable[Any]) -> Iterator[Row]:
    for number, value in enumerate(values, start=1):
        yield Row(number, f"r.jsonl:{number}", value)


def test_contacts_have_the_order_of_the_source(ledger: Ledger) -> None:
    replay, told = _replay(ledger), []

    taken = Snapshot(ledger, replay, on_rows=told.append).take(_rows(response(number) for number in range(1200)))

    assert (taken, told) == (1200, [500, 1000, 1200])
    assert [contact["id"] for contact in read_contacts(_url(ledger), "one")] == [f"r-{n:05}" for n in range(1200)]
    found = find_replay(ledger, "one")
    assert found is not None
    assert found.sealed


def test_a_failed_source_is_read_again_from_the_start(ledger: Ledger) -> None:
    replay = _replay(ledger)

    def broken_rows() -> Iterator[Row]:
        yield from _rows(response(number) for number in range(700))
        raise SourceError("cut off")

    with pytest.raises(SourceError):
        Snapshot(ledger, replay).take(broken_rows())
    found = find_replay(ledger, "one")
    assert found is not None
    assert not found.sealed

    Snapshot(ledger, replay).take(_rows(response(number) for number in range(700)))
    assert read_states(_url(ledger), "one") == {"pending": 700}


def test_all_responses_of_one_phone_are_in_one_chunk(ledger: Ledger) -> None:
    replay = _replay(ledger)
    values = [{**response(number), "contact": {"phone": f"+52{number % 7}"}} for number in range(1100)]

    Snapshot(ledger, replay, chunk_size=3).take(_rows(values))

    chunks = _chunks_by_phone(ledger)
    assert len(chunks) == 7
    assert all(len(found) == 1 for found in chunks.values())


SPELLINGS = ["+52 1 55 1234 5678", "+525512345678", "0052-55-1234-5678", 525512345678, "(52) 55 1234.5678"]


def test_all_spellings_of_a_phone_are_in_one_chunk(ledger: Ledger) -> None:
    values = [{"id": f"r-{number}", "contact": {"phone": spelt}} for number, spelt in enumerate(SPELLINGS)]

    Snapshot(ledger, _replay(ledger), chunk_size=2).take(_rows(values))

    assert _chunks_by_phone(ledger) == {"+525512345678": {0}}


@pytest.mark.parametrize(
    ("phone", "kept"),
    [
        ("+34 600 00 00 00", "+34600000000"),
        ("ana 1", "ana 1"),
        ("eva 1", "eva 1"),
        ("whatsapp:+34 600 00 00 00", "+34600000000"),
        ("  n/a ", None),
        ("---", None),
        ("", None),
        (None, None),
        (True, None),
        (["+52"], None),
        ("+52\x0055", "+52\ufffd55"),
        ("9" * 100, "9" * 64),
    ],
)
def test_stores_the_canonical_phone(phone: object, kept: str | None) -> None:
    assert IdentityRule().of({"phone": phone}).phone_for_storage == kept


def _person_of_each(values: list[dict[str, Any]]) -> list[int]:
    """The number of each row's person, found by following shared identifiers."""
    people = list(range(len(values)))
    holders: dict[tuple[str, object], int] = {}
    changed = True
    while changed:
        changed = False
        for row, value in enumerate(values):
            for pair in value["contact"].items():
                least = min(people[row], people[holders.setdefault(pair, row)])
                changed = changed or people[row] != least or people[holders[pair]] != least
                people[row] = people[holders[pair]] = least
    return people


@pytest.mark.parametrize("seed", range(12))
def test_all_responses_of_one_person_are_in_one_chunk(
    ledger: Ledger, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("airflow_whatsapp_flows.replay.snapshot._BATCH", chance.choice([1, 3, 7, 50]))
    values = []
    for number in range(150):
        contact: dict[str, Any] = {}
        if chance.random() < 0.7:
            contact["phone"] = f"+5255{chance.randrange(60):08}"
        for key, form in (("id", "{}"), ("user_id", "BR.{}"), ("email", "{}@example.com")):
            if chance.random() < 0.25:
                contact[key] = form.format(chance.randrange(90))
        values.append({"id": f"r-{number}", "contact": contact})

    Snapshot(ledger, _replay(ledger), chunk_size=4).take(_rows(values))

    with ledger.read() as connection:
        query = "SELECT response_id, chunk FROM whatsapp_flows_contacts ORDER BY id"
        chunks = [(name, chunk) for name, chunk in connection.exec_driver_sql(query)]
    assert [name for name, _ in chunks] == [value["id"] for value in values]
    of_person: dict[int, set[int]] = {}
    for person, (_, chunk) in zip(_person_of_each(values), chunks, strict=True):
        of_person.setdefault(person, set()).add(chunk)
    assert all(len(found) == 1 for found in of_person.values())
    assert len({chunk for _, chunk in chunks}) > 5  # and not simply all of them
    found = find_replay(ledger, "one")
    assert found is not None
    assert found.sealed


def _chunks_by_phone(ledger: Ledger) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    with ledger.read() as connection:
        for phone, chunk in connection.exec_driver_sql("SELECT phone, chunk FROM whatsapp_flows_contacts"):
            found.setdefault(phone, set()).add(chunk)
    return found


@pytest.mark.parametrize("apart", [1, 600])
def test_a_repeated_row_is_skipped_and_another_content_rejected(ledger: Ledger, apart: int) -> None:
    others = [response(number) for number in range(1, apart)]
    changed = {**response(0), "step": {"Ask": "yes"}}

    Snapshot(ledger, _replay(ledger)).take(_rows([response(0), *others, response(0), changed]))

    assert read_states(_url(ledger), "one") == {"pending": apart, "skipped": 1, "rejected": 1}
    reasons = read_reasons(_url(ledger), "one")
    assert reasons[apart + 1].startswith("duplicate: ")
    assert reasons[apart + 2].startswith("id_reused: ")


@pytest.mark.parametrize("apart", [1, 600])
def test_a_known_row_counts_for_later_rows(ledger: Ledger, apart: int) -> None:
    Snapshot(ledger, _replay(ledger)).take(_rows([response(0)]))
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE whatsapp_flows_contacts SET state = 'completed'")
    others = [response(number) for number in range(1, apart)]
    changed = {**response(0), "step": {"Ask": "yes"}}

    Snapshot(ledger, _replay(ledger, "two"), on_changed="update").take(
        _rows([response(0), *others, response(0), changed])
    )

    assert read_states(_url(ledger), "two") == Counter(pending=apart - 1, skipped=2, rejected=1)
    assert read_reasons(_url(ledger), "two")[apart + 2].startswith("id_reused: an earlier row of this source")


def test_key_order_does_not_change_the_content() -> None:
    one = {"id": "r", "contact": {"phone": "+1", "first_name": "A"}, "step": {"a": 1, "b": 2}}
    other = {"step": {"b": 2, "a": 1}, "contact": {"first_name": "A", "phone": "+1"}, "id": "r"}

    first, second = (read_row(Row(1, "r:1", value)) for value in (one, other))

    assert first.digest == second.digest
    assert json.loads(first.json or "")["step"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("state", "digest", "judgement", "reason"),
    [
        (ContactState.COMPLETED, "same", ContactState.SKIPPED, "done: "),
        (ContactState.IN_DOUBT, "same", ContactState.IN_DOUBT, "in doubt in the replay one; "),
        (ContactState.IN_DOUBT, "other", ContactState.REJECTED, "id_reused: "),
        (ContactState.FAILED, "same", ContactState.PENDING, ""),
        (ContactState.PENDING, "same", ContactState.PENDING, ""),
        (ContactState.SKIPPED, "same", ContactState.PENDING, ""),
        (ContactState.COMPLETED, None, ContactState.SKIPPED, "done: "),
    ],
)
def test_the_result_of_another_replay_decides_about_a_response(
    state: ContactState, digest: str | None, judgement: ContactState, reason: str
) -> None:
    one = read_row(Row(1, "r:1", response(0)))
    known = KnownResponse(1, "one", one.digest if digest == "same" else digest, state)

    found = classify_row(one, [known], 2)

    assert found.state is judgement
    assert (found.reason or "").startswith(reason)
    assert classify_row(one, [known], 2, force=True)[:2] == (ContactState.PENDING, None)


def test_a_limit_takes_the_first_rows(ledger: Ledger) -> None:
    assert Snapshot(ledger, _replay(ledger), limit=3).take(_rows(response(number) for number in range(10))) == 3

    assert read_states(_url(ledger), "one") == Counter({"pending": 3})


@pytest.mark.parametrize(
    "value",
    [
        {"contact": {"phone": "+525512345678"}, "step": {"Note": "x" * 1_000_000}},
        {"id": "r", "x" * 1_000_000: 1},
        {"id": "x" * 1_000_000},
    ],
)
def test_a_long_row_that_is_rejected_is_not_kept(value: dict[str, Any]) -> None:
    read = read_row(Row(7, "r.jsonl:7", value))

    assert read.response is None
    assert (read.row.number, read.row.place, read.row.value) == (7, "r.jsonl:7", None)
    assert len(read.problem or "") < 1100


def test_a_shortened_reason_is_marked_and_keeps_the_advice(ledger: Ledger) -> None:
    replay = _replay(ledger)

    Snapshot(ledger, replay).take(_rows([{"id": "r", "stepp" * 100_000: 1}]))

    reason = read_reasons(_url(ledger), "one")[1]
    assert re.fullmatch(r"invalid: unknown key 'stepp.*… \(500,[0-9]+ characters\) ….*; allowed: .*", reason), reason


def test_rows_without_a_response_keep_their_place_and_their_problem(ledger: Ledger) -> None:
    rows = [
        Row(1, "r.jsonl:1", None, "not_json: not JSON", "r-1"),
        Row(2, "r.jsonl:2", {"contact": {}}),
        Row(3, "r.jsonl:3", {"id": "r-3", "contact": 5}),
        Row(4, "r.jsonl:4", None, "not_json: \ud800", "\ud800"),
    ]

    Snapshot(ledger, _replay(ledger)).take(rows)

    assert read_states(_url(ledger), "one") == {"rejected": 4}
    reasons = read_reasons(_url(ledger), "one")
    assert [reason.partition(":")[0] for reason in reasons.values()] == [
        "not_json", "missing_id", "invalid", "not_json",
    ]  # fmt: skip
