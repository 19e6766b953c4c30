"""Flow files on disk: reading one, and finding those of a folder."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from airflow_whatsapp_flows.errors import Fault, FlowFileError
from airflow_whatsapp_flows.flow.json_source import MAX_BYTES, JsonSource
from airflow_whatsapp_flows.flow.loading import read_flow
from airflow_whatsapp_flows.flow.model import Flow


def load_flow_file(path: Path, *, in_flows_folder: bool = False) -> Flow:
    """Read a flow file.

    Args:
        path: of a JSON file in UTF-8, with or without a byte order mark.
        in_flows_folder: whether the file must be called after its flow, which is how one flow of a folder is
            found without opening the others.

    Raises:
        FlowFileError: it cannot be read, or has faults; holds every fault with line and column.
    """
    if in_flows_folder and _leads_out(path):
        raise FlowFileError(str(path), [Fault("it is a link out of the folder of flows; put the file itself there")])
    text = _read(path)
    flow, faults = read_flow(JsonSource(text))
    if flow is None or faults:
        raise FlowFileError(str(path), faults)
    if in_flows_folder and path.stem != flow.id:
        line, column = JsonSource(text).place(("id",))
        message = f"the flow {flow.id!r} must be in a file called {flow.id}.json; this one is {path.name}"
        raise FlowFileError(str(path), [Fault(message, ("id",), line, column)])
    return flow


def _leads_out(path: Path) -> bool:
    try:
        return not path.resolve().is_relative_to(path.parent.resolve())
    except (OSError, RuntimeError):  # a link in a circle: reading it says so
        return False


def _read(path: Path) -> str:
    try:
        status = path.stat()
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
            raise FlowFileError(str(path), [Fault("the file cannot be read: not a regular one")])
        if status.st_size > MAX_BYTES:
            raise FlowFileError(str(path), [Fault(f"the file has more than {MAX_BYTES:,} bytes", line=1, column=1)])
        content = path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise FlowFileError(str(path), [Fault(f"the file cannot be read: {reason}")]) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        fault = Fault("not UTF-8: save the file as UTF-8", line=line, column=column)
        raise FlowFileError(str(path), [fault]) from None


def find_flow_files(folder: Path) -> Iterator[Path]:
    """The flow files of a folder, by name.

    Raises:
        FlowFileError: the folder is not there.
    """
    if not folder.is_dir():
        raise FlowFileError(str(folder), [Fault("there is no such folder of flow files")])
    yield from sorted(folder.glob("*.json"))
