"""The record of one contact: the steps visited, and how the walk ended."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from itertools import islice

import msgspec
from msgspec import Struct

from airflow_whatsapp_flows.flow.reply.hidden import NOTHING_HIDDEN, Hidden
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.messages import MessageRecorder
from airflow_whatsapp_flows.flow.walk.uncertain import UncertainRequest

_MISFITS = 5  # that are reported


class State(str, Enum):
    """The final state of a contact in a walk."""

    COMPLETED = "completed"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    REJECTED = "rejected"


class Visit(Struct, frozen=True):
    """One step of a walk.

    Attributes:
        step: its name.
        number: which visit of this step it is, from 1.
        exit: label of the exit taken; ``None`` if the walk ended in it.
        target: name of the next step; ``None`` when the walk ended.
        text: its rendered message; all visits of a walk together keep 1,048,576 characters, and truncated text is
            marked.
        result: of an action, with marks instead of sensitive values.
        details: what else it would have done on the platform, by the keys of the flow file: a file shown, a message
            template and its variables, tags, changed fields of the contact, …; ``None`` when there is nothing
        reason: why no answer fit; ``None`` if one did, or without an answer.
    """

    step: str
    number: int
    exit: str | None
    target: str | None
    text: str | None = None
    result: ActionResult | None = None
    details: Mapping[str, Value] | None = None
    reason: str | None = None


class Walk(Struct):
    """The record of one contact, in progress or final.

    Attributes:
        state: ``None`` while in progress.
        reason: why it ended so, for people; of one that completed without an end step also the answers that did not
            fit. Empty when there is nothing to say.
        visits: every step visited, in order.
        handled_errors: number of errors that an error exit handled.
        unanswered: whether it ended at a question without an answer.
        uncertain_requests: requests whose outcome is unknown. Only later visits of the same action can settle one.
        failure: why the step that the walk ended in failed, apart from these; ``None`` when it did not fail.
        identities: what steps were known by when something was first sent for the contact, by their names: their keys
            are made of it, for a request keeps its key when its step gets another identity.
        variables: the contact's values at this moment.
        hidden: those of them, and of the ones before, that the flow calls sensitive.
        messages: how much of what the steps say is still kept.
    """

    variables: Variables
    state: State | None = None
    reason: str = ""
    visits: list[Visit] = msgspec.field(default_factory=list)
    handled_errors: int = 0
    unanswered: bool = False
    uncertain_requests: tuple[UncertainRequest, ...] = ()
    failure: str | None = None
    identities: Mapping[str, str] = msgspec.field(default_factory=dict)
    hidden: Hidden = NOTHING_HIDDEN
    messages: MessageRecorder = msgspec.field(default_factory=MessageRecorder)

    @property
    def path(self) -> list[str]:
        """Names of the steps visited, in order."""
        return [visit.step for visit in self.visits]

    @property
    def misfits(self) -> list[str]:
        """Why answers did not fit, each with its step; the first few."""
        reasons = (f"{visit.step}: {visit.reason}" for visit in self.visits if visit.reason is not None)
        return list(islice(dict.fromkeys(reasons), _MISFITS))

    def outcome(self) -> dict[str, Value]:
        """How the contact ended, as plain data: the same for every driver."""
        return {
            "state": self.state.value if self.state else None,
            "reason": self.reason,
            "handled_errors": self.handled_errors,
            "unanswered": self.unanswered,
        }
