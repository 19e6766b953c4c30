"""Sends an action's request from a task: once per try, with an intent in the ledger before the first byte."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from typing import Any, Protocol

import requests
from airflow.sdk import Context
from airflow.sdk.bases.decorator import determine_kwargs
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from msgspec.structs import replace
from requests.structures import CaseInsensitiveDict

from airflow_whatsapp_flows.errors import LedgerError, OnceClaimedError, ReplayError
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.delivery.table import UNKNOWN_FATES, Delivery, Fate
from airflow_whatsapp_flows.flow.reply.excerpt import error_line
from airflow_whatsapp_flows.flow.reply.result import ActionResult, Outcome, SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import (
    ErrorKind,
    HttpRequest,
    HttpResponse,
    Reply,
    Sent,
    TransportFailure,
)
from airflow_whatsapp_flows.flow.storable import MAX_DEPTH, clean
from airflow_whatsapp_flows.flow.template.filters import json_text
from airflow_whatsapp_flows.flow.walk.deliver import (
    Delivering,
    Intend,
    Note,
    Pause,
    Prepare,
    Recall,
    Step,
    advance,
    deliver,
)
from airflow_whatsapp_flows.flow.walk.perform import Effect, EffectResult, FetchFile, SendAction, Wait, Waited
from airflow_whatsapp_flows.hooks.action import WhatsAppActionHook
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.ledger.rows import AttemptEnd, Intent
from airflow_whatsapp_flows.ledger.task_store import Transaction
from airflow_whatsapp_flows.operators.author_text import plain_data
from airflow_whatsapp_flows.operators.metrics import Metrics
from airflow_whatsapp_flows.operators.retry import ActionRetryError
from airflow_whatsapp_flows.operators.run_comparison import RunComparison
from airflow_whatsapp_flows.operators.run_content import check_newest
from airflow_whatsapp_flows.operators.task_record import Recipient, TaskTry
from airflow_whatsapp_flows.sender import PreparedRequest, RequestSender


class SendingTask(Protocol):
    """What :class:`TaskSender` needs of an operator."""

    log_response: bool
    response_check: Any
    response_filter: Any

    @property
    def log(self) -> Any:
        """Its log."""

    def action_hook(self, conn_id: str) -> WhatsAppActionHook:
        """The hook of a connection."""


class TaskSender:
    """Performs the effects of an action for one try of a task.

    Args:
        task: the operator.
        context: Airflow's, of the running task.
        request_sender: the way out.
        recipient: whom it is for.
        waits_itself: whether the task waits and asks again where a request may be sent again, instead of leaving that
            to Airflow's next try.
        comparison: finds out whether a run would send the same as the last time; ``None`` outside a flow.

    Raises:
        ConnectionConfigError: the ledger is a file, and tasks may run on other machines.
        LedgerError: the ledger cannot be opened.
    """

    def __init__(
        self,
        task: SendingTask,
        context: Context,
        request_sender: RequestSender,
        recipient: Recipient,
        *,
        waits_itself: bool = False,
        comparison: RunComparison | None = None,
    ) -> None:
        self._task = task
        self._context = context
        self._request_sender = request_sender
        self._recipient = recipient
        self._try = TaskTry.of(context, task)
        self._comparison = comparison
        self._leaves_tries = waits_itself or not self._try.is_last
        self._ledger = task_ledger(request_sender.settings)
        self._metrics = Metrics.of(context, recipient.subject.flow_id)

    def do(self, effect: Effect) -> EffectResult:
        """Fetch a file, or send a request unless the ledger's record forbids it.

        Raises:
            ActionRetryError: the same request may be sent again, and there is a try left.
            AirflowSkipException: under ``only_once`` another response of the same person was sent this step.
            IntentConflictError: another worker is sending the same request, or other content of the same response.
            ResponseError: newer content of the response was sent.
            LedgerError: the ledger cannot be written; nothing was sent.
        """
        if isinstance(effect, SendAction):
            return self._send(effect)
        if isinstance(effect, Wait):
            return Waited()
        settled = self._find_settled_result(effect)
        if settled is not None:
            return effect.veil.restore(settled)
        return self._request_sender.fetch(effect.source, effect.step.timeout)

    def will_send(self, effect: SendAction | FetchFile) -> bool:
        """Whether an effect sends a request, or the ledger already has its result.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        if isinstance(effect, FetchFile):
            return self._find_settled_result(effect) is None
        if self._compare():
            return False
        delivering = deliver(effect)
        step = advance(delivering, None)
        while isinstance(step, Prepare):
            recall = advance(delivering, self._prepare(step.effect).request)
            with self._ledger.transaction() as transaction:
                step = self._recall(transaction, delivering, recall)
        return not isinstance(step, ActionResult)

    def _find_settled_result(self, effect: FetchFile) -> ActionResult | None:
        """Find the result of earlier attempts if nothing more will be sent; then no file is needed either."""
        with self._ledger.transaction() as transaction:
            rows = transaction.attempts_of_visit(
                self._recipient.subject, self._names(effect), effect.visit, epoch=self._recipient.epoch
            )
        record = self._try.record(rows, self._recipient.steps)
        done = record.find_settled_result(effect.step.name, effect.visit)
        if done is not None or effect.step.retry.delivery is not Delivery.AT_MOST_ONCE:
            return done
        place = (effect.step.name, effect.visit)
        attempts = [tried.attempt for tried in record.tried if (tried.step, tried.visit) == place]
        doubted = next((attempt for attempt in attempts if attempt.fate in UNKNOWN_FATES), None)
        if doubted is None or doubted.result is not None:
            return None if doubted is None else doubted.result
        plan = effect.step.plan
        unsent = HttpRequest(plan.method, plan.url.origin, connection=plan.connection)
        message = "the sender stopped before it received a reply; the request may have reached the server"
        failure = TransportFailure(ErrorKind.INTERRUPTED, message, Sent.UNKNOWN)
        return classify(failure, SentRequest(unsent, doubted.number))

    def _compare(self) -> bool:
        """Find out whether the whole run would send what was last sent for the contact."""
        return self._comparison is not None and self._comparison.compare(
            self._ledger, lambda effect: self._prepare(effect).request
        )

    def _send(self, effect: SendAction) -> ActionResult:
        self._compare()
        review = _Review(self._task, self._context)
        delivering = deliver(effect, review=review.review)
        begun: Intent | Step | ActionResult = advance(delivering, None)
        while isinstance(begun, Prepare):
            # What the connection gives comes before the intent: when it cannot be used, nothing was sent.
            prepared = review.prepared = self._prepare(begun.effect)
            recall = advance(delivering, prepared.request)
            try:
                with self._ledger.transaction() as transaction:
                    begun = self._begin(transaction, delivering, recall)
            except OnceClaimedError as error:
                raise AirflowSkipException(f"{effect.step.name}: {error}") from None
        if isinstance(begun, ActionResult):
            return begun
        if not isinstance(begun, Intent):
            raise TypeError("a request is sent after its intent")
        intent = begun
        advance(delivering, intent.begun_at)
        note = advance(delivering, prepared.send())
        if not isinstance(note, Note):
            raise TypeError("an exchange is followed by its note")
        self._end(intent, note)
        if review.failure is not None:
            raise review.failure
        step = advance(delivering, None)
        if isinstance(step, Pause):
            if self._leaves_tries and step.result is not None:
                raise ActionRetryError(error_line(effect.veil.hidden.hide(step.result, effect.step.name)), step.seconds)
            step = advance(delivering, False)  # it could be sent again, but Airflow has no try left
        if not isinstance(step, ActionResult):
            raise TypeError("a try sends one request")
        return step

    def _begin(
        self, transaction: Transaction, delivering: Delivering, recall: Step | ActionResult
    ) -> Intent | Step | ActionResult:
        """Record the intent and return it; the result if nothing is to be sent, or the step before another try."""
        step = self._recall(transaction, delivering, recall)
        if isinstance(step, ActionResult):
            self._task.log.info("nothing is sent: an earlier attempt already has the result")
        if not isinstance(step, Intend):
            return step
        same = self._comparison.confirm(transaction) if self._comparison else None
        intent = self._intend(transaction, step)
        if same is None:
            return intent
        # Recorded as not sent, so that this content is the newest of its response.
        transaction.end(AttemptEnd(intent, Fate.NOT_SENT, None, None, None, time.time()))
        self._task.log.info("nothing is sent: %s", same.reason(intent.subject.response_id))
        return same.result_for(intent.subject.response_id, step.effect)

    def _recall(
        self, transaction: Transaction, delivering: Delivering, step: Step | ActionResult
    ) -> Step | ActionResult:
        """Find the attempts so far, and return the next step; the wait before another attempt is over."""
        if not isinstance(step, Recall):
            raise TypeError("a request that is prepared is followed by its earlier attempts")
        effect, request, recipient = step.effect, step.request, self._recipient
        rows = transaction.attempts_of_visit(
            recipient.subject, self._names(effect), effect.visit, effect.idempotency_key, recipient.epoch
        )
        attempts = self._try.record(rows, recipient.steps, request.digest()).attempts(effect, request, step.base)
        if not attempts and recipient.lost is not None and request.method not in SAFE_METHODS:
            raise ReplayError(_lost_step_text(effect.step.name, recipient.lost))
        following = advance(delivering, attempts)
        return advance(delivering, True) if isinstance(following, Pause) else following

    def _intend(self, transaction: Transaction, step: Intend) -> Intent:
        check_newest(transaction, self._recipient)
        intent = self._try.intent(step, self._recipient)
        transaction.intend(intent)
        return intent

    def _names(self, effect: SendAction | FetchFile) -> tuple[str, ...]:
        """Return the names under which the action's attempts are recorded."""
        steps, name = self._recipient.steps, effect.step.name
        return (name,) if steps is None else steps.names_and_ids(name)

    def _end(self, intent: Intent, note: Note) -> None:
        end = AttemptEnd.of(intent, note.attempt, note.result_for_ledger(), time.time())
        try:
            with self._ledger.transaction() as transaction:
                transaction.end(end)
        except LedgerError as error:
            # The reply is here, and is worth more than the note of it; without the note nothing is sent again.
            self._task.log.error("the outcome of the request could not be recorded: %s", error)
        if self._metrics is not None:
            self._metrics.note_attempt(note.attempt)
            self._metrics.send()

    def _prepare(self, effect: SendAction) -> PreparedRequest:
        request, connection = effect.request, None
        if request.connection:
            hook = self._task.action_hook(request.connection)
            connection = hook.action_connection()
            connection = hook.sign(connection, connection.absolute(request))
        return self._request_sender.prepare(connection, request, effect.step.timeout)


