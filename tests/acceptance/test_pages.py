"""Airflow's pages show text of flows and contacts as text, never as markup.

The tests of our own pages are in ``tests/plugin``. Besides, the package passes three texts to Airflow as Markdown: the
documentation of a DAG, that of a task (``tests/operators/test_task_docs.py``), and the question of an approval.
Everything else, such as labels, XComs, and notes, is plain text in Airflow. Airflow drops HTML in Markdown; these tests
show that names and reasons are not parsed as Markdown either.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from airflow_whatsapp_flows import build_dag
from airflow_whatsapp_flows.dag_factory import load_dags
from airflow_whatsapp_flows.operators.plan_text import plan_markdown

pytestmark = pytest.mark.usefixtures("airflow")

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "<https://evil.example>",
    "https://evil.example/x www.evil.example ana@evil.example",
    "```",
    "~~~ ~~x~~",
    "`a` **b** __c__ *d* _e_",
    "| a | b |",
    "&lt;b&gt; &#60;b&#62; &amp;",
    "# title",
    "- item",
    "1. item",
    "1) item",
    "> quote",
    "\\[x\\](y)",
    "[x]: https://evil.example",
    "[^1]",
    "x\u2028y\u00a0z",
]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
TEXT = {"paragraph", "ordered_list", "bullet_list", "list_item", "text", "strong", "em", "code_inline", "softbreak"}
TEXT |= {"hardbreak"}
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


def _hostile_flow() -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {
            "name": "Menu",
            "type": "menu",
            "body": "?",
            "options": {name: f"{name} {number}" for number, name in enumerate(HOSTILE)},
        }
    ]
    steps += [{"name": f"{name} {number}", "type": "message", "body": f"{name}"} for number, name in enumerate(HOSTILE)]
    return {"flow_format": 1, "id": "hostile_names", "name": HOSTILE[0], "steps": steps}


def _tokens(text: str) -> list[Token]:
    return [
        token for block in MARKDOWN.parse(text) for token in (block, *(block.children or ())) if token.type != "inline"
    ]


def _kind(token: Token) -> str:
    return token.type.removesuffix("_open").removesuffix("_close")


def test_names_of_a_flow_are_text_in_its_dags_documentation() -> None:
    doc = build_dag(_hostile_flow()).doc_md
    assert doc

    tokens = _tokens(doc)

    assert {_kind(token) for token in tokens} <= TEXT
    shown = [token.content for token in tokens if token.type == "text"]
    for number, name in enumerate(HOSTILE):
        assert " ".join(f"{name} {number}".split()) in shown, name
    assert HOSTILE[0] in shown


def test_faults_are_text_in_the_documentation_of_a_stand_in(tmp_path: Path) -> None:
    flow = _hostile_flow()
    for step in flow["steps"][1:]:
        step["next"] = f"{step['name']}\n```\n<script>alert(1)</script>"
    (tmp_path / "hostile_names.json").write_text(json.dumps(flow, indent=1), encoding="utf-8")

    doc = load_dags(tmp_path)["hostile_names"].doc_md
    assert doc

    tokens = _tokens(doc)
    assert {_kind(token) for token in tokens} <= TEXT
    assert any("alert(1)" in token.content for token in tokens if token.type == "code_inline")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_question_of_an_approval_is_text(hostile: str) -> None:
    told = {"replay_id": "f__1", "walked": 12, "postponed": 0, "rows": 12, "calls": {hostile: 3}, "seconds": 3}
    told |= {"source": f"a\n```\n{hostile}\n", "rejections": [f"{hostile}\n```\n{hostile}"], "warnings": [hostile]}
    told |= {
        "exits": [{"step": hostile, "exit": hostile, "contacts": 3}],
        "samples": {hostile: f"{hostile}\n{hostile}"},
    }
    told |= dict.fromkeys(("rejected", "skipped", "in_doubt", "done"), 0)

    tokens = _tokens(plan_markdown(told))

    assert {_kind(token) for token in tokens} <= TEXT | TABLE
    shown = [token.content for token in tokens if token.type in ("text", "code_inline")]
    line = " ".join(hostile.split())
    assert sum(line in text for text in shown) >= 7, shown
