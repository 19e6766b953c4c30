"""CSV: each record is a row or rejected, and text stays unchanged."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.errors import SourceError
from airflow_whatsapp_flows.replay.sources import SourceSpec, open_source
from airflow_whatsapp_flows.replay.sources.source import MAX_ROW_BYTES
from tests.replay.sources.reading import FLOW, codes, rows, rows_of, values

HEADER = "id,contact.phone,step.Ask name\n"
GOOD = "ok,+52,Ana\n"
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def test_a_record_is_a_row_of_text(tmp_path: Path) -> None:
    found = rows_of(tmp_path, "r.csv", HEADER + "001,+525512345678,Ana\n2,0049123, Bo \n")

    assert values(found) == [
        {"id": "001", "contact.phone": "+525512345678", "step.Ask name": "Ana"},
        {"id": "2", "contact.phone": "0049123", "step.Ask name": " Bo "},
    ]
    assert [(row.number, row.place) for row in found] == [(2, f"{tmp_path}/r.csv:2"), (3, f"{tmp_path}/r.csv:3")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_detects_delimiter_line_end_and_byte_order_mark(tmp_path: Path, delimiter: str, end: str, mark: bytes) -> None:
    header = delimiter.join(["id", '"contact.phone"', '"note, with; all\t|,,,;;;"'])
    content = header + end + delimiter.join(["1", "+52", "x"]) + end

    assert values(rows_of(tmp_path, "r.csv", mark + content.encode())) == [{"id": "1", "contact.phone": "+52"}]


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=4), st.sampled_from([",", ";", "\t", "|"]))
def test_every_text_is_read_as_it_was_written(cells: list[tuple[str, str]], delimiter: str) -> None:
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("contact.first_name", "step.Ask name"), *cells])
    with tempfile.TemporaryDirectory() as folder:
        found = rows_of(Path(folder), "r.csv", written.getvalue())

    assert [row.value or {} for row in found] == [
        {key: cell for key, cell in zip(("contact.first_name", "step.Ask name"), pair, strict=True) if cell}
        for pair in cells
    ]


def test_a_multiline_record_has_the_line_where_it_starts(tmp_path: Path) -> None:
    text = HEADER + '1,+52,"Ana\nMaría, ""la"" única\n\nfin"\n2,+53,Bo\n'

    found = rows_of(tmp_path, "r.csv", text)

    assert [row.number for row in found] == [2, 6]
    assert values(found)[0]["step.Ask name"] == 'Ana\nMaría, "la" única\n\nfin'


def test_an_empty_cell_is_absent_and_a_blank_line_is_no_row(tmp_path: Path) -> None:
    found = rows_of(tmp_path, "r.csv", HEADER + "\n1,,\n  \n\r\n,+52, \n\n")

    assert values(found) == [{"id": "1"}, {"contact.phone": "+52", "step.Ask name": " "}]
    assert [row.number for row in found] == [3, 6]


@pytest.mark.parametrize(
    ("record", "code", "words", "shown_id"),
    [
        ("r-1,+52\n", "cells", "2 cells, but the header has 3", "r-1"),
        ("r-1,+52,Ana,x\n", "cells", "4 cells", "r-1"),
        ("r-1\n", "cells", "1 cells", "r-1"),
        ('r-1,"+52\n",Ana,x\n', "cells", "(lines 3 to 4)", "r-1"),
        ("r-1,5.25512E+11,Ana\n", "scientific_phone", "scientific notation", "r-1"),
        ('r-1,"5,25512e+11",Ana\n', "scientific_phone", "text", "r-1"),
        (",,\n", "empty_row", "empty", None),
        ('r-1,"+52"x,Ana\n', "bad_csv", "expected after", None),
        ("r-1,+52,Ana\rLuz\n", "bad_csv", "new-line", None),
        (b"r-1,+52,Jos\xe9\n", "not_utf8", "save the file as UTF-8", "r-1"),
        (b"\xe9,+52,Ana\n", "not_utf8", "UTF-8", None),
        (b'r-1,+52,"Jos\xe9\nLuz"\n', "not_utf8", "(lines 3 to 4)", "r-1"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_bad_record_is_rejected_and_the_next_one_is_read(
    tmp_path: Path, record: str | bytes, code: str, words: str, shown_id: str | None
) -> None:
    bad = record.encode() if isinstance(record, str) else record
    found = rows_of(tmp_path, "r.csv", (HEADER + GOOD).encode() + bad + GOOD.encode())

    assert codes(found) == ["ok", code, "ok"]
    assert words in str(found[1].problem)
    assert (found[1].number, found[1].shown_id) == (3, shown_id)
    assert found[2].number == 3 + bad.count(b"\n")


BIG = "x" * 5_000_000


@pytest.mark.parametrize(
    "cell",
    [
        BIG,
        f'"{BIG}"',
        f'"{BIG}\nmore, and ""more""\n\n"',
        '"' + "line\n" * 1_000_000 + '"',
        '"' + f'{BIG}""\n' * 2 + '"',
    ],
    ids=["plain", "quoted", "quoted, lines after", "many lines", "two long lines"],
)
def test_a_record_that_is_too_large_is_rejected_as_a_whole(tmp_path: Path, cell: str) -> None:
    found = rows_of(tmp_path, "r.csv", HEADER + GOOD + f"r-1,+52,{cell}\n" + GOOD)

    assert codes(found) == ["ok", "too_large", "ok"]
    assert [row.number for row in found] == [2, 3, 4 + cell.count("\n")]


def test_reads_a_large_cell_and_restores_the_csv_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit(100_000)
    (tmp_path / "r.csv").write_text(HEADER + f"1,+52,{'x' * (MAX_ROW_BYTES - 10)}\n" * 2)
    one, other = (iter(open_source(SourceSpec(str(tmp_path / "r.csv")), FLOW)) for _ in range(2))

    next(one), next(other)
    assert list(map(len, (str(row.value) for row in one))) == list(map(len, (str(row.value) for row in other)))
    assert csv.field_size_limit(before) == 100_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty; the first line of a CSV file must name the columns"),
        ("\n \n", "is empty"),
        ("1,+525512345678,Ana\n", r"no column is a key of a contact response; found '1', '\+52551"),
        ("id,contact.phone\r1,+52\r", "is not one line: end lines in LF"),
        ('id,"contact.phone"x\n', "the header is not CSV"),
        ('id,"contact.phone\n1,2\n', "the header is not CSV"),
        ("id," + BIG, "the header has more than"),
        ('id,"' + BIG, r"r\.csv:1: a quote in this record is never closed"),
        ("id,contact.phone,contact.phone\n", r"'contact\.phone' appears twice"),
        (
            "id,step.Ask nam\n",
            r"r\.csv:1: the column 'step\.Ask nam' is not named after a question .* did you mean 'Ask name'",
        ),
        ("id,step.Thanks\n", "is not named after a question or menu of the flow 'f'"),
        ("id,contcat.phone\n", "unknown column 'contcat.phone': .* did you mean 'contact'"),
        ("id,contact. \n", "no name after the dot"),
        ('id,contact.phone\n1,"+52\n2,+53\n', r"r\.csv:2: a quote in this record is never closed"),
        pytest.param('id\n1\n"2\n' + "3\n" * 3_000_000, r"r\.csv:3: a quote in this record is never", id="far"),
    ],
    ids=lambda value: value[:24],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        rows_of(tmp_path, "r.csv", content)


def test_a_header_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"r\.csv:1: not UTF-8; save the file as UTF-8"):
        rows_of(tmp_path, "r.csv", "id,Teléfono\n".encode("latin-1"))


class TestColumns:
    TEXT = "Folio;Teléfono ;Nro. Cliente;id;phone\n7;+52;x;other;y\n"

    def test_custom_columns_are_mapped_or_ignored(self, tmp_path: Path) -> None:
        columns = {"contact.phone": "Teléfono", "contact.meta.plan": "Teléfono"}

        found = rows_of(tmp_path, "r.csv", self.TEXT, columns=columns, id_column="Folio")

        assert values(found) == [{"id": "7", "contact.phone": "+52", "contact.meta.plan": "+52"}]

    def test_a_mapping_overrides_a_column_of_that_name(self, tmp_path: Path) -> None:
        text = "contact.phone,Teléfono\nwrong,right\n"

        found = rows_of(tmp_path, "r.csv", text, columns={"contact.phone": "Teléfono"})

        assert values(found) == [{"contact.phone": "right"}]

    def test_a_name_may_hold_delimiters_and_line_breaks(self, tmp_path: Path) -> None:
        text = 'id,"Your phone,\n""mobile"""\n1,+52\n'

        found = rows_of(tmp_path, "r.csv", text, columns={"contact.phone": 'Your phone,\n"mobile"'})

        assert values(found) == [{"id": "1", "contact.phone": "+52"}]
        assert found[0].number == 3

    def test_rejects_a_row_without_the_named_id(self, tmp_path: Path) -> None:
        assert codes(rows_of(tmp_path, "r.csv", HEADER + ",+52,\n")) == ["ok"]
        assert codes(rows_of(tmp_path, "r.csv", HEADER + ",+52,\n", id_column="id")) == ["no_id"]

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            ({"columns": {"contact.phone": "Telefono"}}, "no column 'Telefono' for 'contact.phone'; did you mean 'Tel"),
            ({"id_column": "folio_"}, "there is no column 'folio_' for the id; did you mean 'Folio'"),
            ({"columns": {"step.Nobody": "phone"}}, "is not named after a question or menu"),
            ({"columns": {"phone": "phone"}}, "'phone' is not a key of a contact response; keys are id, created_on"),
            ({"columns": {"contcat.phone": "phone"}}, "did you mean 'contact'"),
            ({"columns": {"id": "phone"}, "id_column": "Folio"}, "use one of them"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_requested_items_must_exist(self, tmp_path: Path, keys: dict[str, object], words: str) -> None:
        with pytest.raises(SourceError, match=words):
            rows_of(tmp_path, "r.csv", self.TEXT, **keys)

    def test_reads_menu_options_as_answers(self, tmp_path: Path) -> None:
        assert values(rows_of(tmp_path, "r.csv", "step.Choose\nSales\n")) == [{"step.Choose": "Sales"}]

    def test_accepts_a_dot_in_the_step_of_a_column(self, tmp_path: Path) -> None:
        assert values(rows_of(tmp_path, "r.csv", "step.v1.2 rate\n5\n")) == [{"step.v1.2 rate": "5"}]


def test_names_of_nested_keys_are_custom_columns(tmp_path: Path) -> None:
    found = rows_of(tmp_path, "r.csv", "id,contact,actions,created_on\n1,Ana,call,2026-11-20\n")

    assert values(found) == [{"id": "1", "created_on": "2026-11-20"}]


def test_every_file_of_several_has_its_own_header(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("contact.phone;id\n+53;2\n")
    (tmp_path / "a.tsv").write_text("id\tcontact.phone\n1\t+52\n")

    found = rows(tmp_path / "*")

    assert values(found) == [{"id": "1", "contact.phone": "+52"}, {"id": "2", "contact.phone": "+53"}]
    assert [row.number for row in found] == [2, 2]
