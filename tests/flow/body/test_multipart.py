"""``multipart``: RFC 7578 as browsers write it, checked with Werkzeug and the email package."""

from __future__ import annotations

from email import message_from_bytes, policy
from io import BytesIO
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import parse_form_data

from airflow_whatsapp_flows.errors import MissingValueError, RenderError
from airflow_whatsapp_flows.flow.body import BodyType, EncodedBody, FileContent, FileSource, parse_body
from airflow_whatsapp_flows.flow.body.media_type import is_media_type
from airflow_whatsapp_flows.flow.template.language import Data
from tests.flow.body.dict_language import INJECTIONS, LANGUAGE, content, encode, fault_of, naughty_strings

FILE = FileContent(b"x")
PHOTO = {"name": "photo", "file": "{{ photo }}"}
URL = "https://media.example.com/a/b%20c.jpg?token=x#y"


def _read(encoded: EncodedBody) -> tuple[list[tuple[str, str]], list[tuple[str, str | None, str, bytes]]]:
    """Fields and files as Werkzeug reads them, after the email package found the same number of parts."""
    assert encoded.content_type
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": encoded.content_type,
        "CONTENT_LENGTH": str(len(encoded.content)),
        "wsgi.input": BytesIO(encoded.content),
    }
    _, form, files = parse_form_data(environ, silent=False)
    fields = list(form.items(multi=True))
    sent = []
    for name, file in files.items(multi=True):
        with file.stream:
            sent.append((name, file.filename, file.content_type, file.read()))
    head = f"Content-Type: {encoded.content_type}\r\n\r\n".encode()
    message = message_from_bytes(head + encoded.content, policy=policy.HTTP)
    assert len(list(message.iter_parts())) == len(fields) + len(sent)
    return fields, sent


