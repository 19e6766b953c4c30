"""Walks a flow step by step for one contact, without side effects.

``walk`` is a generator: it yields effects (send a request, fetch a file), receives their results, and returns the
record of the contact. Airflow tasks, replays, and the command line drive the same generator, so a flow has one meaning.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Generator, Mapping, Sequence

from msgspec.structs import replace

from airflow_whatsapp_flows.errors import RenderError, ResponseError
from airflow_whatsapp_flows.flow.answers import AnswerMisfit
from airflow_whatsapp_flows.flow.delivery.rule import idempotency_key
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.model.action import Action
from airflow_whatsapp_flows.flow.model.flow import Flow, Step
from airflow_whatsapp_flows.flow.model.messages import Answered, Message, TemplateMessage
from airflow_whatsapp_flows.flow.model.routing import (
    Assignation,
    Conditional,
    ContactUpdate,
    Delay,
    End,
    GoTo,
    Tag,
    TriggerFlow,
)
from airflow_whatsapp_flows.flow.model.step import StepBase
from airflow_whatsapp_flows.flow.reply.hidden import NOTHING_HIDDEN, Hidden, Veil
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome
from airflow_whatsapp_flows.flow.storable import storable_text
from airflow_whatsapp_flows.flow.template.language import Value
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.choose_exit import fit_one, misfit_reason
from airflow_whatsapp_flows.flow.walk.messages import (
    moment_of,
    platform_details,
    render_changes,
    render_message,
    render_text,
)
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, SendAction, Wait, perform
from airflow_whatsapp_flows.flow.walk.record import State as State
from airflow_whatsapp_flows.flow.walk.record import Visit as Visit
from airflow_whatsapp_flows.flow.walk.record import Walk as Walk
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.start import check_exits, initial_variables
from airflow_whatsapp_flows.flow.walk.uncertain import UncertainRequests

Walking = Generator[Effect, EffectResult, Walk]
_Immediate = Answered | Conditional | End | TriggerFlow | Message | ContactUpdate | Tag | Assignation | GoTo


def walk(
    flow: Flow,
    response: ContactResponse,
    *,
    now: dt.datetime,
    record: Walk | None = None,
    epoch: str | int | None = None,
    resend: bool = False,
) -> Walking:
    """Walk a flow for one contact.

    Args:
        flow: without faults.
        response: the contact's answers.
        now: an aware time, fixed for this contact: used for ``global.Date`` and similar variables.
        record: updated during the walk, for callers that stop it halfway; a new one by default.
        epoch: last part of every idempotency key: the number of the response's content, or a name for a second send
            on purpose. ``None`` (default) and 1 are the first content.
        resend: whether to send actions that already succeeded elsewhere. By default their recorded
            results are used.

    Yields:
        The next effect to perform.

    Returns:
        The record of the contact.
    """
    try:
        variables = initial_variables(flow, response, now)
        response.check_actions()
        check_exits(flow, response)
    except ResponseError as error:
        rejected = record or Walk(Variables())
        rejected.state, rejected.reason, rejected.failure = State.REJECTED, str(error), str(error)
        return rejected
    record = record or Walk(variables)
    record.variables = variables
    walker = _Walker(
        flow, replace(response, actions={}, exits={}) if resend else response, record, None if epoch == 1 else epoch
    )
    yield from walker.run()
    return record


class _Walker:
    def __init__(self, flow: Flow, response: ContactResponse, record: Walk, epoch: str | int | None) -> None:
        self._flow = flow
        self._response = response
        self._record = record
        self._epoch = epoch
        self._uncertain_requests = UncertainRequests()
        self._counts: dict[str, int] = {}
        self._used_answers: dict[str, int] = {}  # recorded answers that earlier visits have used up
        self._exhausted_steps: set[str] = set()
        self._has_misfits = False
        hides = flow.sensitive or flow.literals
        self._hidden = record.hidden = Hidden(flow.sensitive, flow.literals) if hides else NOTHING_HIDDEN
        self._hidden.note(record.variables)

    def run(self) -> Generator[Effect, EffectResult, None]:
        record, steps, counts = self._record, self._flow.steps, self._counts
        name: str | None = self._flow.start
        while name is not None and record.state is None:
            step = steps[name]
            visit = counts.get(name, 0) + 1
            if visit > step.max_visits:
                name = self._visits_exhausted(step)
                continue
            counts[name] = visit
            self._exhausted_steps.clear()
            try:
                if isinstance(step, Action):
                    name = yield from self._action(step, visit)
                elif isinstance(step, Delay):
                    yield Wait(step, visit, moment_of(step, record.variables), self._flow.is_polling(step.name))
                    name = self._add(step, "next", step.next)
                else:
                    name = self._visit(step)
            except RenderError as error:
                self._add(step, None, None)
                self._stop(State.FAILED, f"{step.name}: {error}")
        if record.state is None:
            record.state = State.COMPLETED
            record.reason = self._for_record("; ".join(record.misfits)) if self._has_misfits else ""
        if record.state is not State.COMPLETED:
            record.failure = record.reason
        if self._uncertain_requests.open:
            self._note_uncertain()  # values that became known since are hidden too, so that equal texts are equal
            reasons = dict.fromkeys([*(one.reason for one in record.uncertain_requests), record.reason])
            self._stop(State.IN_DOUBT, "; ".join(filter(None, reasons)))

    def _note_uncertain(self) -> None:
        if not (self._uncertain_requests.open or self._record.uncertain_requests):
            return
        self._hidden.note(self._record.variables)
        self._record.uncertain_requests = tuple(
            replace(one, reason=self._for_record(one.reason)) for one in self._uncertain_requests.open
        )

    def _visit(self, step: _Immediate) -> str | None:
        """Visit a step that nothing has to be done for; return the name of the next one."""
        if isinstance(step, Answered):
            return self._answer(step)
        if isinstance(step, Conditional):
            return self._conditional(step)
        if isinstance(step, End):
            self._stop(State(step.state), render_text(step.reason, self._record.variables) or "")
            return self._add(step, None, None)
        if isinstance(step, TriggerFlow):
            self._stop(State.COMPLETED, f"continues in the flow {step.next_flow!r}")
            return self._add(step, None, None, details={"next_flow": step.next_flow})
        return self._pass(step)

    def _pass(self, step: Message | ContactUpdate | Tag | Assignation | GoTo) -> str | None:
        """A step with one way out that leaves its trace in the record alone."""
        values = self._record.variables
        if isinstance(step, Message):
            text, details = render_message(step.content, values)
            return self._add(step, "next", step.next, text=text, details=details)
        if isinstance(step, ContactUpdate):
            changes, meta = render_changes(step.changes, values), render_changes(step.meta, values)
            self._record.variables = values.with_contact(changes, meta)
            return self._add(step, "next", step.next, details={**changes, **({"meta": meta} if meta else {})})
        return self._add(step, "next", step.next, details=platform_details(step, values))

    def _visits_exhausted(self, step: Step) -> str | None:
        # Two steps may send a walk to each other when both have no visits left.
        if step.on_max_visits is None or step.name in self._exhausted_steps:
            self._stop(State.FAILED, f"{step.name} was visited {step.max_visits} times, which is the limit")
        self._exhausted_steps.add(step.name)
        return step.on_max_visits

    def _answer(self, step: Answered) -> str | None:
        record = self._record
        text, details = render_message(step.content, record.variables)
        used = self._used_answers.get(step.name, 0)
        answers = self._response.answers(step.name, used)[: step.max_answer_attempts]
        if not answers:
            if isinstance(step, TemplateMessage) and not step.waits:
                return self._add(step, "next", step.next, text=text, details=details)
            if step.on_no_answer is None:
                record.unanswered = True
                self._stop(State.COMPLETED, f"{step.name} was not answered")
                return self._add(step, None, None, text=text, details=details)
            return self._add(step, "no answer", step.on_no_answer, text=text, details=details)
        try:
            fit = fit_one(step, answers, record.variables)
        except AnswerMisfit as error:
            self._used_answers[step.name] = used + len(answers)
            label = None if step.on_answer_failed is None else "answer failed"
            self._add(step, label, step.on_answer_failed, text=text, details=details)
            reason = self._misfit(step, answers, error)
            record.visits[-1] = replace(record.visits[-1], reason=reason)
            if label is None:
                self._stop(State.FAILED, f"{step.name}: {reason}")
            return step.on_answer_failed
        self._used_answers[step.name] = used + fit.tried
        record.variables = record.variables.with_step(step.name, fit.value)
        return self._add(step, fit.label, fit.target, text=text, details=details)

    def _misfit(self, step: Answered, answers: Sequence[Value], misfit: AnswerMisfit) -> str:
        self._has_misfits = True
        for answer in answers:  # no variable has them, but nobody is to read them either
            self._hidden.note(self._record.variables.with_step(step.name, answer))
        return self._for_record(misfit_reason(step, misfit, self._hidden.conceal))

    def _conditional(self, step: Conditional) -> str | None:
        for path in step.paths:
            if all(condition.holds(self._record.variables) for condition in path.conditions):
                return self._add(step, path.label, path.next)
        return self._add(step, "otherwise", step.otherwise)

    def _action(self, step: Action, visit: int) -> Generator[Effect, EffectResult, str | None]:
        result = self._prior_result(step, visit)
        if result is None:
            result = yield from self._perform(step, visit)
        if result is None:
            return self._add(step, None, None)
        # Later steps read its values; whatever is recorded of the visit has marks in their places.
        self._record.variables = self._record.variables.with_step(step.name, result.as_value())
        if result.outcome is Outcome.SUCCESS:
            return self._add(step, "success", step.on_success, result=result)
        if step.has_error_exit:
            self._record.handled_errors += 1
            return self._add(step, "error", step.on_error, result=result)
        self._stop(State.FAILED, f"{step.name}: {result.error.message if result.error else 'error'}")
        return self._add(step, None, None, result=result)

    def _perform(self, step: Action, visit: int) -> Generator[Effect, EffectResult, ActionResult | None]:
        """What came of a visit; ``None`` when the walk stops here, for an earlier one is in doubt."""
        if self._uncertain_requests.forbid(step):
            self._stop_in_doubt(step)
            return None
        identity = self._record.identities.get(step.name, step.identity)
        key = idempotency_key(self._flow.id, identity, self._response.identity, visit, self._epoch)
        is_read = step.name in self._flow.replies_read
        veil = Veil(self._hidden, None if is_read else step.name)
        performing = perform(step, self._record.variables, visit=visit, key=key, identity=identity, veil=veil)
        sent: SendAction | None = None
        effect = next(performing)
        try:
            while True:
                if isinstance(effect, SendAction):
                    sent = self._uncertain_requests.admit(effect)
                    if sent is None:
                        self._stop_in_doubt(step)
                        return None
                    effect = sent
                done = yield effect
                if isinstance(done, ActionResult):
                    self._hidden.check_restored(step.name, is_read=is_read)
                effect = performing.send(done)
        except StopIteration as stop:
            result: ActionResult = stop.value
        self._uncertain_requests.conclude(step, result, sent)
        self._note_uncertain()
        return result

    def _stop_in_doubt(self, step: Action) -> None:
        keyed = step.retry.delivery is Delivery.KEYED
        rule = (
            "a different request cannot be sent under its key"
            if keyed
            else ("delivery 'at_most_once' never sends a request twice")
        )
        why = (
            f"{step.name}: stopped at its next visit, because the request of the previous visit may have reached "
            f"the server, and {rule}"
        )
        self._stop(State.IN_DOUBT, why)

    def _prior_result(self, step: Action, visit: int) -> ActionResult | None:
        if not (self._response.actions or self._response.exits):
            return None
        # What the platform has sent with success is not sent again; what failed there, or never ran, is.
        recorded = self._response.actions.get(step.name, ())
        result = ActionResult.from_value(recorded[visit - 1]) if visit <= len(recorded) else None
        if not recorded and visit == 1 and self._response.exits.get(step.name) == Outcome.SUCCESS.value:
            # That it succeeded is known, though not what came back.
            result = ActionResult.from_value({"outcome": Outcome.SUCCESS.value, "method": step.plan.method})
        return result if result is not None and result.outcome is Outcome.SUCCESS else None

    def _add(
        self, step: StepBase, label: str | None, target: str | None, *, text: str | None = None,
        result: ActionResult | None = None, details: Mapping[str, Value] | None = None,
    ) -> str | None:  # fmt: skip
        if self._hidden is not NOTHING_HIDDEN:
            self._hidden.note(self._record.variables)
        if text or details is not None:
            text, details = self._record.messages.keep(text, details, self._hidden)
        shown = None if result is None else self._hidden.hide(result)
        self._record.visits.append(Visit(step.name, self._counts[step.name], label, target, text, shown, details))
        return target

    def _stop(self, state: State, reason: str) -> None:
        self._hidden.note(self._record.variables)
        self._record.state, self._record.reason = state, self._for_record(reason)

    def _for_record(self, reason: str) -> str:
        return self._hidden.conceal(storable_text(reason))


def drive(walking: Walking, do: Callable[[Effect], EffectResult]) -> Walk:
    """Run a walk to its end with a function that performs its effects."""
    try:
        effect = next(walking)
        while True:
            effect = walking.send(do(effect))
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # typeshed knows StopIteration's value as Any
