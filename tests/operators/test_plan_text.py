"""The text of a plan: lines for the log, and Markdown for the approval page."""

from __future__ import annotations

from collections import Counter

import pytest
from markdown_it import MarkdownIt

from airflow_whatsapp_flows.operators.markdown import code, escape, table
from airflow_whatsapp_flows.operators.plan_text import plan_markdown, plan_text, plan_value
from airflow_whatsapp_flows.replay.plan import Load, Plan
from airflow_whatsapp_flows.replay.samples import Sample

STEP = "Create *a* | `b`"
# What Airflow's pages read: CommonMark with tables, without HTML.
READER = MarkdownIt("commonmark", {"html": False}).enable("table")


def sample_plan() -> Plan:
    made = Plan(rows=1_200, rejected=2, changed=3, rejections=[("line 3", "no | phone")], warnings=["<b>odd</b>"])
    made.counts.ends = Counter({"completed": 1_198})
    made.counts.exits = Counter({(STEP, "success"): 1_198})
    body = "name: A…\nlist:\n  - a…\n"
    made.counts.samples = {STEP: [Sample("POST", "https://crm.example/v1", (("X-Source", "whatsapp"),), body)] * 3}
    made.loads = [Load("crm.example:443", 1_198, None, 0.2, False, 240.0)]
    return made


def test_the_page_has_tables_and_a_masked_request() -> None:
    page = READER.render(plan_markdown(plan_value(sample_plan(), "leads_*.jsonl", "r")))

    assert (
        "<strong>1,198 of 1,200 responses would be sent</strong> from leads_*.jsonl. Estimated duration: 4 min." in page
    )
    for row in (["to be sent", "1,198"], ["rejected", "2"], ["crm.example:443", "1,198"]):
        assert [f">{cell}</td>" in page for cell in row] == [True, True]
    assert "<td>Create *a* | `b`</td>" in page
    assert "<li>line 3: no | phone</li>" in page
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    lines = ["POST https://crm.example/v1", "X-Source: whatsapp", "name: A…", "list:", "\u00a0\u00a0- a…"]
    assert "<br />\n".join(f"<code>{line}</code>" for line in lines) in page
    assert page.count("POST https://crm.example") == 1


def test_the_log_has_a_line_for_each_count() -> None:
    lines = plan_text(plan_value(sample_plan(), "leads.jsonl", "r")).splitlines()

    assert lines[:3] == ["source     leads.jsonl", "responses  1,200, 2 rejected", "to send    1,198"]
    assert "rejected   line 3: no | phone" in lines


def test_a_plan_in_xcom_is_bounded() -> None:
    made = sample_plan()
    long = Sample("POST", "https://crm.example/v1", (), "x" * 4_000)
    made.counts.samples = {f"Step {number}": [long] for number in range(500)}

    assert len(str(plan_value(made, "leads.jsonl", "r"))) < 16_000


@pytest.mark.parametrize(
    "text", ["*a* _b_ `c`", "[x](https://evil.example)", "<script>", "a | b", "1. x", "# h", "- x", "&amp;"]
)
def test_escapes_markdown(text: str) -> None:
    page = READER.render(table(("Name",), [(text,), (text,)])) + READER.render(f"x {escape(text)}")

    assert not any(f"<{tag}" in page for tag in ("em", "code", "a ", "script", "h1", "li"))
    assert page.count("<td>") == 2


@pytest.mark.parametrize("line", ["a `b` c", "``x``", "`", "*a* <b>", "  two\tthree"])
def test_code_keeps_each_line(line: str) -> None:
    from html import unescape

    page = unescape(READER.render(code(f"{line}\n\nlast")))

    shown = line.replace("  ", "\u00a0\u00a0")
    assert page == f"<p><code>{shown}</code><br />\n<code>last</code></p>\n"
