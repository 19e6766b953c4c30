"""A folder of flow files as DAGs."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from airflow import settings
from airflow.sdk import DAG, get_parsing_context

from airflow_whatsapp_flows.dag_factory.flow_dag import build_dag
from airflow_whatsapp_flows.dag_factory.placeholder import build_placeholders
from airflow_whatsapp_flows.dag_factory.replay_dag import build_replay_dag
from airflow_whatsapp_flows.dag_names import REPLAY_SUFFIX
from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.json_source import JsonSource
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.flow_files import find_flow_files, load_flow_file, read_flow_text

log = logging.getLogger(__name__)

_LOADING = 0.6
"""Fraction of Airflow's time limit for a DAG file after which no more flows are loaded."""
_STANDING_IN = 0.8
"""Fraction of it after which not even placeholder DAGs are built."""
_SLOWEST = 3
_Build = Callable[[Flow], DAG]


def load_dags(
    folder: str | Path = "flows", *, notifiers: Sequence[Any] = (), on_deadline: Any = None
) -> dict[str, DAG]:
    """Build a DAG from every flow file of a folder, and a second one, ``<id>__replay``, for a flow with a ``replay``.

    A file with faults does not affect the others. Its faults are logged, and :func:`raise_faults` in a separate DAG
    file shows them as an import error. If the file is valid JSON with an id, its DAGs are kept with their history, and
    all of their tasks fail with the faults.

    Neither do slow files: small files are loaded first, and files not loaded after 60 % of ``[core]
    dagbag_import_timeout``, after which Airflow would drop all DAGs of the folder, count as faulty.

    Args:
        folder: contains ``<flow id>.json`` files; a relative path is relative to the calling file.
        notifiers: Airflow notifiers that tell people that the approval of a replay waits for an answer.
        on_deadline: Airflow's callback for a run of a replay that misses its deadline, as for
            :func:`build_replay_dag`.

    Returns:
        DAG id to DAG, for ``globals().update(…)``.
    """
    caller = sys._getframe(1).f_globals
    found = _folder(folder, caller)
    build_replay = partial(build_replay_dag, notifiers=notifiers, on_deadline=on_deadline)
    wanted = (get_parsing_context().dag_id or "").removesuffix(REPLAY_SUFFIX)
    if wanted:
        # A worker needs one DAG, and a file is named after its DAG: the others are not opened.
        file = found / f"{wanted}.json"
        dags, faulty = _build_all([file], _Time(None), build_replay) if file.is_file() else ({}, [])
    else:
        dags, faulty = _load(found, caller, build_replay)
    for error in faulty:
        log.error("flow file with faults:\n%s", error)
    return dags


def raise_faults(folder: str | Path = "flows") -> None:
    """Raise one error that lists every fault of every flow file of a folder.

    Call it from a separate DAG file, so that Airflow shows the faults as an import error of that file, and the DAGs of
    the other flows are not affected.

    Args:
        folder: as for :func:`load_dags`.

    Raises:
        FlowFileError: at least one file has faults.
    """
    if get_parsing_context().dag_id:
        return
    caller = sys._getframe(1).f_globals
    _, faulty = _load(_folder(folder, caller), caller)
    if len(faulty) == 1:
        raise faulty[0]
    if faulty:
        every = FlowFileError(f"{len(faulty)} flow files", [fault for error in faulty for fault in error.faults])
        every.args = ("\n".join(str(error) for error in faulty),)  # each fault with the name of its own file
        raise every


def _folder(folder: str | Path, caller: Mapping[str, Any]) -> Path:
    path = Path(folder).expanduser()
    return path if path.is_absolute() else Path(str(caller.get("__file__", "."))).resolve().parent / path


def _load(
    folder: Path, caller: Mapping[str, Any], build_replay: _Build = build_replay_dag
) -> tuple[dict[str, DAG], list[FlowFileError]]:
    time = _Time(settings.get_dagbag_import_timeout(str(caller.get("__file__", ""))))
    try:
        return _build_all(sorted(find_flow_files(folder), key=_size), time, build_replay)
    except FlowFileError as error:
        return {}, [error]
    except OSError as error:
        return {}, [FlowFileError(str(folder), [Fault(f"the folder cannot be read: {error.strerror}")])]


def _size(path: Path) -> int:
    """The size of a file, to which its load time is roughly proportional."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Time:
    """Airflow's time limit for a DAG file, and how much of it the flow files use.

    Args:
        seconds: ``None`` or 0 for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._limit = seconds or 0.0
        self._began = self._at = monotonic()
        self._taken: list[tuple[float, str]] = []

    def took(self, path: Path) -> None:
        """Record that a file was loaded."""
        before, self._at = self._at, monotonic()
        self._taken.append((self._at - before, path.name))

    def is_over(self, share: float) -> bool:
        """Whether more than a share of it has passed."""
        return self._limit > 0 and self._at - self._began > share * self._limit

    def fault(self) -> Fault:
        """The fault of a file for which no time is left."""
        slowest = ", ".join(f"{name} {seconds:.1f} s" for seconds, name in sorted(self._taken)[: -_SLOWEST - 1 : -1])
        return Fault(
            f"not loaded: the other flows of the folder took {self._at - self._began:.1f} of the {self._limit:g} "
            f"seconds that Airflow allows for a DAG file (slowest: {slowest}); move some to another folder with its "
            "own DAG file, or raise [core] dagbag_import_timeout"
        )


