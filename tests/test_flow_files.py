"""Reading flow files: every fault has its file and location."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from airflow_whatsapp_flows.errors import FlowFileError
from airflow_whatsapp_flows.flow_files import check_folder, find_flow_files, load_flow_file

FLOW = {"flow_format": 1, "id": "lead", "steps": [{"name": "M", "type": "message", "body": "hi"}]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_flow_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "lead.json").write_text(json.dumps(FLOW), encoding=encoding)
    assert load_flow_file(tmp_path / "lead.json", in_flows_folder=True).id == "lead"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"{", "lead.json:1:", id="syntax"),
        pytest.param(b'{\n "id": "\xe9"}', "lead.json:2:9: not UTF-8", id="latin-1"),
        pytest.param(b" " * 1_048_577, "bytes", id="too-large"),
        pytest.param(b"", "lead.json:1:1", id="empty"),
    ],
)
def test_a_fault_is_reported_with_its_file_and_place(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "lead.json").write_bytes(content)
    with pytest.raises(FlowFileError) as raised:
        load_flow_file(tmp_path / "lead.json")
    assert words in str(raised.value)


def test_a_folder_requires_files_named_after_their_flow(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(FLOW), encoding="utf-8")
    assert load_flow_file(tmp_path / "other.json").id == "lead"
    with pytest.raises(FlowFileError, match=r"lead\.json"):
        load_flow_file(tmp_path / "other.json", in_flows_folder=True)


def test_refuses_links_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (tmp_path / "out.json").write_text(json.dumps(FLOW), encoding="utf-8")
    (folder / "out.json").symlink_to(tmp_path / "out.json")
    (folder / "b.json").write_text(json.dumps(FLOW), encoding="utf-8")
    (folder / "lead.json").symlink_to(folder / "b.json")
    assert [path.name for path in find_flow_files(folder)] == ["b.json", "lead.json", "out.json"]
    assert load_flow_file(folder / "lead.json", in_flows_folder=True).id == "lead"
    with pytest.raises(FlowFileError, match="link to a file outside the folder"):
        load_flow_file(folder / "out.json", in_flows_folder=True)


def test_refuses_special_files_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lead.json")
    with pytest.raises(FlowFileError, match="not a regular file"):
        load_flow_file(tmp_path / "lead.json")


@pytest.mark.parametrize("target", ["a.json", "b.json"])
def test_circular_links_do_not_affect_other_files(tmp_path: Path, target: str) -> None:
    (tmp_path / "a.json").symlink_to(tmp_path / target)
    if target != "a.json":
        (tmp_path / target).symlink_to(tmp_path / "a.json")
    (tmp_path / "lead.json").write_text(json.dumps(FLOW), encoding="utf-8")

    assert {path.name for path in find_flow_files(tmp_path)} == {"a.json", target, "lead.json"}
    with pytest.raises(FlowFileError, match=r"a\.json"):
        load_flow_file(tmp_path / "a.json")


def messages(folder: Path) -> dict[str, list[str]]:
    return {
        path.name: [f"{fault.where()}: {fault.message}" for fault in faults] for path, faults in check_folder(folder)
    }


def test_a_folder_is_checked_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "lead.json").write_text(json.dumps(FLOW), encoding="utf-8")
    (tmp_path / "faulty.json").write_text(json.dumps({**FLOW, "id": "faulty", "nmae": "x"}), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no flow", encoding="utf-8")

    assert messages(tmp_path) == {
        "faulty.json": ["1:95: unknown key 'nmae'; did you mean 'name'?"],
        "lead.json": [],
    }


def test_the_name_of_a_faulty_file_is_reported_with_its_faults(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({**FLOW, "timezone": "X"}), encoding="utf-8")
    (tmp_path / "third.json").write_text(json.dumps({**FLOW, "id": "../x"}), encoding="utf-8")

    assert messages(tmp_path) == {
        "other.json": [
            "1:26: the flow 'lead' must be in a file named lead.json; this one is other.json",
            "1:105: 'X' is not a time zone; use an IANA name such as America/Mexico_City or UTC",
        ],
        "third.json": [
            "1:26: '../x' is not an id: an id has 1 to 100 characters: a-z, 0-9, '_', and '-', "
            "starting with a letter or digit"
        ],
    }


def test_two_files_with_one_id_are_both_named(tmp_path: Path) -> None:
    for name in ("copy.json", "lead.json"):
        (tmp_path / name).write_text(json.dumps(FLOW), encoding="utf-8")

    assert messages(tmp_path) == {
        "copy.json": ["1:26: the flow 'lead' must be in a file named lead.json; this one is copy.json"],
        "lead.json": ["1:26: 'copy.json' also has the id 'lead'; change one of them"],
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("Lead.json", "lead.json", id="case"),
        pytest.param(unicodedata.normalize("NFD", "caf\u00e9.json"), "caf\u00e9.json", id="accents"),
    ],
)
def test_names_both_files_whose_names_collide_on_other_systems(tmp_path: Path, first: str, second: str) -> None:
    for number, name in enumerate((first, second)):
        (tmp_path / name).write_text(json.dumps({**FLOW, "id": f"lead{number}"}), encoding="utf-8")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes the two names for one")

    found = messages(tmp_path)

    assert len(found[first]) == 1
    assert found[second][1] == (
        f"flow: {second!r} and {first!r} are the same file on systems that ignore case or accents; rename one of them"
    )


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_flows_is_a_fault(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "nothing"
    with pytest.raises(FlowFileError, match="no flow file" if there else "does not exist"):
        list(check_folder(folder))
