"""Sending slots of a host, shared by every process that uses the ledger."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.schema import slots

_LONGEST_HOLD = 86_400.0
"""Seconds. What lies further ahead was written before the machine, whose clock this is, was started again."""


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SharedSlots:
    """Hands out the moments at which a host may be sent to; while the ledger's server is away, nobody gets one.

    The clock is the machine's own monotonic one for SQLite, which every process of the machine reads the same, and
    the server's for PostgreSQL: a worker whose clock is moved neither sends early nor waits long.

    Args:
        ledger: where the slots are.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # The machine's clock begins anew when it is started: what was written before says nothing.
        boot = _boot_id() if ledger.is_sqlite else ""
        self._scope = f"{boot}/" if boot else ""

    def reserve(self, host: str, interval: float, count: int) -> float:
        """Reserve slots.

        Args:
            host: host and port.
            interval: seconds from one slot to the next.
            count: how many.

        Returns:
            Seconds from now to the first of them, at least 0; the others follow it, ``interval`` apart.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        return self._ledger.outages.outlast(lambda: self._reserve(host, interval, count))

    def _reserve(self, host: str, interval: float, count: int) -> float:
        with self._ledger.write() as connection:
            now, next_at, held_until = self._row(connection, host)
            first = max(now, next_at, held_until)
            connection.execute(update(slots).where(self._is(host)).values(next_at=first + count * interval))
        return first - now

    def hold(self, host: str, seconds: float) -> None:
        """Hand out no slot of a host before so many seconds from now; a longer hold stays.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        self._ledger.outages.outlast(lambda: self._put_hold(host, seconds))

    def _put_hold(self, host: str, seconds: float) -> None:
        with self._ledger.write() as connection:
            now, _, held_until = self._row(connection, host)
            until = max(held_until, now + min(seconds, _LONGEST_HOLD))
            connection.execute(update(slots).where(self._is(host)).values(held_until=until))

    def hold_seconds(self, host: str) -> float:
        """Seconds for which a host is still held.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return self._ledger.outages.outlast(lambda: self._read_hold(host))

    def _read_hold(self, host: str) -> float:
        with self._ledger.read() as connection:
            now = self._now(connection)
            until = connection.execute(select(slots.c.held_until).where(self._is(host))).scalar_one_or_none()
        left = (until or now) - now
        return left if 0 < left <= _LONGEST_HOLD else 0.0

    def _is(self, host: str) -> ColumnElement[bool]:
        return slots.c.host == self._scope + host

    def _row(self, connection: Connection, host: str) -> tuple[float, float, float]:
        insert = insert_sqlite if self._ledger.is_sqlite else insert_postgresql
        new = insert(slots).values(host=self._scope + host, next_at=0.0, held_until=0.0)
        connection.execute(new.on_conflict_do_nothing())
        query = select(slots.c.next_at, slots.c.held_until).where(self._is(host)).with_for_update()
        next_at, held_until = connection.execute(query).one()
        now = self._now(connection)
        furthest = now + _LONGEST_HOLD
        return now, next_at if next_at <= furthest else 0.0, held_until if held_until <= furthest else 0.0

    def _now(self, connection: Connection) -> float:
        if self._ledger.is_sqlite:
            return time.monotonic()
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def _boot_id() -> str:
    """Changes when the machine is started; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
