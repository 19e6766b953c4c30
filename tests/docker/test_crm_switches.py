"""Switches: each failure, on the wire and in the log."""

import json
import socket
import time
from typing import Any

import httpx
import pytest


def raw_post(crm: httpx.Client, body: dict[str, Any], path: str = "/v1/contacts") -> socket.socket:
    """Send a request over its own socket without reading the reply."""
    host, port = crm.base_url.host, crm.base_url.port
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection((host, port), timeout=20)
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def has(crm: httpx.Client, phone: str) -> bool:
    return bool(crm.get("/v1/contacts", params={"phone": phone}).json())


def last(crm: httpx.Client, path: str = "/v1/contacts", method: str = "POST") -> dict[str, Any]:
    found = [entry for entry in crm.get("/_requests").json() if (entry["method"], entry["path"]) == (method, path)]
    return dict(found[-1])


def test_a_status_is_answered_and_nothing_applied(crm: httpx.Client) -> None:
    crm.put("/_switches", json={"status": 503, "retry_after": 7})
    reply = crm.post("/v1/contacts", json={"phone": "+525522000001"})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "7")
    assert reply.json()["error"] == "switched"
    crm.delete("/_switches")
    assert not has(crm, "+525522000001")
    assert (last(crm)["applied"], last(crm)["status"]) == (False, 503)


def test_a_status_does_not_use_up_the_key(crm: httpx.Client) -> None:
    headers = {"Idempotency-Key": "outage"}
    crm.put("/_switches", json={"status": 503, "times": 1})
    assert crm.post("/v1/contacts", json={"phone": "+525522000002"}, headers=headers).status_code == 503
    reply = crm.post("/v1/contacts", json={"phone": "+525522000002"}, headers=headers)
    assert reply.status_code == 201
    assert "idempotent-replayed" not in reply.headers


