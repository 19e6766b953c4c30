"""Excerpts of the server's reply to a refused request, from the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, case, null

from airflow_whatsapp_flows.errors import FlowFileError, ResponseError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.reply.excerpt import reply_excerpt, reply_text
from airflow_whatsapp_flows.flow.reply.hidden import Hidden
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.template.variables import Variables
from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.ledger.schema import attempts

refused_result: ColumnElement[Any] = case(
    (attempts.c.fate == Fate.SUCCEEDED.value, null()), else_=attempts.c.result
).label("refused_result")
"""The result of an attempt that did not succeed; other results are not read here."""

_OWN = ("contact", "step", "flow_execution_variables")  # the parts of a response that identify the contact


class Replies:
    """Makes excerpts of the replies to the requests of one flow.

    Args:
        flow: the flow file, JSON; ``None`` if unknown.
    """

    def __init__(self, flow: str | None) -> None:
        # A flow without this word hides nothing and need not be parsed.
        may_hide = flow is not None and '"sensitive"' in flow
        self._flow = _read(flow) if flow is not None and may_hide else None
        self._is_unknown = may_hide and self._flow is None

    @property
    def needs_response(self) -> bool:
        """Whether an excerpt requires the contact's response."""
        return self._flow is not None and bool(self._flow.sensitive)

    def excerpt(self, step: str, result: str | None, response: str | None, *, foreign: bool = False) -> str | None:
        """Return an excerpt of the server's reply.

        Args:
            step: name of the action.
            result: result of an attempt, JSON.
            response: the contact's response, JSON.
            foreign: whether to hide the contact's values too.

        Returns:
            One line; ``None`` if there is nothing to show, or if it is unknown what must be hidden.
        """
        known = self._read(step, result, response)
        if known is None:
            return None
        own: Mapping[str, Any] = msgspec.json.decode(response) if foreign and response is not None else {}
        return reply_excerpt(*known, [own.get(key) for key in _OWN])

    def text(self, step: str, result: str | None, response: str | None) -> str | None:
        """Return the same of any reply, also of a success."""
        known = self._read(step, result, response)
        return None if known is None else reply_text(*known)

    def _read(self, step: str, result: str | None, response: str | None) -> tuple[ActionResult, Hidden | None] | None:
        """Return a recorded result, and what must be hidden in it."""
        if result is None or self._is_unknown or (self.needs_response and response is None):
            return None
        try:
            recorded = ActionResult.from_value(msgspec.json.decode(result))
            hidden = self._collect_hidden(step, recorded, response) if self.needs_response else None
        except (ResponseError, msgspec.DecodeError):
            return None
        return recorded, hidden

    def _collect_hidden(self, step: str, result: ActionResult, response: str | None) -> Hidden | None:
        if self._flow is None or response is None:
            return None
        recorded = read_response(msgspec.json.decode(response))
        hidden = Hidden(self._flow.sensitive)
        hidden.note(
            Variables(
                contact=recorded.contact,
                step={**recorded.step, step: result.as_value()},
                global_variables=recorded.global_variables,
                flow_execution_variables=recorded.flow_execution_variables,
            )
        )
        for name, values in recorded.history.items():
            for value in values:
                hidden.note({"step": {name: value}})
        return hidden


def _read(flow: str) -> Flow | None:
    try:
        return load_flow(flow, "the flow of a replay")
    except FlowFileError:
        return None
