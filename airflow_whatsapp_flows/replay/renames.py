"""Checks for renamed steps before sending: requests sent under a name that the flow no longer has."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from airflow_whatsapp_flows.errors import FlowFileError, ReplayError
from airflow_whatsapp_flows.flow.delivery.rule import SAFE_METHODS
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.inspect.diff import same_request, step_pairs
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Action, Flow
from airflow_whatsapp_flows.flow.walk.step_identity import StepIdentities
from airflow_whatsapp_flows.ledger.database import Connection, Ledger
from airflow_whatsapp_flows.ledger.renames import (
    SentNames,
    SentStep,
    confirm_renames,
    earlier_flows,
    find_sent_steps,
    flows_sent_with,
    renames_of,
    step_identities,
    versions_of,
)
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.rows import ContactState

_PENDING = (ContactState.PENDING,)


def load_step_identities(
    ledger: Ledger,
    replay: Replay,
    flow: Flow,
    *,
    states: Collection[ContactState] = _PENDING,
    chunks: Sequence[int] | None = None,
    renamed: Mapping[str, str | None] = MappingProxyType({}),
) -> StepIdentities:
    """Load the identities of a flow's steps, and check that no rename is unconfirmed.

    Args:
        replay: the replay to send; its flow is the version it was sent with so far.
        flow: the flow to send it with.
        states: states of the contacts to check; empty for all.
        chunks: chunks to check; by default all.
        renamed: renames not in the ledger, as :func:`resolve_renames` returns them.

    Raises:
        ReplayError: a request may have been applied under a name that the flow no longer has or that may now be another
            step, and the rename is not confirmed.
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        steps = step_identities(connection, flow, renamed)
        sent = find_sent_steps(connection, replay, states, chunks)
        sent_with = flows_sent_with(connection, replay, states, chunks) if sent else []
        _check(connection, flow, steps, sent, sent_with)
    return steps