def test_an_after_status_applies_first(crm: httpx.Client) -> None:
    headers = {"Idempotency-Key": "applied, then 500"}
    crm.put("/_switches", json={"after_status": 500, "times": 1})
    assert crm.post("/v1/contacts", json={"phone": "+525522000003"}, headers=headers).status_code == 500
    assert (last(crm)["applied"], last(crm)["status"]) == (True, 500)
    assert has(crm, "+525522000003")
    again = crm.post("/v1/contacts", json={"phone": "+525522000003"}, headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_dropped_connection_sends_no_byte(crm: httpx.Client, when: str) -> None:
    phone = {"before": "+525522000004", "after": "+525522000005"}[when]
    crm.put("/_switches", json={"drop": when})
    with raw_post(crm, {"phone": phone}) as connection:
        assert read_all(connection) == b""
    crm.delete("/_switches")
    assert has(crm, phone) is (when == "after")
    entry = last(crm)
    assert (entry["applied"], entry["dropped"], entry["status"]) == (when == "after", when, None)
    with raw_post(crm, {"phone": phone}, "/v1/contacts?upsert=true") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 20")


def test_a_dropped_reply_is_replayed_by_its_key(crm: httpx.Client) -> None:
    headers = {"Idempotency-Key": "dropped"}
    crm.put("/_switches", json={"drop": "after", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        crm.post("/v1/leads", data={"a": "b"}, headers=headers)
    again = crm.post("/v1/leads", data={"a": "b"}, headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")


def test_a_delay_is_waited_for(crm: httpx.Client) -> None:
    crm.put("/_switches", json={"delay": 0.3})
    start = time.monotonic()
    assert crm.get("/v1/orders/1001").status_code == 200
    assert time.monotonic() - start >= 0.3


def test_a_delay_does_not_block_other_contacts(crm: httpx.Client) -> None:
    crm.put("/_switches", json={"delay": 60, "path": "/v1/contacts"})
    with raw_post(crm, {"phone": "+525522000006"}):
        while not crm.get("/_switches").json()["switches"][0]["fired"]:
            pass
        assert crm.get("/v1/orders/1001").status_code == 200
        assert crm.get("/").status_code == 200


def test_exactly_one_contact_fails(crm: httpx.Client) -> None:
    crm.put("/_switches", json={"phones": ["+52 55 2200 0008"], "status": 500})
    statuses = [crm.post("/v1/contacts", json={"phone": f"+52552200000{last}"}).status_code for last in (7, 8, 9)]
    assert statuses == [201, 500, 201]
    assert crm.post("/v1/leads", data={"phone": "+525522000008"}).status_code == 500
    assert crm.post("/v1/leads", data={"phone": "+5255220000080"}).status_code == 201
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert crm.post("/v1/leads", content=b"phone=%20525522000008", headers=form).status_code == 500
    assert crm.get("/v1/contacts", params={"phone": "+525522000008"}).status_code == 500


def test_a_path_is_a_prefix_of_whole_segments(crm: httpx.Client) -> None:
    crm.put(
        "/_switches", json=[{"path": "/v1/contacts", "method": "get", "status": 500}, {"path": "/v1/or", "status": 500}]
    )
    assert crm.get("/v1/contacts").status_code == 500
    assert crm.get("/v1/contacts/1").status_code == 500
    assert crm.post("/v1/contacts", json={}).status_code == 422
    assert crm.get("/v1/orders/1001").status_code == 200


def test_every_third_request_fails(crm: httpx.Client) -> None:
    crm.put("/_switches", json={"every": 3, "status": 429})
    assert [crm.get("/v1/orders/1001").status_code for _ in range(7)] == [200, 200, 429, 200, 200, 429, 200]
    assert crm.get("/_switches").json()["switches"] == [{"every": 3, "status": 429, "seen": 7, "fired": 2}]


def test_a_rate_is_repeatable_by_its_seed(crm: httpx.Client) -> None:
    def run(seed: int) -> list[int]:
        crm.put("/_switches", json={"rate": 0.5, "seed": seed, "status": 500})
        return [crm.get("/v1/orders/1001").status_code for _ in range(40)]

    first = run(1)
    assert first == run(1)
    assert first != run(2)
    assert 8 <= first.count(500) <= 32


def test_the_first_matching_switch_wins(crm: httpx.Client) -> None:
    crm.put("/_switches", json={"switches": [{"status": 502, "times": 1}, {"status": 503, "times": 1}]})
    assert [crm.get("/v1/orders/1001").status_code for _ in range(3)] == [502, 503, 200]


@pytest.mark.parametrize(
    "switch",
    [
        pytest.param({}, id="nothing happens"),
        pytest.param({"status": 500, "drop": "after"}, id="two endings"),
        pytest.param({"status": 100}, id="no final status"),
        pytest.param({"stauts": 500}, id="misspelt"),
        pytest.param({"status": 500, "every": 0}, id="every none"),
        pytest.param({"status": 500, "every": 2, "rate": 0.1}, id="two measures"),
        pytest.param({"delay": 1, "retry_after": 1}, id="Retry-After without a status"),
        pytest.param({"status": 500, "retry_after": "1\r\nX: y"}, id="header injection"),
        pytest.param({"status": 500, "path": "v1"}, id="no slash"),
        pytest.param({"status": 500, "phones": ["Ana"]}, id="no digits"),
        pytest.param({"status": 500, "phones": []}, id="no phones"),
    ],
)
def test_an_invalid_switch_keeps_the_previous_ones(crm: httpx.Client, switch: dict[str, Any]) -> None:
    crm.put("/_switches", json={"path": "/v1/notes", "status": 500})
    reply = crm.put("/_switches", json=switch)
    assert (reply.status_code, reply.json()["error"]) == (422, "bad_switch")
    assert len(crm.get("/_switches").json()["switches"]) == 1
    assert crm.put("/_switches", content=b"{").status_code == 400


def test_statuses_without_a_body_have_none(crm: httpx.Client) -> None:
    crm.put("/_switches", json=[{"status": 204, "times": 1}, {"status": 304, "times": 1}])
    assert [(reply.status_code, reply.content) for reply in (crm.get("/v1/contacts"), crm.get("/v1/contacts"))] == [
        (204, b""),
        (304, b""),
    ]
