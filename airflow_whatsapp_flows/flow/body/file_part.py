"""A file in a multipart body; the caller fetches its content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from airflow_whatsapp_flows.errors import RenderError
from airflow_whatsapp_flows.flow.body.encoded import FileContent, FileSource
from airflow_whatsapp_flows.flow.body.leaves import templates_of
from airflow_whatsapp_flows.flow.body.media_type import is_media_type
from airflow_whatsapp_flows.flow.body.scalars import kind_of, scalar_text
from airflow_whatsapp_flows.flow.template.language import Data, Template, Tree, fill
from airflow_whatsapp_flows.flow.template.spelling import literal_start

_ORIGIN = re.compile(r"https?://[^/?#\\]+[/?#]|https?://[^/?#\\{%]+$|(?!https?:)[^{%]", re.IGNORECASE)

DEFAULT_CONTENT_TYPE = "application/octet-stream"
"""Some servers treat a file part without a Content-Type as a text field (RFC 7578 §4.4 makes it text)."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file as it is sent.

    Attributes:
        content: all of its bytes.
        filename: never empty.
        content_type: a media type.
    """

    content: bytes
    filename: str
    content_type: str


@dataclass(frozen=True, slots=True)
class FilePart:
    """A field that is a file.

    Attributes:
        where: the place in the body, such as ``[1]``.
        name: never a template.
        file: a path or a URL, or a template whose value is one or an answer ``{url, filename, content_type}``.
        filename: from the flow, if any.
        content_type: from the flow, if any.
    """

    where: str
    name: str
    file: Tree
    filename: Tree = None
    content_type: Tree = None

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every template in it."""
        return tuple(
            template for tree in (self.file, self.filename, self.content_type) for template in templates_of(tree)
        )

    def source(self, values: Mapping[str, object]) -> FileSource:
        """The file that is sent for one contact.

        Raises:
            RenderError: it is missing, or is not a path, a URL, or the answer to a file question.
        """
        where = f"{self.where}.file"
        answer = _fill(self.file, values, where)
        fields = answer if isinstance(answer, Mapping) else {"url": answer}
        url = fields.get("url")
        if not isinstance(url, str) or not url:
            raise RenderError(
                f"a file must be a path, a URL, or an answer {{url, filename, content_type}}, not "
                f"{kind_of(url) if url != '' else 'empty text'}",
                where,
            )
        if not _is_chosen_by_author(self.file, url):
            raise RenderError(
                "an answer must be the web address of a file; a path below files_folder begins with literal text", where
            )
        filename = _fill(self.filename, values, f"{self.where}.filename")
        content_type = _fill(self.content_type, values, f"{self.where}.content_type")
        return FileSource(
            where=where,
            url_or_path=url,
            filename=_first(filename, fields.get("filename"), f"{self.where}.filename"),
            content_type=_first(content_type, fields.get("content_type"), f"{self.where}.content_type"),
            from_answer=not _is_origin_written(self.file),
        )

    def resolve(self, values: Mapping[str, object], files: Mapping[str, FileContent]) -> NamedFile:
        """The file with its content; the flow takes precedence over the answer, and the answer over the origin.

        Raises:
            RenderError: its content is not in ``files``, or its media type is invalid.
        """
        source = self.source(values)
        fetched = files.get(source.url_or_path)
        if fetched is None:
            raise RenderError("the file was not fetched", source.where)
        content_type = source.content_type
        if content_type is None and fetched.content_type and is_media_type(fetched.content_type):
            # A media type from a foreign server is used only if it is well-formed; nobody here can fix it.
            content_type = fetched.content_type
        try:
            content_type = validate_media_type(content_type or DEFAULT_CONTENT_TYPE)
        except RenderError as error:
            raise error.at(f"{self.where}.content_type") from None
        names = (source.filename, fetched.filename, _url_path(source.url_or_path), "file")
        filename = next(name for name in map(_last_segment, names) if name)
        return NamedFile(fetched.content, filename, content_type)


def _is_origin_written(file: Tree) -> bool:
    """Whether the flow determines the server of a file, including its complete host."""
    text = file if isinstance(file, str) else literal_start(getattr(file, "text", ""))
    return _ORIGIN.match(text.strip()) is not None


def _is_chosen_by_author(file: Tree, url: str) -> bool:
    """Whether a file may be sent: a contact may send a URL, but must not select a local file."""
    if isinstance(file, (str, Data)) or url.lower().startswith(("http://", "https://")):
        return True
    if file is None or isinstance(file, (bool, int, float, list, dict)):
        return False
    folder = literal_start(file.text).strip()
    return bool(folder) and ".." not in url.replace("\\", "/").split("/")


def validate_media_type(text: str) -> str:
    """Return the text unchanged if it is a media type or empty.

    Raises:
        RenderError: it is neither; a line break in it would add a header to the part.
    """
    if text and not is_media_type(text):
        raise RenderError(f"{text[:100]!r} is not a media type; write one such as image/png")
    return text


def _fill(tree: Tree, values: Mapping[str, object], where: str) -> object:
    try:
        return fill(tree, values)
    except RenderError as error:
        raise error.at(where) from None


def _first(flows: object, answers: object, where: str) -> str | None:
    try:
        return scalar_text(flows) or scalar_text(answers) or None
    except RenderError as error:
        raise error.at(where) from None


def _url_path(url_or_path: str) -> str:
    if "://" not in url_or_path:
        return url_or_path
    return unquote(url_or_path.partition("://")[2].partition("?")[0].partition("#")[0].partition("/")[2])


def _last_segment(path: str | None) -> str:
    """A filename without folders, as browsers send it (RFC 7578 §4.2).

    A backslash at its end would also hide the closing quote from servers that unescape quoted strings.
    """
    return re.split(r"[\\/]", (path or "").rstrip("\\/"))[-1]
