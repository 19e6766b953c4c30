"""What an Action task does when it runs. Only a task that runs imports this, not a process that parses DAG files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import XComNotFound

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body import ABSENT, BodyType
from airflow_whatsapp_flows.flow.delivery.rule import idempotency_key
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.result import RESULT_NAMES, ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.plan import RequestPlan, RequestText, parse_request
from airflow_whatsapp_flows.flow.template.cage import Expression
from airflow_whatsapp_flows.flow.template.language import LITERAL, Data, TemplateFault, Value, fill, parse_tree
from airflow_whatsapp_flows.flow.template.variables import Variables, global_variables
from airflow_whatsapp_flows.flow.walk.perform import perform
from airflow_whatsapp_flows.flow.walk.uncertain import leaves_doubt
from airflow_whatsapp_flows.hooks.action import sender_from_airflow
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.ledger.rows import Subject
from airflow_whatsapp_flows.operators.action_output import result_line
from airflow_whatsapp_flows.operators.arguments import METHODS
from airflow_whatsapp_flows.operators.author_text import AuthorLanguage, fields_first, resolve
from airflow_whatsapp_flows.operators.branch import has_branch
from airflow_whatsapp_flows.operators.failures import TaskFailureError, task_errors
from airflow_whatsapp_flows.operators.large_replies import fit_for_xcom, whole_scopes
from airflow_whatsapp_flows.operators.mapped_fields import guard_map_index
from airflow_whatsapp_flows.operators.run_input import response_of, run_id_of, run_time
from airflow_whatsapp_flows.operators.send import TaskSender
from airflow_whatsapp_flows.operators.task_record import Recipient
from airflow_whatsapp_flows.sender import RequestSender

if TYPE_CHECKING:
    from airflow_whatsapp_flows.operators.action import WhatsAppActionOperator

_WAYS = {"branch": "leaves by the error exit", "continue": "continues with the error"}


def run_action(task: WhatsAppActionOperator, context: Context) -> dict[str, Value]:
    """Build the request of a task, send it, and return its result.

    Raises:
        TaskFailureError: the request cannot be built, or it failed and no task handles the error.
        TaskRetryError: Airflow may retry it.
    """
    with guard_map_index(task, context):
        with task_errors(task.task_id):
            request_sender = sender_from_airflow()
            result, recipient, step = _ActionRun(task, context, request_sender).perform()
        return conclude(task, result, context, request_sender, recipient, in_doubt=leaves_doubt(step, result))


def conclude(
    task: WhatsAppActionOperator,
    result: ActionResult,
    context: Context,
    request_sender: RequestSender,
    recipient: Recipient,
    *,
    in_doubt: bool,
    in_ledger: bool = False,
) -> dict[str, Value]:
    """Return a result, or fail the task if no other task handles its error.

    ``in_doubt`` adds a hint for unknown outcomes; ``in_ledger`` keeps the reply out of XCom, which must not show
    it.
    """
    max_bytes = 0 if in_ledger and result.response is not None else request_sender.settings.xcom_max_bytes
    value = fit_for_xcom(result.as_value(), recipient.subject, max_bytes)
    line = result_line(result, task.rule(result.method))
    if result.outcome is Outcome.SUCCESS:
        task.log.info("success: %s", line)
        return value
    if in_doubt:
        line += "; outcome unknown: check at the server whether the request arrived before you run the task again"
    if task.on_error == "continue" or (task.on_error == "branch" and has_branch(task)):
        task.log.warning("%s: %s", _WAYS[task.on_error], line)
        return value
    if context.get("ti") is not None:
        context["ti"].xcom_push(key="return_value", value=value)
    hint = "" if task.on_error == "fail" else "; no WhatsAppBranchOperator of this DAG takes its error"
    raise TaskFailureError(f"{task.task_id}: {line}{hint}")


class _ActionRun:
    """Builds the request of a task from the run's contact, and sends it."""

    def __init__(self, task: WhatsAppActionOperator, context: Context, request_sender: RequestSender) -> None:
        self._task = task
        self._context = context
        self._request_sender = request_sender
        dag = task.get_dag()
        environment = dag.get_template_env(force_sandboxed=True) if dag else task.get_template_env()
        self._language = AuthorLanguage(fields_first(environment), context)

    def perform(self) -> tuple[ActionResult, Recipient, Action]:
        """Send the request, unless the ledger has its result; return the result, for whom, and the action."""
        values = self._values()
        step = self._action(values)
        contact: Any = values["contact"]
        recipient = Recipient.of_task(self._context, self._task.dag_id, run_time(self._context), contact)
        sender = TaskSender(self._task, self._context, self._request_sender, recipient)
        performing = perform(step, values, visit=1, key=idempotency_key(*self._identity()))
        try:
            effect = next(performing)
            while True:
                effect = performing.send(sender.do(effect))
        except StopIteration as stop:
            return stop.value, recipient, step

    def _identity(self) -> tuple[str | int | None, ...]:
        ti = self._context.get("ti")
        map_index = getattr(ti, "map_index", -1)
        return (getattr(ti, "dag_id", None), self._task.task_id, run_id_of(self._context), map_index)

    def _action(self, values: Mapping[str, object]) -> Action:
        task, language = self._task, self._language
        field = {name: self._field(name) for name in type(task).template_fields}
        method = str(_render("method", field, language, values)).upper()
        if method not in METHODS:
            raise RenderError(f"{method[:20]!r} is not one of {', '.join(METHODS)}", "method")
        connection = _render("http_conn_id", field, language, values)
        body = field["body"] if task.has_body or "body" in task.mapped_fields else ABSENT
        url = field["url"].value if isinstance(field["url"], Data) else field["url"]
        headers = field["headers"]
        text = RequestText(
            url=str(url),
            method=method,
            headers=_data_headers(headers.value) if isinstance(headers, Data) else headers,
            query_params=field["query_params"],
            body=body,
            body_type=BodyType(task.body_type) if task.body_type else None,
            connection=str(connection) if connection else None,
        )
        plan = _plan(text, LITERAL if isinstance(field["url"], Data) else language, language)
        return Action(
            name=task.task_id,
            max_visits=1,
            plan=plan,
            retry=task.rule(method),
            timeout=task.timeout,
            idempotency_header=task.idempotency_header,
            success_when=Expression(task.success_when, RESULT_NAMES) if task.success_when else None,
        )

    def _field(self, name: str) -> Any:
        try:
            return self._task.mapped_fields.get(name) or resolve(getattr(self._task, name), self._context)
        except TemplateFault as fault:
            raise RenderError(fault.message, name) from None
        except XComNotFound as error:
            raise RenderError(str(error), name) from None

    def _values(self) -> Mapping[str, object]:
        run_id, run_moment = run_id_of(self._context), run_time(self._context)

        def is_of_this_run(subject: Subject) -> bool:
            return subject.flow_id == self._task.dag_id and subject.response_id.partition("[")[0] == run_id

        try:
            given = fill(parse_tree(self._field("variables"), self._language), {})
            given = whole_scopes(given, lambda: task_ledger(self._request_sender.settings), is_of_this_run)
            response = response_of(self._context, given)
        except TemplateFault as fault:
            raise RenderError(fault.message, "variables") from None
        except RenderError as error:
            raise error.at("variables") from None
        return Variables(
            contact=response.contact,
            step=response.step,
            global_variables={**global_variables(run_moment), **response.global_variables},
            flow_execution_variables=response.flow_execution_variables,
        )


def _plan(text: RequestText, url_language: Any, language: AuthorLanguage) -> RequestPlan:
    plan, faults = parse_request(text, language, url_language)
    if plan is None or faults:
        shown = "; ".join(f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in faults)
        raise RenderError(shown)
    return plan


def _render(name: str, field: Mapping[str, Any], language: AuthorLanguage, values: Mapping[str, object]) -> Any:
    value = field[name]
    if isinstance(value, Data):
        return value.value
    if not isinstance(value, str):
        return value
    try:
        template = language.parse(value)
        return template if isinstance(template, str) else template.render(values)
    except TemplateFault as fault:
        raise RenderError(fault.message, name) from None
    except RenderError as error:
        raise error.at(name) from None


def _data_headers(headers: Any) -> dict[str, Any]:
    if not isinstance(headers, Mapping):
        raise RenderError("headers must be an object of names and values", "headers")
    return {name: Data(value) for name, value in headers.items()}
