"""Estimates what contacts would send, without sending it: walks whose actions are assumed to succeed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field

from airflow_whatsapp_flows.connections import ActionConnection
from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.loading.graph_checks import references_of
from airflow_whatsapp_flows.flow.model import Action, Conditional, Flow, Step
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.template.variables import Scope, Variables
from airflow_whatsapp_flows.flow.walk.deliver import Prepare, Recall, advance, deliver
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.walk import State, Visit, Walk, walk
from airflow_whatsapp_flows.ledger.records import ResponseRecord
from airflow_whatsapp_flows.replay.fingerprints import normalize
from airflow_whatsapp_flows.replay.samples import Sample, sample_of
from airflow_whatsapp_flows.sender import RequestSender
from airflow_whatsapp_flows.transport.origin import origin_of

SAMPLES = 3
"""Number of sample requests shown for each action."""

DEPENDS = "depends_on_reply"
"""The end of a walk that cannot be predicted: the next step depends on a reply."""

_FILE = FileContent(b"", "file", "application/octet-stream")
_REPLY = frozenset({"response", "headers"})  # keys of a result that are unknown in an assumed success


@dataclass(slots=True)
class Counts:
    """Counts of what walks would do.

    Attributes:
        ends: number of contacts by final state; :data:`DEPENDS` if unknown.
        reasons: why contacts would not be completed, with similar texts grouped.
        exits: number of contacts by step and exit, each counted once.
        calls: number of requests by step.
        recorded: number of visits by step whose outcome is known, so that nothing is sent.
        files: number of files to fetch, by step.
        depends: number of contacts by the step after which nothing is known.
        longest_wait: longest total delay of a contact, in seconds.
        samples: the first requests of each step, masked.
    """

    ends: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    exits: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    recorded: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    depends: Counter[str] = field(default_factory=Counter)
    longest_wait: float = 0.0
    samples: dict[str, list[Sample]] = field(default_factory=dict)


class Estimate:
    """Walks contacts without sending, and counts what they would do.

    Args:
        request_sender: source of connections; sends nothing.
        epoch: last part of every key of an intentional resend, see :func:`walk`.
        resend: whether to send actions that succeeded elsewhere.

    Raises:
        ConnectionConfigError: a connection is missing or invalid.
    """

    def __init__(
        self, flow: Flow, request_sender: RequestSender, *, epoch: str | None = None, resend: bool = False
    ) -> None:
        self.counts = Counts()
        self._flow, self._epoch, self._resend = flow, epoch, resend
        actions = [step for step in flow.steps.values() if isinstance(step, Action)]
        self._connections = {step.name: _connection(step, request_sender) for step in actions}
        self.hosts = {step.name: _host(step, self._connections[step.name]) for step in actions}
        names = frozenset(self.hosts)
        self._reads = {step.name: _replies_read(step, names) for step in flow.steps.values()}

    def add(self, response: ContactResponse, record: ResponseRecord, walk_started_at: float, epoch: int = 1) -> None:
        """Walk one contact.

        Args:
            record: the attempts made for it.
            walk_started_at: when its walk starts, epoch seconds.
            epoch: epoch of the response's content.
        """
        contact = _Contact(response, record, walk_started_at, Walk(Variables(), identities=record.identities))
        now = dt.datetime.fromtimestamp(record.walk_started_at or walk_started_at, dt.timezone.utc)
        key = self._epoch or epoch
        walking = walk(self._flow, response, now=now, record=contact.walk, epoch=key, resend=self._resend)
        try:
            effect = next(walking)
            while not self._passed(contact):
                effect = walking.send(self._answer(contact, effect))
        except StopIteration:
            self._passed(contact)
        walking.close()
        self._end(contact)

    def _answer(self, contact: _Contact, effect: Effect) -> EffectResult:
        if isinstance(effect, FetchFile):
            settled = contact.record.find_settled_result(effect.step.name, effect.visit)
            if settled is None:
                self.counts.files[effect.step.name] += 1
            return _FILE if settled is None else effect.veil.restore(settled)
        if isinstance(effect, Wait):
            if effect.waited_in_replay:
                reached = dt.datetime.fromtimestamp(contact.walk_started_at + contact.waited, dt.timezone.utc)
                contact.waited = effect.ends(reached).timestamp() - contact.walk_started_at
            return Waited()
        name = effect.step.name
        known = self._find_known_result(contact, effect) if contact.record.tried else None
        if known is not None:
            self.counts.recorded[name] += 1
            contact.waited = 0.0  # earlier delays are over
            contact.assumed.discard(name)
            return known
        self.counts.calls[name] += 1
        self.counts.longest_wait = max(self.counts.longest_wait, contact.waited)
        self._keep_sample(effect)
        recorded = contact.response.actions.get(name, ())
        if effect.visit <= len(recorded) and recorded[effect.visit - 1].get("outcome") == Outcome.SUCCESS.value:
            contact.assumed.discard(name)  # it is resent; its earlier reply is the best available guess
            return ActionResult.from_value(recorded[effect.visit - 1])
        contact.assumed.add(name)
        return ActionResult(
            outcome=Outcome.SUCCESS,
            status_code=200,
            headers={},
            method=effect.request.method,
            url=effect.request.url,
            idempotency_key=effect.idempotency_key,
        )

    def _find_known_result(self, contact: _Contact, effect: SendAction) -> ActionResult | None:
        delivering = deliver(effect, clock=lambda: contact.walk_started_at)
        step = advance(delivering, None)
        while isinstance(step, (Prepare, Recall)):
            if isinstance(step, Prepare):
                step = advance(delivering, self._complete(step.effect))
            else:
                step = advance(delivering, contact.record.attempts(step.effect, step.request, step.base))
        return step if isinstance(step, ActionResult) else None

    def _complete(self, effect: SendAction) -> HttpRequest:
        connection = self._connections[effect.step.name]
        return effect.request if connection is None else connection.absolute(effect.request)

    def _keep_sample(self, effect: SendAction) -> None:
        samples = self.counts.samples.setdefault(effect.step.name, [])
        if len(samples) < SAMPLES:
            connection = self._connections[effect.step.name]
            secrets = connection.secrets if connection is not None else ()
            samples.append(sample_of(effect.step, self._complete(effect), effect.veil.hidden, secrets))

    def _passed(self, contact: _Contact) -> bool:
        """Count the new visits; return whether nothing after them can be known."""
        visits = contact.walk.visits
        while contact.counted < len(visits):
            visit = visits[contact.counted]
            contact.counted += 1
            if contact.assumed & self._reads[visit.step] and self._turns_on_reply(visit):
                contact.depends = visit.step
                return True
            if visit.exit is not None and (visit.step, visit.exit) not in contact.left:
                contact.left.add((visit.step, visit.exit))
                self.counts.exits[visit.step, visit.exit] += 1
        return False

    def _turns_on_reply(self, visit: Visit) -> bool:
        step = self._flow.steps[visit.step]
        if isinstance(step, Conditional):
            return True
        # A request rendered without the reply can also be rendered with it.
        return visit.exit is None and visit.result is None

    def _end(self, contact: _Contact) -> None:
        if contact.depends is not None:
            self.counts.ends[DEPENDS] += 1
            self.counts.depends[contact.depends] += 1
            if contact.depends in self.hosts:
                self.counts.calls[contact.depends] += 1
            return
        state = contact.walk.state or State.FAILED
        self.counts.ends[state.value] += 1
        if state is not State.COMPLETED:
            self.counts.reasons[normalize(contact.walk.reason)] += 1


@dataclass(slots=True)
class _Contact:
    response: ContactResponse
    record: ResponseRecord
    walk_started_at: float
    walk: Walk
    assumed: set[str] = field(default_factory=set)
    left: set[tuple[str, str]] = field(default_factory=set)
    counted: int = 0
    waited: float = 0.0
    depends: str | None = None


def hosts_of(flow: Flow, request_sender: RequestSender) -> dict[str, str]:
    """Return the host and port to which each action sends, by step.

    Raises:
        ConnectionConfigError: a connection is missing or invalid.
    """
    actions = [step for step in flow.steps.values() if isinstance(step, Action)]
    return {step.name: _host(step, _connection(step, request_sender)) for step in actions}


def _connection(step: Action, request_sender: RequestSender) -> ActionConnection | None:
    return request_sender.find_connection(step.plan.connection) if step.plan.connection else None


def _host(step: Action, connection: ActionConnection | None) -> str:
    return origin_of(step.plan.url.origin or (connection.origin if connection else "")).authority


def _replies_read(step: Step, actions: frozenset[str]) -> frozenset[str]:
    """Return the names of the actions whose reply a step reads."""
    paths = [reference.path for reference in references_of(step) if reference.scope == Scope.STEP.value]
    return frozenset(path[0] for path in paths if path[0] in actions and (len(path) == 1 or path[1] in _REPLY))
