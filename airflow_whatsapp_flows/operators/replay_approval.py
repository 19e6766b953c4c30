"""The tasks of a replay's DAG that ask a person: before anything is sent, and after the canary."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.exceptions import HITLRejectException, HITLTimeoutError, HITLTriggerEventError
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context, Param

from airflow_whatsapp_flows.operators.failures import TaskFailureError
from airflow_whatsapp_flows.operators.links import REPLAY_LINK, link_replay
from airflow_whatsapp_flows.operators.replay_choice import CHOICE, Choice, read_choice
from airflow_whatsapp_flows.operators.replay_steps import PLAN
from airflow_whatsapp_flows.quantities import duration

CANARY = "canary"
"""XCom key of what came of a canary."""


class _ApprovalTask(ApprovalOperator):
    """Asks a person; a refusal fails the task, and is not asked again.

    Args:
        plan_task: task id of the :class:`ReplayPlanOperator`.
        **kwargs: for ``ApprovalOperator``.
    """

    operator_extra_links = (REPLAY_LINK,)
    linked_replay: str | None = None
    """Name of the replay, once it is known."""

    def __init__(self, *, plan_task: str, **kwargs: Any) -> None:
        super().__init__(fail_on_reject=True, **kwargs)
        self.plan_task = plan_task

    def _complete(self, context: Context, event: dict[str, Any], otherwise: str) -> Any:
        """Return the answer.

        Args:
            otherwise: what a refusal or a timeout leads to.

        Raises:
            TaskFailureError: it was refused, nobody answered, or the answer is invalid.
        """
        if event.get("timedout"):
            waited = duration(self.response_timeout.total_seconds()) if self.response_timeout else "the timeout"
            chosen = ", ".join(event.get("chosen_options") or ())
            self.log.warning("nobody answered within %s: %s, as the flow says", waited, chosen)
            otherwise = f"nobody answered within {waited}; {otherwise}"
        try:
            return ApprovalOperator.execute_complete(self, context, event)
        except HITLRejectException:
            raise TaskFailureError(f"{self.task_id}: rejected, {otherwise}") from None
        except HITLTimeoutError:
            raise TaskFailureError(f"{self.task_id}: nobody answered in time, {otherwise}") from None
        except (HITLTriggerEventError, ValueError) as error:  # a value that its field does not allow
            raise TaskFailureError(f"{self.task_id}: the answer is invalid: {error}; {otherwise}") from None

    def _link(self, context: Context) -> dict[str, Any]:
        """Link the task to its replay, and return the plan; a dry run has no replay."""
        planned_value: dict[str, Any] = context["ti"].xcom_pull(task_ids=self.plan_task, key=PLAN) or {}
        if planned_value.get("replay_id") is not None:
            link_replay(self, context, planned_value["replay_id"])
        return planned_value


class ReplayApprovalOperator(_ApprovalTask):
    """Ask for approval if there are more contacts than the flow allows without it; otherwise pass.

    Whoever approves may lower the rate, limit the number of contacts, and have some sent first, as a canary. The XCom
    ``choice`` has these values.

    Args:
        plan_task: task id of the :class:`ReplayPlanOperator`.
        approve_above: contacts; ``None`` never asks.
        asks_for_choice: whether there is a form for rate, limit, and canary.
        canary: contacts to send first, as the form proposes.
        highest_rate: requests per second that the flow allows; ``None`` for any.
        **kwargs: for ``ApprovalOperator``: ``notifiers``, ``assigned_users``, ``response_timeout``, ``defaults``, …
    """

    def __init__(
        self,
        *,
        plan_task: str,
        approve_above: int | None,
        asks_for_choice: bool = False,
        canary: int | None = None,
        highest_rate: float | None = None,
        **kwargs: Any,
    ) -> None:
        if asks_for_choice:
            kwargs["params"] = _choice_params(canary, highest_rate)
        super().__init__(plan_task=plan_task, **kwargs)
        self.approve_above = approve_above
        self.asks_for_choice = asks_for_choice
        self.canary = canary
        self.highest_rate = highest_rate

    def execute(self, context: Context) -> Any:
        """Pass, or wait for approval."""
        planned_value = self._link(context)
        pending = planned_value.get("walked", 0) + planned_value.get("postponed", 0)
        if self.approve_above is None or pending <= self.approve_above or self.linked_replay is None:
            self.log.info("%s contacts need no approval", f"{pending:,}")
            if self.asks_for_choice:
                context["ti"].xcom_push(key=CHOICE, value={})
            return None
        from airflow_whatsapp_flows.operators.plan_text import plan_markdown

        self.body = plan_markdown(planned_value)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Pass if approved, or fail; a rejected replay is not asked again.

        Raises:
            TaskFailureError: it was refused, nobody answered, or a value of the form is not allowed.
        """
        self._link(context)
        if not self.asks_for_choice or self.APPROVE not in (event.get("chosen_options") or ()):
            unread = {**event, "params_input": {}}  # whoever rejects need not fill in the form correctly
            return self._complete(context, unread, "nothing was sent; clear this task to ask again")
        given = {"canary": self.canary, "limit": None, "rate": None, **(event.get("params_input") or {})}
        choice = self._read_choice(given, event)
        answer = self._complete(context, {**event, "params_input": given}, "nothing was sent; clear this task")
        chosen = {name: value for name, value in choice.as_value().items() if name != "key" and value is not None}
        self.log.info("approved: %s", ", ".join(f"{name} {value:,}" for name, value in chosen.items()) or "as planned")
        context["ti"].xcom_push(key=CHOICE, value=choice.as_value())
        return answer

    def _read_choice(self, given: Mapping[str, Any], event: Mapping[str, Any]) -> Choice:
        at = event.get("responded_at") or dt.datetime.now(dt.timezone.utc)
        try:
            return read_choice(given, str(at), self.highest_rate)
        except ValueError as error:
            raise TaskFailureError(f"{self.task_id}: {error}; nothing was sent; clear this task to ask again") from None


