"""A Werkzeug server that returns a parsed form as JSON."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response


@Request.application
def _echo(request: Request) -> Response:
    request.max_form_parts = 2_000
    request.max_form_memory_size = 5_000_000
    fields = {name: values if len(values) > 1 else values[0] for name, values in request.form.lists()}
    files = [
        {
            "name": name,
            "filename": file.filename,
            "type": file.content_type,
            "content": base64.b64encode(file.read()).decode(),
        }
        for name, file in request.files.items(multi=True)
    ]
    return Response(json.dumps({"fields": fields, "files": files}), mimetype="application/json")


@contextmanager
def running_werkzeug() -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; gives the URL."""
    server = make_server("127.0.0.1", 0, _echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
