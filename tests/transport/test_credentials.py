"""Credentials are sent only to their own origin."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.transport import Credentials
from airflow_whatsapp_flows.transport.origin import origin_of

HEADERS = (("Authorization", "Bearer s3cret"), ("X-Api-Key", "s3cret"))


@pytest.mark.parametrize(
    ("url", "added"),
    [
        ("https://crm.example/v1?x=1", True),
        ("https://CRM.example.:443", True),
        ("http://crm.example/", False),
        ("https://crm.example:8443/", False),
        ("https://api.crm.example/", False),
        ("https://crm.example.evil/", False),
        ("http://crm.example:443/", False),
    ],
)
def test_scheme_host_and_port_must_match(url: str, added: bool) -> None:
    given = Credentials("https://crm.example/base", HEADERS).add_to((), origin_of(url))

    assert given == (HEADERS if added else ())


def test_no_repr_shows_a_value() -> None:
    credentials = Credentials("https://crm.example", HEADERS)

    assert "s3cret" not in repr(credentials)
    assert "s3cret" not in f"{[credentials]}"
    assert "Authorization" in repr(credentials)


@pytest.mark.parametrize("origin", ["crm.example", "/v1", "ftp://crm.example", "https://u:s3cret@crm.example", ""])
def test_refuses_an_invalid_origin_without_quoting_it(origin: str) -> None:
    with pytest.raises(ConnectionConfigError) as caught:
        Credentials(origin, HEADERS)
    assert "s3cret" not in str(caught.value)
