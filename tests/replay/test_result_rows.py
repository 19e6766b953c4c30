"""CSV that every reader splits into the same rows, and no spreadsheet calculates."""

from __future__ import annotations

import csv
import io
import re

import pytest

from airflow_whatsapp_flows.ledger.results import ContactResult
from airflow_whatsapp_flows.ledger.rows import ContactState
from airflow_whatsapp_flows.replay.result_rows import csv_head, csv_line

ENDS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028"]


def _line(reason: str) -> str:
    return csv_line(ContactResult("r-1", "x:1", ContactState.FAILED, reason, 0, ["A"], None, []))


@pytest.mark.parametrize("end", ENDS)
def test_a_line_end_in_a_cell_is_quoted_and_starts_no_formula(end: str) -> None:
    line = _line(f"said: ok{end}=1+1")
    assert f'"said: ok{end}\'=1+1"' in line
    assert not re.search(r"(?:^|[\r\n\x0b\x0c\x85\u2028,])=", line)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("text", ["a{}b", "{}", '"{}"', "a,{}b", "{}{}", "plain", "it's", 'a"b', " a "])
def test_python_reads_every_row_back(text: str, end: str) -> None:
    reason = text.replace("{}", end)
    rows = list(csv.reader(io.StringIO(csv_head() + _line(reason) * 2, newline="")))
    assert [len(row) for row in rows] == [8, 8, 8]
    assert rows[1][2].replace("'", "") == reason.replace("'", "")
    assert rows[1] == rows[2]


def test_a_negative_number_is_not_a_formula() -> None:
    assert ",-5," in _line("-5")
    assert ",'-5+1," in _line("-5+1")
