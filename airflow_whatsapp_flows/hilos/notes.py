"""The report of an import: every guess, every loss, every secret that was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from airflow_whatsapp_flows.flow.secrets import all_spellings, hide

NoteKind = Literal["secret", "fault", "dangling", "lost", "renamed", "inferred"]


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to know about the imported flow.

    Attributes:
        kind: ``secret``: left out, with where to put it; ``fault``: must be fixed before the flow loads;
            ``dangling``: an exit to a step that is in no record; ``lost``: the format cannot represent it;
            ``renamed``: a step has a new name; ``inferred``: not in the records, so it was guessed.
        step: name of the step in the flow; ``None`` for the flow as a whole.
        field: field of the record; for a fault, location in the flow.
        message: text for people; never contains a secret.
    """

    kind: NoteKind
    step: str | None
    field: str
    message: str


class Report:
    """Collects notes without duplicates."""

    def __init__(self) -> None:
        self._notes: dict[Note, None] = {}

    def add(self, kind: NoteKind, step: str | None, field: str, message: str) -> None:
        """Add a note, unless the same one was added before."""
        self._notes[Note(kind, step, field, message)] = None

    def notes(self, secrets: Sequence[str] = ()) -> tuple[Note, ...]:
        """Return all notes in the order in which they were added.

        Args:
            secrets: texts to mask in the notes.
        """
        spelt = all_spellings(secrets)
        return tuple(_mask_note(note, spelt) for note in self._notes)


def _mask_note(note: Note, secrets: Sequence[str]) -> Note:
    def conceal(text: str) -> str:
        return hide(text, secrets)

    return replace(
        note, step=note.step and conceal(note.step), field=conceal(note.field), message=conceal(note.message)
    )