def check_names(ledger: Ledger, flow: Flow, names: SentNames, renamed: Mapping[str, str | None]) -> None:
    """Check the requests for responses of a replay that is not started yet, as :func:`load_step_identities` does.

    Args:
        ledger: the ledger to read.
        flow: the flow to send them with.
        names: names under which requests may have been applied for them.
        renamed: renames not in the ledger, as :func:`resolve_renames` returns them.

    Raises:
        ReplayError: as :func:`load_step_identities`.
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        steps = step_identities(connection, flow, renamed)
        _check(connection, flow, steps, names.steps, versions_of(connection, names.replays))


def _check(
    connection: Connection,
    flow: Flow,
    steps: StepIdentities,
    sent: Sequence[SentStep],
    sent_with: Sequence[str | None],
) -> None:
    lost = [one for one in sent if steps.is_lost(one.step, one.step_id)]
    versions = earlier_flows(connection, flow.id) if sent else []
    for name, now in steps.name_conflicts:
        raise ReplayError(
            f"the step now named {now!r} was named {name!r} when it was sent, and the flow has another step named "
            f'{name!r}: give that step its own "id", because the requests sent under this name are not its own'
        )
    before = _versions(versions, flow)
    for old in _versions([text for text in sent_with if text is not None], flow):
        _check_exchanged(old, flow, sent)
    for old in before[:1] if None in sent_with else ():  # the flow version of a DAG run is not stored
        _check_exchanged(old, flow, sent)
    candidates = _candidates(flow, steps, sent, lost, before)
    if lost and candidates:
        raise ReplayError(_lost_steps_text(lost, candidates, flow, before))


def rename_steps(ledger: Ledger, flow: Flow, pairs: Sequence[tuple[str, str]], by: str) -> None:
    """Confirm renames of a flow's steps; from now on they apply to replays and DAG runs.

    Args:
        ledger: the ledger to write.
        flow: the current flow.
        pairs: old and new names; the new name is empty for a removed step.
        by: who confirms them.

    Raises:
        ReplayError: a name does not exist, or a rename is ambiguous.
        LedgerError: the ledger cannot be written.
    """
    if not pairs:
        return
    with ledger.write() as connection:
        confirm_renames(connection, flow.id, _resolve(connection, flow, pairs), by)


def resolve_renames(ledger: Ledger, flow: Flow, pairs: Sequence[tuple[str, str]]) -> dict[str, str | None]:
    """Return what :func:`rename_steps` would store; write nothing.

    Raises:
        ReplayError: a name does not exist, or a rename is ambiguous.
        LedgerError: the ledger cannot be read.
    """
    with ledger.read() as connection:
        return _resolve(connection, flow, pairs)


def _resolve(connection: Connection, flow: Flow, pairs: Sequence[tuple[str, str]]) -> dict[str, str | None]:
    confirmed = {old: _identity(flow, old, new) for old, new in pairs}
    _check_merged({**renames_of(connection, flow.id), **confirmed}, confirmed)
    return confirmed


def _identity(flow: Flow, old: str, new: str) -> str | None:
    actions = {name: step for name, step in flow.steps.items() if isinstance(step, Action)}
    if any(old in step.identities for step in flow.steps.values()):
        raise ReplayError(
            f"--renamed {old}={new}: the flow still has a step known as {old!r}. If "
            'steps swapped names, give each an "id": the name under which it was sent'
        )
    if not new:
        return None
    if new not in actions:
        raise ReplayError(f"--renamed {old}={new}: there is no action named {new!r}{did_you_mean(new, actions)}")
    return actions[new].identity


def _check_merged(known: Mapping[str, str | None], confirmed: Mapping[str, str | None]) -> None:
    for old, new in confirmed.items():
        other = next((name for name, now in known.items() if now == new and name != old), None)
        if new is not None and other is not None:
            raise ReplayError(
                f"--renamed {old}={new}: {other!r} was also renamed to {new!r}, but a step had only one "
                f"previous name; use --renamed {shlex.quote(other + '=')} if that one was removed"
            )


def _versions(texts: Sequence[str], flow: Flow) -> list[Flow]:
    found = []
    for text in texts:
        try:
            if text != flow.source_for_storage:
                found.append(load_flow(text))
        except FlowFileError:  # from a release with a different format
            continue
    return found


def _candidates(
    flow: Flow, steps: StepIdentities, sent: Sequence[SentStep], lost: Sequence[SentStep], before: Sequence[Flow]
) -> list[str]:
    """Find the actions that may be a step sent under another name: those that never coexisted with it."""
    owned = {steps.owner(one.step, one.step_id) for one in sent}
    beside = []
    for one in lost:
        versions = [old for old in before if one.step in old.steps]
        names = {steps.owner(step.name, step.identity) for old in versions for step in old.steps.values()}
        beside.append(names if versions else owned)
    return [
        name
        for name, step in flow.steps.items()
        if isinstance(step, Action)
        and step.plan.method not in SAFE_METHODS
        and any(name not in names for names in beside)
    ]


def _lost_steps_text(lost: Sequence[SentStep], candidates: Sequence[str], flow: Flow, before: Sequence[Flow]) -> str:
    lines = []
    for one in lost:
        old = next((version for version in before if one.step in version.steps), None)
        new = None if old is None else step_pairs(old, flow).get(one.step)
        number = "1 response" if one.responses == 1 else f"{one.responses:,} responses"
        believed = f", and {new!r} does the same" if new else ""
        pair = shlex.quote(f"{one.step}={new or 'NEW NAME'}")
        lines.append(
            f"the step {one.step!r} was sent for {number}, and the flow has no such step any more{believed}. If it was "
            f'renamed, give the step "id": {json.dumps(one.identity, ensure_ascii=False)} in the flow, '
            f"or use --renamed {pair}; if it was removed, use --renamed {shlex.quote(one.step + '=')}"
        )
    names = ", ".join(repr(name) for name in candidates[:5])
    return "\n".join([*lines, f"Nothing was sent, because earlier requests might be sent again by {names}"])


def _check_exchanged(old: Flow, flow: Flow, sent: Sequence[SentStep]) -> None:
    for name in dict.fromkeys(one.step for one in sent if one.step_id is None):
        step = flow.steps.get(name)
        if not isinstance(step, Action) or step.identity != name or same_request(old, name, flow, name) is not False:
            continue
        others: list[Any] = [other for other in flow.steps.values() if isinstance(other, Action) and other.name != name]
        for other in others:
            unchanged = same_request(old, other.name, flow, other.name)
            if other.identity != name and not unchanged and same_request(old, name, flow, other.name):
                raise ReplayError(
                    f"{name!r} was sent before, and {other.name!r} now does what {name!r} did then: nothing was sent, "
                    f'because it is unknown which of them is that step. Give {other.name!r} "id": '
                    f"{json.dumps(name, ensure_ascii=False)} if it was renamed, and give {name!r} its "
                    "previous name as its id; or, if nothing was renamed, give both their own ids"
                )
