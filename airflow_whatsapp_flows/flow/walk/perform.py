"""The effects that a walk yields, and how an action is performed: fetch files, send a request, return its result."""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from airflow_whatsapp_flows.flow.body import FileContent, FileSource
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.model import Action, Delay
from airflow_whatsapp_flows.flow.reply.hidden import NO_VEIL, Veil
from airflow_whatsapp_flows.flow.reply.result import ActionResult, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import ErrorKind, HttpRequest, Sent, TransportFailure


class SendAction(Struct, frozen=True):
    """Effect: send the request of an action; answer with its :class:`ActionResult`.

    Attributes:
        step: the action.
        visit: which visit of this step it is, from 1.
        request: complete, except for what the connection adds.
        idempotency_key: the same for every attempt at this visit for this response.
        identity: the step's identity in this key; its name by default.
        veil: hides sensitive values in the recorded result, and restores them.
    """

    step: Action
    visit: int
    request: HttpRequest
    idempotency_key: str
    identity: str | None = None
    veil: Veil = NO_VEIL

    @property
    def step_id(self) -> str | None:
        """What its attempts are recorded under; ``None`` where that is the name of the step."""
        return None if self.identity == self.step.name else self.identity

    def with_key(self, key: str) -> SendAction:
        """The same under another key; under ``keyed`` the request carries it."""
        if self.step.retry.delivery is Delivery.KEYED:
            request = self.request.with_header(self.step.idempotency_header, key)
            return replace(self, request=request, idempotency_key=key)
        return self if key == self.idempotency_key else replace(self, idempotency_key=key)


class FetchFile(Struct, frozen=True):
    """Effect: fetch a file that an action sends; answer with a :class:`FileContent` or a failure.

    If the action's result is already recorded, answer with the result instead; nothing needs to be fetched.

    Attributes:
        step: the action.
        visit: which visit of this step it is, from 1.
        source: where the file is.
        veil: as for :class:`SendAction`.
    """

    step: Action
    visit: int
    source: FileSource
    veil: Veil = NO_VEIL


class Wait(Struct, frozen=True):
    """Effect: wait; answer with :class:`Waited`, whether or not it was skipped.

    Attributes:
        step: the delay.
        visit: which visit of this step it is, from 1.
        until: the time to wait for, if the delay has one.
        polling: whether it is in a loop with an action.
    """

    step: Delay
    visit: int
    until: dt.datetime | None
    polling: bool

    def ends(self, reached: dt.datetime) -> dt.datetime:
        """When the contact goes on, having come here at an aware time."""
        return self.step.rule.ends(reached, self.until)

    @property
    def waited_in_replay(self) -> bool:
        """Whether a contact whose answers were recorded waits here too: it does where an action is polled."""
        return self.step.when_replayed == "wait" or (self.step.when_replayed == "auto" and self.polling)


class Waited(Struct, frozen=True):
    """A wait is over or was skipped."""


Effect = SendAction | FetchFile | Wait
EffectResult = ActionResult | FileContent | TransportFailure | Waited
Performing = Generator["SendAction | FetchFile", EffectResult, ActionResult]


def build_request(
    step: Action, variables: Mapping[str, object], files: Mapping[str, FileContent] | None = None
) -> HttpRequest:
    """Build the request of an action step for one contact.

    Args:
        step: an action of a loaded flow.
        variables: the contact's values.
        files: fetched files, by their path or URL, when its body carries any.

    Raises:
        RenderError: a value is missing, or cannot be sent where it stands; says where.
    """
    return step.plan.build(variables, files)


def perform(
    step: Action,
    values: Mapping[str, object],
    *,
    visit: int,
    key: str,
    identity: str | None = None,
    veil: Veil = NO_VEIL,
) -> Performing:
    """Perform an action for one contact.

    Args:
        step: the action.
        values: the contact's values, by scope.
        visit: which visit of this step it is, from 1.
        key: idempotency key of this visit; sent as a header under ``keyed``.
        identity: what the step is known by in the key.
        veil: hides sensitive values in the recorded result, and restores them.

    Yields:
        The files to fetch, one by one, and then the request to send.

    Returns:
        The result; if a file cannot be fetched, an error of kind ``file``, and no request is sent.

    Raises:
        RenderError: a value is missing, or cannot be sent where it stands; says where.
    """
    files: dict[str, FileContent] = {}
    for source in step.plan.file_sources(values):
        done = yield FetchFile(step, visit, source, veil)
        if isinstance(done, ActionResult):
            return done
        if isinstance(done, TransportFailure):
            failure = TransportFailure(ErrorKind.FILE, f"{source.where}: {done.message}", Sent.NO)
            unsent = HttpRequest(step.plan.method, step.plan.url.build(values), connection=step.plan.connection)
            return classify(failure, SentRequest(unsent, 0, key))
        if not isinstance(done, FileContent):
            raise TypeError(f"the answer to a FetchFile must be a FileContent, not {type(done).__name__}")
        files[source.url_or_path] = done
    request = build_request(step, values, files)
    done = yield SendAction(step, visit, request, key, identity, veil).with_key(key)
    if not isinstance(done, ActionResult):
        raise TypeError(f"the answer to a SendAction must be an ActionResult, not {type(done).__name__}")
    return done
