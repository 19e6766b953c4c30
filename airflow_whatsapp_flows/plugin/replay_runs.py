"""Runs of a flow's replay DAG in Airflow: whether a user can start one, and how one is doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX, run_of_replay
from airflow_whatsapp_flows.ledger.replays import Replay
from airflow_whatsapp_flows.ledger.retry_runs import retrying_runs
from airflow_whatsapp_flows.plugin.access import may, may_trigger
from airflow_whatsapp_flows.plugin.airflow_tables import LIVE, retrying_runs_of, run_states, why_no_runs

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RetryAccess:
    """Whether a user can retry contacts of a replay by a run of its flow's replay DAG.

    Attributes:
        dag_id: id of the DAG.
        is_allowed: whether Airflow lets the user start runs of it.
        problem: why it runs nothing at the moment, as a sentence; empty if it does.
    """

    dag_id: str
    is_allowed: bool
    problem: str

    @property
    def is_possible(self) -> bool:
        """Whether a retry can be started."""
        return self.is_allowed and not self.problem


@dataclass(frozen=True, slots=True)
class ReplayRun:
    """A run of a replay DAG.

    Attributes:
        dag_id: id of the DAG.
        id: id of the run.
        state: as Airflow names it.
        note: such as who started it, and why.
    """

    dag_id: str
    id: str
    state: str
    note: str

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.state in LIVE


def replay_dag_of(flow_id: str) -> str:
    """Return the id of a flow's replay DAG."""
    return f"{flow_id}{REPLAY_SUFFIX}"


def retry_access(user: Any, flow_id: str) -> RetryAccess:
    """Find out whether a user can retry contacts of a flow's replays."""
    dag_id = replay_dag_of(flow_id)
    return RetryAccess(dag_id, may_trigger(user, dag_id), why_no_runs(dag_id))


def find_runs(user: Any, flow_id: str, run_ids: Sequence[str]) -> list[ReplayRun]:
    """Return those of some runs of a flow's replay DAG that Airflow has, if the user may see them."""
    dag_id = replay_dag_of(flow_id)
    wanted = [run_id for run_id in run_ids if run_id and "\0" not in run_id]
    states = run_states(dag_id, wanted) if wanted and may(user, dag_id) else {}
    return [ReplayRun(dag_id, run_id, *states[run_id]) for run_id in wanted if run_id in states]


def live_runs(flow_id: str, run_ids: Sequence[str]) -> list[str]:
    """Return those of some runs of a flow's replay DAG that have not ended."""
    wanted = [run_id for run_id in run_ids if "\0" not in run_id]
    states = run_states(replay_dag_of(flow_id), wanted) if wanted else {}
    return [run_id for run_id in wanted if run_id in states and states[run_id][0] in LIVE]


def sending_runs(replay: Replay) -> list[str]:
    """Return the runs of the replay DAG that have not ended, and send contacts of a replay: its own, and retries."""
    own = run_of_replay(replay.flow_id, replay.id)
    retries = retrying_runs_of(replay_dag_of(replay.flow_id), replay.id)
    return list(dict.fromkeys([*live_runs(replay.flow_id, [own] if own else []), *retries]))


def find_retries(user: Any, replay: Replay, started: str) -> list[ReplayRun]:
    """Return the latest runs that retry contacts of a replay, newest first.

    Args:
        user: the user.
        replay: the replay.
        started: id of a run that was just started, which the ledger may not know yet; may be empty.
    """
    prefix = f"{replay_dag_of(replay.flow_id)}/"
    asked = started and "\0" not in started and may(user, replay_dag_of(replay.flow_id))
    new = retrying_runs_of(replay_dag_of(replay.flow_id), replay.id, run_id=started) if asked else []
    known = [run.removeprefix(prefix) for run in retrying_runs(replay) if run.startswith(prefix)]
    return find_runs(user, replay.flow_id, list(dict.fromkeys([*new, *known[:_SHOWN]])))
