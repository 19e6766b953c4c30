"""Whatever is not on the allow-lists is quickly refused before it is compiled."""

from __future__ import annotations

import subprocess
import sys
import time

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import FlowsError, MissingValueError, RenderError
from airflow_whatsapp_flows.flow.template.cage import MAX_DEPTH, MAX_NAMES, Expression
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from tests.flow.samples import VALUES, evaluate, language, refusal, render

ATTACKS = [
    "''.__class__.__mro__[1].__subclasses__()",
    "lipsum.__globals__",
    "cycler.__init__.__globals__.os",
    "''|attr('__class__')",
    "'{0.__class__}'.format(42)",
    "().__class__",
    "[].__class__",
    "contact.__class__",
    "contact['__class__']",
    "contact.a.__init__",
    "(contact.a ~ 'b').__class__",
    "(contact.a|upper).__len__",
    "contact[contact.a ~ '__class__']()",
    "joiner()",
    "namespace(a=1)",
    "dict(a=1)",
    "self",
    "self.__init__",
    "request",
    "config",
    "conn.crm.password",
    "conn.crm",
    "conn.crm.get_uri()",
    "var.value.apikey",
    "var.json.x",
    "macros.time.sleep(9)",
    "macros.datetime",
    "dag.get_template_env()",
    "task._log_config_logger_name",
    "ti.xcom_pull()",
    "dag_run.conf",
    "params.x",
    "ds",
    "contact.phone.upper()",
    "contact.update({})",
    "contact.meta.pop('plan')",
    "step.ask.bit_length()",
    "'a'*10**10",
    "'a'*200000000",
    "200000000*'a'",
    "[0]*200000000",
    "(1,)*9",
    "('a' ~ 'b')*9",
    "10**(10**8)",
    "(10**(10**8)) is number",
    "2**2",
    "5 % 2",
    "'%1000000000d' % 1",
    "range(1000000)",
    "contact.a|center(500000000)",
    "contact.a|indent(1000000)",
    "'%1000000000d'|format(1)",
    "lipsum(n=100000)",
    "'a'.zfill(10**9)",
    "'a'.ljust(10**9)",
    "'a'.expandtabs(10**9)",
    "(1).to_bytes(10**9,'big')",
    "contact|map(attribute='x')",
    "contact|xmlattr",
    "contact|list",
    "contact|pprint",
    "contact|tojson",
    "contact.a|safe",
    "contact.a|wordwrap(1)",
    "contact.a|truncate",
    "contact.a|sort",
    "contact.a|batch(1)",
    "contact.a is callable",
    "contact.a is sameas contact.b",
    "contact.a is filter",
    "contact.a is divisibleby 2",
    "{'a': 1}",
    "{'a': 1}|length",
    "contact.a|upper(*x)",
    "contact.a|replace(**contact)",
    "loop.index",
    "super()",
    "caller()",
    "_('x')",
    "true.x",
    "None.x",
    "none.__class__",
    "''|join(x)",
    "a := 1",
    "lambda: 1",
    "[x for x in contact]",
    "import os",
    "7 7",
    "|upper",
    "'a",
    "(",
    "..",
]


@pytest.mark.parametrize("expression", ATTACKS)
def test_refuses_attacks_at_load(expression: str) -> None:
    started = time.process_time()

    with pytest.raises(TemplateFault):
        language().parse("{{ " + expression + " }}")
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    "text",
    [
        "{% set _ = contact.update({}) %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n-1) }}{% endmacro %}{{ f(40) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{% raw %}{{ a }}{% endraw %}",
        "{%- if 1 %}",
        "{{ contact.a }}{% if",
        "{% call x() %}",
    ],
)
def test_statements_are_not_part_of_the_language(text: str) -> None:
    assert refusal(text).startswith("flow templates have no statements ({% … %})")


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 5000 + "contact.a" + ")" * 5000,
        "[" * 300 + "]" * 300,
        "not " * 5000 + "contact.a",
        "-" * 5000 + "1",
        "contact.a" + "|upper" * 5000,
        "1" + "+1" * 5000,
        "'a' if contact.a else " * 2000 + "'b'",
        "contact.a" + " and contact.a" * 3000,
        "contact" + "['a']" * 5000 + "|upper",
        "1" * 5000,
        "(" * 5000,
    ],
    ids=lambda text: text[:12],
)
def test_deep_nesting_is_a_fault(expression: str) -> None:
    started = time.monotonic()
    try:
        template = language().parse("{{ " + expression + " }}")
    except TemplateFault:
        template = None
    assert time.monotonic() - started < 10
    if template is not None and not isinstance(template, str):
        with pytest.raises(RenderError):
            template.render(VALUES)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("(1 if 1 else ", ")"),
        ("[", "]"),
        ("-", ""),
        ("not ", ""),
        ("(1 + ", ")"),
        ("(1 ~ ", ")"),
        ("(1 and ", ")"),
        ("(1 == ", ")"),
        ("(1|default(", "))"),
        ("", "|upper"),
        ("", " is none"),
        ("('a' in ['a', ", "])"),
    ],
)
def test_accepted_expressions_compile(opening: str, closing: str) -> None:
    accepted: list[int] = []
    problems: list[str] = []
    for depth in (*range(1, MAX_DEPTH + 2), 60, 100, 250):
        try:
            expression = Expression(opening * depth + "1" + closing * depth, frozenset())
        except TemplateFault:
            continue
        accepted.append(depth)
        try:
            expression.evaluate({})
        except RenderError as error:
            problems.append(str(error))

    assert 1 in accepted
    assert max(accepted) <= MAX_DEPTH
    assert [text for text in problems if "SyntaxError" in text or "too many" in text] == []