class ReplayCanaryApprovalOperator(_ApprovalTask):
    """Show what came of the canary, and ask whether to send the other contacts too.

    Args:
        plan_task: task id of the :class:`ReplayPlanOperator`.
        canary_task: task id of the :class:`ReplayCanaryOperator`.
        **kwargs: for ``ApprovalOperator``.
    """

    def __init__(self, *, plan_task: str, canary_task: str, **kwargs: Any) -> None:
        super().__init__(plan_task=plan_task, **kwargs)
        self.canary_task = canary_task

    def execute(self, context: Context) -> Any:
        """Wait for a decision."""
        self._link(context)
        from airflow_whatsapp_flows.operators.canary_text import canary_markdown

        self.body = canary_markdown(context["ti"].xcom_pull(task_ids=self.canary_task, key=CANARY) or {})
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Release the other contacts, or fail.

        Raises:
            TaskFailureError: they were not released.
        """
        planned_value = self._link(context)
        told = context["ti"].xcom_pull(task_ids=self.canary_task, key=CANARY) or {}
        otherwise = (
            f"the {told.get('held', 0):,} contacts behind the canary were not sent; clear this task to ask again"
        )
        answer = self._complete(context, event, otherwise)
        from airflow_whatsapp_flows.operators.replay_canary_run import release_canary

        release_canary(self.task_id, planned_value["replay_id"])
        return answer


def _choice_params(canary: int | None, highest_rate: float | None) -> dict[str, Param]:
    at_most: dict[str, Any] = {} if highest_rate is None else {"maximum": highest_rate}
    allowed = "" if highest_rate is None else f", at most {highest_rate:g}"
    return {
        "canary": Param(
            canary,
            type=["integer", "null"],
            minimum=0,
            title="Canary",
            description="contacts to send first; then you are asked again. Empty or 0: all at once",
        ),
        "limit": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            title="Limit",
            description="contacts to send at most; the others stay pending. Empty: all",
        ),
        "rate": Param(
            None,
            type=["number", "null"],
            exclusiveMinimum=0,
            title="Rate",
            description=f"requests per second to each host{allowed}. Empty: as the flow says",
            **at_most,
        ),
    }
