"""Peak memory of reading a source with a cursor: it doesn't grow with the number of rows, read or left out.

Each source is read in its own process, from a watermark in its middle.

    python benchmarks/cursor.py [--rows 1000000]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py in it hides the standard library's.
    sys.path[0] = os.path.dirname(sys.path[0])

import argparse
import datetime as dt
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.watermark import Watermark
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.replay.sources.cursor import Cursor
from tests.process_memory import peak_memory

FEW = GROUP = 10_000  # what a Parquet reader holds is a group of rows
START = dt.datetime(2026, 1, 1)  # noqa: DTZ001  # a time without a zone, as in many tables
FLOW = {"flow_format": 1, "id": "leads", "steps": [{"name": "Hi", "type": "message", "body": "Hi"}]}
QUERY = 'SELECT id, phone AS "contact.phone", note AS "contact.meta.note", updated_at FROM leads'
IN_QUERY = f"{QUERY} WHERE updated_at >= :watermark OR :watermark IS NULL"
SOURCES = {
    "SQL, filtered as read": ("a.db", QUERY),
    "SQL, :watermark": ("a.db", IN_QUERY),
    "Parquet": ("a.parquet", ""),
}


def rows(first: int, last: int) -> Iterator[tuple[str, str, str, dt.datetime]]:
    for index in range(first, last):
        yield f"r-{index:07}", f"+5255{index:08}", f"note {index} " * 8, START + dt.timedelta(seconds=index)


def write(folder: Path, number: int) -> None:
    import pyarrow
    from pyarrow import parquet

    with closing(sqlite3.connect(folder / "a.db")) as connection, connection:
        connection.execute("CREATE TABLE leads (id, phone, note, updated_at)")
        connection.executemany(
            "INSERT INTO leads VALUES (?, ?, ?, ?)", ((*others, str(at)) for *others, at in rows(0, number))
        )
    names = ("id", "contact.phone", "contact.meta.note", "updated_at")
    schema = pyarrow.schema([*((name, pyarrow.string()) for name in names[:3]), (names[3], pyarrow.timestamp("us"))])
    with parquet.ParquetWriter(folder / "a.parquet", schema) as writer:
        for first in range(0, number, GROUP):
            columns = zip(*rows(first, min(first + GROUP, number)), strict=True)
            writer.write_table(pyarrow.table(dict(zip(names, map(list, columns), strict=True)), schema=schema))


def read(name: str, folder: Path, number: int) -> None:
    """Read a source from its middle on, and print the number of rows and the peak of the memory."""
    file, query = SOURCES[name]
    is_text = bool(query)
    middle = START + dt.timedelta(seconds=number // 2)
    watermark = Watermark("text_local_time", str(middle)) if is_text else Watermark("local_time", middle.isoformat())
    cursor = Cursor(column="updated_at", zone=dt.timezone.utc, watermark=watermark, overlap=0)
    spec = SourceSpec(
        location=f"sqlite:///{folder / file}" if query else str(folder / file),
        query=query or None,
        cursor=cursor,
        parameters={"watermark": watermark.value},
    )
    print(sum(1 for _ in open_source(spec, load_flow(FLOW))), peak_memory())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--read", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read[0], Path(options.read[1]), int(options.read[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        peaks: dict[tuple[str, int], int] = {}
        for number in (FEW, options.rows):
            folder = Path(name) / str(number)
            folder.mkdir()
            write(folder, number)
            for source in SOURCES:
                command = [sys.executable, __file__, "--read", source, str(folder), str(number)]
                found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                assert int(found[0]) == number - number // 2, found
                peaks[source, number] = int(found[1])
    for source in SOURCES:
        more = (peaks[source, options.rows] - peaks[source, FEW]) / 1e6
        whole = peaks[source, options.rows] / 1e6
        print(f"{source}: {more:+.1f} MB for {options.rows:,} rows (asked: ≤ 10), {whole:.1f} MB")


if __name__ == "__main__":
    main()
