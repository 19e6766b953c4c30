"""Sending slots of a host, shared by every process that uses the ledger."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, select, update

from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.schema import slots
from airflow_whatsapp_flows.ledger.statements import insert_statement

_LONGEST_HOLD = 86_400.0
"""Seconds. A slot further ahead dates from before the machine's last restart, because its clock starts at boot."""

_ADD = insert_statement(slots, ("host", "next_at", "held_until"), or_nothing=True)


class SharedSlots:
    """Assigns the times at which requests may be sent to a host; none while the ledger's server is unreachable.

    The clock is the machine's monotonic clock for SQLite, the same for all its processes, and the server's clock for
    PostgreSQL: changing a worker's clock neither makes it send early nor wait long.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # The machine's clock restarts at boot: earlier values are meaningless.
        scope = ledger.dialect.clock_scope()
        self._scope = f"{scope}/" if scope else ""

    def reserve(self, host: str, interval: float, count: int) -> float:
        """Reserve slots.

        Args:
            host: host and port.
            interval: seconds between slots.
            count: number of slots.

        Returns:
            Seconds from now until the first slot, at least 0; the others follow ``interval`` apart.

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
        """Assign no slot of a host before this many seconds from now; a longer hold remains in effect.

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
        """Return the seconds for which a host is still held.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return self._ledger.outages.outlast(lambda: self._read_hold(host))

    def _read_hold(self, host: str) -> float:
        with self._ledger.read() as connection:
            now = self._ledger.dialect.clock(connection)
            until = connection.execute(select(slots.c.held_until).where(self._is(host))).scalar_one_or_none()
        left = (until or now) - now
        return left if 0 < left <= _LONGEST_HOLD else 0.0

    def _is(self, host: str) -> ColumnElement[bool]:
        return slots.c.host == self._scope + host

    def _row(self, connection: Connection, host: str) -> tuple[float, float, float]:
        _ADD.run(connection, [(self._scope + host, 0.0, 0.0)])
        query = select(slots.c.next_at, slots.c.held_until).where(self._is(host)).with_for_update()
        next_at, held_until = connection.execute(query).one()
        now = self._ledger.dialect.clock(connection)
        furthest = now + _LONGEST_HOLD
        return now, next_at if next_at <= furthest else 0.0, held_until if held_until <= furthest else 0.0
