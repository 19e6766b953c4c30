"""Recording the outcome of requests in doubt."""

from __future__ import annotations

import itertools
import json
import os
import resource
import time

import pytest

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger import ContactState, Ledger, Subject
from airflow_whatsapp_flows.ledger import resolve as resolving
from airflow_whatsapp_flows.ledger.claims import claim, release
from airflow_whatsapp_flows.ledger.resolve import Resolution, ResolveSelection, resolve
from tests.ledger.filling import (
    FLOW_ID,
    a_replay,
    attempt,
    attempts_of,
    change,
    end,
    record_of,
    response,
    result,
    rows_of,
    states_of,
)

C, F, D = ContactState.COMPLETED, ContactState.FAILED, ContactState.IN_DOUBT
SENT, NOT_SENT = Resolution(sent=True, by="ana", reply={"id": 7}), Resolution(sent=False, by="ana")


def test_sent_is_a_success_with_the_reply_for_later_steps(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)])
    end(ledger, replay, [D, D])
    attempt(ledger, "r-1", None, replay)
    attempt(ledger, "r-2", Fate.UNKNOWN, replay)

    resolved = resolve(ledger, replay, ResolveSelection(response_id="r-1"), SENT)

    assert (resolved.contacts, resolved.attempts, resolved.elsewhere, resolved.purged) == (1, 1, 0, 0)
    assert states_of(ledger, replay) == ["pending", "in_doubt"]
    assert rows_of(ledger, replay)[0].round == 2
    with ledger.read() as connection:
        record = record_of(connection, Subject(FLOW_ID, "r-1"), replay.no, 2)
    settled = record.find_settled_result("Create", 1)
    assert settled is not None
    assert (settled.status_code, settled.response, settled.idempotency_key) == (200, {"id": 7}, "key-r-1")


def test_not_sent_means_nothing_was_applied(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [D])
    attempt(ledger, "r-1", Fate.UNKNOWN, replay, status_code=500, error_kind="status", result=result())
    attempt(ledger, "r-1", None, replay, number=2)

    resolved = resolve(ledger, replay, ResolveSelection(response_id="r-1"), NOT_SENT)

    assert resolved.attempts == 2
    for row in attempts_of(ledger, "r-1"):
        assert (row.fate, row.status_code, row.error_kind, row.result) == ("not_sent", None, None, None)


def test_an_attempt_keeps_its_resolver_time_and_previous_outcome(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [D])
    attempt(
        ledger,
        "r-1",
        Fate.UNKNOWN,
        replay,
        status_code=500,
        error_kind="status",
        result=result(),
        origin='{"dag": "d"}',
    )
    before = time.time()

    resolve(ledger, replay, ResolveSelection(response_id="r-1"), SENT)

    (row,) = attempts_of(ledger, "r-1")
    origin = json.loads(row.origin)
    assert before <= origin.pop("at") <= time.time()
    assert origin == {
        "dag": "d",
        "resolved": "sent",
        "by": "ana",
        "was": {"fate": "unknown", "status_code": 500, "error_kind": "status"},
    }
    assert json.loads(row.result)["url"] == "/v1/x"


def test_resolves_one_of_several_attempts_with_one_key(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [D])
    attempt(ledger, "r-1", Fate.UNKNOWN, replay)
    attempt(ledger, "r-1", Fate.UNKNOWN, replay, number=2)

    assert resolve(ledger, replay, ResolveSelection(step="Create"), SENT).attempts == 1
    assert [row.fate for row in attempts_of(ledger, "r-1")] == ["unknown", "succeeded"]


def test_leaves_resolved_and_read_only_requests_unchanged(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [D])
    attempt(ledger, "r-1", Fate.UNKNOWN, replay, key="k")
    attempt(ledger, "r-1", Fate.SUCCEEDED, replay, key="k", number=2)
    attempt(ledger, "r-1", Fate.UNKNOWN, replay, key="g", method="GET", step="Look")
    attempt(ledger, "r-1", Fate.UNKNOWN, replay, key="n", step="Note")

    assert resolve(ledger, replay, ResolveSelection(response_id="r-1"), NOT_SENT).attempts == 1
    assert [row.fate for row in attempts_of(ledger, "r-1")] == ["unknown", "succeeded", "unknown", "not_sent"]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (ResolveSelection(step="Create"), ["pending", "in_doubt", "pending", "failed"]),
        (ResolveSelection(step="Create", visit=2), ["in_doubt", "in_doubt", "pending", "failed"]),
        (ResolveSelection(fingerprint="f"), ["pending", "pending", "in_doubt", "failed"]),
        (ResolveSelection(fingerprint="f", step="Note"), ["in_doubt", "pending", "in_doubt", "failed"]),
        (ResolveSelection(response_id="r-9"), ["in_doubt", "in_doubt", "in_doubt", "failed"]),
    ],
)
def test_every_condition_must_hold(ledger: Ledger, which: ResolveSelection, expected: list[str]) -> None:
    replay = a_replay(ledger, [response(number) for number in range(1, 5)], chunk_size=1)
    ids = end(ledger, replay, [D, D, D, F], fingerprint="f")
    change(ledger, ids[2], fingerprint="g")
    attempt(ledger, "r-1", None, replay)
    attempt(ledger, "r-2", None, replay, step="Note")
    attempt(ledger, "r-3", None, replay, visit=2)
    attempt(ledger, "r-4", None, replay)

    resolve(ledger, replay, which, NOT_SENT)

    assert states_of(ledger, replay) == expected


