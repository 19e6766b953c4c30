"""The interfaces of templates and template languages.

Two languages implement them: the caged one for text from flow files, and Airflow's own for text by DAG authors. Bodies,
URLs, and headers are built the same way from both.
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
        """The original text."""
        ...

    def render(self, values: Mapping[str, object]) -> str:
        """The text, with each placeholder replaced by its value's text.

        Raises:
            RenderError: a value is missing, or cannot be converted to text.
        """
        ...

    def evaluate(self, values: Mapping[str, object]) -> Value:
        """The value itself if the text is a single placeholder (41 stays 41), otherwise :meth:`render`.

        Raises:
            RenderError: a value is missing.
        """
        ...


class TemplateLanguage(Protocol):
    """Turns text into templates."""

    def parse(self, text: str) -> Template | str:
        """A template, or the text itself if it contains no placeholder.

        Raises:
            TemplateFault: the text is not a valid template; has the offset.
        """
        ...


MAX_FAULTS = 20
"""Faults reported for one text: finding suggestions for each takes time."""


class TemplateFault(ValueError):
    """An invalid template, or a template in a place where none is allowed.

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
"""The language of data: text is never searched for placeholders."""


@dataclass(frozen=True, slots=True)
class Data:
    """A value that is never searched for placeholders: it came from XCom, a mapping, or an answer."""

    value: Value


Tree = Union[None, bool, int, float, str, Data, Template, "list[Tree]", "dict[str, Tree]"]
"""Plain data with templates and :class:`Data` for leaves."""


def fill(tree: Tree, values: Mapping[str, object], room: Room | None = None) -> Value:
    """Replace every template in a tree with its value; a single placeholder keeps its type.

    Args:
        tree: from :func:`parse_tree`.
        values: one contact's values, by scope.
        room: shared limit of the values of all templates; unlimited by default.

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
    """Split a fault into itself and the faults it includes, with a path prepended to each."""
    return [
        TreeFault(one.message, one.offset, (*path, *(one.path if isinstance(one, TreeFault) else ())))
        for one in (fault, *fault.more)
    ]


def parse_tree(value: object, language: TemplateLanguage) -> Tree:
    """Parse every text in a tree as a template. Keys are names, not templates.

    Args:
        value: plain data, with :class:`Data` for values that must not be parsed.
        language: the language of its texts.

    Raises:
        TreeFault: a leaf or key is invalid; has its path.
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
        raise TreeFault(f"the key {key!r} contains a placeholder; an answer may be a value, never a name", path=(key,))
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
