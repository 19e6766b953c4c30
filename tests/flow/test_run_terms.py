"""The terms of a run: in the path of a source, and as parameters of a query."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from airflow_whatsapp_flows.errors import FlowFileError, RenderError
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.run_terms import RunTerms, parse_source, query_faults, render_source
from airflow_whatsapp_flows.flow.sql_parameters import find_parameters
from airflow_whatsapp_flows.flow.template.language import TemplateFault

TERMS = RunTerms(
    data_interval_start=dt.datetime(2026, 11, 20, 5, tzinfo=dt.timezone.utc), partition_key="mx", run_id="manual__1"
)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("responses/*.csv", "responses/*.csv"),
        ("s3://leads/{{ run.partition_key }}.csv", "s3://leads/mx.csv"),
        ("{{ run.data_interval_start | date('%Y/%m/%d-%H') }}.csv", "2026/11/19-23.csv"),
        ("{{ run.data_interval_start }}", "2026-11-19T23:00:00-06:00"),
        ("{{ run['run_id'] | upper }}", "MANUAL__1"),
    ],
)
def test_fills_the_path_of_a_source_with_local_dates(text: str, rendered: str) -> None:
    assert render_source(text, TERMS, ZoneInfo("America/Mexico_City")) == rendered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/{{ data_interval_start }}", "'data_interval_start' is not known here; write {{ run.data_interval_start }}"),
        ("{{ run.data_interval_strat }}", "did you mean 'data_interval_start'?"),
        ("{{ ds }}", "'ds' is not known here"),
        ("{{ contact.phone }}", "'contact' is not known here"),
        ("{{ run.run_id.foo }}", "run.run_id is a text, without values in it"),
        ("{{ run['run_id']['foo'] | upper }}", "run.run_id is a text, without values in it"),
        ("{{ run }}", "'run' is no value; write one of run.data_interval_start"),
        ("{{ run.run_id ~ run }}", "'run' is no value"),
        ("{{ run.run_id.upper() }}", "calls are not allowed"),
        ("{% if run %}", "flow templates have no statements"),
        ("{{ run.run_id", "is never closed"),
        ("{{ }}", "is empty"),
    ],
)
def test_any_other_placeholder_is_a_fault(text: str, message: str) -> None:
    with pytest.raises(TemplateFault) as raised:
        parse_source(text)
    assert message in raised.value.message


def test_a_run_without_a_term_is_an_error_that_says_why() -> None:
    for text in ("{{ run.logical_date }}", "{{ run.logical_date | date('%Y') }}", "{{ run['logical_date'] ~ 'x' }}"):
        with pytest.raises(RenderError, match="the run has no logical_date, because it was triggered without"):
            render_source(text, TERMS, dt.timezone.utc)


def test_a_default_takes_the_place_of_a_missing_term() -> None:
    text = "in/{{ run.partition_key | default('all') }}.csv"
    assert render_source(text, RunTerms(), dt.timezone.utc) == "in/all.csv"
    assert render_source(text, TERMS, dt.timezone.utc) == "in/mx.csv"


@pytest.mark.parametrize("key", ["*", "?x", "[mc]*", "../secret", "..", "/etc", "a\\b", "", " ", "a::b", "a\nb", "m]"])
def test_a_text_of_the_run_cannot_choose_other_files(key: str) -> None:
    with pytest.raises(RenderError, match="partition_key is "):
        render_source("in/{{ run.partition_key }}.jsonl", RunTerms(partition_key=key), dt.timezone.utc)
    terms = RunTerms(partition_key=key, run_id="a__2026-11-20T05:00:00+00:00")
    assert render_source("in/{{ run.run_id }}.jsonl", terms, dt.timezone.utc).startswith("in/a__2026"), "not used"


@pytest.mark.parametrize("key", ["mx", "2026-11-20", "a b", "méxico", "us-east:1"])
def test_other_texts_are_part_of_a_path(key: str) -> None:
    terms = RunTerms(partition_key=key)
    assert render_source("in/{{ run.partition_key }}/*.csv", terms, dt.timezone.utc) == f"in/{key}/*.csv"


def test_finds_parameters_only_where_sql_has_values() -> None:
    sql = (
        "select a::text, b[1:n], \"c\":path, d:path, ':e', '''', \":f\", `:g`, $$ :h $$, $t$ :i $t$, \\:j -- :k\n"
        "/* :l */ from m where n >= :one and o < :two or :one = (x):p or q = :=3 and r between:three and 12:30"
    )
    names = [name for name, _, _ in find_parameters(sql)]
    assert names == [None, "one", "two", "one"], "a backslash is a plain colon"
    assert [sql[start:end] for _, start, end in find_parameters(sql)] == ["\\:", ":one", ":two", ":one"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select 1 where x > :data_interval_strat", "there is no parameter 'data_interval_strat'; did you mean"),
        (
            "select 1 where x > '{{ data_interval_start }}'",
            "without quotes, such as :data_interval_start",
        ),
        ("select :run.run_id", "there is no parameter 'run'; write :run_id"),
        ("select {{ run.run_id | upper }}", "such as :run_id"),
        ("select 1 where x > ':logical_date'", "is a text; write the parameter without quotes: :logical_date"),
        ("select 1 where x like '%:run_id%'", ":run_id in a text is no parameter; join the texts and the parameter"),
        ("select '{{ ds or 1 }}'", "a query is no template: {{ ds or 1 }} would be sent as it is"),
        ("select {{ ds if x else y }}", "a query is no template"),
        ("select 1 {% if logical_date %}", "{% if logical_date %} would be sent as it is; write a parameter, without"),
        ("select '{{ ds'", "a query is no template: {{ would be"),
        ("select '{{1,2},{3,4}}'::int[]", "or { { if it is data"),
        ("select '{%'", "or '{' || '%' if it is data"),
    ],
)
def test_a_query_with_something_unknown_is_a_fault(query: str, message: str) -> None:
    (fault,) = query_faults(query)
    assert message in fault.message


@pytest.mark.parametrize(
    "query",
    [
        "select :run_id, :logical_date",
        "select '{ {1,2},{3,4}}'::int[]",
        "select ':a', '12:run_id', '::run_id', ':run_ids'",
        "select 1 -- {{ ds }} ':run_id' :unknown",
        "select /* {% if x %} */ '{' || '%'",
    ],
)
def test_plain_sql_has_no_faults(query: str) -> None:
    assert list(query_faults(query)) == []


def test_faults_have_their_place_in_the_file() -> None:
    text = """{"flow_format": 1, "id": "leads", "steps": [{"name": "A", "type": "message", "body": "hi"}],
 "replay": {"source": "s3://leads/{{ run.data_interval_strat }}.csv",
            "query": "select * from t where a > :data_interval_end and b < :nwo",
            "schedule": {}}}"""
    with pytest.raises(FlowFileError) as raised:
        load_flow(text)
    found = [(fault.line, fault.column, ".".join(map(str, fault.path))) for fault in raised.value.faults]
    assert found == [(2, 35, "replay.source"), (3, 76, "replay.query"), (4, 25, "replay.schedule")]
