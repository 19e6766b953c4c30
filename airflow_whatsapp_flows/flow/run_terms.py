"""The terms of the run that a replay belongs to: in the path of its source, and as parameters of its query."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from decimal import Decimal

from jinja2 import nodes

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.sql_parameters import blank_comments, find_parameters, find_texts
from airflow_whatsapp_flows.flow.template.cage import Expression
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage, CagedTemplate
from airflow_whatsapp_flows.flow.template.language import TemplateFault
from airflow_whatsapp_flows.flow.template.placeholders import find_placeholders

_RUN = "run"
_LANGUAGE = CagedLanguage(names=frozenset({_RUN}))
INTERVAL_TERMS = ("data_interval_start", "data_interval_end")
"""Names of the terms that only a run for an interval has."""
DATE_TERMS = (*INTERVAL_TERMS, "logical_date")
"""Names of the terms that are dates."""
WATERMARK = "watermark"
"""Name of the term that is the value from which a cursor reads on."""
_TEMPLATE = re.compile(r"\{\{(?:[^}]*\}\})?|\{%(?:[^}]*%\})?")
_AS_DATA = {"{{": "{ {", "{%": "'{' || '%'"}
_STRUCTURE = re.compile(r"[/\\*?\[\]]|\.\.|::")  # folders, patterns, and fsspec's chains
_QUOTED = re.compile(r"""(?<!['\w])['"]\s*:([A-Za-z_]\w*)\s*['"](?!['\w])""")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTerms:
    """The terms of a DAG run; ``None`` for those that it does not have.

    Attributes:
        data_interval_start: start of the interval that the run is for.
        data_interval_end: end of that interval, and start of the next one.
        logical_date: the run's logical date.
        partition_key: key of the asset partition that started it.
        run_id: its id.
        watermark: value of the cursor from which a replay reads on; of a time as a query gets it.
    """

    data_interval_start: dt.datetime | None = None
    data_interval_end: dt.datetime | None = None
    logical_date: dt.datetime | None = None
    partition_key: str | None = None
    run_id: str | None = None
    watermark: dt.datetime | dt.date | Decimal | int | str | None = None

    def value(self, name: str) -> dt.datetime | dt.date | Decimal | int | str | None:
        """Return the value of a term."""
        found: dt.datetime | dt.date | Decimal | int | str | None = getattr(self, name)
        return found

    def texts(self, zone: dt.tzinfo) -> dict[str, str]:
        """Return the terms that the run has, as text.

        Args:
            zone: time zone of dates.
        """
        found = {name: self.value(name) for name in RUN_TERMS}
        return {name: _text(value, zone) for name, value in found.items() if value is not None}


def _text(value: object, zone: dt.tzinfo) -> str:
    if isinstance(value, dt.datetime):
        return (value.replace(tzinfo=zone) if value.tzinfo is None else value.astimezone(zone)).isoformat()
    return value.isoformat() if isinstance(value, dt.date) else str(value)


RUN_TERMS = tuple(field.name for field in fields(RunTerms))
"""Names of the terms."""
_IN_TEXT = re.compile(rf"(?<![\w:\\]):({'|'.join(RUN_TERMS)})(?!\w)")


def why_missing(name: str) -> str:
    """Return why a run may lack a term, as the end of a sentence."""
    if name in DATE_TERMS:
        reason = "because it was triggered without a logical date or by an asset"
        if name in INTERVAL_TERMS:
            return f"{reason}, or the schedule of its DAG has no data intervals; a flow's cron expression has them"
        return f"{reason}; set a logical date when you trigger it"
    if name == WATERMARK:
        return "because no replay has read this source with a cursor yet; write a default"
    if name == "partition_key":
        return "because no asset partition started it"
    return "because there is no run"


def parse_source(text: str) -> CagedTemplate | str:
    """Parse the location of a source.

    Returns:
        The text itself if it contains no placeholder.

    Raises:
        TemplateFault: a placeholder is not one of the terms of a run; includes the other faults of the text.
    """
    faults = list(_field_faults(text))
    if faults:
        raise TemplateFault(faults[0].message, faults[0].offset, faults[1:])
    return _LANGUAGE.parse(text)


def source_terms(text: str) -> list[tuple[str, int]]:
    """Terms in the location of a source, with the offsets of their placeholders; none if it has faults."""
    try:
        parse_source(text)
        return [
            (name, placeholder.start)
            for placeholder in find_placeholders(text, _LANGUAGE)
            for name in _fields(Expression(placeholder.expression, _LANGUAGE.names))
        ]
    except TemplateFault:
        return []


def query_terms(query: str) -> list[tuple[str, int]]:
    """Terms in a query, with their offsets."""
    return [(name, start) for name, start, _ in find_parameters(query) if name in RUN_TERMS]


def find_own_terms(source: str, query: str | None) -> Iterator[tuple[str, str, int]]:
    """Find the terms with which each run reads rows of its own, so that no watermark is that of all runs.

    A run that is late, cleared or a backfill would then leave out its rows, because those of a later one moved the
    watermark. The end of an interval in a query does no harm: each run starts from the watermark.

    Args:
        source: location of the source.
        query: of the source, if it is a database.

    Yields:
        The part, ``source`` or ``query``; the name of the term, and its offset there.
    """
    for name, offset in source_terms(source):
        if name != WATERMARK:
            yield "source", name, offset
    for name, offset in query_terms(query or ""):
        if name in _ROWS_OF_RUN:
            yield "query", name, offset


_ROWS_OF_RUN = ("data_interval_start", "logical_date", "partition_key")


def terms_of(text: str) -> set[str]:
    """Names of the terms in the location of a source; none if it has faults."""
    return {name for name, _ in source_terms(text)}


def render_source(text: str, terms: RunTerms, zone: dt.tzinfo) -> str:
    """Fill in the location of a source.

    Args:
        text: the location as entered.
        terms: of the run.
        zone: time zone of dates.

    Raises:
        TemplateFault: a placeholder is not one of the terms of a run.
        RenderError: the run lacks a term, one is no part of a file's name, or it cannot be rendered.
    """
    template = parse_source(text)
    if isinstance(template, str):
        return template
    texts, used = terms.texts(zone), terms_of(text)
    for name in sorted(used.difference(DATE_TERMS).intersection(texts)):
        _check_path_part(name, texts[name])
    try:
        return template.render({_RUN: texts})
    except MissingValueError as error:
        missing = [name for name in RUN_TERMS if name in used and name not in texts]
        found = next((name for name in missing if f"{_RUN}.{name}" in error.reason), missing[0])
        raise RenderError(f"the run has no {found}, {why_missing(found)}") from None


def _check_path_part(name: str, value: str) -> None:
    """Refuse a text that would choose other files than the flow's author meant: whoever updates an asset writes it."""
    if not value.strip():
        raise RenderError(f"{name} is empty: the path would be that of another file")
    if _STRUCTURE.search(value) or not value.isprintable():
        raise RenderError(f"{name} is {value!r}: a path can't contain / \\ * ? [ ] .. or :: from a run")


def query_faults(query: str, known: Collection[str] = RUN_TERMS) -> Iterator[TemplateFault]:
    """Find what is wrong with the parameters of a query: unknown ones, and placeholders of a template.

    Args:
        query: one statement.
        known: names of parameters.
    """
    for name, start, end in find_parameters(query):
        if name is not None and name not in known:
            hint = did_you_mean(name, known)
            after = re.match(r"\.(\w+)", query[end:])
            if name == _RUN and after is not None and after[1] in known:
                yield TemplateFault(f"there is no parameter 'run'; write :{after[1]}", start)
                continue
            yield TemplateFault(f"there is no parameter {name!r}{hint}; write \\: for a colon that starts none", start)
    code = blank_comments(query)
    yield from _quoted_faults(code, known)
    for match in _TEMPLATE.finditer(code):
        shown = next((name for name in known if re.search(rf"\b{re.escape(name)}\b", match[0])), INTERVAL_TERMS[0])
        yield TemplateFault(
            f"a query is no template: {match[0][:60]} would be sent as it is; write a parameter, without quotes, such "
            f"as :{shown}; or {_AS_DATA[match[0][:2]]} if it is data",
            match.start(),
        )


def _quoted_faults(query: str, known: Collection[str]) -> Iterator[TemplateFault]:
    for text, start in find_texts(query):
        found = _IN_TEXT.search(text)
        if found is not None and not _QUOTED.fullmatch(text):
            message = f"{found[0]} in a text is no parameter; join the texts and the parameter: '…' || {found[0]}"
            yield TemplateFault(message, start + found.start())
    for quoted in _QUOTED.finditer(query):
        if quoted[1] in known:
            message = f"{quoted[0]} is a text; write the parameter without quotes: :{quoted[1]}"
            yield TemplateFault(message, quoted.start())


def _field_faults(text: str) -> Iterator[TemplateFault]:
    for placeholder in find_placeholders(text, _LANGUAGE):
        expression = placeholder.expression
        first = re.match(r"\w+", expression)
        if first is not None and first[0] in RUN_TERMS:
            message = f"{first[0]!r} is not known here; write {{{{ run.{first[0]} }}}}"
            yield TemplateFault(message, placeholder.start)
            continue
        if not expression:
            yield TemplateFault("'{{ }}' is empty; write a term such as {{ run.run_id }}", placeholder.start)
            continue
        try:
            parsed = Expression(expression, _LANGUAGE.names)
        except TemplateFault as fault:
            yield TemplateFault(fault.message, placeholder.start)
            continue
        for name in _fields(parsed):
            if name not in RUN_TERMS:
                yield TemplateFault(f"a run has no {name!r}{did_you_mean(name, RUN_TERMS)}", placeholder.start)
        inside = next(_below_terms(parsed.tree), None)
        if inside is not None:
            yield TemplateFault(f"run.{inside} is a text, without values in it", placeholder.start)
        if _is_bare(parsed.tree):
            allowed = ", ".join(f"run.{name}" for name in RUN_TERMS)
            yield TemplateFault(f"'run' is no value; write one of {allowed}", placeholder.start)


def _fields(expression: Expression) -> Iterator[str]:
    """Names of the terms that an expression uses."""
    for node in _terms_in(expression.tree):
        yield _name_of(node)


def _name_of(node: nodes.Getattr | nodes.Getitem) -> str:
    return node.attr if isinstance(node, nodes.Getattr) else str(getattr(node.arg, "value", ""))


def _is_bare(tree: nodes.Node) -> bool:
    """Whether an expression uses ``run`` other than for one of its terms."""
    names = [node for node in (tree, *tree.find_all(nodes.Name)) if isinstance(node, nodes.Name)]
    return len(names) > len(list(_terms_in(tree)))


def _below_terms(tree: nodes.Node) -> Iterator[str]:
    """Names of the terms of which an expression uses a part, as in ``run.run_id.x``."""
    for node in (tree, *tree.find_all((nodes.Getattr, nodes.Getitem))):
        if isinstance(node, (nodes.Getattr, nodes.Getitem)) and isinstance(node.node, (nodes.Getattr, nodes.Getitem)):
            yield from (_name_of(term) for term in _terms_in(node.node))


def _terms_in(tree: nodes.Node) -> Iterator[nodes.Getattr | nodes.Getitem]:
    for node in (tree, *tree.find_all((nodes.Getattr, nodes.Getitem))):
        if isinstance(node, (nodes.Getattr, nodes.Getitem)) and isinstance(node.node, nodes.Name):
            yield node
