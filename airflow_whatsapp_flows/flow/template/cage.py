"""Jinja2 expressions in a cage: parsed, checked against allow-lists, and only then compiled.

Authors of flows are not programmers, and may be malicious. So there are no statements, calls, attributes of Python
objects, or globals: only fields of plain data, a few operators, and the filters of
:mod:`~airflow_whatsapp_flows.flow.template.filters`. Without loops and repetition the work is linear in the text and
its values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any, Literal, cast

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.did_you_mean import did_you_mean
from airflow_whatsapp_flows.flow.template.filters import FILTERS, MAKERS, check_literals, join_texts
from airflow_whatsapp_flows.flow.template.json_filter import size_of
from airflow_whatsapp_flows.flow.template.language import TemplateFault, Value
from airflow_whatsapp_flows.flow.template.references import list_position, unknown_name
from airflow_whatsapp_flows.flow.template.sizes import Room

MissingPolicy = Literal["error", "null", "empty"]
"""What a reference without a value becomes: an error, ``null``, or an empty string."""

MAX_DEPTH = 40
"""Nesting depth of operators and brackets; Python's own compiler fails near 100."""

_TESTS = frozenset({"defined", "undefined", "none", "true", "false", "boolean", "string", "number", "in"})
_NODES: tuple[type[nodes.Node], ...] = (
    nodes.Add, nodes.And, nodes.Compare, nodes.Concat, nodes.CondExpr, nodes.Const, nodes.Div, nodes.Filter,
    nodes.FloorDiv, nodes.Getattr, nodes.Getitem, nodes.Keyword, nodes.List, nodes.Mul, nodes.Name, nodes.Neg,
    nodes.Not, nodes.Operand, nodes.Or, nodes.Pos, nodes.Slice, nodes.Sub, nodes.Test, nodes.Tuple,
)  # fmt: skip
_RESULT = "result"
_JOINED = "~"
_SLICED = "[:]"
_ROOM = "[room]"  # no name that an expression could have
MAX_NAMES = 100
"""Variables in one expression: each may be a text of a million characters."""
MAX_MADE = 16 * 1024 * 1024
"""Bytes of all intermediate strings and lists that the expressions of one text create; the result has its own limit."""
_TOO_MUCH_MADE = f"the expressions of one text would create more than {MAX_MADE:,} bytes; use fewer filters"


class _Cage(ImmutableSandboxedEnvironment):
    """Allows only fields of plain data; a missing value is undefined, or what the flow's ``missing`` makes of it."""

    # An intercepted operator is not folded at compile time: {{ 'a' * 200000000 }} would run in the compiler.
    intercepted_binops = frozenset({"*", "//", "/", "+", "-"})

    def __init__(self, missing: MissingPolicy) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, cache_size=0, optimized=False, autoescape=False)
        self.globals.clear()
        makers: dict[str, Callable[..., Any]] = {name: FILTERS[name] for name in MAKERS}
        makers |= {_JOINED: join_texts, _SLICED: _slice}
        self.filters = {**FILTERS, **{name: _limit(function) for name, function in makers.items()}}
        self.filters["from_json"] = _limit(FILTERS["from_json"], size_of)
        # ``response.error is none`` asks the same of a server that leaves the field out.
        self.tests = {name: self.tests[name] for name in _TESTS} | {"none": _is_none}
        self._missing = missing

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Mapping):
            key = str(argument) if isinstance(argument, int) else argument
            if isinstance(key, str) and key in obj:
                return obj[key]
        elif isinstance(obj, list) and isinstance(argument, str) and (index := list_position(argument)) is not None:
            if index < len(obj):
                return obj[index]
        elif isinstance(obj, (list, str)) and isinstance(argument, (int, slice)):
            try:
                return obj[argument]
            except IndexError:
                pass
        if isinstance(obj, jinja2.Undefined):
            return obj
        if self._missing != "error":
            return None if self._missing == "null" else ""
        return self.undefined(hint=f"{argument!r} has no value")

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, jinja2.Undefined):
                raise MissingValueError(f"{side._undefined_hint} for this contact")
            if isinstance(side, bool) or not isinstance(side, (int, float)):
                raise RenderError(
                    f"'{operator}' needs numbers; use ~ to join strings, | int to convert a string to a number"
                )
            if isinstance(side, int) and side.bit_length() > 2048:
                raise RenderError(f"'{operator}' on a number of more than 600 digits")
        try:
            return super().call_binop(context, operator, left, right)
        except (ArithmeticError, ValueError) as error:
            raise RenderError(f"'{operator}': {error}") from None


