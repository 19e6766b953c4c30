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

from airflow_whatsapp_flows.connections import ActionConnection
from airflow_whatsapp_flows.delivering import Gateway, pause
from airflow_whatsapp_flows.flow.body import FileContent
from airflow_whatsapp_flows.flow.delivery import RetryRule
from airflow_whatsapp_flows.flow.exchange import ErrorKind, HttpRequest, HttpResponse, Reply, Sent, TransportFailure
from airflow_whatsapp_flows.flow.outcome import ActionResult, Attempted, Outcome, classify
from airflow_whatsapp_flows.flow.walk import FetchFile, SendAction
from airflow_whatsapp_flows.operators.attempts import Attempts, Earlier, Fate
from airflow_whatsapp_flows.operators.author_text import plain_data
from airflow_whatsapp_flows.operators.branch import WhatsAppBranchOperator
from airflow_whatsapp_flows.operators.retrying import ActionRetryError

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.action import WhatsAppActionOperator


class Performance:
    """One try of an action.

    Args:
        task: the operator.
        context: Airflow's, of the running task.
        gateway: the way out.
    """

    def __init__(self, task: WhatsAppActionOperator, context: Context, gateway: Gateway) -> None:
        self._task = task
        self._context = context
        self._gateway = gateway

    def fetch(self, todo: FetchFile, key: str) -> FileContent | ActionResult:
        """Fetch a file that the request carries; a failure is the action's result."""
        done = self.fetch_content(todo)
        if isinstance(done, FileContent):
            return done
        failure = TransportFailure(ErrorKind.FILE, f"{todo.source.where}: {done.message}", Sent.NO)
        request = HttpRequest(todo.step.plan.method, todo.step.plan.url.origin, connection=todo.step.plan.connection)
        return classify(failure, Attempted(request, 0, key))

    def fetch_content(self, todo: FetchFile) -> FileContent | TransportFailure:
        """Fetch a file that a request carries."""
        return self._gateway.fetch(todo.source, todo.step.timeout)

    def send(self, todo: SendAction) -> ActionResult:
        """Send a request, unless an earlier try may have.

        Raises:
            ActionRetryError: the same request may be sent again, and Airflow has a try left.
        """
        rule = todo.step.retry
        attempts = Attempts(self._context, rule.delivery)
        earlier = attempts.earlier()
        if earlier.fate == "answered" and earlier.result is not None:
            self._task.log.info("an earlier try has succeeded; its recorded result is returned, nothing is sent")
            return ActionResult.from_value(earlier.result)
        # What the connection gives comes before the note: when it cannot be used, nothing was sent.
        connection, request = self._connected(todo.request)
        if earlier.fate in ("unknown", "answered") and not _may_repeat(rule):
            return _in_doubt(earlier, Attempted(request, earlier.attempts, todo.idempotency_key))
        number = earlier.attempts + 1
        attempts.intend(number)
        limit = self._gateway.settings.response_max_bytes
        reply = self._gateway.send_through(connection, request, todo.step.timeout, limit)
        result = classify(reply, Attempted(request, number, todo.idempotency_key), todo.step.success_when)
        retry = self._next_retry(rule, attempts)
        if retry is not None and rule.may_send_again(reply):
            attempts.conclude(_fate(reply, rule), number)
            raise ActionRetryError(_line(result), pause(rule, retry, reply))
        result = self._checked(result, reply)
        value = result.as_value() if result.outcome is Outcome.SUCCESS else None
        attempts.conclude("answered" if value else _fate(reply, rule), number, value)
        return result

    def _connected(self, request: HttpRequest) -> tuple[ActionConnection | None, HttpRequest]:
        if not request.connection:
            return None, request
        hook = self._task.action_hook(request.connection)
        connection = hook.action_connection()
        request = connection.absolute(request)
        return hook.signed(connection, request), request

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
                return replace(result, response=plain_data(_call(task.response_filter, response, self._context)))
        except (AirflowFailException, AirflowSkipException):
            raise
        except Exception as error:
            # The request is sent: another try for the sake of a function that fails would send it again.
            return result.failed(ErrorKind.RESPONSE_CHECK, f"{part} raised {type(error).__name__}: {error}", Sent.YES)
        return result


def _in_doubt(earlier: Earlier, attempted: Attempted) -> ActionResult:
    if earlier.fate == "answered":
        sent, what = Sent.YES, "an earlier try of this task has succeeded, but its reply was too large to be kept"
    else:
        sent, what = (
            Sent.UNKNOWN,
            (
                "an earlier try of this task was cut off, or failed on the server, and may have been applied; look the "
                "contact up in the CRM, and run the flow again if it is not there"
            ),
        )
    message = f"nothing was sent, since delivery 'at_most_once' does not send twice: {what}"
    return classify(TransportFailure(ErrorKind.INTERRUPTED, message, sent), attempted)


def _may_repeat(rule: RetryRule) -> bool:
    unknown = TransportFailure(ErrorKind.INTERRUPTED, "", Sent.UNKNOWN)
    return rule.may_send_again(unknown)


def _fate(reply: Reply, rule: RetryRule) -> Fate:
    if isinstance(reply, HttpResponse):
        # A 5xx or 408 says that the server failed, not that it did nothing; a status listed says it did nothing.
        failed = reply.status_code >= 500 or reply.status_code == 408
        unlisted = failed and reply.status_code not in rule.statuses
        return "unknown" if unlisted or reply.status_code < 300 else "not_sent"
    return "not_sent" if reply.sent is Sent.NO else "unknown"


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


def has_branch(task: Any) -> bool:
    """Whether a branch operator of the DAG takes a task's error; true when the task is in no DAG."""
    if not task.has_dag():
        return True
    return any(
        issubclass(getattr(other, "operator_class", type(other)), WhatsAppBranchOperator)
        and _action_of(other) == task.task_id
        for other in task.dag.tasks
    )


def _action_of(task: Any) -> str | None:
    return getattr(task, "action", None) or getattr(task, "partial_kwargs", {}).get("action")
