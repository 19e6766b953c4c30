"""``whatsapp-flows schema``: the JSON Schema of flow files, as shipped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from airflow_whatsapp_flows.cli import REFUSED

SCHEMA_FILE = "flow-format-1.schema.json"


def schema(options: argparse.Namespace) -> int:
    """Print or write the schema; return 0, or 1 if it cannot be written."""
    content = schema_bytes()
    if options.output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return 0
    try:
        options.output.write_bytes(content)
    except OSError as error:
        print(f"{options.output}: the schema cannot be written: {error.strerror}", file=sys.stderr)
        return REFUSED
    print(f"written: {options.output}", file=sys.stderr)
    return 0


def schema_bytes() -> bytes:
    """Return the schema in UTF-8, byte for byte as in the package."""
    return (Path(__file__).parents[1] / SCHEMA_FILE).read_bytes()
