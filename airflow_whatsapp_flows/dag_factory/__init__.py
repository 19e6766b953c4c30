"""From flows to DAGs.

::

    # dags/whatsapp_flows.py
    from airflow_whatsapp_flows import load_dags  # airflow dag
    globals().update(load_dags("flows"))
"""

from __future__ import annotations

import logging
import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Label, Param, get_parsing_context
from airflow.sdk.configuration import conf

from airflow_whatsapp_flows.dag_factory.replay import REPLAY_SUFFIX, build_replay_dag
from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.checks import find_loop, references_of
from airflow_whatsapp_flows.flow.loading import load_flow
from airflow_whatsapp_flows.flow.model import Action, Flow, Menu, Question, Step
from airflow_whatsapp_flows.flow.variables import Scope
from airflow_whatsapp_flows.flow_files import find_flow_files, load_flow_file
from airflow_whatsapp_flows.operators.branch import WhatsAppBranchOperator
from airflow_whatsapp_flows.operators.flow_steps import FlowActionOperator, FlowStep, FlowStepOperator

log = logging.getLogger(__name__)

_JOIN = "none_failed_min_one_success"
_FILES = ("FILE", "DOCUMENT", "VIDEO", "IMAGE", "LOCATION")


def load_dags(folder: str | Path = "flows") -> dict[str, DAG]:
    """Build a DAG from every flow file of a folder, and a second one, ``<id>__replay``, where a flow has a ``replay``.

    A file with faults makes no DAG, and hides no other: its faults are logged, and
    :func:`raise_faults` in a DAG file of its own shows them as an import error.

    Args:
        folder: of ``<flow id>.json`` files; a relative one is relative to the file that calls this.

    Returns:
        DAG id to DAG, for ``globals().update(…)``.
    """
    found = _folder(folder, sys._getframe(1).f_globals)
    wanted = (get_parsing_context().dag_id or "").removesuffix(REPLAY_SUFFIX)
    if wanted and (found / f"{wanted}.json").is_file():
        # A worker needs one DAG: the others are not even opened.
        dags, faulty = _build_all([found / f"{wanted}.json"])
    else:
        dags, faulty = _load(found)
    for error in faulty:
        log.error("flow file without a DAG:\n%s", error)
    return dags


def raise_faults(folder: str | Path = "flows") -> None:
    """Raise one error that lists every fault of every flow file of a folder.

    Called from a DAG file of its own, it makes Airflow show the faults as an import error of that file, while
    the DAGs of the other flows stay as they are.

    Args:
        folder: as for :func:`load_dags`.

    Raises:
        FlowFileError: at least one file has faults.
    """
    if get_parsing_context().dag_id:
        return
    _, faulty = _load(_folder(folder, sys._getframe(1).f_globals))
    if len(faulty) == 1:
        raise faulty[0]
    if faulty:
        every = FlowFileError(f"{len(faulty)} flow files", [fault for error in faulty for fault in error.faults])
        every.args = ("\n".join(str(error) for error in faulty),)  # each fault with the name of its own file
        raise every


def build_dag(flow: Flow | str | Mapping[str, object]) -> DAG:
    """Build the DAG of one flow: one task per step, and a branch beside each action that has an error exit.

    Args:
        flow: from :func:`~airflow_whatsapp_flows.flow.loading.load_flow`, or its JSON text or plain data.

    Raises:
        FlowFileError: the flow has faults, or a loop.
    """
    if not isinstance(flow, Flow):
        flow = load_flow(flow)
    if flow.id.endswith(REPLAY_SUFFIX):
        what = f"an id cannot end in {REPLAY_SUFFIX}: that is the DAG of another flow's replay"
        raise FlowFileError(flow.id, [Fault(what, ("id",))])
    loop = find_loop(flow.steps, flow.start)
    if loop is not None:
        way = " → ".join(loop)
        raise FlowFileError(flow.id, [Fault(f"the flow has a loop, which a DAG cannot have: {way}", step=loop[0])])
    task_ids = task_ids_of(flow)
    with DAG(
        dag_id=flow.id,
        dag_display_name=flow.name,
        schedule=None,
        catchup=False,
        params=_params(flow),
        tags=["whatsapp"],
        doc_md=_documentation(flow),
        max_active_runs=_max_active_runs(),
        render_template_as_native_obj=False,
        # Airflow would give the DAG to whichever file is being parsed, raise_faults' among them.
        auto_register=False,
    ) as dag:
        ways_in = _ways_in(flow)
        tasks = {
            name: _task(FlowStep(flow=flow, name=name, task_ids=task_ids), step, ways_in[name])
            for name, step in flow.steps.items()
        }
        for name, step in flow.steps.items():
            _connect(tasks, task_ids, name, step)
    return dag


def task_ids_of(flow: Flow) -> dict[str, str]:
    """The task id of every step: its name in lower case, blanks as ``_``; numbered where two would be the same.

    Args:
        flow: any flow.
    """
    task_ids: dict[str, str] = {}
    taken: set[str] = set()
    for number, name in enumerate(flow.steps, start=1):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
        slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or f"step_{number}"
        task_id, copy = slug, 2
        while task_id in taken or f"{task_id}__exit" in taken:
            task_id, copy = f"{slug}_{copy}", copy + 1
        taken.add(task_id)
        task_ids[name] = task_id
    return task_ids


