"""The page of a replay: progress, errors, contacts, and downloads of results."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from airflow_whatsapp_flows.dag_names import run_of_replay
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.ledger.contact_pages import ContactFilter, ContactPage, find_by_identifier, find_contacts
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.ended_contacts import EndedContacts, tally_over_time
from airflow_whatsapp_flows.ledger.groups import ErrorGroup, error_groups, reason_groups
from airflow_whatsapp_flows.ledger.holds import last_sendable
from airflow_whatsapp_flows.ledger.replays import Replay, Tally, find_replay
from airflow_whatsapp_flows.ledger.results import contact_results
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.plugin.access import CurrentUser, may, may_stop
from airflow_whatsapp_flows.plugin.addresses import SearchText, name_in_path
from airflow_whatsapp_flows.plugin.charts import Chart, chart_over_time
from airflow_whatsapp_flows.plugin.download import Download, blocks
from airflow_whatsapp_flows.plugin.ledger_access import find_running, open_ledger
from airflow_whatsapp_flows.plugin.rendering import page
from airflow_whatsapp_flows.plugin.replay_runs import find_retries, find_runs, replay_dag_of, retry_access, sending_runs
from airflow_whatsapp_flows.replay.commands import why_not_copyable
from airflow_whatsapp_flows.replay.next_steps import NextStep, next_steps, next_steps_of_group
from airflow_whatsapp_flows.replay.report import deliveries_of, flow_of_replay, label_of, mask_response, suggestion_of
from airflow_whatsapp_flows.replay.result_rows import csv_head, csv_line, json_line

router = APIRouter()

_ERRORS = 20
_REASONS = 50
_CONTACTS = 50
_DOWNLOADS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
ReplayId = name_in_path("replay_id")


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How far a replay is.

    Attributes:
        tally: its contacts by state.
        seconds: how long it has run.
        rate: contacts per second since it started; ``None`` if it has not.
        left: seconds until it ends at that rate; ``None`` if it is not running.
        chart: when its contacts ended; ``None`` if they did at about the same time.
    """

    tally: Tally
    seconds: float
    rate: float | None
    left: float | None
    chart: Chart | None


@dataclass(frozen=True, slots=True)
class ShownError:
    """A group of contacts with the same error.

    Attributes:
        group: the group.
        label: one line.
        suggestion: the next step.
        answers: masked answers of the first contact; ``None`` if they were purged.
        commands: what can be done next, and the command for it.
        retries: which of its contacts can be retried: states, or ``handled``.
    """

    group: ErrorGroup
    label: str
    suggestion: str
    answers: Any
    commands: Sequence[tuple[str, str]]
    retries: Sequence[str]


def visible_replay(ledger: Ledger, replay_id: str, user: Any) -> Replay:
    """Return a replay that the user may see.

    Raises:
        HTTPException: there is none: 404. Whether one exists that they may not see is not told.
        LedgerError: the ledger cannot be read.
    """
    replay = find_replay(ledger, replay_id)
    if replay is None or not may(user, replay.flow_id):
        raise HTTPException(404, f"The ledger has no replay {replay_id!r}, or you may not read the DAG of its flow.")
    return replay


def _read_filter(
    q: SearchText,
    state: ContactState | Literal[""] = "",
    fingerprint: str = Query("", max_length=40, pattern=r"^[\w-]*$"),
    handled: bool = False,
    step: str = Query("", max_length=100),
) -> ContactFilter:
    return ContactFilter(state or None, fingerprint, handled, step.replace("\0", ""), q)


@router.get("/replays/{replay_id}")
def show_replay(
    request: Request,
    replay_id: str = ReplayId,
    chosen: ContactFilter = Depends(_read_filter),  # noqa: B008  # FastAPI's way
    find: str = Query("", max_length=200),
    after: str = Query("", pattern=r"^(-?[0-9]{1,10}\.[0-9]{1,19})?$"),
    user: Any = CurrentUser,
) -> Response:
    """Show a replay; ``chosen`` filters its contacts, and ``find`` looks for one of them."""
    find = find.replace("\0", "").strip()
    with open_ledger() as ledger:
        replay = visible_replay(ledger, replay_id, user)
        if find:
            contacts = ContactPage(find_by_identifier(ledger, replay.no, replay.flow_id, find), None)
        else:
            contacts = find_contacts(ledger, replay.no, chosen, _place(after), _CONTACTS)
        progress = _progress(replay, *tally_over_time(ledger, replay.no))
        errors = error_groups(ledger, replay, _ERRORS + 1)
        reasons = reason_groups(ledger, replay.no)
        control = _find_control(user, ledger, replay, progress.tally)
    flow = flow_of_replay(replay)
    delivery = deliveries_of(flow)
    steps = list(next_steps(progress.tally, errors, delivery))
    return page(
        request,
        "replay.html",
        replay=replay,
        progress=progress,
        is_part=False,
        may_edit=may(user, replay.flow_id, "PUT"),
        errors=[_build_error(replay, group, flow, delivery) for group in errors[:_ERRORS]],
        more_errors=len(errors) > _ERRORS,
        reasons=reasons,
        most_reasons=_REASONS,
        steps=list(flow.steps) if flow is not None else [],
        contacts=contacts,
        chosen=chosen,
        find=find,
        after=after,
        parameters={
            "q": chosen.text,
            "state": chosen.state.value if chosen.state else "",
            "fingerprint": chosen.fingerprint,
            "handled": "1" if chosen.handled else "",
            "step": chosen.step,
        },
        commands=_commands(replay, steps),
        retries=_retries(steps),
        access=retry_access(user, replay.flow_id),
        control=control,
        no_commands=why_not_copyable(replay.id),
        runs=find_runs(user, replay.flow_id, [run_of_replay(replay.flow_id, replay.id) or ""]),
        retried_by=find_retries(user, replay, request.query_params.get("run", "")),
    )


