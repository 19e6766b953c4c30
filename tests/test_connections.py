"""Connections are read as Airflow reads them, and every fault names its connection and field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.connections import (
    ConnectionFields,
    action_connection,
    connection_from_environment,
)
from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.flow.request.messages import HttpRequest


def _airflows(text: str) -> dict[str, Any]:
    from airflow.sdk import Connection

    made = Connection.from_json(text, "crm") if text.startswith("{") else Connection.from_uri(text, "crm")
    return {
        "type": made.conn_type,
        "host": made.host or None,
        "schema": made.schema or None,
        "port": made.port,
        "login": made.login or None,
        "password": made.password or None,
        "extra": json.loads(made.extra) if made.extra else {},
    }


def _ours(text: str) -> dict[str, Any]:
    fields = connection_from_environment("crm", {"AIRFLOW_CONN_CRM": text})
    return {
        "type": fields.type,
        "host": fields.host,
        "schema": fields.schema,
        "port": fields.port,
        "login": fields.login,
        "password": fields.password,
        "extra": dict(fields.extra),
    }


@pytest.mark.parametrize(
    "text",
    [
        "http://crm.example",
        "https://crm.example",
        "http://CRM.Example:8080",
        "http://crm.example:8080/https",
        "http://ana:s%2Fec%3Aret%40%25@crm.example/https",
        "http://ana@crm.example",
        "http://:tok@crm.example",
        "http://ana:@crm.example",
        "http://a+b:c+d@crm.example",
        "http://%C3%A1na:%F0%9F%98%80@crm.example",
        "http://crm.example/https?timeout=5&X-A=b%20c&empty=",
        "http://crm.example?a=1&a=2",
        "http://crm.example/?__extra__=%7B%22a%22%3A+1%7D",
        "http://crm.example/?__extra__=%7B%22a%22%3A%201%7D&b=2",
        "http://https://crm.example",
        "http://https://crm.example:8443/https",
        "http://https://ana:s%2F@crm.example/v1?a=1",
        "http://crm%2Eexample%2Fapi/https",
        "http://[::1]:8080/http",
        "http://10.0.0.1:80",
        "whatsapp-action://crm.example",
        "whatsapp-action://https://ana:pw@crm.example:8443?auth=basic",
        "whatsapp-action://:tok@https%3A%2F%2Fcrm.example%2Fapi/",
        "whatsapp-action://crm.example/https/",
        "HTTP://crm.example",
        "postgres://u:p@h:5432/db",
        "http://",
        "http://?a=b",
        '{"conn_type": "http", "host": "crm.example", "port": 8080, "schema": "https"}',
        '{"conn_type": "http", "host": "crm.example", "port": "8080"}',
        '{"conn_type": "whatsapp-action", "host": "https://crm.example/api", "login": "a", "password": "b/c"}',
        '{"conn_type": "http", "host": "h", "extra": {"a": {"b": [1]}}}',
        '{"conn_type": "http", "host": "h", "extra": "{\\"a\\": 1}"}',
        '{"conn_type": "http", "host": "h", "extra": ""}',
        '{"conn_type": "http", "host": "h", "extra": null, "port": null, "login": null}',
        '{"conn_type": "http", "host": "h", "description": "the CRM"}',
    ],
)
def test_parses_a_connection_like_airflow(text: str) -> None:
    assert _ours(text) == _airflows(text)


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@given(
    login=_TEXT, password=_TEXT, port=st.none() | st.integers(1, 65535), extra=st.dictionaries(_TEXT, _TEXT, max_size=3)
)
def test_parses_every_uri_written_by_airflow(
    login: str, password: str, port: int | None, extra: dict[str, str]
) -> None:
    from airflow.sdk import Connection

    made = Connection(
        conn_id="crm", conn_type="http", host="crm.example", login=login, password=password, port=port,
        schema="https", extra=json.dumps(extra),
    )  # fmt: skip
    uri = made.get_uri()
    assert _ours(uri) == _airflows(uri)
    assert (_ours(uri)["login"] or "", _ours(uri)["password"] or "") == (login, password)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        pytest.param(None, ["'crm'", "AIRFLOW_CONN_CRM"], id="absent"),
        pytest.param("  ", ["'crm'", "AIRFLOW_CONN_CRM"], id="blank"),
        pytest.param("{not json", ["AIRFLOW_CONN_CRM", "JSON"], id="not-json"),
        pytest.param('{"port": "x"}', ["AIRFLOW_CONN_CRM", "port"], id="json-port"),
        pytest.param('{"host": 5}', ["AIRFLOW_CONN_CRM", "host"], id="json-host"),
        pytest.param('{"port": 1.5}', ["AIRFLOW_CONN_CRM", "port"], id="json-port-float"),
        pytest.param('{"extra": "{s3cret"}', ["AIRFLOW_CONN_CRM", "extra"], id="json-extra"),
        pytest.param('{"extra": [1]}', ["AIRFLOW_CONN_CRM", "extra"], id="json-extra-list"),
        pytest.param("http://ana:s3cret@h:port", ["AIRFLOW_CONN_CRM", "port"], id="uri-port"),
        pytest.param("http://ana:s3cret@h:99999", ["AIRFLOW_CONN_CRM", "port"], id="uri-port-range"),
        pytest.param("http://h/?__extra__=%7Bs3cret", ["AIRFLOW_CONN_CRM", "__extra__"], id="uri-extra"),
        pytest.param("whatsapp_action://ana:s3cret@h", ["AIRFLOW_CONN_CRM", "whatsapp-action"], id="uri-underscore"),
        pytest.param("http://ana:s3cret@[::1", ["AIRFLOW_CONN_CRM"], id="uri-bracket"),
    ],
)
def test_an_unreadable_variable_is_named_and_not_shown(variable: str | None, words: list[str]) -> None:
    with pytest.raises(ConnectionConfigError) as raised:
        connection_from_environment("crm", {} if variable is None else {"AIRFLOW_CONN_CRM": variable})
    for word in words:
        assert word in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        pytest.param({"host": None}, "host", id="no-host"),
        pytest.param({"host": " "}, "host", id="blank-host"),
        pytest.param({"host": "ftp://h"}, "http or https", id="scheme-of-host"),
        pytest.param({"host": "h", "schema": "ftp"}, "schema", id="schema"),
        pytest.param({"host": "https://a:s3cret@h"}, "host", id="credentials-in-host"),
        pytest.param({"host": "https://h/?a=1"}, "host", id="query-in-host"),
        pytest.param({"host": "https://h/#a"}, "host", id="fragment-in-host"),
        pytest.param({"host": "https://"}, "host", id="scheme-only"),
        pytest.param({"host": "https:///path"}, "host", id="no-name"),
        pytest.param({"host": "https://h:x"}, "host", id="port-of-host"),
        pytest.param({"host": "https://[::1"}, "host", id="bracket"),
        pytest.param({"host": "h", "port": 99999}, "port", id="port"),
        pytest.param({"host": "h", "extra": {"timeout": 0}}, "timeout", id="timeout-0"),
        pytest.param({"host": "h", "extra": {"timeout": "soon"}}, "timeout", id="timeout-text"),
        pytest.param({"host": "h", "extra": {"timeout": True}}, "timeout", id="timeout-bool"),
        pytest.param({"host": "h", "extra": {"timeout": float("inf")}}, "timeout", id="timeout-inf"),
        pytest.param({"host": "h", "extra": {"verify": 5}}, "verify", id="verify"),
        pytest.param({"host": "h", "extra": {"headers": [1]}}, "headers", id="headers"),
        pytest.param({"host": "h", "extra": {"headers": "{x"}}, "headers", id="headers-text"),
        pytest.param({"host": "h", "extra": {"headers": {"X": {"a": 1}}}}, "header 'X'", id="headers-nested"),
        pytest.param({"host": "h", "extra": {"headers": {"X\n": "a"}}}, "headers", id="headers-name"),
        pytest.param({"host": "h", "extra": {"headers": {"X": "a\r\nb"}}}, "header 'X'", id="headers-value"),
        pytest.param({"host": "h", "extra": {"proxy": 5}}, "proxy", id="proxy"),
        pytest.param({"host": "h", "extra": {"auth": "digest"}}, "auth", id="auth"),
        pytest.param({"host": "h", "extra": {"auth": "bearer"}}, "password", id="auth-without-secret"),
    ],
)
def test_an_unusable_field_is_named_with_its_connection(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ConnectionConfigError) as raised:
        action_connection(ConnectionFields(id="crm", type="whatsapp_action", **fields))
    assert "'crm'" in str(raised.value)
    assert word in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("kind", ["http", "whatsapp_action"])
@pytest.mark.parametrize(
    ("extra", "header"),
    [
        pytest.param({"headers": {"Ñandú": "a"}}, "Ñandú", id="name"),
        pytest.param({"headers": {"": "a"}}, "''", id="empty-name"),
        pytest.param({"headers": {"X-A": "s3cret-ñ"}}, "X-A", id="beyond-ascii"),
        pytest.param({"headers": {"X-A": "s3cret\r\nX-B: c"}}, "X-A", id="line-break"),
        pytest.param({"headers": {"X-A": "s3cret" * 2000}}, "X-A", id="long"),
        pytest.param({"headers": {"X-A": ["s3cret"]}}, "X-A", id="list"),
    ],
)
def test_an_unsendable_header_is_named_and_its_value_not_shown(kind: str, extra: dict[str, Any], header: str) -> None:
    with pytest.raises(ConnectionConfigError) as raised:
        action_connection(ConnectionFields(id="crm", type=kind, host="h", extra=extra))
    assert "'crm'" in str(raised.value)
    assert header in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"type": "whatsapp_action", "password": "s3cret\n5"}, id="bearer-line-break"),
        pytest.param({"type": "whatsapp_action", "password": "s3cret-ñ"}, id="bearer-beyond-ascii"),
        pytest.param({"type": "http", "login": "a", "password": "s3cret" * 2000}, id="basic-long"),
    ],
)
def test_an_unsendable_credential_names_the_header_that_it_would_be(fields: dict[str, Any]) -> None:
    with pytest.raises(ConnectionConfigError, match=r"'crm'.*'Authorization'") as raised:
        action_connection(ConnectionFields(id="crm", host="h", **fields))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"type": "whatsapp_action", "host": "crm.example"}, "https://crm.example"),
        ({"type": "whatsapp_action", "host": "http://crm.example/api/"}, "http://crm.example/api"),
        ({"type": "http", "host": "crm.example"}, "http://crm.example"),
        ({"type": "http", "host": "crm.example", "schema": "HTTPS"}, "https://crm.example"),
        ({"type": "http", "host": "crm.example", "port": 8080}, "http://crm.example:8080"),
        ({"type": "http", "host": "crm.example:81", "port": 8080}, "http://crm.example:81"),
        ({"type": "https", "host": "crm.example"}, "https://crm.example"),
        ({"type": "http", "host": "[::1]", "port": 1}, "http://[::1]:1"),
        ({"type": "http", "host": "::1"}, "http://[::1]"),
        ({"type": "http", "host": "::1", "port": 8}, "http://[::1]:8"),
    ],
)
def test_the_base_url(fields: dict[str, Any], base_url: str) -> None:
    connection = action_connection(ConnectionFields(id="crm", **fields))
    assert connection.base_url == base_url
    request = connection.absolute(HttpRequest("GET", "/v1"))
    assert request.url == f"{base_url}/v1"
    assert connection.absolute(HttpRequest("GET", "https://other.example/")).url == "https://other.example/"


def test_no_secret_is_in_a_repr() -> None:
    extra = {"headers": {"X-Api-Key": "s3cret-1"}, "proxy": "http://a:s3cret-2@proxy"}
    fields = ConnectionFields(id="crm", type="whatsapp_action", host="h", login="ana", password="s3cret-3", extra=extra)
    assert "s3cret" not in repr(fields) + repr(action_connection(fields))


def test_every_form_of_a_secret_is_masked() -> None:
    import base64

    secret = 'p/ä "x'
    fields = ConnectionFields(id="c", type="http", host="h", login="ana", password=secret)
    secrets = action_connection(fields).secrets
    for form in (secret, "p%2F%C3%A4%20%22x", "p/%C3%A4%20%22x", base64.b64encode(f"ana:{secret}".encode()).decode()):
        assert form in secrets
    proxied = ConnectionFields(id="c", host="h", extra={"proxy": "http://a:s3cret@proxy"})
    assert "s3cret" in action_connection(proxied).secrets


@pytest.mark.parametrize(
    ("extra", "timeout", "verify"),
    [
        pytest.param("timeout=5&verify=false", 5.0, False, id="text-of-a-uri"),
        pytest.param("verify=true", None, True, id="true"),
        pytest.param("verify=%2Fetc%2Fca.pem", None, "/etc/ca.pem", id="path"),
    ],
)
def test_parses_text_extras_of_a_uri(extra: str, timeout: float | None, verify: bool | str) -> None:
    environ = {"AIRFLOW_CONN_CRM": f"whatsapp-action://crm.example/?{extra}"}
    connection = action_connection(connection_from_environment("crm", environ))
    assert (connection.timeout, connection.verify) == (timeout, verify)


@pytest.mark.parametrize("blank", [None, ""])
@pytest.mark.parametrize("kind", ["whatsapp_action", "http"])
def test_a_field_of_the_form_that_is_blank_has_its_default(kind: str, blank: str | None) -> None:
    names = ("timeout", "verify", "verify_ssl", "cert", "proxy", "proxies", "headers")
    extra = dict.fromkeys((*names, *(("auth", "header_name") if kind == "whatsapp_action" else ())), blank)

    made = action_connection(ConnectionFields("crm", kind, "https://crm.example", password="t", extra=extra))

    assert (made.timeout, made.verify, made.certificate, made.proxy) == (None, True, None, None)
    assert made.headers == ((("Authorization", "Bearer t"),) if kind == "whatsapp_action" else ())


def test_json_may_hold_a_uri() -> None:
    fields = connection_from_environment("crm", {"AIRFLOW_CONN_CRM": '{"uri": "https://crm.example"}'})
    assert action_connection(fields).base_url == "https://crm.example"


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (None, None),
        ("", None),
        ("/etc/client.pem", ("/etc/client.pem", None)),
        (["/etc/client.pem", "/etc/client.key"], ("/etc/client.pem", "/etc/client.key")),
        ('["/etc/client.pem", "/etc/client.key"]', ("/etc/client.pem", "/etc/client.key")),
    ],
)
@pytest.mark.parametrize("kind", ["http", "whatsapp_action"])
def test_reads_a_client_certificate_like_requests(given: Any, understood: Any, kind: str) -> None:
    fields = ConnectionFields("crm", type=kind, host="https://crm.example", extra={"cert": given})

    assert action_connection(fields).certificate == understood


@pytest.mark.parametrize("given", [5, True, ["a"], ["a", "b", "c"], ["a", 1], "[1"])
def test_a_client_certificate_that_is_not_a_path_is_named(given: Any) -> None:
    fields = ConnectionFields("crm", host="https://crm.example", extra={"cert": given})

    with pytest.raises(ConnectionConfigError, match="'crm': cert must be the path"):
        action_connection(fields)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"password": "***"}, id="password"),
        pytest.param({"login": " *** ", "password": "x"}, id="login"),
        pytest.param({"host": "***"}, id="host"),
        pytest.param({"extra": {"header_name": "***"}}, id="header_name"),
        pytest.param({"extra": {"headers": {"X-Api-Key": "***"}}}, id="headers.X-Api-Key"),
        pytest.param({"extra": {"proxy": "***"}}, id="proxy"),
        # A password that is a part of another field's value is hidden in it.
        pytest.param({"password": "client", "extra": {"cert": "/etc/***.pem"}}, id="cert"),
        pytest.param({"extra": {"cert": ["/etc/a.pem", "/etc/***.pem"]}}, id="cert"),
        pytest.param({"extra": {"headers": {"X-Tenant": "shop-***"}}}, id="headers.X-Tenant"),
    ],
)
def test_refuses_airflows_secret_mask_in_every_field(fields: dict[str, Any], request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id.rstrip("01")

    with pytest.raises(ConnectionConfigError, match=rf"'crm': {name} holds '\*\*\*'.*enter the value again"):
        action_connection(ConnectionFields("crm", **{"host": "https://crm.example", **fields}))


def test_airflow_hides_only_the_password_and_the_proxy() -> None:
    from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

    from airflow_whatsapp_flows.provider_info import get_provider_info

    (kind,) = get_provider_info()["connection-types"]

    hidden = [name for name in kind["conn-fields"] if should_hide_value_for_key(name)]
    defaults = [name for name in hidden if kind["conn-fields"][name]["schema"].get("default") is not None]

    assert (hidden, defaults) == (["proxy"], [])  # a proxy's URL may hold a password


def test_a_header_name_under_its_old_key_is_still_read() -> None:
    extra = {"auth": "header", "auth_header": "X-Api-Key"}
    fields = ConnectionFields("crm", type="whatsapp_action", host="crm.example", password="s3cret", extra=extra)

    assert action_connection(fields).headers == (("X-Api-Key", "s3cret"),)


def test_a_password_may_contain_asterisks() -> None:
    fields = ConnectionFields("crm", type="whatsapp_action", host="crm.example", password="a***b")

    assert action_connection(fields).headers == (("Authorization", "Bearer a***b"),)


@pytest.mark.parametrize(
    ("host", "way"),
    [
        pytest.param("https://crm.example/api?token=s3cret", "authentication 'bearer' or 'header'", id="query"),
        pytest.param("https://crm.example?api_key=s3cret&a=1", "authentication 'bearer' or 'header'", id="query-alone"),
        pytest.param("https://ana:s3cret@crm.example/api", "in their own fields", id="user"),
        pytest.param("https://ana:s3cret@crm.example?token=s3cret", "in their own fields", id="both"),
        pytest.param("ana:s3cret@crm.example", "in their own fields", id="user-without-scheme"),
        pytest.param("https://ana:s3cret", "a host, or a URL", id="user-without-host"),
        pytest.param("https://crm.example/#s3cret", "without '#'", id="fragment"),
        pytest.param("https://crm.example/?", "without '?'", id="empty-query"),
    ],
)
@pytest.mark.parametrize("kind", ["http", "whatsapp_action"])
def test_refuses_a_secret_in_a_base_url_with_advice(host: str, way: str, kind: str) -> None:
    with pytest.raises(ConnectionConfigError, match=r"'crm': host must be") as raised:
        action_connection(ConnectionFields("crm", type=kind, host=host))

    assert way in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("whatsapp-action://crm.example/?token=s3cret", "put custom headers in 'headers'"),
        ("whatsapp-action://:s3cret@crm.example/?auth=header&header_nam=X-Api-Key", "did you mean 'header_name'?"),
    ],
)
def test_refuses_an_unknown_extra_field(uri: str, hint: str) -> None:
    with pytest.raises(ConnectionConfigError, match="'crm': unknown extra field") as raised:
        action_connection(connection_from_environment("crm", {"AIRFLOW_CONN_CRM": uri}))

    assert hint in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_token_in_the_path_of_the_base_url_is_a_secret() -> None:
    token = "8123456789aabbccddeeff00112233"
    connection = action_connection(ConnectionFields("bot", host=f"https://api.example/bot/{token}/v1"))

    assert token in connection.secrets
    assert "v1" not in connection.secrets
