"""Templates inside a body, each with its location."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.faults import Path, check_depth
from airflow_whatsapp_flows.flow.template.language import (
    LITERAL,
    Data,
    Template,
    TemplateFault,
    TemplateLanguage,
    Tree,
    TreeFault,
    Value,
    faults_under,
    leaves,
    parse_tree,
)
from airflow_whatsapp_flows.flow.template.spelling import holds_placeholder

_Encoded = TypeVar("_Encoded")


@dataclass(frozen=True, slots=True)
class AsText:
    """A template inside quotes: its value is text, even if it is a single placeholder."""

    template: Template

    @property
    def text(self) -> str:
        """The text as it was written."""
        return self.template.text

    def render(self, values: Mapping[str, object]) -> str:
        """The text for one contact."""
        return self.template.render(values)

    def evaluate(self, values: Mapping[str, object]) -> Value:
        """The text for one contact."""
        return self.template.render(values)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A template and its location in the body.

    Attributes:
        where: such as ``tags[0].name``; empty for the entire body.
        template: returns the value.
    """

    where: str
    template: Template

    def encode(self, values: Mapping[str, object], encode: Callable[[Value], _Encoded]) -> _Encoded:
        """The leaf for one contact, converted by ``encode``.

        Raises:
            RenderError: the value is missing or cannot be encoded; has the location.
        """
        try:
            return encode(self.template.evaluate(values))
        except RenderError as error:
            raise error.at(self.where) if self.where else error from None


"""Text is taken literally: for a whole body that came from XCom or an answer (see ``Data``)."""


def tree_of(body: object, language: TemplateLanguage) -> Tree:
    """Parse a body that is data, with templates as leaves.

    Raises:
        TreeFault: a leaf or a key cannot be used, or the body is nested too deeply.
    """
    check_depth(body)
    if language is LITERAL:
        return Data(cast(Value, body))
    return parse_tree(body, language)


def tree_at(path: Path, value: object, language: TemplateLanguage) -> Tree:
    """Parse a part of a body like :func:`tree_of`, with its path in every fault.

    Raises:
        TreeFault: a leaf or a key cannot be used.
    """
    try:
        return tree_of(value, language)
    except TemplateFault as fault:
        first, *more = faults_under(fault, *path)
        raise TreeFault(first.message, first.offset, first.path, more) from None


def plain_value(tree: Tree) -> Tree:
    """The tree itself, or the value of :class:`Data`, whose texts are literal."""
    if not isinstance(tree, Data):
        return tree
    return list(tree.value) if isinstance(tree.value, tuple) else cast(Tree, tree.value)


def literals(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Value]]:
    """Every constant leaf of a tree, with its path."""
    if isinstance(tree, dict):
        for key, item in tree.items():
            yield from literals(item, (*path, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from literals(item, (*path, index))
    elif isinstance(tree, Data):
        yield path, tree.value
    elif tree is None or isinstance(tree, (str, bool, int, float)):
        yield path, tree


def templates_of(tree: Tree) -> tuple[Template, ...]:
    """Every template of a tree, in order."""
    return tuple(leaf.template if isinstance(leaf, AsText) else leaf for leaf in leaves(tree))


def validate_name(name: object, path: Path, language: TemplateLanguage | None = None) -> str:
    """The name of a field: text without a placeholder.

    Args:
        name: from the flow.
        path: its place in the body.
        language: the language of the body; with none, placeholders stand in braces.

    Raises:
        TreeFault: it is something else.
    """
    if not isinstance(name, str):
        raise TreeFault(f"the name {name!r} is not text; every name must be text", path=path)
    if holds_placeholder(name, language):
        raise TreeFault(f"the name {name!r} contains a placeholder; an answer may be a value, never a name", path=path)
    return name
