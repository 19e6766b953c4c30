"""Both syntaxes of a placeholder: which ``%…%`` is one, and which stays text."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body import parse_body
from airflow_whatsapp_flows.flow.body.body import BodyType
from airflow_whatsapp_flows.flow.request.url import parse_url
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage, CagedTemplate
from airflow_whatsapp_flows.flow.template.language import TemplateFault, parse_tree
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders
from airflow_whatsapp_flows.flow.template.spelling import holds_placeholder
from airflow_whatsapp_flows.flow.template.variables import SCOPES
from tests.flow.samples import STEPS, VALUES, action, flow_of, walk_flow

HILOS = CagedLanguage(STEPS)
PERCENT = CagedLanguage(STEPS, syntax="activecampaign")
LITERALS = [
    "100%",
    "%20",
    "50% off, 10% more",
    "%%",
    "%contact",
    "%contact.first_name",
    "%contact%",
    "%contact first_name%",
    "% contact.first_name%",
    "%Contact.first_name%",
    "%contacts.first_name%",
    "%63ontact.first_name%",
    "%conn.crm.password%",
    "%contact.first_name\n%",
    "%contact.first_name }}%",
    "{contact.first_name}",
]


def render(text: str, language: CagedLanguage = PERCENT) -> str:
    template = language.parse(text)
    return template if isinstance(template, str) else template.render(VALUES)


def encode(body_type: str, body: object, language: CagedLanguage = PERCENT) -> str:
    return parse_body(BodyType(body_type), body, language).encode(VALUES).content.decode()


def refusal(body_type: str, body: object) -> TemplateFault:
    with pytest.raises(TemplateFault) as caught:
        parse_body(BodyType(body_type), body, PERCENT)
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi %contact.first_name%!", "Hi Ana!"),
        ("%contact.first_name% {{ contact.plan }}%contact.plan%", "Ana propro"),
        ("%step.Ask name%/%step.Ask name again%", "Ana/Ana María"),
        ("%step.What's up?%", "nothing"),
        ("%step.v1.2 rate%", "7"),
        ("%step.Start GPT thread.response.id%", "t-1"),
        ("%step.Start GPT thread.response.items.0.id%", "5"),
        ("%step.Start GPT thread.response.items[1].id%", "6"),
        ("%contact.shoe size%", "38"),
        ("%contact.plan %", "pro"),
        ("%global.Weekday%", "Sunday"),
        ("%flow_execution_variables.campaign%", "spring"),
        ("100%%contact.plan%%", "100%pro%"),
        ("5%contact.plan%20", "5pro20"),
        ("{%contact.plan%}", "{pro}"),
        ("%contact.plan {{ contact.plan }}%", "%contact.plan pro%"),
        ("{{ '%contact.plan%' }}", "%contact.plan%"),
    ],
)
def test_a_variable_between_percent_signs_is_a_placeholder(text: str, expected: str) -> None:
    assert render(text) == expected


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_every_scope_has_both_spellings(scope: str) -> None:
    [found] = find_placeholders(f"a %{scope}.x% b", PERCENT)
    assert (found.source, found.start, found.expression) == (f"%{scope}.x%", 2, f"{scope}.x")


@pytest.mark.parametrize("text", LITERALS)
def test_other_percent_signs_are_text(text: str) -> None:
    assert PERCENT.parse(text) == text


@pytest.mark.parametrize("text", ["%contact.first_name%", *LITERALS])
def test_percent_signs_are_text_in_hilos_syntax(text: str) -> None:
    assert HILOS.parse(text) == text
    assert encode("json", {text: text}, HILOS) == json.dumps({text: text}, separators=(",", ":"))


def test_a_lone_placeholder_keeps_its_type() -> None:
    template = PERCENT.parse("%step.ask%")
    assert isinstance(template, CagedTemplate)
    assert template.evaluate(VALUES) == 41


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        (
            "Hi %contact.a | upper%",
            3,
            "%contact.a | upper% is not a single variable; filters and operators need braces, such as "
            "{{ contact.first_name | upper }}",
        ),
        ("50%contact.a and 20% more", 2, "is not a single variable"),
        ("%contact.%", 0, "is not a single variable"),
        ("%contact.a% %step.Nope%", 12, "there is no step named 'Nope'"),
        ("%contact.__class__%", 0, "names that start with '__'"),
        ("100% {% if x %}", 5, "statements"),
        ("%contact.a% {{ x", 12, "never closed"),
        ("%contact.a {{%", 11, "never closed"),
    ],
)
def test_a_fault_has_the_place_of_its_placeholder(text: str, offset: int, words: str) -> None:
    with pytest.raises(TemplateFault) as caught:
        PERCENT.parse(text)
    assert caught.value.offset == offset
    assert words in caught.value.message


def test_every_fault_of_a_text_is_reported() -> None:
    with pytest.raises(TemplateFault) as caught:
        PERCENT.parse("%step.a% {{ conn.x }} %step.b%")
    assert [caught.value.offset, *(fault.offset for fault in caught.value.more)] == [0, 9, 22]


PIECES = st.sampled_from(
    ["%contact.plan%", "%step.Ask name%", "%step.Nope%", "%contact.a | upper%", "%global.Weekday%", "{{ step.ask }}",
     "{{ step.ask | string }}", "{{", "}}", "%", "%%", "contact.", "%contact.", "%step.", "{", "}", "\n", "'", '"', " ",
     "20", "é", ".", "-", "[0]", "ask"]
)  # fmt: skip
LONE = re.compile(r"%((?:contact|step|global|flow_execution_variables)\.(?:(?!\{\{|\}\})[^%\r\n])*)%")


def rewritten(text: str) -> str | None:
    """A text with its ``%…%`` in braces; ``None`` where an adjacent brace would change its meaning."""
    if re.search(rf"\{{{LONE.pattern}|{LONE.pattern}\}}", text):
        return None
    pieces, position = [], 0
    while position < len(text):
        if text.startswith("{{", position):
            try:
                found = next(find_placeholders(text[position:]))
            except TemplateFault:
                break
            pieces.append(found.source)
            position += found.end
        elif match := LONE.match(text, position):
            pieces.append("{{ " + match.group(1) + " }}")
            position = match.end()
        else:
            pieces.append(text[position])
            position += 1
    return "".join(pieces) + text[position:]


@given(st.lists(PIECES, max_size=8).map("".join) | st.text(alphabet="%{} contact.step|'\n", max_size=40))
@example("a %contact.plan%%contact.plan% b%")
@example("{{ contact.plan %contact.plan% }}")
def test_percent_syntax_equals_brace_syntax(text: str) -> None:
    braces = rewritten(text)
    if braces is None:
        return

    def read(text: str, language: CagedLanguage) -> object:
        try:
            template = language.parse(text)
        except TemplateFault:
            return "a fault"
        if isinstance(template, str):
            return template
        try:
            return [reference.path for reference in template.references], template.evaluate(VALUES)
        except RenderError as error:
            return error.reason

    # Between percent signs is one variable, not an expression: the only difference.
    if not any(re.search(r"[|()=<>+*/~-]| (?:and|or|if|in|is) ", inside) for inside in LONE.findall(text)):
        assert read(text, PERCENT) == read(braces, HILOS)


@pytest.mark.parametrize(
    ("body_type", "body", "expected"),
    [
        pytest.param("json", {"a": "%step.ask%", "b": ["%contact.plan%!"]}, '{"a":41,"b":["pro!"]}', id="json"),
        pytest.param(
            "json",
            '{"a": %step.ask%, "b": "%step.ask%", "c": "%contact.shoe size%", "d": [%step.ask% , 1]}',
            '{"a":41,"b":"41","c":"38","d":[41,1]}',
            id="json text",
        ),
        pytest.param("json", "%step.Start GPT thread.response.items[0]%", '{"id":5}', id="json text of one"),
        pytest.param("form", "a=%step.ask%&b=100%25+%contact.plan%", "a=41&b=100%25+pro", id="form text"),
        pytest.param("form", [["a", "%step.ask%"]], "a=41", id="form"),
        pytest.param("xml", '<a b="%step.ask%">%contact.plan% 100%</a>', '<a b="41">pro 100%</a>', id="xml text"),
        pytest.param("xml", {"a": "%contact.plan%"}, "<a>pro</a>", id="xml"),
        pytest.param(
            "yaml",
            "a: %step.ask%\nb: \"%step.ask%\"\nc: 'x %contact.plan%'\n",
            '"a": 41\n"b": "41"\n"c": "x pro"\n',
            id="yaml text",
        ),
        pytest.param("yaml", {"a": "%contact.plan%"}, '"a": "pro"\n', id="yaml"),
        pytest.param("plain", "%contact.plan% 100%", "pro 100%", id="plain"),
    ],
)  # fmt: skip
def test_every_body_type_supports_both_syntaxes(body_type: str, body: object, expected: str) -> None:
    written = encode(body_type, body)
    assert written.strip() == expected.strip()
    if isinstance(body, str):
        in_braces = re.sub(LONE, r"{{ \1 }}", body)
        assert in_braces != body
        assert written == encode(body_type, in_braces, HILOS)


def test_an_answer_between_percent_signs_is_text() -> None:
    values = {"contact": {"a": "%contact.b%", "b": "secret"}}
    for body_type, body in [("json", '{"a": %contact.a%}'), ("plain", "%contact.a%"), ("xml", "<a>%contact.a%</a>")]:
        content = parse_body(BodyType(body_type), body, PERCENT).encode(values).content
        assert b"%contact.b%" in content
        assert b"secret" not in content


@pytest.mark.parametrize(
    ("body_type", "body"),
    [
        pytest.param("json", {"%contact.plan%": 1}, id="json"),
        pytest.param("json", '{"%contact.plan%": 1}', id="json text"),
        pytest.param("json", "{%contact.plan%: 1}", id="json text, unquoted"),
        pytest.param("form", {"%contact.plan%": 1}, id="form"),
        pytest.param("form", [["%contact.plan%", 1]], id="form pairs"),
        pytest.param("form", "%contact.plan%=1", id="form text"),
        pytest.param("multipart", {"%contact.plan%": "1"}, id="multipart"),
        pytest.param("multipart", [{"name": "%contact.plan%", "value": "1"}], id="multipart part"),
        pytest.param("multipart", [{"name": "%contact.plan%", "file": "https://x.example"}], id="multipart file"),
        pytest.param("yaml", "%contact.plan%: 1", id="yaml text"),
        pytest.param("xml", "<%contact.plan%/>", id="xml text"),
    ],
)
def test_no_name_holds_a_placeholder(body_type: str, body: object) -> None:
    assert "placeholder" in refusal(body_type, body).message


def test_no_key_of_data_holds_a_placeholder() -> None:
    with pytest.raises(TemplateFault, match="an answer may be a value, never a name"):
        parse_tree({"%contact.plan%": 1}, PERCENT)
    assert parse_tree({"%contact.plan%": 1}, HILOS) == {"%contact.plan%": 1}


@pytest.mark.parametrize(
    ("body_type", "body", "places"),
    [
        ("json", '{"a": "%contact.plan%",\n "b": %step.Nope%, "c": "%step.No%"}', [(2, 7), (2, 26)]),
        ("xml", "<a>%contact.plan%\n<b>%step.Nope%</b></a>", [(2, 4)]),
        ("yaml", "a: %contact.plan%\nb: %step.Nope%", [(2, 4)]),
        ("form", "a=%contact.plan%&b=%step.Nope%", [(1, 20)]),
        ("json", '{"a": %contact.plan%, "b": }', [(1, 28)]),
        ("yaml", "a: %contact.plan%\nb: [", [(2, 5)]),
    ],
)
def test_faults_of_body_texts_keep_their_places(body_type: str, body: str, places: list[tuple[int, int]]) -> None:
    fault = refusal(body_type, body)

    lines = [body[: one.offset].count("\n") + 1 for one in (fault, *fault.more)]
    columns = [one.offset - body.rfind("\n", 0, one.offset) for one in (fault, *fault.more)]
    assert list(zip(lines, columns, strict=True)) == places
    for one, (line, column) in zip((fault, *fault.more), places, strict=True):
        assert one.message.startswith(f"line {line}, column {column} of the body: ")


def test_accepts_quotes_escaped_for_the_body_type() -> None:
    language = CagedLanguage({'Say "hi"'}, syntax="activecampaign")
    values = {"step": {'Say "hi"': "yes"}}
    for body_type, body in [
        ("json", '{"a": "%step.Say \\"hi\\"%"}'),
        ("yaml", 'a: "%step.Say \\"hi\\"%"'),
        ("xml", '<a b="%step.Say &quot;hi&quot;%"/>'),
    ]:
        assert b"yes" in parse_body(BodyType(body_type), body, language).encode(values).content


@pytest.mark.parametrize(
    ("url", "built"),
    [
        ("https://a.example/%contact.plan%/x?q=%step.Ask name%", "https://a.example/pro/x?q=Ana"),
        ("https://a.example/%63ontact.plan%20/100%", "https://a.example/%63ontact.plan%20/100%25"),
        ("https://a.example/%20%contact.plan%20", "https://a.example/%20pro20"),
        ("https://a.example/%25contact.plan%25", "https://a.example/%25contact.plan%25"),
    ],
)
def test_a_url_reports_variables_from_its_own_encoding(url: str, built: str) -> None:
    assert parse_url(url, PERCENT, has_connection=False).build(VALUES) == built


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://%contact.plan%.example/", "must be literal"),
        ("%contact.plan%/x", "cannot start with a placeholder"),
        ("https://a.example/?%contact.plan%=1", "must be literal"),
        ("https://a.example/%contact.a | upper%", "is not a single variable"),
    ],
)
def test_placeholders_are_allowed_only_in_some_parts_of_a_url(url: str, words: str) -> None:
    with pytest.raises(TemplateFault, match=words):
        parse_url(url, PERCENT, has_connection=False)


def test_refuses_answer_chosen_files_in_both_syntaxes() -> None:
    for text in ("%contact.path%", "{{ contact.path }}", " %contact.path%/a"):
        body = parse_body(BodyType.MULTIPART, [{"name": "f", "file": text}], PERCENT)
        with pytest.raises(RenderError, match="must be the web address of a file"):
            list(body.file_sources({"contact": {"path": "private/list.csv"}}))


@pytest.mark.parametrize(
    "text", ["contact.plan", " {{ contact.plan }} ", "{{contact.plan}}", "%contact.plan%", " %contact.plan %"]
)
def test_a_variable_alone_is_bare_or_a_placeholder(text: str) -> None:
    assert PERCENT.parse_variable(text).path == ("plan",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("contact.a | upper", "write one variable, such as contact.name, without filters and operators"),
        ("{{ contact.a }} x", "is not a variable of a flow"),
        ("{{ contact.a", "never closed"),
        ("conn.x", "'conn' is not a variable of a flow"),
        ("", "is not a variable of a flow"),
        ("step.Nope", "there is no step named 'Nope'"),
    ],
)
def test_refuses_anything_but_a_single_variable(text: str, words: str) -> None:
    with pytest.raises(TemplateFault, match=re.escape(words)):
        PERCENT.parse_variable(text)


def test_a_variable_in_percent_signs_needs_its_syntax() -> None:
    with pytest.raises(TemplateFault, match="is not a variable"):
        HILOS.parse_variable("%contact.plan%")


def test_a_name_holds_a_placeholder_by_its_syntax() -> None:
    assert holds_placeholder("a %contact.b%", PERCENT)
    assert not holds_placeholder("a %contact.b%", HILOS)
    assert holds_placeholder("{% a", HILOS)
    assert not holds_placeholder("100% off", PERCENT)


def test_activecampaign_and_brace_flows_send_equal_requests() -> None:
    steps: list[dict[str, Any]] = [
        {"name": "Ask name", "type": "question", "body": "Hi %contact.first_name%", "next": "Is it Ana?"},
        {
            "name": "Is it Ana?",
            "type": "conditional",
            "paths": [
                {
                    "conditions": [
                        {"field": "%step.Ask name%", "comparison": "exact", "value": "%contact.first_name%"}
                    ],
                    "next": "Send",
                }
            ],
        },
        action(
            url="https://crm.example/%contact.phone%?discount=50%25",
            headers={"X-Who": "%contact.first_name%"},
            query_params={"q": "100% %step.Ask name%"},
            body='{"name": "%step.Ask name%", "age": %contact.age%, "all": ["%contact.age%", %contact.age%]}',
            on_success="Say thanks",
        ),
        {"name": "Say thanks", "type": "message", "body": "%step.Send.status_code% for %flow_execution_variables.x%"},
    ]
    response = {
        "contact": {"phone": "+5215512345678", "first_name": "Ana", "meta": {"age": 41}},
        "step": {"Ask name": "Ana"},
        "flow_execution_variables": {"x": "%contact.phone%"},
    }
    braces = json.loads(re.sub(LONE, r"{{ \1 }}", json.dumps(steps)))
    walks, requests = [], []
    for syntax, written in (("activecampaign", steps), ("hilos", braces)):
        effects: list[Any] = []
        walks.append(walk_flow(flow_of(*written, syntax=syntax), response, effects=effects))
        requests.append([effect.request for effect in effects])

    assert braces != steps
    assert requests[0] == requests[1]
    assert requests[0][0].content == b'{"name":"Ana","age":41,"all":["41",41]}'
    assert [visit.text for visit in walks[0].visits] == [visit.text for visit in walks[1].visits]
    assert walks[0].visits[-1].text == "200 for %contact.phone%"
