"""Requests of one contact with unknown outcomes: they may have reached the server."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS, fate_of
from airflow_whatsapp_flows.flow.delivery.table import CARRIED_OUT_FATES, Delivery, Fate
from airflow_whatsapp_flows.flow.model import Action
from airflow_whatsapp_flows.flow.reply.result import ActionResult
from airflow_whatsapp_flows.flow.walk.perform import SendAction


def may_leave_doubt(step: Action) -> bool:
    """Whether a request of an action can be in doubt at all: one that changes nothing never is."""
    return step.plan.method not in SAFE_METHODS


def leaves_doubt(step: Action, result: ActionResult) -> bool:
    """Whether the outcome of a request is unknown, given its result."""
    return may_leave_doubt(step) and fate_of(result, step.retry) is Fate.UNKNOWN


class UncertainRequest(Struct, frozen=True):
    """One request that may have reached the server.

    Attributes:
        step: name of its action.
        reason: what happened; it names the step.
        key: idempotency key that it was sent under.
        digest: of the request without its key; ``None`` where the result came from a record.
    """

    step: str
    reason: str
    key: str | None
    digest: str | None


class UncertainRequests:
    """What is in doubt, so far in a walk."""

    def __init__(self) -> None:
        self._open: dict[str, list[UncertainRequest]] = {}

    @property
    def open(self) -> tuple[UncertainRequest, ...]:
        """Every request that is currently in doubt."""
        if not self._open:
            return ()
        return tuple(doubt for doubts in self._open.values() for doubt in doubts)

    def forbid(self, step: Action) -> bool:
        """Whether an action may not be visited again, whatever its request would be."""
        return step.name in self._open and step.retry.delivery is Delivery.AT_MOST_ONCE

    def admit(self, effect: SendAction) -> SendAction | None:
        """What may be sent when a loop comes back to an action that is in doubt.

        Args:
            effect: what the walk would send.

        Returns:
            The same under ``idempotent``; under ``keyed`` with the key of the visit in doubt when the bytes are equal;
            else ``None``.
        """
        if not self._open:
            return effect
        open_requests = self._open.get(effect.step.name, [])
        delivery = effect.step.retry.delivery
        if not open_requests or delivery is Delivery.IDEMPOTENT:
            return effect
        same = next((uncertain for uncertain in open_requests if uncertain.digest == _digest(effect)), None)
        if delivery is Delivery.AT_MOST_ONCE or same is None or same.key is None:
            return None
        return effect.with_key(same.key)

    def conclude(self, step: Action, result: ActionResult, sent: SendAction | None) -> None:
        """Note what came of a visit.

        Args:
            step: the action.
            result: of the visit.
            sent: what the walk asked to send; ``None`` when the result was recorded and nothing was asked for.
        """
        in_doubt = leaves_doubt(step, result)
        if not in_doubt and step.name not in self._open:
            return
        digest = None if sent is None else _digest(sent)
        key = result.idempotency_key if sent is None else sent.idempotency_key
        if in_doubt:
            reason = f"{step.name}: {result.error.message if result.error else 'the outcome is unknown'}"
            self._settle(step, digest, key)  # the same request is in doubt once
            self._open.setdefault(step.name, []).append(UncertainRequest(step.name, reason, key, digest))
        elif fate_of(result, step.retry) in CARRIED_OUT_FATES:
            self._settle(step, digest, key)

    def _settle(self, step: Action, digest: str | None, key: str | None) -> None:
        rest = [uncertain for uncertain in self._open.pop(step.name, []) if not _is_of(uncertain, digest, key)]
        if rest:
            self._open[step.name] = rest


def _is_of(uncertain: UncertainRequest, digest: str | None, key: str | None) -> bool:
    # A key never stands for two requests.
    return (digest is not None and digest == uncertain.digest) or (key is not None and key == uncertain.key)


def _digest(effect: SendAction) -> str:
    request = effect.request
    if effect.step.retry.delivery is not Delivery.KEYED:
        return request.digest()
    name = effect.step.idempotency_header.lower()
    return replace(request, headers=tuple(field for field in request.headers if field[0].lower() != name)).digest()
