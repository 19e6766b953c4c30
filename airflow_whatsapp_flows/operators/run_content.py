"""Whether the content of a DAG run's response is new to the ledger, the same as before, or changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from airflow_whatsapp_flows.errors import IntentConflictError, ResponseError
from airflow_whatsapp_flows.flow.delivery.table import Fate
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow.walk.response import ContactResponse
from airflow_whatsapp_flows.flow.walk.response_content import is_content
from airflow_whatsapp_flows.ledger import epochs
from airflow_whatsapp_flows.ledger.epochs import KnownResponse, compare_content, first_in_doubt, names_of
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.ledger.task_store import AttemptRow, Transaction
from airflow_whatsapp_flows.operators.run_input import run_id_of
from airflow_whatsapp_flows.operators.task_record import Recipient
from airflow_whatsapp_flows.replay.commands import replay_command


def epoch_of_run(
    flow: Flow,
    response: ContactResponse,
    context: Mapping[str, Any],
    made: Sequence[AttemptRow],
    held: Sequence[KnownResponse],
) -> int:
    """Return the epoch of a DAG run's response; the flow's ``replay.on_changed`` decides about changed content.

    Args:
        flow: of the DAG.
        response: of the run.
        context: Airflow's, of the running task.
        made: every attempt made for the response, on any road.
        held: the contacts of replays that hold the response.

    Raises:
        ResponseError: the ledger knows the response's id with other content, and this one is not to be sent.
        IntentConflictError: other content is about to be sent by a replay; another try may go on.
    """

    def is_same(digest: str | None) -> bool:
        return is_content(response, digest)

    of_runs = [row for row in made if row.replay_no is None]
    own = [row.epoch for row in of_runs if _is_of(row, context) and is_same(row.content)]
    if own:
        return max(own)  # also when newer content has been sent since: then nothing is sent any more
    runs = (KnownResponse(None, epochs.run_id_of(row.origin), row.content, None, row.epoch) for row in of_runs)
    sent = {row.epoch for row in made if row.fate != Fate.NOT_SENT.value}
    epoch, other = compare_content(
        [*(replace(one, sent=one.sent or one.epoch in sent) for one in held), *runs], is_same
    )
    if other is not None:
        _check_changed(flow, response, context, other)
        _check_known_fates(response, made, held)
    return epoch


def check_newest(transaction: Transaction, recipient: Recipient) -> None:
    """Check, in the transaction of an intent, that no newer content of the response was sent or is being sent.

    Raises:
        ResponseError: it was; the older content is no longer sent.
        IntentConflictError: other content was sent at the same moment; another try finds out which is newer.
    """
    if recipient.content is None:
        return
    newer = _newer(transaction, recipient, recipient.content)
    if newer is None:
        return
    if newer.epoch == recipient.epoch:
        raise IntentConflictError(f"{newer.where} is sending different content of the same response")
    raise ResponseError(
        f"superseded: {newer.where} has newer content of the response {recipient.subject.response_id!r}; the older "
        "content is no longer sent"
    )


def _newer(transaction: Transaction, recipient: Recipient, content: str) -> KnownResponse | None:
    """Find who sent, or is sending, other content of the response; ``None`` if nobody."""
    subject, epoch = recipient.subject, recipient.epoch
    sent = transaction.other_content_sent(subject, epoch, content)
    if sent is not None:
        return sent
    pending = transaction.other_content_pending(subject, epoch, content)
    if pending is None:
        return None
    # What is in doubt of this content may be settled first; the newer one waits for it.
    own = [one.summary() for one in transaction.attempts(subject) if one.epoch == epoch]
    return None if first_in_doubt(own) else pending


def _is_of(row: AttemptRow, context: Mapping[str, Any]) -> bool:
    origin = json.loads(row.origin) if row.origin else {}
    dag_id = getattr(context.get("ti"), "dag_id", None)
    return origin.get("run_id") == run_id_of(context) and origin.get("dag_id") == dag_id


def _check_changed(flow: Flow, response: ContactResponse, context: Mapping[str, Any], other: KnownResponse) -> None:
    what = f"{other.where} has the response id {response.id!r} with different content"
    if flow.replay is None or flow.replay.on_changed == "reject":
        raise ResponseError(
            f"id_reused: {what}; nothing is sent. Give this response another id, or set `replay.on_changed` of the "
            'flow to "update" to send the changed content'
        )
    if getattr(context.get("dag_run"), "clear_number", 0):
        # What a run that is run again brings is not new.
        raise ResponseError(f"superseded: {what}, and this run was cleared; trigger a new run to send it again")


def _check_known_fates(response: ContactResponse, made: Sequence[AttemptRow], held: Sequence[KnownResponse]) -> None:
    pending = next((one for one in held if one.state is ContactState.PENDING), None)
    if pending is not None:
        raise IntentConflictError(
            f"earlier content of the response {response.id!r} is pending in {pending.where}: "
            f"`whatsapp-flows {replay_command('retry', pending.replay_id)}` sends it; then run this task again"
        )
    doubtful = first_in_doubt([row.summary() for row in made])
    if doubtful is None:
        return
    replay_id = names_of(held).get(doubtful.replay_no or 0)
    where = f"the replay {replay_id}" if replay_id else f"the DAG run {doubtful.run_id}"
    how = "clear its task, or replay this response and use `whatsapp-flows replay resolve`"
    if replay_id and response.id:
        command = replay_command("resolve", replay_id, response.id, options="--as sent")
        how = f"`whatsapp-flows {command}`, or --as not_sent"
    raise ResponseError(
        f"in doubt: {where} may have sent earlier content of the response {response.id!r} (step {doubtful.step}), and "
        f"it is not known whether it arrived; nothing is sent. To resolve it: {how}; then run this task again"
    )