def test_limits_the_variables_of_a_placeholder() -> None:
    assert render("{{ " + " ~ ".join(["contact.first_name"] * MAX_NAMES) + " }}") == "Ana" * MAX_NAMES
    assert "at most 100 variables" in refusal("{{ " + " ~ ".join(["contact.first_name"] * (MAX_NAMES + 1)) + " }}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ 1 + 2 * 3 }}", 7),
        ("{{ (step.ask + 1) / 2 }}", 21.0),
        ("{{ 7 // 2 }}", 3),
        ("{{ -step.ask }}", -41),
        ("{{ contact.first_name ~ ' ' ~ contact.email ~ true ~ flow_execution_variables.ids }}", "Ana true[1,2,3]"),
        ("{{ 'a' if contact.plan == 'pro' else 'b' }}", "a"),
        ("{{ contact.nope is defined }}", False),
        ("{{ contact.nope is none }}", True),
        ("{{ contact.email is none }}", True),
        ("{{ contact.phone is none }}", False),
        ("{{ 1 in flow_execution_variables.ids }}", True),
        ("{{ flow_execution_variables.ids[-1] }}", 3),
        ("{{ flow_execution_variables.ids[1:] }}", [2, 3]),
        ("{{ contact.phone[0:3] }}", "+52"),
        ("{{ [1, contact.plan] }}", [1, "pro"]),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ not contact.email }}", True),
        ("{{ 1 < 2 <= 2 }}", True),
        ("{{ contact.nope | default('x') }}", "x"),
        ("{{ contact.nope.deeper | default('x') }}", "x"),
        ("{{ contact.phone is string and step.ask is number }}", True),
        ("{{ flow_execution_variables }}", {"campaign": "spring", "ids": [1, 2, 3]}),
    ],
)
def test_computes_allowed_expressions(text: str, value: object) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ contact.phone + 1 }}", r"'\+' needs numbers"),
        ("{{ contact.first_name * 1000000000 }}", r"'\*' needs numbers"),
        ("{{ flow_execution_variables.ids * 1000000000 }}", r"'\*' needs numbers"),
        ("{{ true + 1 }}", "needs numbers"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 1 // 0 }}", "zero"),
        ("{{ 1e308 * 10 ~ '' }}", "NaN and Infinity"),
        ("{{ contact.phone < 5 }}", "cannot be computed"),
        ("{{ contact.nope + 1 }}", "'nope' has no value for this contact"),
        ("{{ contact.nope.a | upper }}", "'nope' has no value"),
        ("{{ -contact.phone }}", "cannot be computed"),
        ("{{ " + "9" * 700 + " * 2 }}", "more than 600 digits"),
        ("{{ contact.phone[::0] }}", "cannot be computed"),
        ("{{ contact.nope ~ 'a' }}", "no value"),
        ("{{ contact.nope == 1 }}", "no value"),
    ],
)
def test_reports_what_cannot_be_computed_from_the_values(text: str, message: str) -> None:
    with pytest.raises(RenderError, match=message):
        render(text)


def test_jinja_offers_no_bypass() -> None:
    """The environment has no globals, and only the tests and filters of the allow-lists."""
    with pytest.raises(MissingValueError):
        Expression("contact.x", {"contact"}).evaluate({"contact": {}})
    assert "range" in jinja2.Environment().globals
    assert "'range' is not a variable of a flow" in refusal("{{ range }}")


ALPHABET = [
    "contact.a",
    "contact.b",
    "step.ask",
    "'x'",
    "1",
    "2.5",
    "(",
    ")",
    "[",
    "]",
    "|",
    "upper",
    "default('y')",
    "~",
    "+",
    "*",
    "-",
    " if ",
    " else ",
    " and ",
    " is ",
    "none",
    "defined",
    " in ",
    ",",
    ".",
    "0",
    ":",
    "==",
    "<",
    "__class__",
    "not ",
    "range",
    "%",
    "**",
]


@given(st.lists(st.sampled_from(ALPHABET), max_size=9).map(lambda parts: "{{ " + "".join(parts) + " }}"))
def test_any_expression_gives_plain_data_or_our_error(text: str) -> None:
    try:
        value = evaluate(text)
    except (TemplateFault, FlowsError):
        return
    assert value is None or isinstance(value, (str, bool, int, float, list, dict))


LIMITED = """
import resource, sys
sys.path.insert(0, {root!r})
from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from tests.process_memory import peak_memory, reset_peak
answer = {{"contact": {{"a": "x" * 1_000_000, "l": ["y" * 1_000_000]}}}}
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
before = reset_peak()
for text in {texts!r}:
    try:
        CagedLanguage().parse(text).render(answer)
    except RenderError as error:
        assert "1,048,576" in str(error), error
    else:
        raise AssertionError(text)
grown = (peak_memory() - before) // 1_000_000
assert grown < 50, f"{{grown}} MB"
"""


def test_refuses_long_output_before_using_memory(request: pytest.FixtureRequest) -> None:
    """More than a million characters is an error, and memory grows by less than 50 MB."""
    texts = [
        "{{ contact.a }}" * 1000,
        "{{ " + " ~ ".join(["contact.a"] * 100) + " }}",
        "{{ contact.a | replace('x', 'yyyyyyyyyy') }}",
        "{{ contact.l | join(contact.a) ~ contact.a }}",
        "{{ contact.a | urlencode ~ contact.a }}",
        "{{ [contact.a, contact.a] | join }}",
    ]
    script = LIMITED.format(root=str(request.config.rootpath), texts=texts)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
