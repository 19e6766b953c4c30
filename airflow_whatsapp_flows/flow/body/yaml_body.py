"""``yaml``: application/yaml (RFC 9512), the same value in YAML 1.1 and 1.2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.encoded import NO_FILES, EncodedBody, FileContent, WithoutFiles, content_room
from airflow_whatsapp_flows.flow.body.faults import Path
from airflow_whatsapp_flows.flow.body.leaves import literals, templates_of, tree_of
from airflow_whatsapp_flows.flow.body.yaml_text import parse_yaml_text
from airflow_whatsapp_flows.flow.body.yaml_writer import write_yaml
from airflow_whatsapp_flows.flow.template.language import Template, TemplateLanguage, Tree, TreeFault

CONTENT_TYPE = "application/yaml"
"""RFC 9512 §2.1 has no charset parameter."""


@dataclass(frozen=True, slots=True)
class YamlBody(WithoutFiles):
    """Any value, written for each contact, because a contact's value may be an object that needs several lines.

    Attributes:
        tree: the value, with templates as leaves.
        empty: whether there is no document at all, not even ``null``.
    """

    tree: Tree
    empty: bool = False

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in it, in order."""
        return templates_of(self.tree)

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The YAML for one contact; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        content = b"" if self.empty else write_yaml(self.tree, values, content_room())
        return EncodedBody(content, CONTENT_TYPE)


def parse_yaml(body: object, language: TemplateLanguage) -> YamlBody:
    """Parse a YAML body: any value, or text that is a YAML template. Empty text is empty content.

    Raises:
        TemplateFault: the text is not YAML that can be sent; has the offset.
        TreeFault: a leaf or a key cannot be sent; has the path.
    """
    if isinstance(body, str) and not body.strip():
        return YamlBody(None, empty=True)
    tree = parse_yaml_text(body, language) if isinstance(body, str) else tree_of(body, language)
    _check_keys(tree, ())
    for path, value in literals(tree):
        _check(value, path)
    return YamlBody(tree)


def _check_keys(tree: Tree, path: Path) -> None:
    if isinstance(tree, dict):
        for key, item in tree.items():
            _check({key: None}, path)
            _check_keys(item, (*path, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            _check_keys(item, (*path, index))


def _check(value: object, path: Path) -> None:
    try:
        write_yaml(value)
    except RenderError as error:
        raise TreeFault(str(error), path=path) from None
