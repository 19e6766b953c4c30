"""Group commit of what many contacts do at once: writes the ledger from one event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from airflow_whatsapp_flows.errors import (
    FlowsError,
    IntentConflictError,
    LedgerError,
    LedgerReplacedError,
    OnceClaimedError,
)
from airflow_whatsapp_flows.ledger.attempts import find_committed, group_by_type, write_entries
from airflow_whatsapp_flows.ledger.claims import Claim, check_fences, claim, reclaim, release
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.lost_entries import RecentEntries
from airflow_whatsapp_flows.ledger.once import ONCE_CLAIMED
from airflow_whatsapp_flows.ledger.rows import Entry, Intent
from airflow_whatsapp_flows.ledger.schema import COMMITS
from airflow_whatsapp_flows.ledger.waiting_entries import Then, WaitingEntry, conclude

T = TypeVar("T")

_MANY = 16
_GATHER_SECONDS = 0.002
"""If at least this many entries arrive at once, wait this long for more.

A commit costs half a millisecond of CPU regardless of its size, and another process may write meanwhile.
"""

_NOT_OPEN = "the journal is not open"
_MOST_INTENTS = 16
_SLOW_COMMIT_SECONDS = 0.02
"""Maximum intents in one commit, unless commits are slow.

The requests of one commit are sent during the next commit. Replies that arrive together would otherwise all wait for
one large commit.
"""


class Journal:
    """Writes the entries of one event loop in order, with as many in one commit as are ready.

    It uses one connection in one thread. When a commit fails, nothing more is written and every caller gets the error,
    so nothing is sent that the ledger does not know. If the server is away, the journal waits as long as
    ``ledger.outages`` allows, then commits on a new session, which owns what the lost one owned.

    Args:
        ledger: where to write.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._connection: Connection | None = None
        self._claims: dict[tuple[int, int], Claim] = {}
        self._waiting: list[WaitingEntry] = []
        self._intents: list[int] = []  # their places in it
        self._awake = asyncio.Event()
        self._failure: LedgerError | None = None
        self._recent = RecentEntries(keeps=ledger.is_sqlite)
        self._last_commit_took = 0.0
        self._closing = False
        self._is_committing = False
        self._flusher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Journal:
        """Open its connection.

        Raises:
            LedgerError: it cannot be opened.
        """
        self._connection = await self._in_thread(self._ledger.connect)
        self._flusher = asyncio.create_task(self._flush())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._awake.set()
        if self._flusher is not None:
            await asyncio.gather(self._flusher, return_exceptions=True)
        try:
            await self._in_thread(self._close)
        finally:
            self._thread.shutdown()

    @property
    def backlog(self) -> int:
        """Number of entries that wait for a commit."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether everything noted is committed."""
        return not (self._waiting or self._is_committing)

    @property
    def failure(self) -> LedgerError | None:
        """The error that ended writing, if any."""
        return self._failure

    def with_losses(self, error: LedgerReplacedError) -> LedgerReplacedError:
        """Add to an error what this process sent; entries that the ledger lost are written to a file beside it.

        Args:
            error: the ledger was deleted, replaced or overwritten.
        """
        sent = self._recent
        if not sent.requests or sent.first_at is None:
            return LedgerReplacedError(f"{error}. This run had sent nothing")
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(sent.first_at))
        message = f"{error}. This run has sent {sent.requests:,} requests since {since} UTC"
        if error.can_be_copied or self._ledger.file is None:
            return LedgerReplacedError(message)
        return LedgerReplacedError(f"{message}; {sent.save_lost(self._ledger.file)}")

    def note(self, entry: Entry) -> None:
        """Write an entry with the next commit, without waiting for it.

        Raises:
            LedgerError: writing has ended.
        """
        if self._failure is not None:
            raise self._failure
        self._waiting.append(WaitingEntry(entry))
        self._awake.set()

    def add(self, entry: Entry, then: Then | None = None) -> asyncio.Future[None]:
        """Write an entry; the future is done when it and everything noted before it are committed.

        Args:
            entry: what to write.
            then: called with the future in the event loop as soon as it is committed, before anything that waits for
                the future. If it returns true, it takes the future over, and must see to it that it is done at some
                time: so a caller that waits for something else next is woken once.

        Raises:
            LedgerError: writing has ended; also raised by the future.
            IntentConflictError: by the future: another worker has the same intent.
            OnceClaimedError: by the future: another response of the same person has claimed the step.
        """
        return self._put(entry, then)

    async def claim(self, replay_no: int, chunk: int) -> Claim | None:
        """Claim a chunk; every later commit checks that it is still owned. ``None`` while another process owns it."""
        if self._flusher is None:  # without a connection, a lost session is being replaced
            raise LedgerError(_NOT_OPEN)
        claimed = await self._in_thread(
            lambda: self._in_session(lambda session, _: claim(self._ledger, session, replay_no, chunk))
        )
        if claimed is not None:
            self._claims[replay_no, chunk] = claimed
        return claimed

    async def release(self, claimed: Claim) -> None:
        """Release a chunk once everything noted is committed."""
        await self._put(None)
        self._claims.pop((claimed.replay_no, claimed.chunk), None)
        await self._in_thread(lambda: self._in_session(lambda session, _: release(self._ledger, session, claimed)))

    def _put(self, entry: Entry | None, then: Then | None = None) -> asyncio.Future[None]:
        if self._failure is not None:
            raise self._failure
        done = asyncio.get_running_loop().create_future()
        if isinstance(entry, Intent):
            self._intents.append(len(self._waiting))
        self._waiting.append(WaitingEntry(entry, done, then))
        self._awake.set()
        return done

    async def _flush(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            batch = self._next_batch()
            if not batch:
                if self._closing:
                    return
                continue
            if self._closing or self._waiting:
                self._awake.set()
            # A canceled caller does not do what it intended, so its entry is dropped too.
            entries = [one.entry for one in batch if one.entry and not (one.done and one.done.cancelled())]
            claims = list(self._claims.values())
            begun, self._is_committing = time.monotonic(), True
            try:
                await self._in_thread(partial(self._commit_batch, batch, entries, claims, asyncio.get_running_loop()))
            except Exception as error:
                self._fail(error, batch)
                return
            finally:
                self._is_committing = False
            self._last_commit_took = time.monotonic() - begun
            if len(batch) >= _MANY and not (self._closing or self._waiting):
                await asyncio.sleep(_GATHER_SECONDS)

    def _commit_batch(
        self,
        batch: Sequence[WaitingEntry],
        entries: Sequence[Entry],
        claims: Sequence[Claim],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        refused = self._commit(entries, claims)
        # Not through the result of this function, which the event loop would look at later: an intent that is committed
        # and whose request is not written is in doubt if the process dies.
        loop.call_soon_threadsafe(conclude, batch, refused)

    def _next_batch(self) -> list[WaitingEntry]:
        """Return the entries of the next commit: everything up to the last intent that fits."""
        most = math.inf if self._last_commit_took > _SLOW_COMMIT_SECONDS else _MOST_INTENTS
        if len(self._intents) <= most:
            batch, self._waiting, self._intents = self._waiting, [], []
            return batch
        size = self._intents[_MOST_INTENTS]
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        self._intents = [place - size for place in self._intents[_MOST_INTENTS:]]
        return batch

    def _fail(self, error: BaseException, batch: Sequence[WaitingEntry]) -> None:
        self._failure = error if isinstance(error, LedgerError) else LedgerError(f"the ledger failed: {error!r}")
        for one in (*batch, *self._waiting):
            if one.done is not None and not one.done.done():
                one.done.set_exception(self._failure)
        self._waiting, self._intents = [], []

    def _commit(self, entries: Sequence[Entry], claims: Sequence[Claim]) -> dict[int, FlowsError]:
        """Commit entries; returns why intents were refused, by their ``id()``."""

        def commit(session: Connection, lost: LedgerError | None) -> dict[int, FlowsError]:
            left = entries
            if lost is not None:
                if not claims:
                    raise lost  # the lost session may still commit
                with self._ledger.write(session):
                    committed = find_committed(session, entries)
                left = [entry for entry in entries if id(entry) not in committed]
            try:
                return self._write(left, claims)
            except LedgerError as error:
                if not isinstance(error.__cause__, IntegrityError):
                    raise
                return self._commit_one_by_one(left, claims)

        return self._in_session(commit)

    def _in_session(self, work: Callable[[Connection, LedgerError | None], T]) -> T:
        """Run a function on the session; if the session is lost, run it again on a new one."""
        lost: LedgerError | None = None
        since: float | None = None
        while True:
            try:
                if lost is not None:
                    self._open_session()
                done = work(self._open_connection(), lost)
            except LedgerError as error:
                since = time.monotonic() if since is None else since
                self._ledger.outages.wait(error, since)
                lost = error if lost is None else lost
            else:
                self._ledger.outages.note_back(since)
                return done

    def _open_session(self) -> None:
        """Open a session to replace a lost one; it owns the same chunks, or none."""
        lost, self._connection = self._connection, None
        if lost is not None:
            with suppress(SQLAlchemyError):  # first: while the server still has it, nobody else can get its locks
                _end_session(lost)
        claims = list(self._claims.values())
        session = self._ledger.connect()
        try:
            for claimed in claims:
                reclaim(self._ledger, session, claimed)
        except BaseException:
            _end_session(session)
            raise
        self._connection = session

    def _commit_one_by_one(self, entries: Sequence[Entry], claims: Sequence[Claim]) -> dict[int, FlowsError]:
        refused: dict[int, FlowsError] = {}
        for entry in entries:
            try:
                refused |= self._write([entry], claims)
            except LedgerError as error:
                if not isinstance(error.__cause__, IntegrityError) or not isinstance(entry, Intent):
                    raise
                refused[id(entry)] = IntentConflictError("another worker is sending the same request")
        return refused

    def _write(self, entries: Sequence[Entry], claims: Sequence[Claim]) -> dict[int, FlowsError]:
        with self._ledger.write(self._open_connection()) as connection:
            check_fences(connection, claims)
            by_type = group_by_type(entries)
            refused = write_entries(connection, by_type)
        if refused:
            by_type[Intent] = [one for one in by_type[Intent] if id(one) not in refused]
        self._recent.add(connection.info[COMMITS], by_type)
        return {number: OnceClaimedError(ONCE_CLAIMED) for number in refused}

    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise LedgerError(_NOT_OPEN)
        return self._connection

    def _close(self) -> None:
        for claimed in self._claims.values():
            if claimed._file is not None:
                claimed._file.close()
        self._claims.clear()
        if self._connection is not None:
            _end_session(self._connection)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _end_session(connection: Connection) -> None:
    if not connection.invalidated:
        connection.detach()  # in a pool the session, and its advisory locks, would live on
    connection.close()
