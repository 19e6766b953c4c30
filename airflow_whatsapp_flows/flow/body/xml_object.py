"""Converts an object to XML by the conventions of xmltodict: ``@name`` is an attribute, ``#text`` is text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.faults import Path
from airflow_whatsapp_flows.flow.body.leaves import plain_value
from airflow_whatsapp_flows.flow.body.scalars import kind_of, scalar_text
from airflow_whatsapp_flows.flow.body.xml_text import escape, is_name
from airflow_whatsapp_flows.flow.template.language import Data, Template, Tree, TreeFault

Hold = Callable[[Template], str]
"""Stores a template and returns the token that represents it."""

_XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
_RESERVED = (_XML_NAMESPACE, "http://www.w3.org/2000/xmlns/")


def write_object(tree: Tree, hold: Hold) -> str:
    """Write an object as XML text, with tokens for templates.

    Args:
        tree: an object with one key, the root.
        hold: stores a template and returns its token.

    Raises:
        TreeFault: a name or a value is not allowed in XML; has the path.
    """
    tree = plain_value(tree)
    if not isinstance(tree, Mapping) or len(tree) != 1:
        raise TreeFault("XML has one root: the body must be an object with exactly one key")
    ((name, value),) = tree.items()
    if isinstance(plain_value(value), (list, tuple)):
        raise TreeFault("XML has one root: a list would create several; put the list inside an element", path=(name,))
    return _element(name, value, (name,), {"xml": _XML_NAMESPACE}, hold)


def _element(name: str, value: Tree, path: Path, namespaces: Mapping[str, str], hold: Hold) -> str:
    value = plain_value(value)
    members: Mapping[str, Tree] = value if isinstance(value, Mapping) else {"#text": value}
    namespaces = {**namespaces, **_namespace_declarations(members, path)}
    _check_name(name, path, namespaces)
    attributes: dict[tuple[str, str], str] = {}
    content = ""
    for key, item in members.items():
        place = (*path, key) if isinstance(value, Mapping) else path
        if not isinstance(key, str):
            raise TreeFault(f"the name {key!r} is not text; every name must be text", path=path)
        if key.startswith("@"):
            identity = _attribute_identity(key[1:], place, namespaces)
            if identity in attributes:
                raise TreeFault(
                    f"the attribute {key[1:]!r} appears twice, under two prefixes of one namespace", path=place
                )
            attributes[identity] = f' {key[1:]}="{_text(item, place, hold, attribute=True)}"'
        elif key == "#text":
            content += _text(item, place, hold, attribute=False)
        else:
            content += _children(key, item, place, namespaces, hold)
    start = name + "".join(attributes.values())
    return f"<{start}>{content}</{name}>" if content else f"<{start}/>"


def _children(name: str, value: Tree, path: Path, namespaces: Mapping[str, str], hold: Hold) -> str:
    items = plain_value(value)
    if not isinstance(items, (list, tuple)):
        return _element(name, value, path, namespaces, hold)
    children = []
    for index, item in enumerate(items):
        child = plain_value(item)
        if isinstance(child, (list, tuple)):
            raise TreeFault("a list within a list has no element name; put it in an object", path=(*path, index))
        children.append(_element(name, child, (*path, index), namespaces, hold))
    return "".join(children)


def _namespace_declarations(members: Mapping[str, Tree], path: Path) -> dict[str, str]:
    declared = {}
    for key, item in members.items():
        if not isinstance(key, str) or not (key == "@xmlns" or key.startswith("@xmlns:")):
            continue
        prefix = key.partition(":")[2]
        uri = plain_value(item)
        if not isinstance(uri, str) or (prefix and not uri):
            raise TreeFault(f"{key!r} must be a literal namespace name, not a placeholder", path=(*path, key))
        if prefix in ("xml", "xmlns") or uri in _RESERVED:
            raise TreeFault(f"{key!r} is reserved by XML; remove it", path=(*path, key))
        declared[prefix] = uri
    return declared


def _check_name(name: str, path: Path, namespaces: Mapping[str, str]) -> None:
    if not isinstance(name, str) or not is_name(name):
        raise TreeFault(
            f"{name!r} cannot be a name in XML; a name starts with a letter or '_', followed by letters, digits, '-', "
            "'_', and '.'",
            path=path,
        )
    prefix = name.rpartition(":")[0]
    if prefix and not namespaces.get(prefix):
        raise TreeFault(
            f"the prefix {prefix!r} is not declared; add '@xmlns:{prefix}' to an element around it", path=path
        )


def _attribute_identity(name: str, path: Path, namespaces: Mapping[str, str]) -> tuple[str, str]:
    if name == "xmlns" or name.startswith("xmlns:"):
        if name != "xmlns" and not is_name(name.partition(":")[2]):
            raise TreeFault(f"{name!r} cannot be a name in XML", path=path)
        return "xmlns", name
    _check_name(name, path, namespaces)
    prefix, _, local = name.rpartition(":")
    return namespaces[prefix] if prefix else "", local


def _text(value: Tree, path: Path, hold: Hold, *, attribute: bool) -> str:
    value = plain_value(value)
    try:
        if value is None or isinstance(value, (str, bool, int, float)):
            return escape(scalar_text(value), attribute=attribute)
    except RenderError as error:
        raise TreeFault(str(error), path=path) from None
    if isinstance(value, (Mapping, list, tuple, Data)):
        raise TreeFault(f"{kind_of(value)} cannot be an attribute or #text; it must be text or a number", path=path)
    if path[-1] == "@xml:id":
        raise TreeFault("xml:id cannot hold a placeholder: not every text is an XML identifier", path=path)
    return hold(value)
