"""Files to fetch, as the media URLs of WhatsApp messages would give."""

import struct
import zlib

from fastapi import APIRouter, Response

from demo_crm.bodies import RefusedError


def pdf(text: str) -> bytes:
    """A one-page PDF that shows a line of plain ASCII text."""
    stream = f"BT /F1 24 Tf 40 700 Td ({text}) Tj ET".encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources 6 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Font << /F1 5 0 R >> >>",
    ]
    document = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(document))
    return document + head + table + trailer


def png(side: int, red: int, green: int, blue: int) -> bytes:
    """A square PNG of one colour.

    Args:
        side: Pixels.
        red: 0 to 255.
        green: 0 to 255.
        blue: 0 to 255.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = (b"\0" + bytes((red, green, blue)) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def media_router() -> APIRouter:
    """`/media`."""
    router = APIRouter(prefix="/media")
    files = {
        "receipt.pdf": ("application/pdf", pdf("Receipt 1001: 459.00 MXN")),
        "photo.png": ("image/png", png(32, 37, 211, 102)),
    }

    @router.api_route("/{name}", methods=["GET", "HEAD"])
    async def show(name: str) -> Response:
        if name not in files:
            raise RefusedError(404, "not_found", f"There is no file {name}; there are {', '.join(files)}")
        media_type, content = files[name]
        return Response(content, media_type=media_type)

    return router
