"""``plain``, rendered text, and ``none``, no body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.encoded import (
    ABSENT,
    NO_FILES,
    EncodedBody,
    FileContent,
    WithoutFiles,
    content_room,
)
from airflow_whatsapp_flows.flow.body.scalars import kind_of, utf8
from airflow_whatsapp_flows.flow.template.language import Template, TemplateFault, TemplateLanguage

CONTENT_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class PlainBody(WithoutFiles):
    """Rendered text, sent in UTF-8."""

    body: Template | str

    @property
    def templates(self) -> tuple[Template, ...]:
        """The text, if it contains a placeholder."""
        return () if isinstance(self.body, str) else (self.body,)

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The text for one contact; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        text = self.body if isinstance(self.body, str) else self.body.render(values)
        content_room().take(len(text))
        return EncodedBody(utf8(text), CONTENT_TYPE)


@dataclass(frozen=True, slots=True)
class NoBody(WithoutFiles):
    """No content and no Content-Type."""

    @property
    def templates(self) -> tuple[Template, ...]:
        """None."""
        return ()

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """No content; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        return EncodedBody(b"", None)


def parse_plain(body: object, language: TemplateLanguage) -> PlainBody:
    """Parse a plain body.

    Raises:
        TemplateFault: the body is not text.
    """
    if not isinstance(body, str):
        raise TemplateFault(f'a plain body must be text, not {kind_of(body)}; write text, or set "body_type": "json"')
    parsed = language.parse(body)
    if isinstance(parsed, str):
        try:
            utf8(parsed)
        except RenderError as error:
            raise TemplateFault(str(error)) from None
    return PlainBody(parsed)


def parse_none(body: object, language: TemplateLanguage) -> NoBody:
    """Check that there is no body: the key is absent, ``null``, or an empty string.

    Raises:
        TemplateFault: there is one.
    """
    if body is ABSENT or body is None or body == "":
        return NoBody()
    raise TemplateFault('"body_type" is "none", but there is a body; remove it, or set its type')
