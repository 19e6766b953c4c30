"""Idempotency-Key: a repeated request changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest


def post(crm: httpx.Client, key: str, phone: str, path: str = "/v1/contacts", **more: Any) -> httpx.Response:
    return crm.post(path, json={"phone": phone, **more}, headers={"Idempotency-Key": key})


def test_the_first_reply_is_replayed(crm: httpx.Client) -> None:
    first = post(crm, "first", "+525511000001")
    again = post(crm, "first", "+525511000001")
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert [(entry["applied"], entry["replayed"]) for entry in crm.get("/_requests").json()] == [
        (True, False),
        (False, True),
    ]


def test_a_key_prevents_duplicates_without_unique_fields(crm: httpx.Client) -> None:
    replies = [crm.post("/v1/leads", data={"a": "b"}, headers={"Idempotency-Key": "lead"}).json() for _ in range(3)]
    assert replies[0] == replies[1] == replies[2]
    other = crm.post("/v1/leads", data={"a": "b"}, headers={"Idempotency-Key": "lead 2"}).json()
    assert other["id"] == replies[0]["id"] + 1


def test_errors_are_replayed(crm: httpx.Client) -> None:
    contact = post(crm, "taken 1", "+525511000002").json()
    assert post(crm, "taken 2", "+525511000002").status_code == 409
    crm.delete(f"/v1/contacts/{contact['id']}")
    again = post(crm, "taken 2", "+525511000002")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (409, "true")


def test_quoted_and_bare_keys_are_equal(crm: httpx.Client) -> None:
    post(crm, '"quoted"', "+525511000003")
    assert post(crm, "quoted", "+525511000003").headers["idempotent-replayed"] == "true"


def test_a_key_is_for_one_request(crm: httpx.Client) -> None:
    post(crm, "one", "+525511000004")
    for reply in (
        post(crm, "one", "+525511000005"),
        post(crm, "one", "+525511000004", "/v1/contacts?upsert=true"),
        post(crm, "one", "+525511000004", "/v1/threads"),
    ):
        assert (reply.status_code, reply.json()["error"]) == (422, "idempotency_key_reused")
    assert crm.get("/v1/contacts", params={"phone": "+525511000005"}).json() == []


def test_patch_takes_a_key_and_put_does_not(crm: httpx.Client) -> None:
    path = post(crm, "methods", "+525511000006").headers["location"]
    headers = {"Idempotency-Key": "patch"}
    assert "idempotent-replayed" not in crm.patch(path, json={"a": 1}, headers=headers).headers
    assert crm.patch(path, json={"a": 1}, headers=headers).headers["idempotent-replayed"] == "true"
    body = {"phone": "+525511000006"}
    assert {crm.put(path, json=body, headers=headers).headers.get("idempotent-replayed") for _ in "12"} == {None}


@pytest.mark.parametrize(
    "keys", [pytest.param([""], id="empty"), pytest.param(["k" * 256], id="long"), pytest.param(["a", "b"], id="two")]
)
def test_a_bad_key_is_refused(crm: httpx.Client, keys: list[str]) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    reply = crm.post("/v1/contacts", json={"phone": "+525511000007"}, headers=headers)
    assert (reply.status_code, reply.json()["error"]) == (400, "idempotency_key")


def test_of_many_concurrent_tries_one_is_applied(crm: httpx.Client) -> None:
    crm.put("/_switches", json={"path": "/v1/leads", "delay": 0.05})

    def attempt(_: int) -> int:
        return crm.post("/v1/leads", data={"n": "1"}, headers={"Idempotency-Key": "race"}).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(attempt, range(48)))
    assert set(statuses) <= {201, 409}
    entries = crm.get("/_requests").json()
    assert sum(entry["applied"] for entry in entries) == 1
    assert statuses.count(201) == 1 + sum(entry["replayed"] for entry in entries)
