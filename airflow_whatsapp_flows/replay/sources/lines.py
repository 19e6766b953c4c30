"""Lines of a text file in UTF-8, as bytes."""

from __future__ import annotations

import codecs
from typing import BinaryIO

from airflow_whatsapp_flows.errors import SourceError

_CHUNK_BYTES = 65_536


def check_encoding(first_line: bytes, name: str) -> bytes:
    """Return the first line of a file without its byte order mark.

    Raises:
        SourceError: the mark is not that of UTF-8, or the content is compressed.
    """
    if first_line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SourceError(f"{name}: is UTF-16; save it as UTF-8")
    if first_line.startswith(b"\x1f\x8b"):
        raise SourceError(f"{name}: is compressed with gzip; decompress it, or rename it to end with .gz")
    if first_line.startswith(b"PK\x03\x04"):
        raise SourceError(f"{name}: is an Excel file or a zip archive; export it as CSV in UTF-8")
    return first_line.removeprefix(codecs.BOM_UTF8)


def skip_line(stream: BinaryIO) -> int:
    """Skip to the end of a line, keeping little in memory; return the number of double quotes in the rest."""
    quotes = 0
    while chunk := stream.readline(_CHUNK_BYTES):
        quotes += chunk.count(b'"')
        if chunk.endswith(b"\n"):
            break
    return quotes