@router.get("/replays/{replay_id}/progress")
def show_progress(request: Request, replay_id: str = ReplayId, user: Any = CurrentUser) -> Response:
    """Return the progress alone, for a page that is open while the replay runs."""
    with open_ledger() as ledger:
        replay = visible_replay(ledger, replay_id, user)
        progress = _progress(replay, *tally_over_time(ledger, replay.no))
    retried_by = find_retries(user, replay, request.query_params.get("run", ""))
    return page(request, "progress.html", replay=replay, progress=progress, retried_by=retried_by, is_part=True)


@router.get("/replays/{replay_id}/results.{kind}")
def download_results(
    kind: Literal["csv", "jsonl"],
    replay_id: str = ReplayId,
    state: ContactState | None = None,
    handled: bool = False,
    user: Any = CurrentUser,
) -> Response:
    """Return the result of each contact, as the command `replay results` prints it."""
    with open_ledger() as ledger:
        replay = visible_replay(ledger, replay_id, user)
    name = "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "_" for one in replay.id)[:100]
    return Download(
        blocks(_lines(replay, kind, [state.value] if state else [], handled=handled)),
        media_type=_DOWNLOADS[kind],
        headers={"Content-Disposition": f'attachment; filename="{name}.{kind}"'},
    )


def _lines(replay: Replay, kind: str, states: Sequence[str], *, handled: bool) -> Generator[str, None, None]:
    with open_ledger() as ledger, closing(contact_results(ledger, replay, states, handled=handled)) as found:
        if kind == "csv":
            yield csv_head()
            yield from map(csv_line, found)
        else:
            yield from map(json_line, found)


def _place(after: str) -> tuple[int, int]:
    chunk, _, row = after.partition(".")
    place = (int(chunk), int(row)) if row else (-1, 0)
    if abs(place[0]) >= 2**31 or place[1] >= 2**63:
        raise HTTPException(422, "A number in this address is too large.")
    return place


def _find_control(user: Any, ledger: Ledger, replay: Replay, counted: Tally) -> str:
    """Return what a user can do with a replay as a whole: ``stop``, ``resume``, or nothing."""
    runs = sending_runs(replay)
    has_ended = replay.sealed and not counted.states[ContactState.PENDING]
    if runs:  # of a replay that has ended, its own run only reports
        is_own = runs == [run_of_replay(replay.flow_id, replay.id)]
        return "stop" if not (has_ended and is_own) and may_stop(user, replay_dag_of(replay.flow_id)) else ""
    if has_ended or not replay.sealed or last_sendable(replay) is not None:
        return ""
    is_possible = retry_access(user, replay.flow_id).is_possible and replay.id not in find_running(ledger)
    return "resume" if is_possible else ""


def _progress(replay: Replay, counted: Tally, ended: Sequence[EndedContacts]) -> ProgressView:
    seconds = replay.run_seconds(time.time())
    pending = counted.states[ContactState.PENDING]
    rate = (counted.total - pending) / seconds if seconds and replay.started_at else None
    is_running = replay.started_at is not None and replay.ended_at is None and pending > 0
    left = pending / rate if rate and is_running else None
    return ProgressView(counted, seconds, rate, left, chart_over_time(ended))


def _build_error(replay: Replay, group: ErrorGroup, flow: Flow | None, delivery: Mapping[str, Delivery]) -> ShownError:
    steps = list(next_steps_of_group(group, delivery))
    return ShownError(
        group,
        label_of(group),
        suggestion_of(group, delivery),
        mask_response(group, flow),
        _commands(replay, steps),
        _retries(steps),
    )


def _retries(steps: Iterable[NextStep]) -> list[str]:
    return [step.retries for step in steps if step.retries is not None]


def _commands(replay: Replay, steps: Iterable[NextStep]) -> list[tuple[str, str]]:
    """Return what can be done next, each with its command; none if the replay has a name that cannot be copied."""
    if why_not_copyable(replay.id):
        return []
    return [
        (f"{step.what}, or with {step.or_else}" if step.or_else else step.what, step.command(replay.id))
        for step in steps
    ]
