"""The order of contacts in a chunk: the responses of one person are walked one after the other."""

from __future__ import annotations

from msgspec import Struct

from airflow_whatsapp_flows.ledger.records import PendingContact


class Turn(Struct, eq=False):
    """A contact in the order.

    Attributes:
        contact: contact to walk.
        before: number of unfinished contacts it waits for.
        behind: contacts waiting for it.
        person: the person; ``None`` if it has no identifier.
    """

    contact: PendingContact
    before: int = 0
    behind: list[Turn] = []
    person: str | None = None


class PersonOrder:
    """Keeps the contacts of one chunk in order; all responses of a person are in the same chunk.

    A contact that shares identifiers with two people shows that they are the same person: it waits for both, and from
    then on they share one queue.
    """

    def __init__(self) -> None:
        self._same: dict[str, str] = {}  # an identifier to another one of the same person; a forest
        self._last: dict[str, Turn] = {}  # newest unfinished contact by person

    def add(self, contact: PendingContact) -> Turn:
        """Add a contact after earlier ones of the same person; it may be walked when ``before`` is 0."""
        turn = Turn(contact)
        marks = contact.identity.marks
        if not marks:
            return turn
        if self._same.keys().isdisjoint(marks) and self._last.keys().isdisjoint(marks):  # nobody has them yet
            turn.person = first = marks[0]
            self._last[first] = turn
            for mark in marks[1:]:
                if mark != first:  # a flow may list one identifier twice
                    self._same[mark] = first
            return turn
        people = list(dict.fromkeys(map(self._person, marks)))
        for person in people:
            earlier = self._last.pop(person, None)
            if earlier is not None:
                earlier.behind.append(turn)
                turn.before += 1
        turn.person = people[0]
        for mark in (*people[1:], *marks):
            if mark != turn.person:
                self._same[mark] = turn.person
        self._last[turn.person] = turn
        return turn

    def finish(self, turn: Turn) -> list[Turn]:
        """Finish a contact; return those that may be walked now."""
        if turn.person is not None and self._last.get(turn.person) is turn:
            del self._last[turn.person]
        if not turn.behind:
            return []
        for other in turn.behind:
            other.before -= 1
        return [other for other in turn.behind if not other.before]

    def _person(self, mark: str) -> str:
        while mark in self._same:
            mark = self._same[mark]
        return mark
