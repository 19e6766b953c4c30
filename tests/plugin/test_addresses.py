"""Names in addresses arrive as they are, also with slashes."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from fastapi.testclient import TestClient

from airflow_whatsapp_flows.ledger import Ledger
from airflow_whatsapp_flows.plugin.addresses import decode_name, encode_name
from tests.ledger.filling import a_replay, response

pytestmark = pytest.mark.usefixtures("airflow")

NAMES = ["a/b", "a%2Fb", "lead__manual__2026-11-29T10:00:00+00:00", "ünï ☃", "x?y#z", "{x}", "a~2Fb", "..", ".", "a\\b"]
NAMES += ["a\nb", "a\r\nb~0Ac"]


@pytest.mark.parametrize("name", NAMES)
def test_an_address_may_be_decoded_on_the_way(name: str) -> None:
    # Airflow's own address of a frame is decoded once, and what it then loads is encoded again by the browser.
    decoded = unquote(encode_name(name))
    assert not set(decoded) & set("/?#%\\\r\n")
    assert decoded not in (".", "..")
    assert decode_name(encode_name(name)) == name
    assert decode_name(quote(decoded)) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_replay_may_have_any_name(
    client: TestClient, sqlite_ledger: Ledger, use_ledger: Callable[[str], None], name: str
) -> None:
    use_ledger(sqlite_ledger.display_url)
    a_replay(sqlite_ledger, [response(1, id=name)], name)
    for path in ("", "/progress", "/results.csv", f"/contacts/{encode_name(name)}"):
        page = client.get(f"/whatsapp-flows/replays/{encode_name(name)}{path}")
        assert page.status_code == 200, path
    if name.strip(".") and not set("~\n") & set(name):  # the usual way to quote, which others may use for links
        assert client.get(f"/whatsapp-flows/replays/{quote(name, safe='')}").status_code == 200
