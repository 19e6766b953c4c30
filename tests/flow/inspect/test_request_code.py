"""A request as a curl command and as Python: both send the same bytes, whatever a stranger answered."""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.inspect.request_code import curl_command, python_code, why_not_copied
from airflow_whatsapp_flows.flow.inspect.request_parts import RequestParts, Secret, shows_hidden, split_request
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.flow.reply.hidden import NOTHING_HIDDEN, Hidden
from airflow_whatsapp_flows.flow.request.messages import HttpRequest
from airflow_whatsapp_flows.flow.request.url import parse_parameters, parse_url
from airflow_whatsapp_flows.flow.template.caged import CagedLanguage
from airflow_whatsapp_flows.flow.template.references import Reference
from airflow_whatsapp_flows.flow.template.variables import Variables
from tests.servers.recording import Received, RecordingServer

CANARY = "s3cret-canary-7291-Zq"
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
HAS_CURL = shutil.which("curl") is not None and bool(SHELLS)
needs_curl = pytest.mark.skipif(not HAS_CURL, reason="there is no curl")
NASTY = "it's $HOME `id` \"x\" \\n %s %% !! \u202e\u2028é😀\x00\x1b[31m\r\n\t' ; rm -rf x #"
TEXTS = st.text(max_size=40) | st.sampled_from(
    [NASTY, "'", "\\", "%", "@file", "-d", "a\n'b", "***{=}***", "***{x}***"]
)
HEADER_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30).map(str.strip)


@pytest.fixture(scope="module")
def server() -> Iterator[RecordingServer]:
    found = RecordingServer()
    yield found
    found.close()


