"""The Action step as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import Context, XComArg

from airflow_whatsapp_flows.flow.body import ABSENT
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule, default_delivery
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.reply.result import RESULT_NAMES
from airflow_whatsapp_flows.flow.template.cage import Expression
from airflow_whatsapp_flows.flow.template.language import Data, Value
from airflow_whatsapp_flows.operators.action_output import ActionOutput
from airflow_whatsapp_flows.operators.arguments import (
    check_choices,
    check_header_name,
    check_method,
    check_retry,
    check_timeout,
    take_either,
)
from airflow_whatsapp_flows.operators.mapped_fields import take_mapped_fields
from airflow_whatsapp_flows.operators.retry import retry_arguments

if TYPE_CHECKING:
    from airflow_whatsapp_flows.hooks.action import AuthType, WhatsAppActionHook

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
        self.mapped_fields: dict[str, Data] = {}
        if success_when is not None:
            Expression(success_when, RESULT_NAMES)

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Do nothing: :meth:`execute` renders, and distinguishes data from templates."""
        self.mapped_fields = take_mapped_fields(self, context)  # a mapped task group gives values to plain tasks

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Keep mapped values separate, as data.

        Airflow calls this for mapped tasks instead of ``render_template_fields``.
        """
        self.mapped_fields = take_mapped_fields(self, context)

    def execute(self, context: Context) -> dict[str, Value]:
        """Send the request, and return its result.

        Raises:
            AirflowFailException: the request cannot be built, or it failed and no task handles the error.
            AirflowException: Airflow may retry it.
        """
        from airflow_whatsapp_flows.operators.action_run import run_action

        return run_action(self, context)

    @property
    def output(self) -> XComArg:
        """The result; ``output["response"]`` is one value of it."""
        return ActionOutput(operator=self)

    def action_hook(self, conn_id: str) -> WhatsAppActionHook:
        """The hook of a connection, with this task's ``auth_type``."""
        from airflow_whatsapp_flows.hooks.action import WhatsAppActionHook

        return WhatsAppActionHook(conn_id, self.auth_type)

    def rule(self, method: str) -> RetryRule:
        """The rule for sending the request again."""
        delivery = Delivery(self.delivery) if self.delivery else default_delivery(method)
        return RetryRule.of(delivery, **{"attempts": int(self.retries or 0) + 1, **(self.retry or {})})
