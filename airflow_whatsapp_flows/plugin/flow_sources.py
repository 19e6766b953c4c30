"""Where a page gets a flow from: the flow file, if the API server has it, and the newest replay in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from airflow.configuration import conf

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow_files import load_flow_file
from airflow_whatsapp_flows.ledger.database import Ledger
from airflow_whatsapp_flows.ledger.task_attempts import newest_flow
from airflow_whatsapp_flows.plugin.airflow_tasks import file_of_dag

_FOLDERS = ("flows", ".")
"""Of flow files, relative to the file of their DAGs: the first is the default of ``load_dags``."""

_FILE = "the flow file"


@dataclass(frozen=True, slots=True)
class FoundFlow:
    """A flow, and where it was found.

    Attributes:
        flow: the flow.
        where: the same for people.
    """

    flow: Flow
    where: str

    @property
    def is_file(self) -> bool:
        """Whether it is the current flow file."""
        return self.where == _FILE

    @property
    def text(self) -> str:
        """The flow as JSON."""
        return msgspec.json.encode(self.flow.source).decode()


def find_flows(ledger: Ledger | None, flow_id: str, known: str = "") -> list[FoundFlow]:
    """Find versions of a flow, the current one first; empty if this process can read none.

    Args:
        ledger: with its replays; ``None`` if there is none.
        flow_id: id of the flow, and of its DAG.
        known: a version that is not to be loaded again, JSON.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    found = [*_in_files(flow_id)]
    stored = None if ledger is None else newest_flow(ledger, flow_id)
    if stored is None or stored.flow == known:
        return found
    return [*found, *load_stored_flow(stored.replay_id, stored.flow)]


def load_stored_flow(replay_id: str, flow: str) -> list[FoundFlow]:
    """Load the flow that is stored with a replay; empty if an earlier release wrote it in another format."""
    where = f"the flow of the replay {replay_id}"
    try:
        return [FoundFlow(load_flow(flow, where), where)]
    except FlowFileError:
        return []


def find_faults(flow_id: str) -> Sequence[Fault]:
    """Return the faults of the flow file, if this process can read it."""
    try:
        _in_files(flow_id, is_strict=True)
    except FlowFileError as error:
        return error.faults
    return ()


def _in_files(flow_id: str, *, is_strict: bool = False) -> list[FoundFlow]:
    fileloc = file_of_dag(flow_id)
    if fileloc is None:
        return []
    try:
        dags = Path(conf.get("core", "dags_folder", fallback="") or ".").expanduser().resolve()
        folder = Path(fileloc).resolve().parent
        if not folder.is_relative_to(dags):
            return []
        for name in _FOLDERS:
            path = folder / name / f"{flow_id}.json"
            if path.is_file():
                return [FoundFlow(load_flow_file(path, in_flows_folder=True), _FILE)]
    except FlowFileError:
        if is_strict:
            raise
    except (OSError, RuntimeError, ValueError):
        pass
    return []
