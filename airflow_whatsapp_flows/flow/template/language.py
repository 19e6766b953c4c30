"""What a template is to those who use one.

Two languages share this shape: the caged one for text that came out of a flow file, and Airflow's own
for text that a DAG's author wrote. Bodies, URLs and headers are built the same way from both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Union

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.template.sizes import Room
from airflow_whatsapp_flows.flow.template.spelling import holds_placeholder

Value = Union[None, bool, int, float, str, "list[Value]", "dict[str, Value]"]
"""Plain data, as JSON has it."""


class Template(Protocol):
    """Text with placeholders, parsed once and rendered for many contacts."""

    @property
    def text(self) -> str:
        """The text as it was written."""
        ...

    def render(self, values: Mapping[str, object]) -> str:
        """The text, with each placeholder replaced by its value's text.

        Raises:
            RenderError: a value is missing, or cannot be shown as text.
        """
        ...

    def evaluate(self, values: Mapping[str, object]) -> Value:
        """The value itself when the text is one lone placeholder (41 stays 41), else :meth:`render`.

        Raises:
            RenderError: a value is missing.
        """
        ...


class TemplateLanguage(Protocol):
    """Turns text into templates."""

    def parse(self, text: str) -> Template | str:
        """A template, or the text itself when it holds no placeholder.

        Raises:
            TemplateFault: the text cannot be a template; says where and what is allowed.
        """
        ...


MAX_FAULTS = 20
"""Faults told of one text: finding what each could have meant takes time."""


class TemplateFault(ValueError):
    """Text that cannot be a template, or a template where none may stand.

    Attributes:
        message: what is wrong and what is allowed.
        offset: characters from the start of the text to the fault.
        more: the other faults of the same text, in order.
    """

    def __init__(self, message: str, offset: int = 0, more: Sequence[TemplateFault] = ()) -> None:
        self.message = message
        self.offset = offset
        self.more = tuple(more)
        super().__init__(message)


class _Literal:
    def parse(self, text: str) -> Template | str:
        return text


LITERAL: TemplateLanguage = _Literal()
"""The language of data: nothing in it is looked at for placeholders."""


@dataclass(frozen=True, slots=True)
class Data:
    """A value that is never looked at for placeholders: it came out of XCom, a mapping or an answer."""

    value: Value


Tree = Union[None, bool, int, float, str, Data, Template, "list[Tree]", "dict[str, Tree]"]
"""Plain data with templates and :class:`Data` for leaves."""


def fill(tree: Tree, values: Mapping[str, object], room: Room | None = None) -> Value:
    """Replace every template in a tree by its value; a lone placeholder keeps its type.

    Args:
        tree: what :func:`parse_tree` made.
        values: one contact's values, by scope.
        room: for the values of all templates together; without one they may take any.

    Raises:
        RenderError: a value is missing, or there is no room for it; ``where`` is the path in the tree, such as
            ``tags[0].name``.
    """
    if isinstance(tree, dict):
        return {key: _fill_at(f"{key}", item, values, room) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_fill_at(f"[{index}]", item, values, room) for index, item in enumerate(tree)]
    if tree is None or isinstance(tree, (str, bool, int, float)):
        return tree
    if isinstance(tree, Data):
        return tree.value
    value = tree.evaluate(values)
    if room is not None:
        room.take_value(value)
    return value


def _fill_at(where: str, tree: Tree, values: Mapping[str, object], room: Room | None) -> Value:
    try:
        return fill(tree, values, room)
    except RenderError as error:
        raise error.at(where) from None


class TreeFault(TemplateFault):
    """A fault in one leaf of a tree.

    Attributes:
        path: keys and positions from the top of the tree to the leaf.
    """

    def __init__(
        self, message: str, offset: int = 0, path: tuple[str | int, ...] = (), more: Sequence[TemplateFault] = ()
    ) -> None:
        super().__init__(message, offset, more)
        self.path = path


def faults_under(fault: TemplateFault, *path: str | int) -> list[TreeFault]:
    """A fault and those that it brings along, each alone, with a path put before its own."""
    return [
        TreeFault(one.message, one.offset, (*path, *(one.path if isinstance(one, TreeFault) else ())))
        for one in (fault, *fault.more)
    ]


def parse_tree(value: object, language: TemplateLanguage) -> Tree:
    """Parse every text in a tree as a template. Keys are names, not templates.

    Args:
        value: plain data, with :class:`Data` for what must not be parsed.
        language: the language of its texts.

    Raises:
        TreeFault: a leaf or a key cannot be used; holds its path.
    """
    if isinstance(value, Mapping):
        return {_key(key, language): _parse_at(key, item, language) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_parse_at(index, item, language) for index, item in enumerate(value)]
    if isinstance(value, str):
        return language.parse(value)
    if value is None or isinstance(value, (bool, int, float, Data)):
        return value
    raise TreeFault(f"a value of type {type(value).__name__} cannot be sent; use text, numbers, true, false, null")


def _key(key: object, language: TemplateLanguage) -> str:
    if not isinstance(key, str):
        raise TreeFault(f"the key {key!r} is not text; every key must be text")
    if holds_placeholder(key, language):
        raise TreeFault(f"the key {key!r} holds a placeholder; an answer may be a value, never a name", path=(key,))
    return key


def _parse_at(key: str | int, value: object, language: TemplateLanguage) -> Tree:
    try:
        return parse_tree(value, language)
    except TemplateFault as fault:
        first, *more = faults_under(fault, key)
        raise TreeFault(first.message, first.offset, first.path, more) from None


def tree_faults(value: object, language: TemplateLanguage) -> Iterator[TreeFault]:
    """Every fault of a tree; :func:`parse_tree` stops at the first.

    Args:
        value: plain data.
        language: the language of its texts.
    """
    children: list[tuple[str | int, object]] = []
    if isinstance(value, Mapping):
        for key in value:
            try:
                _key(key, language)
            except TreeFault as fault:
                yield fault
        children = list(value.items())
    elif isinstance(value, (list, tuple)):
        children = list(enumerate(value))
    else:
        try:
            parse_tree(value, language)
        except TemplateFault as fault:
            yield from faults_under(fault)
    for key, child in children:
        for inner in tree_faults(child, language):
            yield TreeFault(inner.message, inner.offset, (key, *inner.path))


def leaves(tree: Tree) -> Iterator[Template]:
    """Every template in a tree, in order."""
    if isinstance(tree, dict):
        for item in tree.values():
            yield from leaves(item)
    elif isinstance(tree, list):
        for item in tree:
            yield from leaves(item)
    elif tree is not None and not isinstance(tree, (str, bool, int, float, Data)):
        yield tree
