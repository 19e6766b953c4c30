"""Reclaiming disk space."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, func, select

from airflow_whatsapp_flows.errors import LedgerError
from airflow_whatsapp_flows.ledger import Journal, Ledger
from airflow_whatsapp_flows.ledger.replays import mark_ended, mark_started
from airflow_whatsapp_flows.ledger.schema import contacts
from airflow_whatsapp_flows.ledger.vacuum import vacuum
from tests.ledger.filling import a_replay, response


def test_reclaims_the_space_of_deleted_rows(ledger: Ledger, ledger_url: str) -> None:
    values = [response(number, step={"Ask name": "Ana" * 300}) for number in range(400)]
    first, later = a_replay(ledger, values), a_replay(ledger, values[:10], "later", force=True)
    with ledger.write() as connection:
        connection.execute(delete(contacts).where(contacts.c.replay_no == first.no))

    freed = vacuum(ledger)

    if ledger.file is not None:
        assert freed > 300_000
        assert ledger.file.with_name("ledger.db-wal").stat().st_size == 0
        assert vacuum(ledger) < 10_000
    with Ledger(ledger_url) as again, again.read() as connection:
        own = contacts.c.replay_no == later.no
        assert connection.execute(select(func.count()).where(own)).scalar_one() == 10
    with ledger.write() as connection:  # the file is still the one that was opened
        connection.execute(delete(contacts))


@pytest.mark.parametrize("another_has_ended", [False, True])
async def test_nothing_is_vacuumed_while_a_replay_runs(ledger: Ledger, another_has_ended: bool) -> None:
    replay = a_replay(ledger, [response(1)])
    mark_started(ledger, replay.no, 1.0)
    if another_has_ended:
        mark_ended(ledger, replay.no, 2.0)
    async with Journal(ledger) as journal:
        claimed = await journal.claim(replay.no, 0)
        assert claimed is not None
        with pytest.raises(LedgerError, match=r"is in use: first\. Let it finish, or stop it"):
            vacuum(ledger)
        await journal.release(claimed)
    assert vacuum(ledger) >= 0
