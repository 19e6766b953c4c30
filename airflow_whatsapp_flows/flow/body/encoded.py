"""The interface of bodies: parsed once when the flow is loaded, encoded for each contact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol

from msgspec import Struct

from airflow_whatsapp_flows.flow.template.language import Template
from airflow_whatsapp_flows.flow.template.sizes import Room

MAX_CONTENT = 8 * 1024 * 1024
"""Bytes of a body, not counting its files."""
SHORT = 4_096
"""Texts up to this many characters are written without checking the limit first: a few extra bytes do no harm."""
_TOO_MUCH = f"the content would have more than {MAX_CONTENT:,} bytes, not counting its files"


def content_room(literal: int = 0) -> Room:
    """The size limit of one body's content; checked before anything is written.

    Args:
        literal: bytes that are the same for all contacts.
    """
    return Room(MAX_CONTENT - literal, _TOO_MUCH)


class BodyType(str, Enum):
    """The seven body types of the platform's Action step."""

    JSON = "json"
    FORM = "form"
    MULTIPART = "multipart"
    XML = "xml"
    YAML = "yaml"
    PLAIN = "plain"
    NONE = "none"


class Absent(Enum):
    """The type of :data:`ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""Marks a step without the key ``body``; ``None`` means ``"body": null``."""


class EncodedBody(Struct, frozen=True):
    """The content of a request with its media type.

    Attributes:
        content: the bytes to send; may be empty.
        content_type: value for the header ``Content-Type``; ``None`` without a body.
    """

    content: bytes
    content_type: str | None


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file that must be read or fetched before a multipart body can be encoded.

    Attributes:
        where: the place in the body, such as ``[1].file``.
        url_or_path: from the flow or the answer; the key of the content in ``encode``.
        filename: from the flow, or else from the answer.
        content_type: from the flow, or else from the answer.
        from_answer: whether a contact's answer, not the flow, determines the server of the file.
    """

    where: str
    url_or_path: str
    filename: str | None = None
    content_type: str | None = None
    from_answer: bool = False


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file that was read or fetched.

    Attributes:
        content: all of its bytes.
        filename: from its origin, such as ``Content-Disposition``, if any.
        content_type: from its origin, if any.
    """

    content: bytes
    filename: str | None = None
    content_type: str | None = None


NO_FILES: Final[Mapping[str, FileContent]] = MappingProxyType({})


class Body(Protocol):
    """A flow's body: immutable, the same for all contacts."""

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in it, in order."""
        ...

    def file_sources(self, values: Mapping[str, object]) -> tuple[FileSource, ...]:
        """The files to read or fetch before :meth:`encode`; most bodies need none.

        Raises:
            RenderError: a ``file`` is missing, or is not a path, a URL, or the answer to a file question.
        """
        ...

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The body for one contact; the same arguments give the same bytes.

        Args:
            values: one contact's values, by scope.
            files: contents of the files that a multipart body sends, by ``FileSource.url_or_path``.

        Raises:
            RenderError: a value is missing or cannot be encoded, or there is more than :data:`MAX_CONTENT`;
                ``where`` is the place within the body.
        """
        ...


class WithoutFiles:
    """A body that needs no files."""

    __slots__ = ()

    def file_sources(self, values: Mapping[str, object]) -> tuple[FileSource, ...]:
        """None."""
        return ()
