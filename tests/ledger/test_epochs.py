"""The newest content of a response, and the state of earlier requests."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_whatsapp_flows.ledger.epochs import (
    AttemptSummary,
    ContentMatch,
    KnownResponse,
    compare_content,
    first_in_doubt,
)
from airflow_whatsapp_flows.ledger.rows import ContactState

DONE, SKIPPED, PENDING = ContactState.COMPLETED, ContactState.SKIPPED, ContactState.PENDING


def known_response(
    digest: str | None, epoch: int = 1, state: ContactState | None = DONE, replay_no: int | None = 1
) -> KnownResponse:
    return KnownResponse(replay_no, f"r{replay_no}", digest, state, epoch)


def match_content(*others: KnownResponse, digest: str = "a") -> ContentMatch:
    return compare_content(others, lambda kept: kept in (None, digest))


@pytest.mark.parametrize(
    ("others", "epoch", "changed"),
    [
        pytest.param([], 1, False, id="the-first"),
        pytest.param([known_response("a")], 1, False, id="the-same"),
        pytest.param([known_response("b")], 2, True, id="another"),
        pytest.param([known_response("a"), known_response("b", 2)], 3, True, id="back-again"),
        pytest.param([known_response("b"), known_response("a", 2)], 2, False, id="the-newest"),
        pytest.param([known_response(None)], 1, False, id="of-an-earlier-version"),
        pytest.param([known_response(None), known_response("b")], 2, True, id="a-digest-tells-more-than-none"),
        pytest.param([known_response("b", state=None, replay_no=None)], 2, True, id="of-a-dag-run"),
        pytest.param([known_response("b", state=SKIPPED)], 2, False, id="what-a-guard-skipped-binds-nobody"),
        pytest.param([known_response("a", state=SKIPPED)], 1, False, id="skipped-before-the-same"),
        pytest.param([known_response("a"), known_response("b", 2, SKIPPED)], 1, False, id="the-newest-that-was-sent"),
        pytest.param([known_response("a"), known_response("b", 2, PENDING)], 3, True, id="what-waits-counts"),
    ],
)
def test_only_the_newest_content_keeps_its_epoch(others: list[KnownResponse], epoch: int, changed: bool) -> None:
    found = match_content(*others)
    assert (found.epoch, found.other is not None) == (epoch, changed)


def attempt_summary(fate: str | None, epoch: int = 1, **more: Any) -> AttemptSummary:
    values: dict[str, Any] = {
        "epoch": epoch, "step": "Create", "visit": 1, "key": f"k{epoch}", "fate": fate, "method": "POST",
        "status_code": None, "replay_no": 1, "origin": None, "content": None,
    }  # fmt: skip
    return AttemptSummary(**{**values, **more})


@pytest.mark.parametrize(
    ("attempts", "in_doubt"),
    [
        pytest.param([attempt_summary("succeeded")], False, id="succeeded"),
        pytest.param([attempt_summary("answered", status_code=422)], False, id="refused"),
        pytest.param([attempt_summary(None)], True, id="no-outcome"),
        pytest.param([attempt_summary("unknown")], True, id="unknown"),
        pytest.param([attempt_summary("unknown", method="GET")], False, id="changes-nothing"),
        pytest.param([attempt_summary("unknown"), attempt_summary("succeeded")], False, id="settled-by-the-next"),
        pytest.param(
            [attempt_summary("unknown"), attempt_summary("answered", status_code=200)],
            False,
            id="settled-by-a-complete-2xx",
        ),
        pytest.param(
            [attempt_summary("unknown"), attempt_summary("answered", status_code=422)],
            True,
            id="a-refusal-settles-nothing",
        ),
        pytest.param(
            [attempt_summary("unknown"), attempt_summary("succeeded", 2)], True, id="other-content-settles-nothing"
        ),
        pytest.param(
            [attempt_summary("unknown"), attempt_summary("succeeded", visit=2)], False, id="settled-under-its-key"
        ),
        pytest.param(
            [attempt_summary("unknown"), attempt_summary("succeeded", visit=2, key="x")], True, id="another-visit"
        ),
        pytest.param(
            [attempt_summary("unknown"), attempt_summary("succeeded", step="Note", key="x")], True, id="another-step"
        ),
    ],
)
def test_unsettled_requests_are_in_doubt(attempts: list[AttemptSummary], in_doubt: bool) -> None:
    assert (first_in_doubt(attempts) is not None) == in_doubt
