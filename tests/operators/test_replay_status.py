"""How a task's status is shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.operators.replay_status import task_label

NONE = {**{state.value: 0 for state in ContactState}, "handled": 0}


@pytest.mark.parametrize(
    ("chunks", "status", "label"),
    [
        pytest.param([3], None, "chunk 3", id="running"),
        pytest.param(
            [3],
            {"completed": 985, "failed": 12, "in_doubt": 3},
            "chunk 3: 985 done, 12 failed, 3 in doubt",
            id="finished",
        ),
        pytest.param(
            [0], {"completed": 1000, "handled": 40}, "chunk 0: 1,000 done (40 by an error exit)", id="handled-errors"
        ),
        pytest.param(
            [3, 4, 5],
            {"completed": 1, "rejected": 2, "skipped": 3, "pending": 4},
            "chunks 3–5: 1 done, 2 rejected, 3 skipped, 4 pending",
            id="several-chunks",
        ),
        pytest.param([3, 5, 9], None, "3 chunks, 3–9", id="with-gaps"),
        pytest.param([3], {}, "chunk 3: no contacts", id="empty"),
        pytest.param(None, {"completed": 3}, "3 done", id="a-whole-replay"),
        pytest.param(None, None, "", id="a-whole-replay-that-runs"),
        pytest.param([], None, "no chunk", id="no-chunk"),
    ],
)
def test_a_label_says_which_chunks_and_how_their_contacts_ended(
    chunks: Sequence[int] | None, status: dict[str, int] | None, label: str
) -> None:
    assert task_label(chunks, None if status is None else {**NONE, **status}) == label