def run(command: str, shell: str, variables: Mapping[str, str] | None = None) -> None:
    env = {"PATH": os.environ["PATH"], **(variables or {})}
    done = subprocess.run([shell, "-c", command], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def send_by_curl(
    server: RecordingServer, parts: RequestParts, variables: Mapping[str, str] | None = None, shell: str = SHELLS[0]
) -> Received:
    server.received.clear()
    run(curl_command(parts).replace("curl ", "curl --silent ", 1), shell, variables)
    [received] = server.received
    return received


def send_by_python(server: RecordingServer, parts: RequestParts) -> Received:
    server.received.clear()
    exec(compile(python_code(parts), "copied", "exec"), {"print": lambda *_: None})
    [received] = server.received
    return received


def url(server: RecordingServer, path: str = "/x", query: Mapping[str, Any] | None = None) -> str:
    language = CagedLanguage()
    plan = parse_url(server.url + path, language, has_connection=False)
    return plan.with_parameters(parse_parameters(query, language)).build({})


def target(request: HttpRequest, server: RecordingServer) -> str:
    return request.url.removeprefix(server.url)


def request_of(server: RecordingServer, content: bytes, headers: Any = (), **more: Any) -> HttpRequest:
    return HttpRequest("POST", url(server, **more), tuple(headers), content)


def check(received: Received, request: HttpRequest, server: RecordingServer) -> None:
    assert (received.method, received.target, received.content) == (
        request.method,
        target(request, server),
        request.content,
    )
    for name, value in request.headers:
        assert received.header(name) == value


@needs_curl
@given(text=TEXTS, query=TEXTS, header=HEADER_VALUES)
@example(text=NASTY, query=NASTY, header='it\'s "$HOME" `id` \\ !x %')
@example(text="", query="", header="")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_command_sends_the_same_bytes(server: RecordingServer, text: str, query: str, header: str) -> None:
    content = text.encode("utf-8", "replace")
    quoted = "".join(f"%{byte:02X}" for byte in query.encode("utf-8", "replace"))
    address = f"{server.url}/a/{{b}}/[c]/../d?q={quoted}&e=1"
    request = HttpRequest("POST", address, (("X-Answer", header), ("Content-Type", "text/plain")), content)
    parts = split_request(request, NOTHING_HIDDEN, "Idempotency-Key")
    for shell in SHELLS:
        check(send_by_curl(server, parts, shell=shell), request, server)


@given(text=TEXTS, header=HEADER_VALUES)
@example(text=NASTY, header='it\'s "$HOME" `id` \\ !x %')
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_python_code_sends_the_same_bytes(server: RecordingServer, text: str, header: str) -> None:
    headers = (("X-Answer", header), ("Content-Type", "text/plain"))
    request = request_of(server, text.encode("utf-8", "replace"), headers, query={"q": "a b/ü&='"})
    check(send_by_python(server, split_request(request, NOTHING_HIDDEN, "Idempotency-Key")), request, server)


@given(text=TEXTS, header=HEADER_VALUES)
@settings(deadline=None)
def test_a_shell_reads_every_answer_as_one_word(text: str, header: str) -> None:
    request = HttpRequest("POST", "https://x.example/", (("X-A", header),), text.encode("utf-8", "replace"))
    command = curl_command(split_request(request, NOTHING_HIDDEN, "Idempotency-Key"))
    words = shlex.split(command.replace("\\\n", " "))
    if header:
        assert f"X-A: {header}" in words
    if text and text.replace("\n", "").isprintable():
        assert words[words.index("--data-raw") + 1] == text
    assert command.replace("\n", "").isprintable()


@needs_curl
@pytest.mark.parametrize("content", [bytes(range(256)), b"\xff\xfe%s\\'%d", b"--b\r\nA: b\r\n\r\n\x00\r\n--b--\r\n"])
def test_binary_and_multipart_content_is_sent_as_it_was(server: RecordingServer, content: bytes) -> None:
    request = request_of(server, content, [("Content-Type", "multipart/form-data; boundary=b")])
    parts = split_request(request, NOTHING_HIDDEN, "Idempotency-Key")
    for shell in SHELLS:
        check(send_by_curl(server, parts, shell=shell), request, server)
    check(send_by_python(server, parts), request, server)


@needs_curl
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "POST", "PATCH"])
def test_a_request_without_content_has_none(server: RecordingServer, method: str) -> None:
    request = HttpRequest(method, url(server), (("X-Empty", ""),))
    parts = split_request(request, NOTHING_HIDDEN, "Idempotency-Key")
    received = send_by_curl(server, parts)
    check(received, request, server)
    assert received.header("Content-Type") is None


@needs_curl
def test_content_without_a_type_gets_none(server: RecordingServer) -> None:
    parts = split_request(request_of(server, b"a=b"), NOTHING_HIDDEN, "Idempotency-Key")
    assert send_by_curl(server, parts).header("Content-Type") is None


def secret_request(server: RecordingServer) -> tuple[HttpRequest, Hidden]:
    """A request with a secret wherever one can be."""
    flow = load_flow(
        {
            "flow_format": 1,
            "id": "x",
            "steps": [
                {"name": "Hook", "type": "action", "url": f"https://hooks.example/catch/{CANARY}77aB90/x", "body": {}}
            ],
        }
    )
    assert flow.literals, "the flow has no secret"
    hidden = Hidden([Reference("contact", ("pin",), "contact.pin")], flow.literals)
    pin = f"{CANARY} \"q\" 'x'"
    hidden.note(Variables(contact={"pin": pin}))
    [literal] = flow.literals
    content = json.dumps({"pin": pin, "again": pin.upper(), "token": f"{CANARY}-t", "plain": "it's", "hook": literal})
    path = url(server, f"/catch/{literal}", {"pin": pin, "api_key": CANARY, "q": "1"})
    headers = (
        ("Content-Type", "application/json"),
        ("X-Api-Key", f"{CANARY}-h"),
        ("X-Note", f"with {literal} in it"),
        ("Idempotency-Key", "k-1"),
    )
    return HttpRequest("POST", path, headers, content.encode(), "my crm"), hidden


