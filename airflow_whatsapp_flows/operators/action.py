"""The Action step as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import Context, XComArg
from airflow.sdk.exceptions import AirflowFailException, XComNotFound

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body import ABSENT, BodyType
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule, default_delivery, idempotency_key
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.result import RESULT_NAMES, ActionResult, Outcome
from airflow_whatsapp_flows.flow.request.plan import RequestPlan, RequestText, parse_request
from airflow_whatsapp_flows.flow.template.cage import Expression
from airflow_whatsapp_flows.flow.template.language import LITERAL, Data, TemplateFault, Value, fill, parse_tree
from airflow_whatsapp_flows.flow.template.variables import Variables, global_variables
from airflow_whatsapp_flows.flow.walk.perform import perform
from airflow_whatsapp_flows.flow.walk.uncertain import leaves_doubt
from airflow_whatsapp_flows.hooks.action import AuthType, WhatsAppActionHook, sender_from_airflow
from airflow_whatsapp_flows.hooks.ledger import task_ledger
from airflow_whatsapp_flows.ledger.rows import Subject
from airflow_whatsapp_flows.operators.action_output import ActionOutput, result_line
from airflow_whatsapp_flows.operators.arguments import (
    METHODS,
    check_choices,
    check_header_name,
    check_method,
    check_retry,
    check_timeout,
    take_either,
)
from airflow_whatsapp_flows.operators.author_text import AuthorLanguage, fields_first, resolve
from airflow_whatsapp_flows.operators.branch import has_branch
from airflow_whatsapp_flows.operators.failures import task_errors
from airflow_whatsapp_flows.operators.large_replies import fit_for_xcom, whole_scopes
from airflow_whatsapp_flows.operators.mapped_fields import guard_map_index, take_mapped_fields
from airflow_whatsapp_flows.operators.retry import retry_arguments
from airflow_whatsapp_flows.operators.run_input import response_of, run_id_of, run_time
from airflow_whatsapp_flows.operators.send import TaskSender
from airflow_whatsapp_flows.operators.task_record import Recipient
from airflow_whatsapp_flows.sender import RequestSender

_WAYS = {"branch": "leaves by the error exit", "continue": "continues with the error"}
_REFUSED = ("pagination_function", "retry_args", "request_kwargs", "extra_options")


class WhatsAppActionOperator(HttpOperator):
    """Send an HTTP request built from a contact's answers, and return the reply.

    The task's XCom is the result: ``outcome`` (``"success"`` or ``"error"``), ``ok``, ``status_code``, ``reason``,
    ``response`` (parsed), ``headers``, ``method``, ``url``, ``elapsed_ms``, ``attempts``, ``idempotency_key`` and
    ``error`` (``None``, or ``kind``, ``message``, ``sent``).

    Text in the DAG file is a template over Airflow's context and the four scopes ``contact``, ``step``, ``global`` and
    ``flow_execution_variables`` (names with spaces as ``step["Ask name"]``). Each is rendered once. A text that is a
    single placeholder keeps the type of its value. Values from XCom, ``expand()``, or an answer are data and never
    rendered. Fields of a mapped task are readable in ``map_index_template`` and callbacks as ``task.body["phone"]``.

    ``op.output["response"]`` is one value of the result. For a mapped task, and for ``xcom_pull(key="response")``, set
    ``multiple_outputs=True``, which pushes each key as a separate XCom.

    Args:
        url: absolute, or a path relative to the connection's base URL (templated). Scheme and host must be literal.
        method: ``GET``, ``POST``, ``PUT``, ``PATCH``, ``DELETE``, ``HEAD`` or ``OPTIONS``. Default ``POST``.
        headers: name to value (templated).
        query_params: object, or list of ``[name, value]`` pairs; a list as value repeats the name (templated).
        body: plain data or text, by ``body_type`` (templated).
        body_type: ``json``, ``form``, ``multipart``, ``xml``, ``yaml``, ``plain`` or ``none``. Default: from
            the Content-Type header, or else from the body.
        http_conn_id: connection of type ``whatsapp_action`` or ``http``: origin, credentials and limits (templated).
            Default none; then ``url`` must be absolute.
        variables: values of the four scopes, an object or an XComArg (templated; Airflow's context only). Default:
            the run's params and conf.
        timeout: seconds for the entire exchange. Default 30.
        on_error: ``"branch"`` (default) passes an error to a :class:`WhatsAppBranchOperator`, and fails if the DAG has
            none for this task; ``"continue"`` returns the result even after an error, for a ``@task.branch`` or any
            other task; ``"fail"`` fails the task without a retry.
        delivery: ``at_most_once``, ``keyed``, or ``idempotent``. Default: ``idempotent`` for GET, HEAD, OPTIONS, PUT,
            and DELETE, else ``at_most_once``.
        retry: ``attempts``, ``wait`` and ``max_wait`` (seconds), ``backoff``, ``statuses``. Default: the task's own
            ``retries``. An attempt is repeated only if the delivery allows it.
        success_when: an expression over ``status_code``, ``response``, ``headers`` that must be true for a 2xx reply.
        idempotency_header: header that carries the key for ``keyed``. Default ``Idempotency-Key``.
        response_check: function of a ``requests.Response`` (and context values by name); a false result is an error.
        response_filter: function of a ``requests.Response``; its return value replaces ``response`` in the result.
        endpoint: alias of ``url``, as in the parent class.
        data: alias of ``body``, as in the parent class.
        log_response: whether to log the content of the reply. Default false.
        auth_type: class such as ``requests.auth.HTTPBasicAuth`` that signs headers.
        deferrable: accepted, but has no effect: the worker always sends the request.
        **kwargs: for ``BaseOperator``.

    Raises:
        ValueError: arguments exclude each other, or are unknown.
    """

    template_fields: Sequence[str] = ("url", "method", "headers", "query_params", "body", "http_conn_id", "variables")
    template_fields_renderers = {"headers": "json", "query_params": "json", "body": "json", "variables": "json"}  # noqa: RUF012  # as in the parent
    ui_color = "#25d366"
    ui_fgcolor = "#000000"

    def __init__(
        self,
        *,
        url: str | None = None,
        method: str = "POST",
        headers: Mapping[str, Any] | None = None,
        query_params: Any = None,
        body: Any = ABSENT,
        body_type: str | None = None,
        http_conn_id: str | None = None,
        variables: Any = None,
        timeout: float = 30.0,
        on_error: Literal["branch", "fail", "continue"] = "branch",
        delivery: str | None = None,
        retry: Mapping[str, Any] | None = None,
        success_when: str | None = None,
        idempotency_header: str = "Idempotency-Key",
        endpoint: str | None = None,
        data: Any = ABSENT,
        auth_type: AuthType | None = None,
        **kwargs: Any,
    ) -> None:
        for name in _REFUSED:
            if kwargs.pop(name, None):
                raise ValueError(f"{name} is not an argument of {type(self).__name__}; see its documentation")
        url = take_either("url", url, "endpoint", endpoint)
        body = take_either("body", body, "data", data, absent=ABSENT)
        if url is None:
            raise ValueError("url is missing")
        check_choices(body_type, delivery, on_error)
        check_method(method)
        check_header_name("idempotency_header", idempotency_header)
        check_timeout(timeout)
        check_retry(retry)
        super().__init__(
            method=method,
            headers=headers,  # type: ignore[arg-type]  # the parent keeps what it is given
            http_conn_id=http_conn_id,  # type: ignore[arg-type]
            auth_type=auth_type,  # type: ignore[arg-type]
            **retry_arguments(retry, kwargs),
        )
        self.url = url
        self.query_params = query_params
        self.body = None if body is ABSENT else body
        self.has_body = body is not ABSENT
        self.body_type = body_type
        self.variables = variables
        self.timeout = timeout
        self.on_error = on_error
        self.delivery = delivery
        self.retry = retry
        self.success_when = success_when
        self.idempotency_header = idempotency_header
        # A native environment would evaluate what a contact typed.
        self.render_template_as_native_obj = False
        self._mapped: dict[str, Data] = {}
        if success_when is not None:
            Expression(success_when, RESULT_NAMES)

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Do nothing: :meth:`execute` renders, and distinguishes data from templates."""
        self._mapped = take_mapped_fields(self, context)  # a mapped task group gives values to plain tasks

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Keep mapped values separate, as data.

        Airflow calls this for mapped tasks instead of ``render_template_fields``.
        """
        self._mapped = take_mapped_fields(self, context)

    def execute(self, context: Context) -> dict[str, Value]:
        """Send the request, and return its result.

        Raises:
            AirflowFailException: the request cannot be built, or it failed and no task handles the error.
            AirflowException: Airflow may retry it.
        """
        with guard_map_index(self, context):
            with task_errors(self.task_id):
                request_sender = sender_from_airflow()
                result, recipient, step = self._perform(context, request_sender)
            return self.conclude(result, context, request_sender, recipient, in_doubt=leaves_doubt(step, result))

    @property
    def output(self) -> XComArg:
        """The result; ``output["response"]`` is one value of it."""
        return ActionOutput(operator=self)

    def conclude(
        self,
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
        line = result_line(result, self.rule(result.method))
        if result.outcome is Outcome.SUCCESS:
            self.log.info("success: %s", line)
            return value
        if in_doubt:
            line += "; outcome unknown: check at the server whether the request arrived before you run the task again"
        if self.on_error == "continue" or (self.on_error == "branch" and has_branch(self)):
            self.log.warning("%s: %s", _WAYS[self.on_error], line)
            return value
        if context.get("ti") is not None:
            context["ti"].xcom_push(key="return_value", value=value)
        hint = "" if self.on_error == "fail" else "; no WhatsAppBranchOperator of this DAG takes its error"
        raise AirflowFailException(f"{self.task_id}: {line}{hint}")

    def action_hook(self, conn_id: str) -> WhatsAppActionHook:
        """The hook of a connection, with this task's ``auth_type``."""
        return WhatsAppActionHook(conn_id, self.auth_type)

    def _perform(self, context: Context, request_sender: RequestSender) -> tuple[ActionResult, Recipient, Action]:
        language = AuthorLanguage(self._environment(), context)
        values = self._values(context, language, request_sender)
        step = self._action(context, values, language)
        contact: Any = values["contact"]
        recipient = Recipient.of_task(context, self.dag_id, run_time(context), contact)
        sender = TaskSender(self, context, request_sender, recipient)
        performing = perform(step, values, visit=1, key=idempotency_key(*_identity(self, context)))
        try:
            effect = next(performing)
            while True:
                effect = performing.send(sender.do(effect))
        except StopIteration as stop:
            return stop.value, recipient, step

    def _action(self, context: Context, values: Mapping[str, object], language: AuthorLanguage) -> Action:
        field = {name: self._field(name, context) for name in type(self).template_fields}
        method = str(_render("method", field, language, values)).upper()
        if method not in METHODS:
            raise RenderError(f"{method[:20]!r} is not one of {', '.join(METHODS)}", "method")
        connection = _render("http_conn_id", field, language, values)
        body = field["body"] if self.has_body or "body" in self._mapped else ABSENT
        url = field["url"].value if isinstance(field["url"], Data) else field["url"]
        headers = field["headers"]
        text = RequestText(
            url=str(url),
            method=method,
            headers=_data_headers(headers.value) if isinstance(headers, Data) else headers,
            query_params=field["query_params"],
            body=body,
            body_type=BodyType(self.body_type) if self.body_type else None,
            connection=str(connection) if connection else None,
        )
        plan = _plan(text, LITERAL if isinstance(field["url"], Data) else language, language)
        return Action(
            name=self.task_id,
            max_visits=1,
            plan=plan,
            retry=self.rule(method),
            timeout=self.timeout,
            idempotency_header=self.idempotency_header,
            success_when=Expression(self.success_when, RESULT_NAMES) if self.success_when else None,
        )

    def rule(self, method: str) -> RetryRule:
        """The rule for sending the request again."""
        delivery = Delivery(self.delivery) if self.delivery else default_delivery(method)
        return RetryRule.of(delivery, **{"attempts": int(self.retries or 0) + 1, **(self.retry or {})})

    def _field(self, name: str, context: Context) -> Any:
        try:
            return self._mapped.get(name) or resolve(getattr(self, name), context)
        except TemplateFault as fault:
            raise RenderError(fault.message, name) from None
        except XComNotFound as error:
            raise RenderError(str(error), name) from None

    def _environment(self) -> Any:
        dag = self.get_dag()
        return fields_first(dag.get_template_env(force_sandboxed=True) if dag else self.get_template_env())

    def _values(self, context: Context, language: AuthorLanguage, sender: RequestSender) -> Mapping[str, object]:
        def is_of_this_run(subject: Subject) -> bool:
            run_id = run_id_of(context)
            return subject.flow_id == self.dag_id and subject.response_id.partition("[")[0] == run_id

        try:
            given = fill(parse_tree(self._field("variables", context), language), {})
            given = whole_scopes(given, lambda: task_ledger(sender.settings), is_of_this_run)
            response = response_of(context, given)
        except TemplateFault as fault:
            raise RenderError(fault.message, "variables") from None
        except RenderError as error:
            raise error.at("variables") from None
        return Variables(
            contact=response.contact,
            step=response.step,
            global_variables={**global_variables(run_time(context)), **response.global_variables},
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


def _identity(task: WhatsAppActionOperator, context: Context) -> tuple[str | int | None, ...]:
    ti = context.get("ti")
    return (getattr(ti, "dag_id", None), task.task_id, run_id_of(context), getattr(ti, "map_index", -1))