class _Review:
    """Reviews the reply to a request: the functions of the task's author, then the connection's secrets.

    Attributes:
        prepared: the request.
        failure: what a function raised to fail or skip the task, if any; raised once the outcome is recorded.
    """

    prepared: PreparedRequest

    def __init__(self, task: SendingTask, context: Context) -> None:
        self.failure: AirflowFailException | AirflowSkipException | None = None
        self._task = task
        self._context = context

    def review(self, result: ActionResult, reply: Reply) -> ActionResult:
        """Return the result as it is recorded."""
        if isinstance(reply, HttpResponse):
            try:
                result = self._check_response(result, reply)
            except (AirflowFailException, AirflowSkipException) as error:
                self.failure = error
                message = f"response_check or response_filter raised {type(error).__name__}: {error}"
                result = result.as_error(ErrorKind.RESPONSE_CHECK, message, Sent.YES)
        return self.prepared.mask_secrets(result)

    def _check_response(self, result: ActionResult, reply: HttpResponse) -> ActionResult:
        task = self._task
        if task.log_response:
            # Cut after it is masked: of a secret that is cut, the beginning would be shown.
            shown = self.prepared.conceal(reply.content.decode("utf-8", "replace"))[:10_000]
            task.log.info("reply of %s bytes: %s", len(reply.content), shown)
        if result.outcome is not Outcome.SUCCESS or not (task.response_check or task.response_filter):
            return result
        response = as_requests(reply, result.url)
        part = "response_check"
        try:
            if task.response_check and not _call(task.response_check, response, self._context):
                return result.as_error(ErrorKind.RESPONSE_CHECK, "response_check returned false", Sent.YES)
            part = "response_filter"
            if task.response_filter:
                filtered = plain_data(_call(task.response_filter, response, self._context))
                json_text(filtered)  # NaN and Infinity are no JSON, and no XCom
                return replace(result, response=clean(filtered, MAX_DEPTH))
        except (AirflowFailException, AirflowSkipException):
            raise
        except Exception as error:
            # The request is sent: another try for the sake of a function that fails would send it again.
            return result.as_error(ErrorKind.RESPONSE_CHECK, f"{part} raised {type(error).__name__}: {error}", Sent.YES)
        return result


def _lost_step_text(step: str, lost: str) -> str:
    name = json.dumps(lost, ensure_ascii=False)
    return (
        f"something was sent for this contact as {lost!r}, and the flow has no such step any more: {step!r} is not "
        f'sent, since it may be that step under another name. If it is, give it "id": {name} in the flow; if it was '
        f"removed, say so: whatsapp-flows replay retry ID --renamed {shlex.quote(lost + '=')}"
    )


def _call(function: Any, response: requests.Response, context: Mapping[str, Any]) -> Any:
    return function(response, **determine_kwargs(function, [response], context))


def as_requests(reply: HttpResponse, url: str) -> requests.Response:
    """Convert a reply to the ``requests.Response`` that ``response_check`` and ``response_filter`` expect."""
    response = requests.Response()
    response.status_code = reply.status_code
    response.reason = reply.reason
    response.headers = CaseInsensitiveDict(reply.headers)
    response.url = url
    response.encoding = requests.utils.get_encoding_from_headers(response.headers)
    response._content = reply.content
    return response
