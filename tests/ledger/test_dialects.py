"""Both databases behave the same, each in its own way."""

from __future__ import annotations

import inspect
import time

from sqlalchemy import literal, select

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.ledger.dialects import POSTGRESQL, SQLITE, Dialect, dialect_of


def test_both_dialects_implement_every_difference() -> None:
    names = {name for name, _ in inspect.getmembers(Dialect, inspect.isfunction) if not name.startswith("_")}
    for one in (SQLITE, POSTGRESQL):
        assert {name for name in dir(one) if not name.startswith("_")} == {*names, "shared_lock", "needs_statistics"}


def test_a_ledger_and_its_connections_have_one_dialect(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert dialect_of(connection) is ledger.dialect


def test_text_before_a_missing_mark_is_the_whole_text(ledger: Ledger) -> None:
    with ledger.read() as connection:
        texts = [ledger.dialect.text_before(literal(text), ":") for text in ("a:b:c", "abc", "", ":a")]
        assert list(connection.execute(select(*texts)).one()) == ["a", "abc", "", ""]


TEXTS = ["a", "7", "", "Ñandú 🦩", "'", '"', "\\", "{x}", "%s", ":a"]


def test_any_number_of_texts_is_one_parameter(ledger: Ledger) -> None:
    others = [f"other-{number}" for number in range(40_000)]
    with ledger.read() as connection:
        found = [
            select(ledger.dialect.is_one_of(literal(text), [*others, *TEXTS])) for text in (*TEXTS, "A", "b", "7.0")
        ]
        answers = [bool(connection.execute(query).scalar_one()) for query in found]
        assert not connection.execute(select(ledger.dialect.is_one_of(literal("a"), []))).scalar_one()

    assert answers == [True] * len(TEXTS) + [False] * 3


def test_the_clock_advances_within_a_transaction(ledger: Ledger) -> None:
    with ledger.read() as connection:
        before = ledger.dialect.clock(connection)
        time.sleep(0.01)
        assert 0.01 <= ledger.dialect.clock(connection) - before < 60