def _build_all(paths: list[Path], time: _Time, build_replay: _Build) -> tuple[dict[str, DAG], list[FlowFileError]]:
    dags: dict[str, DAG] = {}
    faulty: list[FlowFileError] = []
    with _pause_gc():
        for path in paths:
            built, error = _unbuilt(path, time) if time.is_over(_LOADING) else _build(path, build_replay)
            time.took(path)
            dags.update(built)
            if error is not None:
                faulty.append(error)
    return dags, sorted(faulty, key=lambda error: error.source)


def _unbuilt(path: Path, time: _Time) -> tuple[dict[str, DAG], FlowFileError]:
    """The placeholder DAGs of a file for which no time is left."""
    error = FlowFileError(str(path), [time.fault()])
    if time.is_over(_STANDING_IN):
        return {}, error
    return _quietly(path, lambda: build_placeholders(_plain_data(path), path.stem, str(error))), error


@contextmanager
def _pause_gc() -> Iterator[None]:
    """Pause the garbage collector, which would traverse every DAG built so far again and again, and find no garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _build(path: Path, build_replay: _Build) -> tuple[dict[str, DAG], FlowFileError | None]:
    """Build the DAGs of one file, with its faults."""
    try:
        flow = load_flow_file(path, in_flows_folder=True)
    except FlowFileError as error:
        faulty = error
        return _quietly(path, lambda: build_placeholders(_value(path, faulty), path.stem, str(faulty))), faulty
    # PostgreSQL rejects a DAG with it, and every other DAG of the same parse.
    may_have_nul = rb"\u0000" in msgspec.json.encode(flow.source)
    places = _nul_places(flow.source) if may_have_nul else ()
    faults = [Fault("Airflow cannot store the character U+0000", place) for place in places]
    dags: dict[str, DAG] = {}
    if not faults:
        dags = _sound(path, flow, build_dag, faults)
        if flow.replay is not None:
            dags |= _sound(path, flow, build_replay, faults)
    if not faults:
        return dags, None
    unsound = FlowFileError(str(path), _locate(path, faults))
    stand_ins = _quietly(path, lambda: build_placeholders(flow.source, path.stem, str(unsound)))
    return {**stand_ins, **dags}, unsound


def _nul_places(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of texts with U+0000 in them; of an object's keys, that of the object's value."""
    if isinstance(value, str):
        if "\0" in value:
            yield place
        return
    if not isinstance(value, (Mapping, list)):
        return
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        if isinstance(key, str) and "\0" in key:
            yield (*place, key)
        yield from _nul_places(item, (*place, key))


def _sound(path: Path, flow: Flow, build: _Build, faults: list[Fault]) -> dict[str, DAG]:
    """One DAG of a flow; none when it cannot be built, for a fault that is added to the others."""
    try:
        dag = build(flow)
    except FlowFileError as error:
        faults += [fault for fault in error.faults if fault not in faults]
        return {}
    except Exception as error:
        # Any error in one flow is reported like a fault, and does not affect the DAGs of others.
        log.exception("building the DAG of %s failed", path)
        faults.append(Fault(f"the DAG cannot be built: {error!r}"))
        return {}
    return {dag.dag_id: dag}


def _quietly(path: Path, build: Callable[[], dict[str, DAG]]) -> dict[str, DAG]:
    """Placeholder DAGs, or none if not even these can be built."""
    try:
        return build()
    except Exception:
        log.exception("building the placeholder DAG of %s failed", path)
        return {}


def _value(path: Path, error: FlowFileError) -> object:
    """The file as plain data; ``None`` where it was not, or not to be, read."""
    return None if any(fault.line is None for fault in error.faults) else _plain_data(path)


def _plain_data(path: Path) -> object:
    """The file as plain data; ``None`` where it cannot be read."""
    try:
        return JsonSource(read_flow_text(path)).load()[0]
    except FlowFileError:
        return None


def _locate(path: Path, faults: list[Fault]) -> list[Fault]:
    """Add the locations in the file to faults."""
    source = JsonSource(read_flow_text(path))
    places = [source.place(fault.path) for fault in faults]
    found = [replace(fault, line=line, column=column) for fault, (line, column) in zip(faults, places, strict=True)]
    return sorted(found, key=lambda fault: (fault.line or 0, fault.column or 0))
