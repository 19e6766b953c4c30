"""Runs DAGs in a real Airflow with an SQLite database."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock


@dataclass(frozen=True)
class FinishedRun:
    """The result of a DAG run."""

    state: str
    states: dict[str, str | None]
    xcoms: dict[tuple[str, int], Any]
    run_id: str
    other_xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)

    def xcom(self, task_id: str, key: str) -> Any:
        """An XCom of an unmapped task, or ``None``."""
        return self.other_xcoms.get((task_id, key))

    def result(self, task_id: str, map_index: int = -1) -> Any:
        return self.xcoms[(task_id, map_index)]


def migrate() -> None:
    """Create the database of this process: a copy of the one that the first worker creates."""
    home = Path(os.environ["AIRFLOW_HOME"])
    (home / "no-dags").mkdir(parents=True, exist_ok=True)
    if (home / "airflow.db").exists():
        return
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _make_database()
        return
    shared = home.with_name(f"home-{os.getppid()}")  # pytest itself, which starts no Airflow, and removes it at the end
    shared.mkdir(parents=True, exist_ok=True)
    with open(shared / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "airflow.db").exists():
            _make_database()
            shutil.copyfile(home / "airflow.db", shared / "copy.db")
            (shared / "copy.db").rename(shared / "airflow.db")
            return
    shutil.copyfile(shared / "airflow.db", home / "airflow.db")


def _make_database() -> None:
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run_dag(dag: Any, conf: dict[str, Any] | None = None, **arguments: Any) -> FinishedRun:
    """Run a DAG once, every task in this process, and read back states and results.

    Args:
        dag: to be run.
        conf: of the run.
        **arguments: for ``dag.test``, such as ``logical_date=None``.
    """
    _keep_api_server()
    with _quiet(), _errors_in_contexts(), _short_pauses():
        return _read_run(dag.dag_id, _sync_to_database(dag).test(run_conf=conf or {}, **arguments))


def _keep_api_server() -> None:
    """Use one API server for all tasks of this process.

    Airflow 3.2 creates one for each task, with its hundreds of routes and a thread that never ends: six seconds of CPU.
    """
    from airflow.sdk.execution_time import supervisor

    if not hasattr(supervisor.in_process_api_server, "cache_info"):  # as Airflow 3.3 does itself
        supervisor.in_process_api_server = functools.lru_cache(maxsize=1)(supervisor.in_process_api_server)


@contextlib.contextmanager
def _short_pauses() -> Iterator[None]:
    # dag.test() pauses for a second whenever no task is ready.
    sleep = time.sleep

    def pause(seconds: float) -> None:
        caller = sys._getframe(1).f_globals.get("__name__")
        sleep(min(seconds, 0.05) if caller == "airflow.sdk.definitions.dag" else seconds)

    with mock.patch.object(time, "sleep", pause):
        yield


@contextlib.contextmanager
def _errors_in_contexts() -> Iterator[None]:
    # dag.test() of Airflow 3.2 leaves out of a callback's context what a worker puts there: the error of a template.
    from airflow.sdk.execution_time import task_runner

    original = task_runner.finalize

    def finalize(ti: Any, state: Any, context: Any, log: Any, error: Any = None) -> Any:
        context["exception"] = error
        return original(ti, state, context, log, error)

    with mock.patch.object(task_runner, "finalize", finalize):
        yield


def _read_run(dag_id: str, run: Any) -> FinishedRun:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = (XComModel.dag_id == dag_id, XComModel.run_id == run.run_id)
    with create_session() as session:
        rows = [(row, XComModel.deserialize_value(row)) for row in session.scalars(select(XComModel).where(*wanted))]
    xcoms = {(row.task_id, row.map_index): value for row, value in rows if row.key == "return_value"}
    others = {(row.task_id, row.key): value for row, value in rows if row.key != "return_value"}
    states = {
        ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": ti.state and str(ti.state)
        for ti in run.get_task_instances()
    }
    return FinishedRun(str(run.state), states, xcoms, run.run_id, others)


def _sync_to_database(dag: Any) -> Any:
    # dag.test() needs the DAG in the database, and reads the whole bundle again: an empty folder.
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.utils.session import create_session

    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    bag = DagBag(dag_folder=os.environ["AIRFLOW__CORE__DAGS_FOLDER"], bundle_name="dags-folder")
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    return dag


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # Airflow's own, which are not ours to mend
        yield