def test_secrets_are_variables(server: RecordingServer) -> None:
    request, hidden = secret_request(server)
    parts = split_request(request, hidden, "Idempotency-Key")
    for text in (curl_command(parts), python_code(parts)):
        assert "canary" not in text.lower()
        assert "7291" not in text
        assert "k-1" in text
        for variable in parts.variables:
            assert variable in text
    assert (
        parts.variables["WF_MY_CRM_AUTHORIZATION"] == "the Authorization header that the connection my crm adds, if any"
    )
    assert {"WF_X_API_KEY", "WF_API_KEY", "WF_FLOW_SECRET", "WF_CONTACT_PIN", "WF_TOKEN"} <= parts.variables.keys()


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_sends_what_the_variables_hold(server: RecordingServer, shell: str) -> None:
    request, hidden = secret_request(server)
    parts = split_request(request, hidden, "Idempotency-Key")
    in_url = {one.variable for one in parts.target if isinstance(one, Secret)}
    values = {name: f"{name}.1" if name in in_url else f"<{name} $x'\">" for name in parts.variables}
    del values["WF_MY_CRM_AUTHORIZATION"]
    expected = [_fill(pieces or [], values) for pieces in (parts.target, parts.content)]
    received = send_by_curl(server, parts, values, shell)
    assert received.target == expected[0]
    assert received.content.decode() == expected[1]
    assert received.header("X-Api-Key") == values["WF_X_API_KEY"]
    assert received.header("Authorization") is None  # an empty variable adds none
    received = send_by_curl(server, parts, {**values, "WF_MY_CRM_AUTHORIZATION": "Bearer x"}, shell)
    assert received.header("Authorization") == "Bearer x"


def _fill(pieces: Any, values: Mapping[str, str]) -> str:
    return "".join(values[one.variable] if isinstance(one, Secret) else one for one in pieces)