def test_changes_nothing_while_the_chunk_is_running(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)], chunk_size=1)
    end(ledger, replay, [D, D])
    attempt(ledger, "r-1", None, replay)
    attempt(ledger, "r-2", None, replay)
    owner = ledger.connect()
    claimed = claim(ledger, owner, replay.no, 1)
    assert claimed is not None

    with pytest.raises(ReplayError, match=r"'first' is running \(process .*:\d+\)"):
        resolve(ledger, replay, ResolveSelection(step="Create"), SENT)
    assert states_of(ledger, replay) == ["in_doubt", "in_doubt"]

    release(ledger, owner, claimed)
    owner.close()
    assert resolve(ledger, replay, ResolveSelection(step="Create"), SENT).contacts == 2


def test_releases_the_chunks_afterwards(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    end(ledger, replay, [D])
    attempt(ledger, "r-1", None, replay)
    resolve(ledger, replay, ResolveSelection(step="Create"), SENT)

    with ledger.connect() as connection:
        claimed = claim(ledger, connection, replay.no, 0)
        assert claimed is not None
        release(ledger, connection, claimed)


def test_names_the_replay_that_holds_a_contact_in_doubt(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    end(ledger, first, [D])
    attempt(ledger, "r-1", None, first)
    later = a_replay(ledger, [response(1)], "later")
    assert states_of(ledger, later) == ["in_doubt"]

    resolved = resolve(ledger, later, ResolveSelection(response_id="r-1"), NOT_SENT)

    assert (resolved.contacts, resolved.elsewhere) == (0, 1)
    assert resolved.reasons == ("in doubt in the replay first; resolve it there, with `replay resolve`",)
    assert attempts_of(ledger, "r-1")[0].fate is None


def test_leaves_attempts_that_may_be_in_progress_elsewhere(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)])
    end(ledger, replay, [D, D])
    attempt(ledger, "r-1", None, begun_at=time.time() - 60)
    attempt(ledger, "r-2", None, begun_at=time.time() - 3700)

    resolved = resolve(ledger, replay, ResolveSelection(step="Create"), NOT_SENT)

    assert resolved.contacts == 1
    assert states_of(ledger, replay) == ["in_doubt", "pending"]


def test_keeps_contacts_with_purged_responses(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1)])
    ids = end(ledger, replay, [D])
    attempt(ledger, "r-1", None, replay)
    change(ledger, ids[0], response=None)

    resolved = resolve(ledger, replay, ResolveSelection(response_id="r-1"), SENT)

    assert (resolved.contacts, resolved.purged) == (0, 1)
    assert attempts_of(ledger, "r-1")[0].fate is None


def test_intentional_resends_are_resolved_separately(ledger: Ledger) -> None:
    first = a_replay(ledger, [response(1)])
    end(ledger, first, [C])
    attempt(ledger, "r-1", Fate.SUCCEEDED, first)
    forced = a_replay(ledger, [response(1)], "forced", force=True)
    end(ledger, forced, [D])
    attempt(ledger, "r-1", None, forced, key="other")

    assert resolve(ledger, forced, ResolveSelection(response_id="r-1"), NOT_SENT).contacts == 1
    assert [row.fate for row in attempts_of(ledger, "r-1")] == ["succeeded", "not_sent"]


def test_resolves_many_chunks_with_few_open_files(sqlite_ledger: Ledger) -> None:
    replay = a_replay(sqlite_ledger, [response(number) for number in range(60)], chunk_size=1)
    end(sqlite_ledger, replay, [D] * 60)
    for number in range(60):
        attempt(sqlite_ledger, f"r-{number}", None, replay)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir("/proc/self/fd")}
    free = itertools.islice((number for number in itertools.count() if number not in taken), 20, None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(free), before[1]))
    try:
        resolved = resolve(sqlite_ledger, replay, ResolveSelection(step="Create"), NOT_SENT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert resolved.contacts == 60
    assert set(states_of(sqlite_ledger, replay)) == {"pending"}


def test_does_not_change_a_replay_with_a_running_chunk(ledger: Ledger) -> None:
    replay = a_replay(ledger, [response(1), response(2)], chunk_size=1)
    end(ledger, replay, [D, D])
    attempt(ledger, "r-1", None, replay)
    attempt(ledger, "r-2", None, replay)

    with ledger.connect() as connection:
        owned = claim(ledger, connection, replay.no, 1)
        assert owned is not None
        with pytest.raises(ReplayError, match=r"is running .*nothing was changed"):
            resolve(ledger, replay, ResolveSelection(step="Create"), SENT)
        release(ledger, connection, owned)

    assert states_of(ledger, replay) == ["in_doubt", "in_doubt"]


def test_reports_what_was_resolved_before_the_replay_started(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = a_replay(ledger, [response(1), response(2)], chunk_size=1)
    end(ledger, replay, [D, D])
    attempt(ledger, "r-1", None, replay)
    attempt(ledger, "r-2", None, replay)
    monkeypatch.setattr(resolving, "is_owned", lambda *_: False)  # it is started right after that

    with ledger.connect() as connection:
        owned = claim(ledger, connection, replay.no, 1)
        assert owned is not None
        with pytest.raises(ReplayError, match=r"is running .*1 contact was resolved.*the others"):
            resolve(ledger, replay, ResolveSelection(step="Create"), SENT)
        release(ledger, connection, owned)

    assert states_of(ledger, replay) == ["pending", "in_doubt"]
