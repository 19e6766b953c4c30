"""``multipart``: multipart/form-data (RFC 7578), as browsers write it (WHATWG HTML §4.10.21.8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.encoded import NO_FILES, EncodedBody, FileContent, FileSource, content_room
from airflow_whatsapp_flows.flow.body.fields import Field
from airflow_whatsapp_flows.flow.body.file_part import FilePart, validate_media_type
from airflow_whatsapp_flows.flow.body.leaves import templates_of
from airflow_whatsapp_flows.flow.body.scalars import scalar_text, utf8
from airflow_whatsapp_flows.flow.template.language import Template, Tree, fill
from airflow_whatsapp_flows.flow.template.sizes import Room

CONTENT_TYPE = "multipart/form-data"
_DELIMITER = 60
"""Bytes of a boundary with its delimiters, rounded up."""
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True)
class TextPart:
    """A field that is text.

    Attributes:
        field: its name and value.
        content_type: media type of the part; browsers send none, which means text/plain (RFC 7578 §4.4).
    """

    field: Field
    content_type: Tree = None

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in it."""
        return templates_of(self.field.value) + templates_of(self.content_type)

    def encode(self, values: Mapping[str, object], room: Room) -> Iterator[bytes]:
        """Head and content of each part; a list produces one part for each item.

        Raises:
            RenderError: a value cannot be encoded.
        """
        try:
            content_type = scalar_text(fill(self.content_type, values))
            head = _head(self.field.name, None, validate_media_type(content_type))
        except RenderError as error:
            raise error.at(self.field.where) from None

        def part(text: str) -> bytes:
            room.take(len(head) + len(text) + _DELIMITER)
            encoded = utf8(text)
            room.take(len(encoded) - len(text))
            return head + encoded

        yield from self.field.encode(values, part)


@dataclass(frozen=True, slots=True)
class MultipartBody:
    """Parts with a boundary between them.

    Attributes:
        parts: in the order of the flow.
    """

    parts: tuple[TextPart | FilePart, ...]

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in the parts."""
        return tuple(template for part in self.parts for template in part.templates)

    def file_sources(self, values: Mapping[str, object]) -> tuple[FileSource, ...]:
        """The files to read or fetch before :meth:`encode`.

        Raises:
            RenderError: a ``file`` is missing, or is not a path, a URL, or the answer to a file question.
        """
        return tuple(part.source(values) for part in self.parts if isinstance(part, FilePart))

    def encode(self, values: Mapping[str, object], files: Mapping[str, FileContent] = NO_FILES) -> EncodedBody:
        """The parts for one contact; see :class:`~airflow_whatsapp_flows.flow.body.encoded.Body`."""
        room = content_room()
        parts = [encoded for part in self.parts for encoded in _encode_part(part, values, files, room)]
        boundary = _boundary(parts)
        delimiter = b"--" + boundary
        content = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--\r\n"
        return EncodedBody(content, f"{CONTENT_TYPE}; boundary={boundary.decode('ascii')}")


def _encode_part(
    part: TextPart | FilePart, values: Mapping[str, object], files: Mapping[str, FileContent], room: Room
) -> Iterator[bytes]:
    if isinstance(part, TextPart):
        yield from part.encode(values, room)
        return
    file = part.resolve(values, files)
    try:
        head = _head(part.name, file.filename, file.content_type)
        room.take(len(head) + _DELIMITER)
        yield head + file.content
    except RenderError as error:
        raise error.at(part.where) from None


def _head(name: str, filename: str | None, content_type: str) -> bytes:
    # RFC 7578 §5.1 and browsers: names are UTF-8; only these three characters are escaped.
    lines = f'Content-Disposition: form-data; name="{name.translate(_ESCAPES)}"'
    if filename is not None:
        lines += f'; filename="{filename.translate(_ESCAPES)}"'
    if content_type:
        lines += f"\r\nContent-Type: {content_type}"
    return utf8(lines + "\r\n\r\n")


def _boundary(parts: list[bytes]) -> bytes:
    """A boundary that no part contains (RFC 2046 §5.1.1); deterministic."""
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    while True:
        boundary = b"----flow" + digest.hexdigest()[:40].encode("ascii")
        if not any(boundary in part for part in parts):
            return boundary
        digest.update(b"again")
