"""Results as files on disk and in object storage."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_whatsapp_flows.errors import ReplayError
from airflow_whatsapp_flows.ledger.results import ContactResult
from airflow_whatsapp_flows.replay.export import Written, WrittenBy, file_at_url
from tests.replay.export.results import REFUSED, REPLAY, SENT, contact

RUN = WrittenBy(dag_id="leads__replay", run_id="scheduled")


def read(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        return pyarrow.parquet.read_table(file).to_pylist()
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_the_rows_are_those_of_the_tables(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "new" / f"log.{ending}"
    results = [contact(1, SENT), contact(2, REFUSED), contact(3)]

    assert file_at_url(str(file)).write(REPLAY, results, RUN) == Written(3, 3)

    actions, contacts = read(file), read(file.with_name(f"log_contacts.{ending}"))
    assert [(row["response_id"], row["state"], row["step"] or None, row["run_id"]) for row in actions] == [
        ("c-1", "completed", "Create", "scheduled"),
        ("c-2", "failed", "Create", "scheduled"),
        ("c-3", "completed", None, "scheduled"),
    ]
    assert [(row["response_id"], str(row["requests"])) for row in contacts] == [
        ("c-1", "2"),
        ("c-2", "2"),
        ("c-3", "0"),
    ]
    sent = actions[0]["sent_at"]
    assert (dt.datetime.fromisoformat(sent) if isinstance(sent, str) else sent).timestamp() == SENT.sent_at


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    file_at_url(str(tmp_path / "log.csv")).write(REPLAY, [contact(1, SENT, id="=1+1")], RUN)
    assert read(tmp_path / "log.csv")[0]["response_id"] == "'=1+1"


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_stopped_export_leaves_the_earlier_files(tmp_path: Path, ending: str) -> None:
    def until_stopped() -> Iterator[ContactResult]:
        yield from (contact(number, SENT) for number in range(450))
        raise KeyboardInterrupt

    target = file_at_url(str(tmp_path / f"log.{ending}"))
    target.write(REPLAY, [contact(1, SENT)], RUN)
    with pytest.raises(KeyboardInterrupt):
        target.write(REPLAY, until_stopped(), RUN)
    assert [len(read(file)) for file in sorted(tmp_path.iterdir())] == [1, 1]


def test_object_storage_gets_both_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    file_at_url("memory://bucket/log.jsonl").write(REPLAY, [contact(1, SENT)], RUN)
    assert sorted(MemoryFileSystem.store) == ["/bucket/log.jsonl", "/bucket/log_contacts.jsonl"]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/proc/none/log.csv", "/proc/none/log.csv cannot be written: "),
        (
            "nothing://user:s3cret@bucket/log.csv",
            r"nothing://\*\*\*@bucket/log.csv cannot be written: Protocol not known",
        ),
    ],
)
def test_what_cannot_be_written_is_named_without_credentials(location: str, words: str) -> None:
    with pytest.raises(ReplayError, match=words) as raised:
        file_at_url(location).write(REPLAY, [contact(1, SENT)], RUN)
    assert "s3cret" not in str(raised.value)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ReplayError, match=r"must end with one of \.jsonl, \.csv, \.parquet"):
        file_at_url("s3://bucket/log.xlsx")
