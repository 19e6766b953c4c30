"""Takes the snapshot of a source: every row becomes a contact of the replay, in its initial state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from msgspec import Struct

from airflow_whatsapp_flows.errors import ResponseError
from airflow_whatsapp_flows.flow.format.replay import OnChanged
from airflow_whatsapp_flows.flow.identity import PHONE, Identity, IdentityRule
from airflow_whatsapp_flows.flow.storable import storable_text
from airflow_whatsapp_flows.flow.walk.response import ContactResponse, read_response
from airflow_whatsapp_flows.flow.walk.response_content import content_digest, is_content, response_json
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.epochs import KnownResponse, compare_content, find_known_responses
from airflow_whatsapp_flows.ledger.identifiers import add_identifiers
from airflow_whatsapp_flows.ledger.known_rows import DUPLICATE, short_reason, state_elsewhere
from airflow_whatsapp_flows.ledger.pages import batches
from airflow_whatsapp_flows.ledger.persons import Persons, SourceRow
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.seen_rows import SeenRows
from airflow_whatsapp_flows.ledger.snapshots import (
    NewContact,
    add_contacts,
    chunks_of_phones,
    clear_snapshot,
    move_contacts,
    refresh_statistics,
    seal,
)
from airflow_whatsapp_flows.ledger.watermarks import WatermarkMove
from airflow_whatsapp_flows.replay.garbage_collection import reduce_gc
from airflow_whatsapp_flows.replay.sources import Row

_BATCH = 500
_FIRST_LOOK = 1000  # rows after which statistics are updated, and again at four times as many
_MAX_ID = 500  # characters
_MAX_REASON = 1000
_REJECTED, _SKIPPED = ContactState.REJECTED.value, ContactState.SKIPPED.value
_NOBODY = Identity()


class ReadRow(Struct, frozen=True):
    """A row that was read.

    Attributes:
        row: the row from the source.
        response: its response; ``None`` if invalid.
        json: the response, for the ledger.
        digest: of the response's content.
        problem: why there is no response.
    """

    row: Row
    response: ContactResponse | None = None
    json: str | None = None
    digest: str | None = None
    problem: str | None = None

    def is_content(self, digest: str | None) -> bool:
        """Whether a digest from the ledger matches its content."""
        return digest == self.digest or self.response is None or is_content(self.response, digest)


class RowStatus(NamedTuple):
    """The initial status of a row.

    Attributes:
        state: state of its contact.
        reason: why it is not ``pending``.
        epoch: epoch of its content.
        changed: whether its id is known with different content.
    """

    state: ContactState
    reason: str | None = None
    epoch: int = 1
    changed: bool = False


_NEW = RowStatus(ContactState.PENDING)


@dataclass(slots=True)
class Snapshot:
    """Adds the rows of a source to the ledger.

    Attributes:
        ledger: the ledger to write.
        replay: an unsealed replay.
        chunk_size: contacts per chunk; all responses of one person are in the same chunk.
        force: whether to ignore other replays of a response.
        limit: maximum rows to read; ``None`` for all.
        on_rows: called with the number of rows read so far.
        on_response: called with each valid response.
        identity: how contacts are identified.
        on_changed: what to do with a response whose id is known with different content.
        move: with a cursor, called after the last row with whether the limit left rows out; returns how far the source
            was read.
        changed: number of rows so far whose ids are known with different content.
    """

    ledger: Ledger
    replay: Replay
    chunk_size: int = 1000
    force: bool = False
    limit: int | None = None
    on_rows: Callable[[int], None] = field(default=lambda _: None)
    on_response: Callable[[ContactResponse], None] = field(default=lambda _: None)
    identity: IdentityRule = field(default_factory=IdentityRule)
    on_changed: OnChanged = "reject"
    move: Callable[[bool], WatermarkMove] | None = None
    changed: int = 0

    def take(self, rows: Iterable[Row]) -> int:
        """Take the snapshot; nothing is sent before it is sealed.

        Args:
            rows: rows in the order of the source.

        Returns:
            The number of rows.

        Raises:
            SourceError: the source cannot be read.
            LedgerError: the ledger cannot be written.
        """
        clear_snapshot(self.ledger, self.replay.no)
        taken, due = 0, _FIRST_LOOK
        source = iter(rows)
        stream = islice(source, self.limit)
        with closing(Persons()) as persons, closing(SeenRows()) as seen, reduce_gc():
            for batch in batches(map(read_row, stream), _BATCH, size_of_row):
                self._take(batch, persons, seen, taken)
                taken += len(batch)
                self.on_rows(taken)
                if taken >= due:
                    refresh_statistics(self.ledger)
                    due *= 4
        move = None
        if self.move is not None:
            move = self.move(self.limit is not None and taken >= self.limit and next(source, None) is not None)
        seal(self.ledger, self.replay.no, move)
        return taken

    def _take(self, reads: Sequence[ReadRow], persons: Persons, seen: SeenRows, taken: int) -> None:
        people = [self._identify(one) for one in reads]
        marks = [person.marks for person in people]
        with self.ledger.write() as connection:
            ids = [one.response.id for one in reads if one.response is not None and one.response.id is not None]
            known = find_known_responses(connection, self.replay.flow_id, ids, reading=self.replay.no)
            for response_id, digest, epoch in seen.contents(ids):  # the ledger stores no content for these rows
                known.setdefault(response_id, []).append(self._own(digest, ContactState.SKIPPED, epoch))
            phones = [phone for one in people if (phone := one.phone_for_storage)]
            of_phones = chunks_of_phones(connection, self.replay.no, phones)
            rows = [
                SourceRow(of_person, one.response.id or "", position // self.chunk_size)
                for position, (one, of_person) in enumerate(zip(reads, marks, strict=True), start=taken)
                if one.response is not None and of_person
            ]
            shared, moves = persons.place(rows, of_phones)
            chunks = {f"{PHONE}:{phone}": chunk for phone, (chunk, _) in of_phones.items()} | shared
            new = list(self._contacts(zip(reads, people, marks, strict=True), known, chunks, taken))
            add_contacts(connection, self.replay.no, new)
            add_identifiers(
                connection,
                self.replay.flow_id,
                (
                    (contact.response_id, person.others)
                    for contact, person in zip(new, people, strict=True)
                    if person.others and contact.response_id and contact.digest and contact.state != _REJECTED
                ),
            )
            move_contacts(connection, self.replay.no, moves)
        seen.add(
            (contact.response_id, one.digest, contact.epoch)
            for contact, one in zip(new, reads, strict=True)
            if contact.state == _SKIPPED
        )

    def _own(self, digest: str | None, state: ContactState, epoch: int) -> KnownResponse:
        return KnownResponse(self.replay.no, self.replay.id, digest, state, epoch)

    def _identify(self, one: ReadRow) -> Identity:
        if one.response is None:
            return _NOBODY
        return self.identity.of(one.response.contact, one.response.flow_execution_variables)

    def _contacts(
        self,
        reads: Iterable[tuple[ReadRow, Identity, tuple[str, ...]]],
        known: dict[str, list[KnownResponse]],
        chunks: dict[str, int],
        taken: int,
    ) -> Iterator[NewContact]:
        for position, (one, person, marks) in enumerate(reads, start=taken):
            chunk = position // self.chunk_size
            if marks:
                chunk = chunks.setdefault(marks[0], chunk)
            if one.response is None or one.response.id is None:
                shown = storable_text(one.row.shown_id)[:_MAX_ID] if one.row.shown_id else None
                state, reason, *_ = classify_row(one, (), self.replay.no)
                reason = reason and storable_text(reason)
                yield NewContact(chunk, one.row.place, shown, None, None, None, state.value, reason)
                continue
            self.on_response(one.response)
            earlier = known.setdefault(one.response.id, [])
            state, reason, epoch, changed = classify_row(
                one, earlier, self.replay.no, force=self.force, on_changed=self.on_changed
            )
            self.changed += changed
            if state is not ContactState.REJECTED:
                earlier.append(self._own(one.digest, state, epoch))
            content = (person.phone_for_storage, one.digest, one.json)
            if state is ContactState.SKIPPED:
                reason = short_reason(reason, ((known.replay_no or 0, known.replay_id) for known in earlier))
                content = (None, None, None)
            yield NewContact(chunk, one.row.place, one.response.id, *content, state.value, reason, epoch)


def classify_row(
    one: ReadRow,
    earlier: Sequence[KnownResponse],
    replay_no: int,
    *,
    force: bool = False,
    on_changed: OnChanged = "reject",
) -> RowStatus:
    """Determine the initial state of a row, why it is not ``pending``, and the epoch of its content.

    Args:
        one: the row.
        earlier: known entries for the same response, oldest first.
        replay_no: number of the row's replay.
        force: whether to ignore other replays.
        on_changed: what to do if different content is known.
    """
    if one.response is None:
        return RowStatus(ContactState.REJECTED, one.problem)
    if not earlier:
        return _NEW
    epoch, other = compare_content(earlier, one.is_content)
    here = next((known for known in earlier if known.replay_no == replay_no), None)
    if here is not None and not one.is_content(here.digest):
        reason = f"id_reused: an earlier row of this source {_OTHER_CONTENT}"
        return RowStatus(ContactState.REJECTED, reason, changed=True)
    for known in () if force or other is not None else earlier:
        if known.epoch != epoch or known.replay_no == replay_no:
            continue
        elsewhere = state_elsewhere(known)
        if elsewhere is not None:
            return RowStatus(*elsewhere, epoch)
    if here is not None:
        return RowStatus(ContactState.SKIPPED, DUPLICATE, here.epoch)
    if other is None or force or on_changed == "update":
        return RowStatus(ContactState.PENDING, None, epoch, other is not None)
    how = f'{_OTHER_CONTENT}, or send the changed content with on_changed "update"'
    return RowStatus(ContactState.REJECTED, f"id_reused: {other.where} {how}", changed=True)


_OTHER_CONTENT = "has the same id with different content; give it another id"


def size_of_row(one: ReadRow) -> int:
    """Return the number of characters in a row, for :func:`~airflow_whatsapp_flows.ledger.pages.batches`."""
    return len(one.json or "")


def read_row(row: Row) -> ReadRow:
    """Read a row as a contact response, or note why it is invalid."""
    if row.value is None:
        return _unusable(row, row.problem or "")
    try:
        response = read_response(row.value)
    except ResponseError as error:
        return _unusable(row, f"invalid: {error}")
    if response.id is None:
        why = "without an id, a later replay could send this contact twice; add one, or use --id COLUMN"
        return _unusable(row, f"missing_id: {why}")
    if len(response.id) > _MAX_ID or storable_text(response.id) != response.id:
        return _unusable(row, f"invalid: an id has at most {_MAX_ID} characters, and no NUL character")
    return ReadRow(row, response, response_json(response), content_digest(response))


def _unusable(row: Row, problem: str) -> ReadRow:
    """Return an invalid row without its content, which is no longer needed and may be long."""
    if len(problem) > _MAX_REASON:
        half = _MAX_REASON // 2
        problem = f"{problem[:half]}… ({len(problem):,} characters) …{problem[-half:]}"
    return ReadRow(Row(row.number, row.place, None, row.problem, row.shown_id), problem=problem)
