"""``whatsapp-flows graph``: a flow as a drawing."""

from __future__ import annotations

import argparse
import sys

from airflow_whatsapp_flows.errors import MissingExtraError
from airflow_whatsapp_flows.flow.inspect.graph import graph_of, mermaid, too_large_for_mermaid
from airflow_whatsapp_flows.flow_files import load_flow_file


def graph(options: argparse.Namespace) -> int:
    """Draw the flow; return 0, or 1 if the drawing cannot be created or written."""
    drawn = graph_of(load_flow_file(options.file))
    if options.format == "svg":
        from airflow_whatsapp_flows.drawing import draw

        try:
            text = draw(drawn)
        except MissingExtraError as error:
            print(f"{error}; --format mermaid needs no extra", file=sys.stderr)
            return 1
    else:
        text = mermaid(drawn)
        if too_large_for_mermaid(drawn, text):
            print(
                "the flow exceeds Mermaid's default limits: raise maxEdges and maxTextSize, or use --format svg",
                file=sys.stderr,
            )
    if options.output is None:
        # A drawing is for programs: UTF-8, whatever encoding the terminal uses.
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()
        return 0
    try:
        options.output.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        print(f"{options.output} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0
