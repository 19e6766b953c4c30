"""Sending an action's request from a task: once per try, with a note before the first byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import requests
from airflow.sdk import Context
from airflow.sdk.bases.decorator import determine_kwargs
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from requests.structures import CaseInsensitiveDict

from airflow_whatsapp_flows.flow.content import MAX_DEPTH, clean
from airflow_whatsapp_flows.flow.delivery import Delivery, Fate, RetryRule, after, fate_of
from airflow_whatsapp_flows.flow.exchange import ErrorKind, HttpRequest, HttpResponse, Reply, Sent, TransportFailure
from airflow_whatsapp_flows.flow.outcome import ActionResult, Attempted, Outcome, classify
from airflow_whatsapp_flows.flow.performing import Done, FetchFile, SendAction, ToDo
from airflow_whatsapp_flows.flow.template.filters import json_text
from airflow_whatsapp_flows.gateway import Gateway, Outgoing, pause
from airflow_whatsapp_flows.operators.attempts import Attempts, Earlier
from airflow_whatsapp_flows.operators.author_text import plain_data
from airflow_whatsapp_flows.operators.retrying import ActionRetryError

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.action import WhatsAppActionOperator


_MAYBE_APPLIED = (Fate.UNKNOWN, Fate.APPLIED, Fate.SUCCEEDED)


class Sender:
    """Does for one try of a task what an action asks for.

    Args:
        task: the operator.
        context: Airflow's, of the running task.
        gateway: the way out.
    """

    def __init__(self, task: WhatsAppActionOperator, context: Context, gateway: Gateway) -> None:
        self._task = task
        self._context = context
        self._gateway = gateway

    def do(self, todo: ToDo) -> Done:
        """Fetch a file, or send a request unless an earlier try may have.

        Raises:
            ActionRetryError: the same request may be sent again, and Airflow has a try left.
        """
        if isinstance(todo, SendAction):
            return self._send(todo)
        return self._settled(todo) or self._gateway.fetch(todo.source, todo.step.timeout)

    def _settled(self, todo: FetchFile) -> ActionResult | None:
        """What earlier tries came to, when nothing will be sent any more: then no file is needed either."""
        plan, rule = todo.step.plan, todo.step.retry
        earlier = Attempts(self._context, rule.delivery).earlier()
        recorded = self._recorded(earlier)
        if recorded is not None:
            return recorded
        refusal = _refusal(rule, earlier) if rule.delivery is Delivery.AT_MOST_ONCE else None
        unsent = HttpRequest(plan.method, plan.url.origin, connection=plan.connection)
        return None if refusal is None else classify(refusal, Attempted(unsent, earlier.attempts))

    def _send(self, todo: SendAction) -> ActionResult:
        rule = todo.step.retry
        attempts = Attempts(self._context, rule.delivery)
        earlier = attempts.earlier()
        recorded = self._recorded(earlier)
        if recorded is not None:
            return recorded
        # What the connection gives comes before the note: when it cannot be used, nothing was sent.
        outgoing = self._outgoing(todo)
        request, digest = outgoing.request, outgoing.request.digest()
        refusal = _refusal(rule, earlier, digest)
        if refusal is not None:
            return classify(refusal, Attempted(request, earlier.attempts, todo.idempotency_key))
        number = earlier.attempts + 1
        attempts.intend(number, digest)
        reply = outgoing.send()
        attempted = Attempted(request, number, todo.idempotency_key)
        result = outgoing.concealed(after(earlier.fate, classify(reply, attempted, todo.step.success_when)))
        retry = self._next_retry(rule, attempts)
        if retry is not None and rule.may_send_again(reply):
            attempts.conclude(fate_of(result, rule), number, digest)
            raise ActionRetryError(_line(result), pause(rule, retry, reply))
        result = outgoing.concealed(self._checked(result, reply))
        fate = fate_of(result, rule)
        attempts.conclude(fate, number, digest, result.as_value() if fate is Fate.SUCCEEDED else None)
        return result

    def _recorded(self, earlier: Earlier) -> ActionResult | None:
        if earlier.fate is not Fate.SUCCEEDED or earlier.result is None:
            return None
        self._task.log.info("an earlier try has succeeded; its recorded result is returned, nothing is sent")
        return ActionResult.from_value(earlier.result)

    def _outgoing(self, todo: SendAction) -> Outgoing:
        request, connection = todo.request, None
        if request.connection:
            hook = self._task.action_hook(request.connection)
            connection = hook.action_connection()
            connection = hook.signed(connection, connection.absolute(request))
        return self._gateway.outgoing(connection, request, todo.step.timeout)

    def _next_retry(self, rule: RetryRule, attempts: Attempts) -> int | None:
        """Number of the retry that Airflow could make next, from 1; ``None`` when there is none left."""
        ti = self._context.get("ti")
        if ti is None or not attempts.may_retry:
            return None
        # A cleared task counts its tries on, and gets as many new ones as it has retries.
        try_number, max_tries = int(getattr(ti, "try_number", 1)), int(getattr(ti, "max_tries", 0) or 0)
        retry = try_number - max(0, max_tries - int(self._task.retries or 0))
        return retry if try_number <= max_tries and retry < rule.attempts else None

    def _checked(self, result: ActionResult, reply: Reply) -> ActionResult:
        task = self._task
        if not isinstance(reply, HttpResponse):
            return result
        if task.log_response:
            shown = reply.content[:10_000].decode("utf-8", "replace")
            task.log.info("reply of %s bytes: %s", len(reply.content), shown)
        if result.outcome is not Outcome.SUCCESS or not (task.response_check or task.response_filter):
            return result
        response = as_requests(reply, result.url)
        part = "response_check"
        try:
            if task.response_check and not _call(task.response_check, response, self._context):
                return result.failed(ErrorKind.RESPONSE_CHECK, "response_check returned false", Sent.YES)
            part = "response_filter"
            if task.response_filter:
                filtered = plain_data(_call(task.response_filter, response, self._context))
                json_text(filtered)  # NaN and Infinity are no JSON, and no XCom
                return replace(result, response=clean(filtered, MAX_DEPTH))
        except (AirflowFailException, AirflowSkipException):
            raise
        except Exception as error:
            # The request is sent: another try for the sake of a function that fails would send it again.
            return result.failed(ErrorKind.RESPONSE_CHECK, f"{part} raised {type(error).__name__}: {error}", Sent.YES)
        return result


def _refusal(rule: RetryRule, earlier: Earlier, digest: str | None = None) -> TransportFailure | None:
    """Why a request is not sent, given what earlier tries did; ``None`` when it may be."""
    if earlier.fate not in _MAYBE_APPLIED:
        return None
    if rule.delivery is Delivery.KEYED and earlier.digest != digest:
        what = "other bytes would go out under the key of an earlier try, which may have been applied"
        return _interrupted(f"nothing was sent: {what}; use no value that changes from try to try", Sent.UNKNOWN)
    if rule.delivery is not Delivery.AT_MOST_ONCE:
        return None
    once = "nothing was sent, since delivery 'at_most_once' does not send twice"
    if earlier.fate is not Fate.UNKNOWN:
        what = "an earlier try of this task was applied; its reply was unusable, or too large to be kept"
        return _interrupted(f"{once}: {what}", Sent.YES)
    what = "an earlier try of this task was cut off, or failed on the server, and may have been applied"
    hint = "look the contact up in the CRM, and run the flow again if it is not there"
    return _interrupted(f"{once}: {what}; {hint}", Sent.UNKNOWN)


def _interrupted(message: str, sent: Sent) -> TransportFailure:
    return TransportFailure(ErrorKind.INTERRUPTED, message, sent)


def _line(result: ActionResult) -> str:
    message = result.error.message if result.error else f"{result.status_code}"
    return f"{result.method} {result.url}: {message}"


def _call(function: Any, response: requests.Response, context: Mapping[str, Any]) -> Any:
    return function(response, **determine_kwargs(function, [response], context))


def as_requests(reply: HttpResponse, url: str) -> requests.Response:
    """A reply as the ``requests.Response`` that ``response_check`` and ``response_filter`` expect."""
    response = requests.Response()
    response.status_code = reply.status_code
    response.reason = reply.reason
    response.headers = CaseInsensitiveDict(reply.headers)
    response.url = url
    response.encoding = requests.utils.get_encoding_from_headers(response.headers)
    response._content = reply.content
    return response
