"""Whatever a flow does with an answer of a megabyte is refused, or takes less than 50 MB."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body import BodyType, FileContent, parse_body
from airflow_whatsapp_flows.flow.body.encoded import MAX_CONTENT
from airflow_whatsapp_flows.flow.model import MessageContent
from airflow_whatsapp_flows.flow.request.plan import RequestText, parse_request
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.filters import FILTERS
from airflow_whatsapp_flows.flow.template.language import parse_tree
from airflow_whatsapp_flows.flow.walk.messages import render_changes, render_message

MEASURE = """
import resource, sys
sys.path.insert(0, {root!r})
from tests.flow.test_memory_limits import ANSWERS, attempt
from tests.process_memory import peak_memory, reset_peak
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
answers = ANSWERS[{answer!r}]()
attempt("text", "{{{{ contact.first_name | urlencode }}}}", {{"first_name": "Ana"}})
before = reset_peak()
for kind, made in {attacks!r}:
    outcome = attempt(kind, made, answers)
    grown = (peak_memory() - before) // 1_000_000
    print(grown, kind, outcome, str(made)[:80])
    if grown >= 50:
        sys.exit(1)
"""

ANSWERS: dict[str, Any] = {
    "letters": lambda: {"u": "a" * 1_000_000, "l": ["a" * 1_000_000]},
    "letters that grow": lambda: {"u": "ß" * 500_000, "l": ["ß" * 500_000]},
    "control characters": lambda: {"u": "\x01" * 1_000_000, "l": ["\x01" * 1_000_000]},
    "markup": lambda: {"u": '&"<' * 333_333, "l": ["&"] * 250_000},
    "wide letters": lambda: {"u": "a" * 990_000 + "😀", "l": ["a" * 990_000 + "😀"]},
    "digits": lambda: {"u": "1 " * 500_000, "l": [11] * 330_000},
    "empty lists": lambda: {"u": "0" * 1_000_000, "l": [[]] * 330_000},
    "objects": lambda: {"u": " " * 1_000_000, "l": [{"a": 1}] * 110_000},
}


def _templates() -> Iterator[str]:
    arguments = {"replace": "(contact.u, 'b')", "join": "(contact.u)"}
    many = [f"[{', '.join([name] * 98)}]" for name in ("contact.u", "contact.l")]
    for name in FILTERS:
        for value in ("contact.u", "contact.l", *many):
            yield "{{ " + f"{value} | {name}{arguments.get(name, '')}" + " }}"
    yield "{{ contact.u | replace('a', contact.u) }}"
    yield "{{ contact.u | replace('a', '') ~ contact.u }}"
    yield "{{ contact.u }}" * 1_000
    yield "{{ contact.u | lower }}" * 1_000
    yield "{{ contact.u | upper | length }}" * 100
    yield "{{ " + " ~ ".join(["contact.u"] * 99) + " }}"
    for part in ("contact.u | upper", "contact.u | urlencode", "contact.l | json", "contact.u[1:]", "contact.l[0:]"):
        yield "{{ [" + ", ".join([part] * 99) + "] | length }}"
    for part in ("contact.u | upper", "contact.u[1:]"):
        yield "{{ [" + ", ".join([part] * 99) + "] }}"
    yield "{{ (contact.u ~ '') in [contact.u, contact.l] }}"


def _requests() -> Iterator[tuple[str, Any]]:
    # Hundreds of leaves of a megabyte each.
    for leaf in ("{{ contact.u }}", "-{{ contact.u | upper }}", "{{ [contact.u, contact.u] }}", "{{ contact.l }}"):
        leaves = {f"k{number}": leaf for number in range(300)}
        for kind in ("json", "yaml", "form", "multipart", "query", "headers", "told", "changed"):
            yield kind, leaves
        yield "xml", {"r": leaves}
        yield "json", [leaf] * 300
        yield "form", {"a": [leaf] * 300}
        yield "multipart", [{"name": "a", "value": leaf, "content_type": "text/plain"}] * 300
        yield "plain", leaf * 300
        yield "xml", "<r>" + f"<a b='{leaf}'>{leaf}</a>" * 150 + "</r>"
        yield "url", "/v1/" + "/".join([leaf] * 300)
        yield "url", "/v1?" + "&".join([f"a={leaf}"] * 300)
        yield "query", {"k": [leaf] * 300}
    yield "headers", {f"k{number}": "{{ contact.u[0:7999] }}" for number in range(300)}
    for kind in ("json", "yaml"):
        yield kind, {"a": "{{ [" + ", ".join(["contact.l"] * 98) + "] }}"}


def attempt(kind: str, made: Any, contact: dict[str, Any]) -> str:
    """Render something for a contact; returns the result."""
    values, language = {"contact": contact}, CagedLanguage()
    texts: dict[str, Any] = {"url": "https://crm.example/"}
    try:
        if kind == "text":
            return f"{len(language.parse(made).render(values)):,}"  # type: ignore[union-attr]
        if kind in ("told", "changed"):
            tree: Any = parse_tree(made, language)
            done = (
                render_message(MessageContent(whatsapp_template_variables=tree), values)
                if kind == "told"
                else render_changes(tree, values)
            )
            return f"{len(done)}"
        if kind == "url":
            texts = {"url": f"https://crm.example{made}"}
        elif kind in ("query", "headers"):
            texts["query_params" if kind == "query" else kind] = made
        else:
            texts |= {"body": made, "body_type": BodyType(kind)}
        plan, faults = parse_request(RequestText(**texts), language)
        assert plan is not None, faults
        return f"{len(plan.build(values).content):,}"
    except RenderError as error:
        return f"refused: {error}"


def measure(answer: str, attacks: list[tuple[str, Any]], root: object) -> None:
    script = MEASURE.format(root=str(root), answer=answer, attacks=attacks)
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, (done.stdout[-400:], done.stderr[-400:])


def _all_but_one_long(names: Iterable[str]) -> list[Any]:
    """Control characters, which escapes lengthen most, in every run; the others, up to a minute each, in long ones."""
    return [name if name == "control characters" else pytest.param(name, marks=pytest.mark.long) for name in names]


@pytest.mark.parametrize("answer", _all_but_one_long(ANSWERS))
def test_a_text_with_a_large_answer_stays_within_memory(answer: str, request: pytest.FixtureRequest) -> None:
    measure(answer, [("text", text) for text in _templates()], request.config.rootpath)


@pytest.mark.parametrize("answer", _all_but_one_long(["letters", "control characters", "wide letters", "digits"]))
def test_a_request_with_large_answers_stays_within_memory(answer: str, request: pytest.FixtureRequest) -> None:
    measure(answer, list(_requests()), request.config.rootpath)


LEAVES = {f"k{number}": "{{ contact.u }}" for number in range(9)}
BODIES: list[tuple[str, Any, str]] = [
    ("json", LEAVES, "body.k8"),
    ("json", {"a": ["{{ [contact.u, contact.u, contact.u, contact.u, contact.u] }}"] * 2}, "body.a[1][3]"),
    ("yaml", LEAVES, "body.k8"),
    ("yaml", {"a": [{"b": "{{ [contact.u, contact.u, contact.u] }}"}] * 3}, "body.a[2].b[2]"),
    ("form", LEAVES, "body.k8"),
    ("form", {"a": ["{{ contact.u }}"] * 9}, "body.a[8]"),
    ("multipart", LEAVES, "body.k8"),
    ("xml", {"r": LEAVES}, "body.r.k8"),
    ("xml", "<r>" + "<a>{{ contact.u }}</a>" * 9 + "</r>", "body.r.a"),
]


@pytest.mark.parametrize(("kind", "body", "where"), BODIES, ids=lambda value: str(value)[:24])
def test_limits_the_size_of_a_body_and_names_the_leaf(kind: str, body: Any, where: str) -> None:
    answer = {"u": "a" * (MAX_CONTENT // 9 + 1_000)}

    assert attempt(kind, body, answer) == (
        f"refused: {where}: the content would have more than 8,388,608 bytes, not counting its files"
    )
    assert int(attempt(kind, body, {"u": "a" * (MAX_CONTENT // 11)}).replace(",", "")) < MAX_CONTENT


@pytest.mark.parametrize("kind", ["json", "yaml", "multipart"])
def test_counts_bytes_not_characters(kind: str) -> None:
    assert attempt(kind, LEAVES, {"u": "é" * (MAX_CONTENT // 18 + 1_000)}).startswith("refused: body.k8")


def test_escaped_text_counts_at_its_sent_length() -> None:
    answer = {"u": "\x01" * (MAX_CONTENT // 50)}
    assert attempt("json", LEAVES, answer).startswith("refused: body.k8")
    assert attempt("yaml", {**LEAVES, **{f"l{n}": "{{ contact.u }}" for n in range(9)}}, answer).startswith("refused")


def test_files_do_not_count() -> None:
    body = parse_body(BodyType.MULTIPART, [{"name": "a", "file": "a.bin"}], CagedLanguage())
    files = {"a.bin": FileContent(b"x" * (MAX_CONTENT + 1))}
    assert len(body.encode({}, files).content) > MAX_CONTENT


def test_limits_the_total_size_of_headers() -> None:
    found = attempt("headers", {f"k{number}": "{{ contact.u }}" for number in range(9)}, {"u": "a" * 7_900})
    assert found == "refused: headers.k8: the headers would have more than 65,536 characters in all"


def test_limits_intermediate_texts() -> None:
    """Discarded intermediate texts count too: otherwise a list of texts could use all memory."""
    found = attempt("text", "{{ [" + ", ".join(["contact.u | upper"] * 20) + "] | length }}", {"u": "a" * 1_000_000})
    assert "the expressions of one text would create more than 16,777,216 bytes" in found
