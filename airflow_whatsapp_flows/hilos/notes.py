"""What an import has to tell: every guess, every loss, every secret that was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from airflow_whatsapp_flows.flow.secrets import all_spellings, hide

NoteKind = Literal["secret", "fault", "dangling", "lost", "renamed", "inferred"]


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that a reader of the imported flow must know.

    Attributes:
        kind: ``secret``: left out, and where to put it; ``fault``: the flow does not load until it is mended;
            ``dangling``: a way that leads to a step nobody has seen; ``lost``: the format cannot carry it;
            ``renamed``: a step has another name; ``inferred``: the records do not say it, so it was guessed.
        step: name of the step in the flow; ``None`` for the flow as a whole.
        field: field of the record, or place in the flow for a fault.
        message: for people; never shows a secret.
    """

    kind: NoteKind
    step: str | None
    field: str
    message: str


class Report:
    """Collects notes, each once."""

    def __init__(self) -> None:
        self._notes: dict[Note, None] = {}

    def add(self, kind: NoteKind, step: str | None, field: str, message: str) -> None:
        """Add one note."""
        self._notes[Note(kind, step, field, message)] = None

    def notes(self, secrets: Sequence[str] = ()) -> tuple[Note, ...]:
        """All notes, in the order in which they were added.

        Args:
            secrets: texts that are concealed wherever a note would show them.
        """
        spelt = all_spellings(secrets)
        return tuple(_mask_note(note, spelt) for note in self._notes)


def _mask_note(note: Note, secrets: Sequence[str]) -> Note:
    def conceal(text: str) -> str:
        return hide(text, secrets)

    return replace(
        note, step=note.step and conceal(note.step), field=conceal(note.field), message=conceal(note.message)
    )
