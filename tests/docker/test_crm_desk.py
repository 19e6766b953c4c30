"""The CRM's page and its request log."""

import hashlib
from html.parser import HTMLParser

import httpx


class Reader(HTMLParser):
    """Collects element names, addresses and visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_everything_on_the_page_is_escaped(crm: httpx.Client) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    crm.post("/v1/contacts", json={"phone": evil, "name": evil, "tags": [evil], evil: {evil: evil}})
    crm.post("/v1/leads", data={evil: evil})
    crm.post("/v1/documents", files={"file": (evil, evil.encode(), "text/plain")}, data={evil: evil})
    soap = '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><x><y>&lt;script></y></x></e:Body></e:Envelope>'
    crm.post("/soap", content=soap, headers={"Content-Type": "text/xml"})
    crm.post("/v1/notes", content=f"{evil!r}", headers={"Content-Type": "application/yaml"})
    thread = crm.post("/v1/threads", json={evil: evil}).json()["id"]
    crm.post(f"/v1/threads/{thread}/messages", json={"text": evil, "role": evil})
    crm.get(f"/{evil}", params={evil: evil})
    crm.put("/_switches", json={"path": f"/{evil}", "method": evil, "delay": 1})
    page = read(crm.get("/", params={"refresh": "2"}).text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.text.count("<script>alert(1)</script>") >= 8


def test_the_page_loads_no_external_resources(crm: httpx.Client) -> None:
    reply = crm.get("/")
    page = read(reply.text)
    assert set(page.addresses) == {"/?refresh=2"}
    assert page.tags.count("style") == 1
    style = reply.text.split("<style>")[1].split("</style>")[0]
    assert "prefers-color-scheme: dark" in style
    assert "url(" not in style
    assert reply.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_the_page_refreshes_on_request(crm: httpx.Client) -> None:
    assert "http-equiv" not in crm.get("/").text
    assert '<meta http-equiv="refresh" content="2">' in crm.get("/?refresh=2").text
    assert '<meta http-equiv="refresh" content="1">' in crm.get("/?refresh=-5").text
    assert crm.get("/?refresh=x").status_code == 422


def test_the_page_shows_stored_contacts(crm: httpx.Client) -> None:
    crm.post("/v1/contacts", json={"phone": "+525533000001", "name": "Zoë Nähr", "plan": "gold"})
    crm.put("/_switches", json={"path": "/v1/leads", "status": 500})
    crm.post("/v1/leads", data={"a": "b"})
    text = read(crm.get("/").text).text
    for shown in ("+525533000001", "Zoë Nähr", "gold", "a switch is on", '"status": 500', "500", "/v1/leads"):
        assert shown in text
    crm.delete("/_switches")
    assert "all well" in crm.get("/").text


def test_the_log_shows_received_requests(crm: httpx.Client) -> None:
    body = b'{"phone": "+525533000002", "note": "' + b"x" * 20_000 + b'"}'
    headers = {
        "Content-Type": "application/json",
        "Authorization": "Bearer s3cret",
        "X-Api-Key": "s3cret",
        "X-Mine": "1",
    }
    crm.post("/v1/contacts?upsert=true&a=%26&a=", content=body, headers=headers)
    (entry,) = crm.get("/_requests").json()
    assert (entry["method"], entry["path"], entry["status"], entry["applied"]) == ("POST", "/v1/contacts", 201, True)
    assert entry["query"] == [["upsert", "true"], ["a", "&"], ["a", ""]]
    assert ["authorization", "***"] in entry["headers"]
    assert ["x-mine", "1"] in entry["headers"]
    assert "s3cret" not in str(entry)
    assert (entry["body_size"], entry["body_sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert entry["body_text"] == body[:10_000].decode()
    assert entry["received_at"].endswith("Z")


def test_the_log_pages_and_clears(crm: httpx.Client) -> None:
    for number in (1, 2, 3):
        crm.get(f"/v1/orders/{number}")
    entries = crm.get("/_requests").json()
    assert [entry["path"] for entry in entries] == ["/v1/orders/1", "/v1/orders/2", "/v1/orders/3"]
    assert crm.get("/_requests", params={"after": entries[0]["id"], "limit": 1}).json() == [entries[1]]
    assert crm.delete("/_requests").status_code == 204
    assert crm.get("/_requests").json() == []


def test_a_refused_request_is_logged_as_not_applied(crm: httpx.Client) -> None:
    crm.post("/v1/contacts", json={})
    assert [(entry["status"], entry["applied"]) for entry in crm.get("/_requests").json()] == [(422, False)]
