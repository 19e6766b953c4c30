"""Unusual sources give warnings, and their rows are used."""

from __future__ import annotations

from typing import Any

from airflow_whatsapp_flows.flow.walk.response import read_response
from airflow_whatsapp_flows.replay.source_warnings import SourceWarnings
from tests.flow.samples import flow_of

CHOOSE = {"name": "Choose", "type": "menu", "options": {"Yes": "Ask name"}}
FLOW = flow_of({"name": "Ask name", "type": "question", "next": "Choose"}, CHOOSE)


def warnings_of(*responses: dict[str, Any], rows: int = 1, ignored: tuple[str, ...] = ()) -> list[str]:
    warnings_of_source = SourceWarnings(FLOW)
    for response in responses:
        warnings_of_source.check(read_response(response))
    return warnings_of_source.warnings(rows, ignored)


def test_a_valid_source_has_no_warnings() -> None:
    history = [{"step": "Choose", "value": 1}]
    assert warnings_of({"step": {"Ask name": "Ana"}, "history": history, "exits": {"Ask name": "next"}}) == []


def test_reports_a_name_that_is_not_a_step_with_a_suggestion() -> None:
    result = {"outcome": "success"}
    [warning] = warnings_of(
        {"step": {"Ask nmae": "Ana"}},
        {"step": {"Ask nmae": "Eva"}, "actions": {"Send": [result]}},
        {"history": [{"step": "Chose", "value": 1}]},
        {"exits": {"Zzz": "next"}},
        {"step": {"Ask name": "Zoé"}},
    )
    assert warning == (
        "4 responses name steps that the flow 'f' does not have, and their values are not used: "
        "'Ask nmae' (2; did you mean 'Ask name'?), 'Chose' (1; did you mean 'Choose'?), 'Send' (1), 'Zzz' (1)"
    )


def test_shows_and_keeps_a_limited_number_of_names() -> None:
    warnings_of_source = SourceWarnings(FLOW)
    for number in range(3000):
        warnings_of_source.check(read_response({"step": {f"{number:04}" + "x" * 100: 1}}))
    [warning] = warnings_of_source.warnings(3000, ())
    assert "'0000xxxx" in warning
    assert warning.endswith(", and 995 more")
    assert len(warning) < 600


def test_names_ignored_columns() -> None:
    columns = ("Nro. Cliente", "b", "c", "d", "e", "f")
    assert warnings_of(ignored=columns) == [
        "not read, because they are not keys of a contact response: the columns "
        "'Nro. Cliente', 'b', 'c', 'd', 'e', and 1 more"
    ]


def test_warns_about_a_source_without_rows() -> None:
    assert warnings_of(rows=0) == ["0 responses: the source has no rows, so there is nothing to send"]