def _limit(
    function: Callable[..., Value], size: Callable[[Value], int] = lambda made: made.__sizeof__()
) -> Callable[..., Value]:
    """Wrap a filter so that the size of its result is deducted from the limit of the text."""

    @jinja2.pass_context
    def apply_filter(context: Context, *arguments: Any, **keywords: Any) -> Value:
        made = function(*arguments, **keywords)
        context.parent[_ROOM].take(size(made))
        return made

    return apply_filter


def _slice(value: Any, start: Any, stop: Any, step: Any) -> str | list[Value]:
    made: str | list[Value] = value[start:stop:step]
    return made


def room_for_results() -> Room:
    """A new limit for the values that the expressions of one text create."""
    return Room(MAX_MADE, _TOO_MUCH_MADE)


_CAGES: dict[MissingPolicy, _Cage] = {}


def _cage(missing: MissingPolicy) -> _Cage:
    if missing not in _CAGES:
        _CAGES[missing] = _Cage(missing)
    return _CAGES[missing]


class Expression:
    """A checked expression; compiled on first use, because most flows are loaded more often than run.

    Args:
        source: a Jinja2 expression without braces, references already in Jinja's syntax.
        names: scopes that it may use.
        missing: what a reference without a value becomes.

    Raises:
        TemplateFault: it contains something that is not on the allow-lists.
    """

    __slots__ = ("_missing", "_program", "_tree", "source")

    def __init__(self, source: str, names: Collection[str], missing: MissingPolicy = "error") -> None:
        self.source = source
        self._missing = missing
        self._tree = _parse(source, names, _cage(missing))
        self._program: Callable[[dict[str, Any]], object] | None = None

    @property
    def tree(self) -> nodes.Expr:
        """The parsed expression."""
        return self._tree

    def evaluate(self, values: Mapping[str, object], room: Room | None = None) -> Value:
        """The expression's value, with its type.

        Args:
            values: one contact's values, by scope.
            room: shared limit of all expressions of a text; its own by default.

        Raises:
            MissingValueError: a value that it needs is missing.
            RenderError: it cannot be computed from these values.
        """
        try:
            if self._program is None:
                self._program = _compile(self._tree, _cage(self._missing))
            value = self._program({**values, _ROOM: room or room_for_results()})
        except RenderError:
            raise
        except jinja2.UndefinedError as error:
            raise MissingValueError(f"{{{{ {_short(self.source)} }}}}: {error.message} for this contact") from None
        except Exception as error:  # operators and filters meet values of every type
            raise RenderError(f"{{{{ {_short(self.source)} }}}} cannot be computed: {error}") from None
        if isinstance(value, jinja2.Undefined):
            raise MissingValueError(f"{{{{ {_short(self.source)} }}}} has no value for this contact")
        if isinstance(value, Mapping):
            return dict(value)
        # The cage turns plain data into plain data, except for tuples.
        return cast(Value, list(value) if isinstance(value, tuple) else value)


def _parse(source: str, names: Collection[str], cage: _Cage) -> nodes.Expr:
    try:
        body = cage.parse("{{ " + source + " }}").body
        if len(body) != 1 or not isinstance(body[0], nodes.Output) or len(body[0].nodes) != 1:
            raise TemplateFault("'{{' and '}}' must contain one expression")
        expression = body[0].nodes[0]
        checked = list(_check_nodes(expression, names, 0))
        if sum(isinstance(node, nodes.Name) for node in checked) > MAX_NAMES:
            raise TemplateFault(f"a placeholder can contain at most {MAX_NAMES} variables")
        for concat in (node for node in checked if isinstance(node, nodes.Concat)):
            # Jinja would write None, True and {'a': 1}, and never stop at a length.
            concat.nodes = [nodes.Filter(nodes.List(concat.nodes), _JOINED, [], [], None, None)]
        expression = cast(nodes.Expr, _Slices().visit(expression))
    except TemplateFault:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFault(f"{{{{ {_short(source)} }}}} is not an expression: {error.message}") from None
    except RecursionError:
        raise TemplateFault("the expression is nested too deeply") from None
    except Exception as error:  # Jinja lets IndentationError and SyntaxError through for deep nesting
        raise TemplateFault(f"{{{{ {_short(source)} }}}} is not an expression: {error}") from None
    return expression


class _Slices(NodeTransformer):
    """Turns slices into filters, because Jinja would compile them to Python slices."""

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802  # the name is Jinja's
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = [bound or nodes.Const(None) for bound in (node.arg.start, node.arg.stop, node.arg.step)]
        return nodes.Filter(node.node, _SLICED, bounds, [], None, None)