def _folder(folder: str | Path, caller: Mapping[str, Any]) -> Path:
    path = Path(folder).expanduser()
    return path if path.is_absolute() else Path(str(caller.get("__file__", "."))).resolve().parent / path


def _load(folder: Path) -> tuple[dict[str, DAG], list[FlowFileError]]:
    try:
        return _build_all(list(find_flow_files(folder)))
    except FlowFileError as error:
        return {}, [error]
    except OSError as error:
        return {}, [FlowFileError(str(folder), [Fault(f"the folder cannot be read: {error.strerror}")])]


def _build_all(paths: list[Path]) -> tuple[dict[str, DAG], list[FlowFileError]]:
    dags: dict[str, DAG] = {}
    faulty: list[FlowFileError] = []
    for path in paths:
        try:
            flow = load_flow_file(path, in_flows_folder=True)
            dags[flow.id] = build_dag(flow)
            if flow.replay is not None:
                replay = build_replay_dag(flow)
                dags[replay.dag_id] = replay
        except FlowFileError as error:
            faulty.append(FlowFileError(str(path), error.faults))
        except Exception as error:
            # Whatever is wrong with one flow, the others keep their DAGs; and it is reported like a fault.
            log.exception("building the DAG of %s failed", path)
            faulty.append(FlowFileError(str(path), [Fault(f"no DAG can be made of it: {error!r}")]))
    return dags, faulty


def _task(step: FlowStep, model: Step, ways_in: int) -> Any:
    common: dict[str, Any] = {"task_id": step.task_ids[step.name], "task_display_name": step.name, "step": step}
    if ways_in > 1:
        common["trigger_rule"] = _JOIN
    return FlowActionOperator(**common) if isinstance(model, Action) else FlowStepOperator(**common)


def _ways_in(flow: Flow) -> dict[str, int]:
    sources: dict[str, set[str]] = {name: set() for name in flow.steps}
    for name, step in flow.steps.items():
        for way in step.exits:
            if way.target is not None:
                sources[way.target].add(name)
    return {name: len(found) for name, found in sources.items()}


def _connect(tasks: Mapping[str, Any], task_ids: Mapping[str, str], name: str, step: Step) -> None:
    source = tasks[name]
    if isinstance(step, Action) and step.has_error_exit:
        branch = WhatsAppBranchOperator(
            task_id=f"{task_ids[name]}__exit",
            task_display_name=f"{name}: success or error",
            action=task_ids[name],
            on_success=task_ids[step.on_success] if step.on_success else None,
            on_error=task_ids[step.on_error] if step.on_error else None,
        )
        source >> branch
        source = branch
    labels: dict[str, list[str]] = {}
    for way in step.exits:
        if way.target is not None:
            labels.setdefault(way.target, []).append(way.label)
    for target, names in labels.items():
        if names == ["next"]:
            source >> tasks[target]
        else:
            source >> Label(", ".join(names)) >> tasks[target]


def _params(flow: Flow) -> dict[str, Param]:
    """The trigger form: every field may be left blank, which says nothing, and the walk judges what it holds."""
    params = {"id": _field("Response id", "part of every idempotency key; the run id when blank")}
    for name in _contact_fields(flow):
        params[f"contact.{name}"] = _field(f"Contact: {name}")
    for step in flow.steps.values():
        if isinstance(step, Menu):
            params[f"step.{step.name}"] = _field(step.name, "one of the menu's options", list(step.options))
        elif isinstance(step, Question):
            params[f"step.{step.name}"] = _answer_param(step)
    for name, variable in flow.variables.items():
        params[f"flow_execution_variables.{name}"] = _field(f"Variable: {name}", variable.description or variable.type)
    return params


def _field(title: str, description: str | None = None, options: Sequence[str] = ()) -> Param:
    # With a type or an enum Airflow would refuse a run before the flow's own exits can take the answer.
    schema: dict[str, Any] = {"examples": list(options)} if options else {}
    return Param(None, title=title, description=description, **schema)


def _answer_param(step: Question) -> Param:
    description = f"answer type {step.answer_type}"
    if step.answer_type in _FILES:
        return Param(None, type=["object", "string", "null"], title=step.name, description=description)
    return _field(step.name, description, step.answer_options)


def _contact_fields(flow: Flow) -> list[str]:
    fields = ["phone"]
    for step in flow.steps.values():
        for reference in references_of(step):
            if reference.scope == Scope.CONTACT.value and reference.path:
                path = reference.path[1:] if reference.path[0] == "meta" and len(reference.path) > 1 else reference.path
                fields.append(path[0])
    return list(dict.fromkeys(fields))


def _documentation(flow: Flow) -> str:
    steps = "\n".join(f"1. **{_escaped(step.name)}** ({type(step).__name__.lower()})" for step in flow.steps.values())
    return f"Walks one contact through the WhatsApp flow *{_escaped(flow.name)}* (`{flow.id}`).\n\n{steps}\n"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]()#+.!|<>-])", r"\\\1", text)


def _max_active_runs() -> int:
    # Eight runs at once on Airflow's SQLite kill the scheduler with "database is locked".
    return 1 if _on_sqlite() else conf.getint("core", "max_active_runs_per_dag", fallback=16)


def _on_sqlite() -> bool:
    url = conf.get("database", "sql_alchemy_conn", fallback="") or ""
    if url and not url.startswith("airflow-db-not-allowed"):
        return url.startswith("sqlite")
    # Airflow hides its database from the process that parses DAG files; its SQLite file is in its home.
    return (Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser() / "airflow.db").is_file()