def test_golden_bytes() -> None:
    body = [
        {"name": 'a"\r\nñ', "value": "{{ x }}"},
        {"name": "j", "value": '{"a":1}', "content_type": "application/json"},
        {"name": "photo", "file": "{{ url }}", "filename": 'fo"to\n.jpg', "content_type": "image/jpeg"},
    ]
    encoded = encode("multipart", body, {"x": ["1", None], "url": URL}, {URL: FileContent(b"\x00\xff\r\n")})
    assert encoded.content_type
    boundary = encoded.content_type.removeprefix("multipart/form-data; boundary=")
    assert len(boundary) <= 70
    expected = (
        '--B\r\nContent-Disposition: form-data; name="a%22%0D%0Añ"\r\n\r\n1\r\n'
        '--B\r\nContent-Disposition: form-data; name="a%22%0D%0Añ"\r\n\r\n\r\n'
        '--B\r\nContent-Disposition: form-data; name="j"\r\nContent-Type: application/json\r\n\r\n{"a":1}\r\n'
        '--B\r\nContent-Disposition: form-data; name="photo"; filename="fo%22to%0A.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode() + b"\x00\xff\r\n\r\n--B--\r\n"
    assert encoded.content == expected.replace(b"--B", b"--" + boundary.encode())


def test_object_of_text_fields() -> None:
    encoded = encode("multipart", {"a": "{{ x }}", "t": ["p", 2], "n": None, "b": True}, {"x": 1.5})
    assert _read(encoded) == ([("a", "1.5"), ("t", "p"), ("t", "2"), ("n", ""), ("b", "true")], [])


def test_empty() -> None:
    encoded = encode("multipart", {})
    assert encoded.content.startswith(b"------flow")
    assert encoded.content.endswith(b"--\r\n")


def test_data_is_never_a_template() -> None:
    assert _read(encode("multipart", Data({"a": "{{ x }}"})))[0] == [("a", "{{ x }}")]
    assert _read(encode("multipart", Data([{"name": "a", "value": "{{ x }}"}])))[0] == [("a", "{{ x }}")]


def test_file_sources_name_the_files_to_fetch() -> None:
    body = parse_body(BodyType.MULTIPART, [{"name": "a", "value": "{{ x }}"}, PHOTO], LANGUAGE)
    answer = {"url": URL, "filename": "me.jpg", "content_type": "image/jpeg", "size": 3}
    assert body.file_sources({"photo": answer}) == (
        FileSource("[1].file", URL, "me.jpg", "image/jpeg", from_answer=True),
    )
    assert body.file_sources({"photo": URL}) == (FileSource("[1].file", URL, from_answer=True),)
    assert [template.text for template in body.templates] == ["{{ x }}", "{{ photo }}"]


@pytest.mark.parametrize(
    ("flow", "answer", "fetched", "expected"),
    [
        (
            {"filename": "f", "content_type": "a/f"},
            {"filename": "a", "content_type": "a/a"},
            ("o", "a/o"),
            ("f", "a/f"),
        ),
        ({}, {"filename": "a", "content_type": "a/a"}, ("o", "a/o"), ("a", "a/a")),
        ({}, {"filename": None, "content_type": ""}, ("o", "a/o"), ("o", "a/o")),
        ({}, {}, (None, None), ("b c.jpg", "application/octet-stream")),
        ({}, {}, (None, "jpg\r\nX-Evil: 1"), ("b c.jpg", "application/octet-stream")),
    ],
)
def test_precedence_of_names_and_types(
    flow: dict[str, str], answer: dict[str, str], fetched: tuple[str, str], expected: tuple[str, str]
) -> None:
    files = {URL: FileContent(b"x", *fetched)}
    encoded = encode("multipart", [{**PHOTO, **flow}], {"photo": {"url": URL, **answer}}, files)
    assert _read(encoded) == ([], [("photo", *expected, b"x")])


@pytest.mark.parametrize(
    ("url", "name"),
    [("https://e.com", "file"), ("https://e.com/a/", "a"), ("/data/x#1?.pdf", "x#1?.pdf"), ("s3://b/k/é.txt", "é.txt")],
)
def test_last_segment_names_the_file(url: str, name: str) -> None:
    part = {"name": "photo", "file": url}
    assert _read(encode("multipart", [part], {}, {url: FileContent(b"")}))[1][0][1] == name


@pytest.mark.parametrize(
    ("file", "answer"),
    [
        pytest.param("{{ x }}", "secret.txt", id="path"),
        pytest.param("{{ x }}", {"url": "secret.txt"}, id="path-in-answer"),
        pytest.param("{{ x }}", {"url": "file:///etc/passwd"}, id="file-url"),
        pytest.param(" {{ x }}.pdf", "secret", id="no-folder"),
        pytest.param("receipts/{{ x }}", "../secret.txt", id="out-of-the-folder"),
    ],
)
def test_a_contact_cannot_choose_among_the_files_of_the_platform(file: str, answer: object) -> None:
    url = answer["url"] if isinstance(answer, dict) else str(answer)
    with pytest.raises(RenderError, match="web address"):
        encode("multipart", [{"name": "f", "file": file}], {"x": answer}, {url: FileContent(b"")})


def test_an_answer_may_be_a_part_of_a_path_below_a_folder() -> None:
    encoded = encode("multipart", [{"name": "f", "file": "receipts/{{ x }}.pdf"}], {"x": 7}, {"receipts/7.pdf": FILE})
    assert _read(encoded)[1][0][1] == "7.pdf"


@pytest.mark.parametrize(
    ("photo", "files", "where"),
    [
        (URL, {}, "[0].file"),
        (None, {}, "[0].file"),
        ("", {}, "[0].file"),
        ([URL], {}, "[0].file"),
        ({"filename": "a"}, {}, "[0].file"),
        ({"url": URL, "content_type": "a/b\r\nX-Evil: 1"}, {URL: FileContent(b"")}, "[0].content_type"),
        ({"url": URL, "filename": "\ud800"}, {URL: FileContent(b"")}, "[0]"),
        ({"url": URL, "filename": ["a"]}, {URL: FileContent(b"")}, "[0].filename"),
    ],
)
def test_a_file_that_cannot_be_sent_is_named(photo: object, files: dict[str, FileContent], where: str) -> None:
    with pytest.raises(RenderError) as caught:
        encode("multipart", [PHOTO], {"photo": photo}, files)
    assert caught.value.where == where


@pytest.mark.parametrize("filename", ["../../etc/passwd", "..\\passwd", "/passwd/", "passwd\\"])
def test_folders_are_not_part_of_a_filename(filename: str) -> None:
    answer = {"url": URL, "filename": filename}
    assert _read(encode("multipart", [PHOTO], {"photo": answer}, {URL: FileContent(b"")}))[1][0][1] == "passwd"


def test_missing_values_are_named() -> None:
    for body, where in (([PHOTO], "[0].file"), ({"a": "{{ x }}"}, "a")):
        with pytest.raises(MissingValueError) as caught:
            encode("multipart", body)
        assert caught.value.where == where


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a=1", "a multipart body must be"),
        ({"a": {"b": 1}}, "the field 'a' contains an object"),
        ([{"name": "a"}], "either 'value'"),
        ([{"name": "a", "value": 1, "file": "x"}], "either 'value'"),
        ([{"value": 1}], "must have a 'name'"),
        ([{"name": "a", "value": 1, "filename": "x"}], "cannot have 'filename'"),
        ([{"name": "{{ x }}", "value": 1}], "never a name"),
        ([{"name": "{{ x }}", "file": "x"}], "never a name"),
        ([{"name": "a", "value": 1, "content_type": "text/plain\r\nX-Evil: 1"}], "not a media type"),
        ([{"name": "a", "file": "x", "content_type": "jpeg"}], "not a media type"),
        ([{"name": "a", "file": ""}], "it is empty"),
        ([{"name": "a", "file": {"url": "x"}}], "must be text"),
        ([{"name": "\ud800", "file": "x"}], "surrogate"),
        ([1], "a part must be an object"),
    ],
)
def test_faults(body: object, message: str) -> None:
    assert message in fault_of("multipart", body).message


