"""Templates of DAG authors."""

from __future__ import annotations

import jinja2
import pytest

from airflow_whatsapp_flows.errors import MissingValueError
from airflow_whatsapp_flows.operators.author_text import AuthorTemplate

ENVIRONMENT = jinja2.Environment(undefined=jinja2.StrictUndefined)


@pytest.mark.parametrize("text", ["{{ ds }}", "on {{ ds_nodash }}", "{{ data_interval_start }}", "{{ logical_date }}"])
def test_explains_a_date_that_the_run_lacks(text: str) -> None:
    with pytest.raises(MissingValueError, match="this run has no logical date, because it was triggered without one"):
        AuthorTemplate(text, ENVIRONMENT, {"run_id": "manual__1"}).render({})


def test_other_missing_values_have_no_such_explanation() -> None:
    with pytest.raises(MissingValueError) as raised:
        AuthorTemplate("{{ contact.ds_x }}", ENVIRONMENT, {}).render({"contact": {}})
    assert "logical date" not in str(raised.value)


def test_a_long_expression_of_an_author_keeps_its_type() -> None:
    assert AuthorTemplate("{{ [" + "1, " * 3_000 + "1] }}", ENVIRONMENT, {}).evaluate({}) == [1] * 3_001
