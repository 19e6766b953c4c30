"""Names of states on the pages, and how they look: each has a text and a color, those of Airflow's states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.ledger.recent_replays import RecentReplay
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState


class Look(NamedTuple):
    """How a state is shown.

    Attributes:
        label: text of the state.
        color: class in ``pages.css``.
        meaning: one sentence for people who see it for the first time.
    """

    label: str
    color: str
    meaning: str


STATES: Mapping[ContactState, Look] = {
    ContactState.COMPLETED: Look("Completed", "success", "Its walk reached an end."),
    ContactState.SKIPPED: Look("Skipped", "skipped", "Nothing was sent: a guard held it back, or it was done before."),
    ContactState.FAILED: Look("Failed", "failed", "Its walk ended in an error."),
    ContactState.IN_DOUBT: Look("In doubt", "doubt", "A request may have arrived, and its outcome is unknown."),
    ContactState.REJECTED: Look("Rejected", "rejected", "Its row in the source is not valid, so nothing was sent."),
    ContactState.PENDING: Look("Pending", "pending", "Not finished yet."),
}
"""Looks of contacts' states, in the order in which they are shown."""

REPLAY_STATES: Mapping[str, Look] = {
    "reading": Look("Reading", "running", "Its source is being read; nothing is sent before that is done."),
    "waiting": Look("Waiting", "pending", "It has not sent anything yet."),
    "running": Look("Running", "running", "It is sending, or its process was killed: then the same run resumes it."),
    "stopped": Look("Stopped", "doubt", "Contacts are pending. Running it again resumes it."),
    "errors": Look("With errors", "failed", "It has ended, and some contacts did not complete."),
    "done": Look("Done", "success", "Every contact completed, or was skipped for a reason."),
}
"""Looks of replays."""

FATES: Mapping[str | None, Look] = {
    Fate.SUCCEEDED.value: Look("Success", "success", "yes: the server accepted the request"),
    Fate.APPLIED.value: Look("Applied", "doubt", "yes: the server accepted it, but its reply cannot be used"),
    Fate.ANSWERED.value: Look("Error", "failed", "yes: the server answered with an error"),
    Fate.NOT_SENT.value: Look("Not sent", "skipped", "no: the server did not receive the request"),
    Fate.UNKNOWN.value: Look("In doubt", "doubt", "unknown: nothing that came back, if anything, proves it"),
    None: Look("No outcome", "doubt", "unknown: it is being sent, or its process was killed meanwhile"),
}
"""Looks of attempts by their fate, which says whether the request arrived."""

_LIVE = ("reading", "waiting", "running")
_WRONG = (ContactState.FAILED, ContactState.IN_DOUBT, ContactState.REJECTED)


def replay_state(replay: Replay | RecentReplay, states: Mapping[ContactState, int]) -> str:
    """Return the state of a replay, a key of :data:`REPLAY_STATES`.

    Args:
        replay: the replay.
        states: number of its contacts in each state.
    """
    if not replay.sealed:
        return "reading"
    if states[ContactState.PENDING]:
        if replay.started_at is None:
            return "waiting"
        return "running" if replay.ended_at is None else "stopped"
    return "errors" if any(states[state] for state in _WRONG) else "done"


def is_live(replay: Replay | RecentReplay, states: Mapping[ContactState, int]) -> bool:
    """Whether a replay may change by itself: what shows it reads it again. Arguments of :func:`replay_state`."""
    return replay_state(replay, states) in _LIVE
