"""Flow files on disk: load one, or find and check all in a folder."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.json_source import MAX_BYTES, JsonSource
from airflow_whatsapp_flows.flow.loading.load import check_replay_dag, read_flow
from airflow_whatsapp_flows.flow.model import Flow


def load_flow_file(path: Path, *, in_flows_folder: bool = False) -> Flow:
    """Read a flow file.

    Args:
        path: a JSON file in UTF-8, with or without a byte order mark.
        in_flows_folder: whether the file must be named after its flow, so that one flow of a folder can be found
            without opening the others.

    Raises:
        FlowFileError: it cannot be read or has faults; lists every fault with line and column.
    """
    flow, faults, _ = _read_flow_file(path, in_flows_folder)
    if flow is None or faults:
        raise FlowFileError(str(path), faults)
    return flow


def check_flow_file(path: Path, *, in_flows_folder: bool = False) -> list[Fault]:
    """Return every fault of a flow file, and those with which only the flow's own DAG is built.

    Args:
        path: as for :func:`load_flow_file`.
        in_flows_folder: as for :func:`load_flow_file`.
    """
    try:
        flow, faults, source = _read_flow_file(path, in_flows_folder)
    except FlowFileError as error:
        return list(error.faults)
    return faults if flow is None or faults else check_replay_dag(flow, source)


def _read_flow_file(path: Path, in_flows_folder: bool) -> tuple[Flow | None, list[Fault], JsonSource]:
    if in_flows_folder and _leads_out(path):
        raise FlowFileError(
            str(path), [Fault("it is a link to a file outside the folder of flows; put the file itself there")]
        )
    source = JsonSource(read_flow_text(path))
    flow, faults = read_flow(source)
    flow_id = _read_id(source) if flow is None else flow.id
    if in_flows_folder and flow_id not in (None, path.stem) and all(fault.path != ("id",) for fault in faults):
        message = f"the flow {flow_id!r} must be in a file named {flow_id}.json; this one is {path.name}"
        faults = sorted([*faults, Fault(message, ("id",), *source.place(("id",)))], key=_place)
    return flow, faults, source


def _place(fault: Fault) -> tuple[int, int]:
    return fault.line or 0, fault.column or 0


def _read_id(source: JsonSource) -> str | None:
    value, _ = source.load()
    flow_id = value.get("id") if isinstance(value, dict) else None
    return flow_id if isinstance(flow_id, str) else None


def check_folder(folder: Path) -> Iterator[tuple[Path, tuple[Fault, ...]]]:
    """Check every flow file of a folder, on its own and against the others.

    Args:
        folder: contains flow files, each named after its flow.

    Yields:
        Each file with its faults.

    Raises:
        FlowFileError: the folder does not exist, cannot be read, or has no flow files.
    """
    files: dict[str, Path] = {}
    ids: dict[str, Path] = {}
    for path in find_flow_files(folder):
        yield path, (*check_flow_file(path, in_flows_folder=True), *_twins(path, files, ids))
    if not files:
        raise FlowFileError(str(folder), [Fault("there are no flow files (*.json) in this folder")])


def _twins(path: Path, files: dict[str, Path], ids: dict[str, Path]) -> Iterator[Fault]:
    other = files.setdefault(_fold(path.name), path)
    if other is not path:
        message = f"{path.name!r} and {other.name!r} are the same file on systems that ignore case or accents"
        yield Fault(f"{message}; rename one of them")
    try:
        source = JsonSource(read_flow_text(path))
    except FlowFileError:
        return
    flow_id = _read_id(source)
    if flow_id is not None and (other := ids.setdefault(_fold(flow_id), path)) is not path:
        line, column = source.place(("id",))
        yield Fault(f"{other.name!r} also has the id {flow_id!r}; change one of them", ("id",), line, column)


def _fold(name: str) -> str:
    """Equal for names that a file system may treat as the same (Unicode D145, canonical caseless matching)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _leads_out(path: Path) -> bool:
    try:
        return path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError):  # a circular link: reading it raises the error
        return False


def read_flow_text(path: Path) -> str:
    """The text of a flow file.

    Args:
        path: a file in UTF-8, with or without a byte order mark.

    Raises:
        FlowFileError: it cannot be read.
    """
    try:
        status = path.stat()
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
            raise FlowFileError(str(path), [Fault("the file cannot be read: not a regular file")])
        if status.st_size > MAX_BYTES:
            raise FlowFileError(str(path), [Fault(f"the file has more than {MAX_BYTES:,} bytes", line=1, column=1)])
        content = path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise FlowFileError(str(path), [Fault(f"the file cannot be read: {reason}")]) from None
    return decode_flow_text(content, str(path))


def decode_flow_text(content: bytes, source: str) -> str:
    """Decode the text of a flow.

    Args:
        content: UTF-8, with or without a byte order mark.
        source: name of the file, for the error.

    Raises:
        FlowFileError: it is not UTF-8; the column is in bytes.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        fault = Fault("not UTF-8: save the file as UTF-8", line=line, column=column)
        raise FlowFileError(source, [fault]) from None


def find_flow_files(folder: Path) -> Iterator[Path]:
    """The flow files of a folder, sorted by name.

    Raises:
        FlowFileError: the folder does not exist.
    """
    if not folder.is_dir():
        raise FlowFileError(str(folder), [Fault("the folder of flow files does not exist")])
    yield from sorted(folder.glob("*.json"))
