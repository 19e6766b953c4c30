"""Compiles XML templates and XML objects the same way: text with tokens, which lxml parses and serializes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import TYPE_CHECKING

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.faults import check_length
from airflow_whatsapp_flows.flow.body.leaves import Leaf, tree_of
from airflow_whatsapp_flows.flow.body.scalars import kind_of, utf8
from airflow_whatsapp_flows.flow.body.tokens import Span, TokenText, find_spans
from airflow_whatsapp_flows.flow.body.xml_body import XmlBody, XmlLeaf
from airflow_whatsapp_flows.flow.body.xml_object import write_object
from airflow_whatsapp_flows.flow.template.language import Template, TemplateFault, TemplateLanguage

if TYPE_CHECKING:
    from lxml.etree import _Element

_BEFORE_DOCTYPE = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->", re.DOTALL)
_ENTITY = re.compile("&(?:amp|lt|gt|quot|apos);")
_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
_ParseLeaf = Callable[[str, int], "Template | str"]


def parse_xml(body: object, language: TemplateLanguage) -> XmlBody:
    """Parse an XML body: text that is an XML template, or an object with one root.

    Raises:
        TemplateFault: the text is not well-formed, has a DOCTYPE, or a placeholder where none is allowed.
        TreeFault: a name or a value of the object is not allowed in XML; has the path.
    """
    if isinstance(body, str):
        return _parse_text(body, language)
    if isinstance(body, Mapping):
        return _parse_object(body, language)
    raise TemplateFault(f"an XML body must be XML text or an object with one root, not {kind_of(body)}")


def _parse_text(text: str, language: TemplateLanguage) -> XmlBody:
    check_length(text)
    spans = [
        Span(span.start, span.end, _ENTITY.sub(lambda entity: unescape(entity.group()), span.source))
        for span in find_spans(text, language)
    ]
    tokens = TokenText(text, spans)
    root = _parse_document(tokens)
    if root.getroottree().docinfo.xml_version != "1.0":
        raise tokens.fault('only XML 1.0 can be sent; write version="1.0"', 0)
    compiler = _Compiler(tokens, lambda part, offset: tokens.parse(part, language, offset))
    compiler.read(root)
    for index, span in enumerate(tokens.spans):
        if index not in compiler.used:
            raise tokens.fault(
                "a placeholder is allowed in an element's text or an attribute's value, never in a name, xml:id, "
                "xmlns, a comment, or a processing instruction",
                span.start,
            )
    return _body(compiler.pieces(root, _declaration(text, root)))


def _parse_object(body: Mapping[str, object], language: TemplateLanguage) -> XmlBody:
    templates: list[Template] = []
    # Only the marks of these tokens are used: the object cannot contain its own hash.
    tokens = TokenText(repr(body), ())

    def hold(template: Template) -> str:
        templates.append(template)
        return tokens.token(len(templates) - 1)

    text = write_object(tree_of(body, language), hold)
    compiler = _Compiler(tokens, lambda part, _: _template_or_text(part, tokens, templates))
    root = _parse_document(TokenText(text, ()))
    compiler.read(root)
    return _body(compiler.pieces(root, b""))


def _body(pieces: tuple[bytes | XmlLeaf, ...]) -> XmlBody:
    return XmlBody(pieces, sum(len(piece) for piece in pieces if isinstance(piece, bytes)))


def _template_or_text(part: str, tokens: TokenText, templates: list[Template]) -> Template | str:
    indexes = tokens.indexes(part)
    return templates[indexes[0]] if indexes else part


def _parse_document(tokens: TokenText) -> _Element:
    from lxml import etree  # imported lazily: flows without XML don't need it

    _refuse_doctype(tokens)
    # An encoding in the declaration is ignored: the text is already decoded.
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )
    try:
        return etree.fromstring(utf8(tokens.text), parser)
    except RenderError as error:
        raise TemplateFault(str(error)) from None
    except etree.XMLSyntaxError as error:
        line, column = error.position
        reason = re.sub(r", line \d+, column \d+.*", "", error.msg or "it is empty", flags=re.DOTALL)
        hint = "" if tokens.text.lstrip().startswith("<") else '; XML starts with "<"'
        raise tokens.fault(f"not well-formed XML: {reason}{hint}", tokens.offset_at(line - 1, column - 1)) from None


def _refuse_doctype(tokens: TokenText) -> None:
    """Reject a document type before parsing: its entities could expand, or fetch other documents."""
    at = 0
    while skipped := _BEFORE_DOCTYPE.match(tokens.text, at):
        at = skipped.end()
    if tokens.text.startswith("<!", at) and not tokens.text.startswith("<!--", at):
        message = "a DOCTYPE is not allowed; remove it, and write characters instead of entities"
        raise tokens.fault(message, tokens.offset_of(at))


def _declaration(text: str, root: _Element) -> bytes:
    if not text.startswith("<?xml "):
        return b""
    standalone = b' standalone="yes"' if root.getroottree().docinfo.standalone else b""
    return b'<?xml version="1.0" encoding="UTF-8"' + standalone + b"?>\n"


class _Compiler:
    """Compiles a parsed document to pieces.

    Attributes:
        used: numbers of the document's own tokens that are in places where a value is allowed.
    """

    def __init__(self, tokens: TokenText, parse: _ParseLeaf) -> None:
        self.used: set[int] = set()
        self._tokens = tokens
        self._parse = parse
        self._leaves: list[XmlLeaf] = []
        self._marks = TokenText(tokens.text, ())

    def read(self, root: _Element) -> None:
        """Replace every text and attribute that contains a template with a token of the compiler."""
        for element in root.iter():
            if isinstance(element.tag, str):
                place = _place(element)
                element.text = self._leaf(element.text, place, element, attribute=False)
                for name, value in element.attrib.items():
                    if str(name) != _XML_ID:
                        local = str(name).rpartition("}")[2]
                        element.set(name, self._leaf(str(value), f"{place}.@{local}", element, attribute=True) or "")
            if element is not root:
                parent = element.getparent()
                place = _place(parent) if parent is not None else ""
                element.tail = self._leaf(element.tail, place, element, attribute=False)

    def _leaf(self, text: str | None, where: str, element: _Element, *, attribute: bool) -> str | None:
        if not text or text.isspace():
            return text
        line = element.sourceline
        offset = self._tokens.offset_at(line - 1, 0) if isinstance(line, int) else 0
        parsed = self._parse(text, offset)
        self.used.update(self._tokens.indexes(text))
        if isinstance(parsed, str):
            return parsed
        self._leaves.append(XmlLeaf(Leaf(where, parsed), attribute))
        return self._marks.token(len(self._leaves) - 1)

    def pieces(self, root: _Element, declaration: bytes) -> tuple[bytes | XmlLeaf, ...]:
        """The document, cut at the tokens."""
        from lxml import etree

        written = etree.tostring(root.getroottree(), encoding="utf-8", xml_declaration=False).decode()
        parts = self._marks.split(written)
        pieces: list[bytes | XmlLeaf] = [declaration + parts[0].encode()]
        for number, literal in zip(parts[1::2], parts[2::2], strict=True):
            pieces += [self._leaves[int(number)], literal.encode()]
        return tuple(pieces)


def _place(element: _Element) -> str:
    names = [str(ancestor.tag).rpartition("}")[2] for ancestor in (element, *element.iterancestors())]
    return ".".join(reversed(names))