def test_a_templated_content_type_cannot_add_a_header() -> None:
    body = [{"name": "a", "value": "v", "content_type": "{{ t }}"}]
    assert b"Content-Type: text/csv\r\n\r\nv" in content("multipart", body, t="text/csv")
    with pytest.raises(RenderError, match="not a media type"):
        content("multipart", body, t="text/csv\r\nX-Evil: 1")


@pytest.mark.parametrize("text", ["a/b", "text/plain; charset=utf-8", 'a/b;x="q\\"; y"', "image/svg+xml", "a/b ; c=d"])
def test_media_types(text: str) -> None:
    assert is_media_type(text)


@pytest.mark.parametrize("text", ["", "a", "a/", "/b", "a/b\n", "a/b;x", "a/b; x=é", "a b/c", 'a/b;x="\r\n"', "a/b;"])
def test_no_media_types(text: str) -> None:
    assert not is_media_type(text)


def test_the_boundary_is_ours_and_is_in_no_value() -> None:
    first = encode("multipart", {"a": "{{ x }}"}, {"x": "v"})
    assert first == encode("multipart", {"a": "{{ x }}"}, {"x": "v"})
    assert first.content_type
    boundary = first.content_type.partition("boundary=")[2]
    value = f"v\r\n--{boundary}--\r\n"
    second = encode("multipart", {"a": "{{ x }}"}, {"x": value})
    assert second.content_type != first.content_type
    assert _read(second) == ([("a", value)], [])


def test_a_boundary_that_a_part_holds_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can find a hash collision, so the hash is replaced by one that collides."""
    digests = iter(["0" * 64, "1" * 64])

    class Digest:
        def update(self, data: bytes) -> None:
            pass

        def hexdigest(self) -> str:
            return next(digests)

    monkeypatch.setattr("airflow_whatsapp_flows.flow.body.multipart.sha256", Digest)
    encoded = encode("multipart", {"a": "----flow" + "0" * 40})
    assert encoded.content_type
    assert encoded.content_type.endswith("1" * 40)


@pytest.mark.parametrize("value", INJECTIONS)
def test_an_answer_stays_text(value: str) -> None:
    assert _read(encode("multipart", {"a": "{{ x }}", "b": "1"}, {"x": value})) == ([("a", value), ("b", "1")], [])


def test_naughty_strings_as_values_and_filenames() -> None:
    for value in naughty_strings():
        files = {URL: FileContent(b"x")}
        answer = {"url": URL, "filename": value}
        fields, sent = _read(
            encode("multipart", [{"name": "a", "value": "{{ x }}"}, PHOTO], {"x": value, "photo": answer}, files)
        )
        assert fields == [("a", value)]
        assert len(sent) == 1


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_round_trips(value: str) -> None:
    assert _read(encode("multipart", {"a": "{{ x }}"}, {"x": value})) == ([("a", value)], [])


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_every_name_round_trips(name: str) -> None:
    if "{{" not in name and "{%" not in name and "\\" not in name and name.strip() == name:
        fields, _ = _read(encode("multipart", {name: "v"}))
        assert unquote(fields[0][0]) == unquote(name)


@given(st.binary())
def test_every_file_round_trips(data: bytes) -> None:
    encoded = encode("multipart", [{"name": "photo", "file": "/f"}], {}, {"/f": FileContent(data)})
    assert _read(encoded) == ([], [("photo", "f", "application/octet-stream", data)])


def test_one_megabyte() -> None:
    value = "--\r\n" * 250_000
    assert value.encode() in content("multipart", {"a": "{{ x }}"}, x=value)