def _check_nodes(node: nodes.Node, names: Collection[str], depth: int) -> Iterator[nodes.Node]:
    """Yield the node and its descendants, each after it was checked."""
    if depth > MAX_DEPTH:
        raise TemplateFault(f"the expression is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(node, _NODES):
        raise TemplateFault(_refusal(node))
    _check_names(node, names)
    if isinstance(node, nodes.Mul) and any(_is_text_or_list(side) for side in (node.left, node.right)):
        raise TemplateFault("'*' needs numbers on both sides; a string or a list cannot be repeated")
    yield node
    for child in node.iter_child_nodes():
        yield from _check_nodes(child, names, depth + 1)


def _check_names(node: nodes.Node, names: Collection[str]) -> None:
    if isinstance(node, nodes.Name) and node.name not in names:
        raise TemplateFault(unknown_name(node.name) if "contact" in names else _not_among(node.name, names))
    if isinstance(node, (nodes.Getattr, nodes.Getitem)):
        _check_field(node)
    if isinstance(node, nodes.Filter):
        if node.name not in FILTERS:
            raise TemplateFault(f"there is no filter named {node.name!r}{_among(node.name, FILTERS)}")
        _check_arguments(node)
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        raise TemplateFault(f"there is no test named {node.name!r}{_among(node.name, _TESTS)}")


def _check_arguments(node: nodes.Filter) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise TemplateFault("'*' and '**' arguments are not allowed")
    signature = _signature(node.name)
    try:
        bound = signature.bind(None, *node.args, **{str(keyword.key): keyword.value for keyword in node.kwargs})
    except TypeError:
        allowed = ", ".join(list(signature.parameters)[1:])
        raise TemplateFault(f"the filter {node.name!r} takes {f'({allowed})' if allowed else 'no argument'}") from None
    literals = {name: node.value for name, node in bound.arguments.items() if isinstance(node, nodes.Const)}
    try:
        check_literals(node.name, literals)
    except RenderError as error:
        raise TemplateFault(error.reason) from None


@cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(FILTERS[name])


def _is_none(value: object) -> bool:
    return value is None or isinstance(value, jinja2.Undefined)


def _check_field(node: nodes.Getattr | nodes.Getitem) -> None:
    name = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", "")
    if isinstance(name, str) and name.startswith("__"):
        raise TemplateFault(f"{name!r} is not a field: names that start with '__' belong to Python, not to data")
    if isinstance(node.node, (nodes.Const, nodes.List, nodes.Tuple)):
        raise TemplateFault(f"a literal string or list has no field {name!r}; only variables have fields")


def _is_text_or_list(node: nodes.Node) -> bool:
    return isinstance(node, (nodes.List, nodes.Tuple, nodes.Concat)) or (
        isinstance(node, nodes.Const) and not isinstance(node.value, (int, float))
    )


def _refusal(node: nodes.Node) -> str:
    if isinstance(node, nodes.Call):
        return "calls are not allowed in a flow; use a filter, such as {{ contact.first_name | upper }}"
    if isinstance(node, (nodes.Pow, nodes.Mod)):
        return "'**' and '%' are not allowed in a flow"
    if isinstance(node, nodes.Dict):
        return "objects cannot be written inside '{{ }}'"
    return f"{type(node).__name__} is not allowed in a flow"


def _among(name: str, choices: Collection[str]) -> str:
    suggestion = did_you_mean(name, choices)
    return suggestion or f"; allowed: {', '.join(sorted(choices))}"


def _not_among(name: str, names: Collection[str]) -> str:
    return f"{name!r} is not known here{_among(name, names)}"


def _short(source: str) -> str:
    return source if len(source) <= 60 else f"{source[:57]}…"


def _compile(expression: nodes.Expr, cage: _Cage) -> Callable[[dict[str, Any]], object]:
    # jinja2.Environment.compile_expression does the same; this one starts from the tree that was checked.
    assignment = nodes.Assign(nodes.Name(_RESULT, "store"), expression, lineno=1)
    tree = nodes.Template([assignment], lineno=1)
    tree.set_environment(cage)
    code = cage.compile(tree)
    template = jinja2.Template.from_code(cage, code, {}, None)

    def program(values: dict[str, Any]) -> object:
        context = template.new_context(values, shared=True)
        for _ in template.root_render_func(context):
            pass
        return context.vars[_RESULT]

    return program