def test_the_python_code_reads_the_variables(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    request, hidden = secret_request(server)
    parts = split_request(request, hidden, "Idempotency-Key")
    values = {name: f"<{name}>" for name in parts.variables}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    received = send_by_python(server, parts)
    assert received.content.decode() == _fill(parts.content, values)
    assert received.header("X-Api-Key") == "<WF_X_API_KEY>"


@pytest.mark.parametrize("name", ["api_key;touch x;", "token`id`", "key'\n!touch x", "secret\r\u2028x"])
def test_no_name_of_a_flow_is_a_comment(name: str) -> None:
    """An interactive zsh runs what stands behind a ``#``."""
    content = json.dumps({name: "hunter22-and-more", "a": "b"})
    address = f"https://x.example/a?{quote(name)}=hunter22"
    request = HttpRequest("POST", address, ((f"{name}-a".split("\n")[0], "v"),), content.encode(), f"crm\n{name}")
    parts = split_request(request, NOTHING_HIDDEN, "Idempotency-Key")
    assert any(name in about for about in parts.variables.values())
    assert curl_command(parts).startswith("curl ")
    assert not [word for word in shlex.split(curl_command(parts), comments=False) if word.startswith("#")]
    tree = ast.parse(python_code(parts))
    assert len(tree.body) == len(python_code(parts).splitlines()) - 2  # an empty line, and the body of an "if"


def test_long_content_is_not_copied() -> None:
    for content in (b"x" * 70_000, b"\xff" * 70_000):
        assert "70,000 bytes" in (why_not_copied(HttpRequest("POST", "https://x.example/", (), content)) or "")
    assert why_not_copied(HttpRequest("GET", "https://x.example/")) is None
    assert "HEAD" in (why_not_copied(HttpRequest("HEAD", "https://x.example/", (), b"x")) or "")


def hide(value: str) -> Hidden:
    hidden = Hidden([Reference("contact", ("pin",), "contact.pin")])
    hidden.note(Variables(contact={"pin": value}))
    return hidden


@pytest.mark.parametrize(
    "value",
    [f"my pwd: hunter22 and SSN 123-45-{CANARY}", f"card token=abcd1234 {CANARY}", f"sk_live_{'a' * 20} {CANARY}"],
)
@pytest.mark.parametrize("around", ['{{"note": "{}"}}', "note {}", "a=1&note={}", '{{"password": "x-{}-7291"}}'])
def test_a_sensitive_value_with_a_credential_in_it_is_one_variable(value: str, around: str) -> None:
    request = HttpRequest("POST", "https://x.example/", (), around.format(value).encode())
    parts = split_request(request, hide(value), "")
    for text in (curl_command(parts), python_code(parts)):
        for part in ("canary", "7291", "hunter22", "SSN", "card"):
            assert part not in text
    assert list(parts.variables) in (["WF_CONTACT_PIN"], ["WF_PASSWORD"], ["WF_CONTACT_PIN", "WF_PASSWORD"])
    assert not shows_hidden(parts, hide(value))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (f"O'Brien & Sons {CANARY}", f"<a>O'Brien &amp; Sons {CANARY}</a>"),
        (f"{CANARY}\nline two", f'<a b="{CANARY}&#10;line two"/>'),
        (f"é\u2028{CANARY}", f'a: "é\\u2028{CANARY}"'),
        (f"a/b {CANARY}", f"data=%7B%22a%22%3A%22a%5C%2Fb%20{CANARY}%22%7D"),
    ],
)
def test_finds_sensitive_values_in_forms_that_are_not_hidden(value: str, written: str) -> None:
    parts = split_request(HttpRequest("POST", "https://x.example/", (), written.encode()), hide(value), "")
    assert shows_hidden(parts, hide(value)) == (CANARY in curl_command(parts))
    assert shows_hidden(parts, hide(value))
    other = split_request(HttpRequest("POST", "https://x.example/", (), written.encode()), hide("another"), "")
    assert not shows_hidden(other, hide("another"))


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("content", ['{"token": "hunter22"}', '{"token": "hunter22", "x": "\x00"}'])
def test_nothing_is_sent_with_a_variable_that_is_not_set(server: RecordingServer, shell: str, content: str) -> None:
    command = curl_command(split_request(request_of(server, content.encode()), NOTHING_HIDDEN, ""))
    server.received.clear()
    done = subprocess.run([shell, "-c", command], env={"PATH": os.environ["PATH"]}, capture_output=True, check=False)
    assert done.returncode != 0
    assert b"WF_TOKEN" in done.stderr
    assert server.received == []


def test_no_two_secrets_have_one_variable() -> None:
    content = b'[{"token": "first111"}, {"token": "second22"}, {"token": "first111"}]'
    request = HttpRequest("POST", "https://x.example/", (("token-2", "AAAA"), ("PATH_token", "BBBB")), content)
    parts = split_request(request, NOTHING_HIDDEN, "")
    assert list(parts.variables) == ["WF_TOKEN_2", "WF_PATH_TOKEN", "WF_TOKEN", "WF_TOKEN_3"]


@pytest.mark.parametrize("path", ["/a%7Eb?q=%7e", "//a/b", "/a/../%2e%2e/b", "/x?", "/a%zz"])
def test_python_sends_the_target_as_it_was(server: RecordingServer, path: str) -> None:
    parts = split_request(HttpRequest("GET", server.url + path), NOTHING_HIDDEN, "")
    received = send_by_python(server, parts)
    assert received.target.replace("//a", "/a") == path.replace("//a", "/a")  # the server joins slashes


def test_python_uses_no_netrc_or_proxy(
    server: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ana password x\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    received = send_by_python(server, split_request(request_of(server, b"x"), NOTHING_HIDDEN, ""))
    assert received.header("Authorization") is None


def test_the_python_code_compiles_on_its_own(server: RecordingServer) -> None:
    request, hidden = secret_request(server)
    code = python_code(split_request(request, hidden, "Idempotency-Key"))
    subprocess.run([sys.executable, "-c", f"compile({code!r}, 'x', 'exec')"], check=True)
