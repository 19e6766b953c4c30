"""Every endpoint of the demo CRM, over HTTP."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import yaml
from lxml import etree

SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"


def test_creates_shows_changes_and_removes_a_contact(crm: httpx.Client) -> None:
    given = {"phone": "+525500000001", "name": "Ana María", "tags": ["vip"], "plan": {"tier": 2}}
    made = crm.post("/v1/contacts", json=given)
    assert made.status_code == 201
    assert {**given, "id": made.json()["id"]}.items() <= made.json().items()
    path = made.headers["location"]
    assert crm.get(path).json() == made.json()
    assert crm.get("/v1/contacts", params={"phone": "+525500000001"}).json() == [made.json()]
    assert made.json() in crm.get("/v1/contacts").json()

    changed = crm.patch(path, json={"name": "Ana", "city": "Puebla"})
    assert changed.status_code == 200
    assert {"name": "Ana", "city": "Puebla", "plan": {"tier": 2}, "tags": ["vip"]}.items() <= changed.json().items()

    replaced = crm.put(path, json={"phone": "+525500000001"})
    assert replaced.json()["name"] is None
    assert replaced.json()["tags"] == []
    assert "plan" not in replaced.json()

    assert crm.delete(path).status_code == 204
    assert crm.get(path).status_code == 404
    assert crm.delete(path).status_code == 404


def test_a_phone_belongs_to_one_contact(crm: httpx.Client) -> None:
    first = crm.post("/v1/contacts", json={"phone": "+525500000002", "name": "Ana", "plan": "pro"}).json()
    again = crm.post("/v1/contacts", json={"phone": "+525500000002", "name": "Eva"})
    assert (again.status_code, again.json()["error"]) == (409, "phone_taken")
    upserted = crm.post("/v1/contacts?upsert=true", json={"phone": "+525500000002", "name": "Eva"})
    assert (upserted.status_code, upserted.json()["id"]) == (200, first["id"])
    assert (upserted.json()["name"], upserted.json()["plan"]) == ("Eva", "pro")
    assert crm.post("/v1/contacts?upsert=true", json={"phone": "+525500000003"}).status_code == 201
    assert crm.patch(f"/v1/contacts/{first['id']}", json={"phone": "+525500000003"}).status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param("{}", 422, "phone_missing", id="no phone"),
        pytest.param('{"phone": null}', 422, "phone_missing", id="null phone"),
        pytest.param('{"phone": ""}', 422, "phone_missing", id="empty phone"),
        pytest.param('{"phone": 525500000000}', 422, "phone_invalid", id="a number for a phone"),
        pytest.param('{"phone": "1", "name": 3}', 422, "name_invalid", id="a number for a name"),
        pytest.param('{"phone": "1", "tags": "vip"}', 422, "tags_invalid", id="text for tags"),
        pytest.param("[]", 422, "not_an_object", id="a list"),
        pytest.param("{'phone': 1}", 400, "malformed_json", id="Python is not JSON"),
        pytest.param('{"phone": NaN}', 400, "malformed_json", id="NaN is not JSON"),
        pytest.param('{"phone": "\\ud800"}', 400, "malformed_json", id="half a character"),
        pytest.param("[" * 100_000, 400, "malformed_json", id="too deep"),
        pytest.param(b'{"phone": "\xff"}', 400, "not_utf8", id="not UTF-8"),
    ],
)
def test_a_bad_contact_is_refused_with_its_reason(crm: httpx.Client, body: str, status: int, code: str) -> None:
    reply = crm.post("/v1/contacts", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]) == (status, code)
    assert reply.json()["message"]


@pytest.mark.parametrize("path", ["/v1/contacts", "/v1/leads", "/v1/documents", "/v1/notes", "/soap"])
def test_a_body_must_declare_its_type(crm: httpx.Client, path: str) -> None:
    reply = crm.post(path, content=b"x", headers={"Content-Type": "text/plain"})
    assert (reply.status_code, reply.json()["error"]) == (415, "wrong_content_type")


def test_orders_are_seeded(crm: httpx.Client) -> None:
    found = {number: crm.get(f"/v1/orders/{number}").json()["status"] for number in ("1001", "1002", "1003")}
    assert found == {"1001": "shipped", "1002": "pending", "1003": "delivered"}
    assert crm.get("/v1/orders/7").json()["error"] == "not_found"
    assert crm.get("/v1/orders/7").status_code == 404


def test_a_lead_is_a_form(crm: httpx.Client) -> None:
    reply = crm.post("/v1/leads", data={"name": "Ana & Eva", "note": "", "tag": ["a", "b"]})
    assert reply.status_code == 201
    assert reply.json()["fields"] == {"name": "Ana & Eva", "note": "", "tag": ["a", "b"]}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert crm.post("/v1/leads", content=b"", headers=form).status_code == 422
    assert crm.post("/v1/leads", content=b"no pair", headers=form).status_code == 400


def test_a_document_is_a_file_in_a_form(crm: httpx.Client) -> None:
    content = bytes(range(256)) * 9000
    reply = crm.post(
        "/v1/documents", data={"order": "1001"}, files={"file": ("ünï.bin", content, "application/x-thing")}
    )
    assert reply.status_code == 201
    told = reply.json()
    assert (told["name"], told["content_type"], told["size"]) == ("ünï.bin", "application/x-thing", len(content))
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    assert told["fields"] == {"order": "1001"}
    no_file = crm.post("/v1/documents", files={"order": (None, "1001")})
    assert (no_file.status_code, no_file.json()["error"]) == (422, "file_missing")
    broken = crm.post("/v1/documents", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert (broken.status_code, broken.json()["error"]) == (400, "malformed_form")


@pytest.mark.parametrize("namespace", [SOAP_11, SOAP_12])
def test_a_ticket_is_an_envelope(crm: httpx.Client, namespace: str) -> None:
    envelope = (
        f'<e:Envelope xmlns:e="{namespace}"><e:Body><CreateTicket><Subject>Lost &amp; found</Subject></CreateTicket>'
        "</e:Body></e:Envelope>"
    )
    reply = crm.post("/soap", content=envelope, headers={"Content-Type": "text/xml; charset=utf-8"})
    assert reply.status_code == 200
    root = etree.fromstring(reply.content)
    assert int(root.findtext(f"{{{namespace}}}Body/CreateTicketResponse/ticketId")) > 0
    assert root.findtext(f"{{{namespace}}}Body/CreateTicketResponse/status") == "open"
    assert "Lost &amp; found" in crm.get("/").text


@pytest.mark.parametrize(
    ("xml", "code"),
    [
        pytest.param("<a>", "malformed_xml", id="not closed"),
        pytest.param("<a/>", "not_soap", id="no envelope"),
        pytest.param(f'<e:Envelope xmlns:e="{SOAP_11}"><e:Body/></e:Envelope>', "not_soap", id="empty body"),
        pytest.param(
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "doctype", id="external entity"
        ),
        pytest.param('<!DOCTYPE a [<!ENTITY x "xx"><!ENTITY y "&x;&x;">]><a>&y;</a>', "doctype", id="entity bomb"),
    ],
)
def test_bad_xml_is_refused(crm: httpx.Client, xml: str, code: str) -> None:
    reply = crm.post("/soap", content=xml, headers={"Content-Type": "application/xml"})
    assert (reply.status_code, reply.json()["error"]) == (400, code)
    assert "root:" not in reply.text


def test_a_note_is_yaml(crm: httpx.Client) -> None:
    note = {"name": "Ana: the first", "tags": ["a", True, None, 1.5], "deep": {"x": "1e3"}}
    headers = {"Content-Type": "application/yaml"}
    reply = crm.post("/v1/notes", content=yaml.safe_dump(note), headers=headers)
    assert (reply.status_code, reply.json()["note"]) == (201, note)
    odd = crm.post("/v1/notes", content="{day: 2026-11-22, 1: .nan}", headers=headers)
    assert odd.json()["note"] == {"day": "2026-11-22", "1": "nan"}


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        pytest.param("a: [", 400, "malformed_yaml", id="not closed"),
        pytest.param("!!python/object/apply:os.getcwd []", 400, "malformed_yaml", id="a call"),
        pytest.param("a: &a [x]\nb: [*a, *a]", 400, "yaml_alias", id="an alias"),
        pytest.param("", 422, "empty_document", id="empty"),
    ],
)
def test_bad_yaml_is_refused(crm: httpx.Client, text: str, status: int, code: str) -> None:
    reply = crm.post("/v1/notes", content=text, headers={"Content-Type": "application/yaml"})
    assert (reply.status_code, reply.json()["error"]) == (status, code)


def test_a_chain_of_calls_passes_ids_on(crm: httpx.Client) -> None:
    thread = crm.post("/v1/threads").json()["id"]
    assert crm.post(f"/v1/threads/{thread}/runs").status_code == 422
    said = crm.post(f"/v1/threads/{thread}/messages", json={"role": "user", "text": "Where is my order?"})
    assert said.status_code == 201
    run = crm.post(f"/v1/threads/{thread}/runs", json={"assistant": "a-1"})
    assert (run.status_code, run.json()["status"]) == (201, "completed")
    data = crm.get(f"/v1/threads/{thread}/messages").json()["data"]
    assert [(message["role"], message["text"]) for message in data] == [
        ("assistant", "You said: Where is my order?"),
        ("user", "Where is my order?"),
    ]
    assert crm.post(f"/v1/threads/{thread}/messages", json={}).json()["error"] == "text_missing"
    assert crm.get("/v1/threads/999999/messages").status_code == 404


def test_media_has_its_declared_type(crm: httpx.Client) -> None:
    document = crm.get("/media/receipt.pdf")
    assert document.headers["content-type"] == "application/pdf"
    table = int(document.content.split(b"startxref\n")[1].split()[0])
    assert document.content[table:].startswith(b"xref")
    image = crm.get("/media/photo.png")
    assert image.headers["content-type"] == "image/png"
    assert image.content.startswith(b"\x89PNG\r\n\x1a\n")
    head = crm.head("/media/photo.png")
    assert (head.status_code, head.content) == (200, b"")
    assert crm.get("/media/other.gif").status_code == 404


def test_missing_items_are_reported_as_json_too(crm: httpx.Client) -> None:
    assert crm.get("/nowhere").json()["error"] == "not_found"
    assert crm.put("/v1/orders/1001").status_code == 405
    assert crm.get("/v1/contacts/99999999999999999999").status_code == 422
    assert crm.get("/v1/contacts/abc").json()["error"] == "bad_request"


def test_concurrent_requests_lose_nothing(crm: httpx.Client) -> None:
    phones = [f"+5299{number:08}" for number in range(120)]
    with ThreadPoolExecutor(24) as pool:
        statuses = list(pool.map(lambda phone: crm.post("/v1/contacts", json={"phone": phone}).status_code, phones))
    assert statuses == [201] * len(phones)
    kept = {contact["phone"] for contact in crm.get("/v1/contacts").json()}
    assert set(phones) <= kept
    logged = [json.loads(entry["body_text"])["phone"] for entry in crm.get("/_requests").json() if entry["applied"]]
    assert sorted(logged) == phones


def test_transactions_do_not_mix(crm: httpx.Client) -> None:
    """Reading a large file yields to other requests during its transaction."""

    def attempt(number: int) -> int:
        if number % 2:
            return crm.post("/v1/leads", data={"n": str(number)}).status_code
        return crm.post("/v1/documents", files={"file": ("big.bin", bytes(3_000_000))}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, range(16))) == [201] * 16
    assert all(entry["applied"] for entry in crm.get("/_requests").json())
