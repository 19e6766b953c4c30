"""The form of a connection *WhatsApp Action* in a real Airflow and a real browser; takes two minutes.

The script fills in the form for each kind of authentication, saves it, reopens it, changes the description, saves it
again, and reopens it. Then a DAG sends a request through each connection to a server on loopback, which must receive
the values that were typed first. Airflow shows ``***`` in place of secrets, and restores them when the form is saved.
Where it can't, the package refuses the ``***``::

    python -m tests.airflow.connection_form
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509

from tests.airflow.browser import open_browser, run_checks
from tests.airflow.replay_with_killed_worker import running_airflow, wait_until
from tests.servers.certificates import Certificate, make_certificate
from tests.servers.recording import Received, RecordingServer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

DAG_ID = "through_the_form"
DAG_FILE = """from airflow.sdk import DAG

from airflow_whatsapp_flows import WhatsAppActionOperator

with DAG({dag_id!r}, schedule=None):
    for name in {names!r}:
        WhatsAppActionOperator(
            task_id=name, http_conn_id=name, url=f"/v1/{{name}}", body={{"ok": True}}, on_error="fail"
        )
"""
BASIC = "Basic " + base64.b64encode(b"ana:s3cr3t: p\xc3\xa4ss").decode()
PROXY = "Basic " + base64.b64encode(b"gate:s3cr3t-proxy").decode()


@dataclass(frozen=True)
class FilledForm:
    """One connection as typed into the form, and the expected request.

    Attributes:
        id: of the connection, and of the task that uses it.
        fields: standard fields.
        extra: extra fields: ``auth`` is chosen, ``verify`` switched, the others are typed.
        arrives: headers of the request; ``None`` for one that must not be there.
        changes: extra fields that are typed when the form is opened again.
        refused: what the task says when it must not send; nothing then arrives.
    """

    id: str
    fields: Mapping[str, str]
    extra: Mapping[str, str | bool] = field(default_factory=dict)
    arrives: Mapping[str, str | None] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)
    refused: str | None = None


def connections(plain: str, tls: str, client: Certificate) -> list[FilledForm]:
    """The forms to fill in.

    Args:
        plain: URL of a server, which is a proxy too.
        tls: URL of a server that asks for the client's certificate.
        client: that certificate.
    """
    base = {"host": f"{plain}/api/"}
    listed = json.dumps({"X-Tenant": "7", "X-Extra-Token": "s3cr3t-extra"})
    return [
        FilledForm("auth_none", base, {"auth": "none"}, {"Authorization": None}),
        FilledForm(
            "auth_basic", {**base, "login": "ana", "password": "s3cr3t: päss"}, {"auth": "basic"},
            {"Authorization": BASIC},
        ),
        FilledForm("auth_unset", {**base, "login": "ana", "password": "s3cr3t: päss"}, {}, {"Authorization": BASIC}),
        FilledForm(
            "auth_bearer", {**base, "password": "s3cr3t-token"}, {"auth": "bearer", "timeout": "7"},
            {"Authorization": "Bearer s3cr3t-token"},
        ),
        FilledForm(
            "auth_header", {**base, "password": "s3cr3t-key"},
            {"auth": "header", "header_name": "X-Api-Key", "headers": listed},
            {"X-Api-Key": "s3cr3t-key", "X-Tenant": "7", "X-Extra-Token": "s3cr3t-extra", "Authorization": None},
        ),
        FilledForm(
            "by_tls", {"host": f"{tls}/api", "password": "s3cr3t-token"},
            {"auth": "bearer", "verify": False, "cert": client.chain}, {"Authorization": "Bearer s3cr3t-token"},
        ),
        FilledForm(
            "by_proxy", base, {"auth": "none", "proxy": plain.replace("://", "://gate:s3cr3t-proxy@")},
            {"Proxy-Authorization": PROXY, "Authorization": None},
        ),
        FilledForm(
            "renamed", {**base, "password": "s3cr3t-key"}, {"auth": "bearer", "headers": listed},
            # The hidden value moves to another name, so Airflow can't restore it.
            changes={"headers": json.dumps({"X-Other-Token": "***"})},
            refused="headers.X-Other-Token holds '***', which Airflow shows instead of a hidden value",
        ),
        FilledForm(
            "overlapping", {**base, "password": "s3cr3t-folder"},
            # Airflow hides the password in this path too, and doesn't restore it.
            {"auth": "bearer", "cert": "/etc/s3cr3t-folder/client.pem"},
            refused="cert holds '***', which Airflow shows instead of a hidden value",
        ),
    ]  # fmt: skip


def main() -> int:
    """Run all checks; returns 0 if every promise was kept, or if there is no browser."""
    return run_checks(run)


def run(folder: Path) -> list[str]:
    """Run the checks in a folder; returns broken promises."""
    with servers(folder) as (plain, tls, client):
        filled = connections(plain.url, tls.url, client)
        (folder / "dags").mkdir()
        names = [one.id for one in filled]
        (folder / "dags" / "through_the_form.py").write_text(DAG_FILE.format(dag_id=DAG_ID, names=names))
        settings = {
            "AIRFLOW__WHATSAPP_FLOWS__ALLOWED_HOSTS": f"{plain.host},{tls.host}",
            "AIRFLOW__CORE__PARALLELISM": "4",
        }
        ledger = f"sqlite:///{folder / 'ledger.db'}"
        with running_airflow(folder, plain.url, ledger, DAG_ID, settings) as api:
            with open_browser(api.address) as page:
                wrong = [fault for one in filled for fault in fill_in(page, one)]
            print(f"{len(filled)} connections are filled in, saved, changed and saved again", flush=True)
            states = run_dag(api)
            for one in filled:
                wrong += judge(one, states[one.id], api, [*plain.received, *tls.received])
    return wrong


@contextmanager
def servers(folder: Path) -> Iterator[tuple[RecordingServer, RecordingServer, Certificate]]:
    """A plain server, a TLS server that requires a client certificate, and that certificate."""
    made = []
    for name, host in (("server", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))), ("client", x509.DNSName("me"))):
        (folder / name).mkdir()
        made.append(make_certificate(folder / name, host))
    plain, tls = RecordingServer(), RecordingServer(tls=made[0].require_client(made[1]))
    try:
        yield plain, tls, made[1]
    finally:
        plain.close()
        tls.close()


def fill_in(page: Page, one: FilledForm) -> list[str]:
    """Fill in, save, open, change, save, and reopen a form; returns what it lost."""
    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.locator("input[name=connection_id]").fill(one.id)
    form.get_by_role("combobox").first.click()
    page.keyboard.type("WhatsApp Action")
    page.get_by_role("option", name="WhatsApp Action", exact=True).click()
    for name, value in one.fields.items():
        form.locator(f"input[name={name}]").fill(value)
    unfold(form, "Extra Fields")
    set_extra(page, form, one.extra)
    save(form)
    open_again(page, one.id)
    wrong = not_shown(form, one, one.extra)
    unfold(form, "Standard Fields")
    form.locator("textarea[name=description]").fill("changed, and nothing else")
    if one.changes:
        unfold(form, "Extra Fields")
        set_extra(page, form, one.changes)
    save(form)
    open_again(page, one.id)
    return wrong + not_shown(form, one, {**one.extra, **one.changes})


def set_extra(page: Page, form: Locator, extra: Mapping[str, str | bool]) -> None:
    """Set each extra field."""
    for name, value in extra.items():
        if name == "auth":
            form.locator("#element_auth input[role=combobox]").click()
            page.get_by_role("option", name=re.compile(rf"^{value}\b")).click()
        elif isinstance(value, bool):
            form.locator(f"label:has(input[name=element_{name}])").set_checked(value)
        else:
            form.locator(f"[name=element_{name}]").fill(value)
            form.locator(f"[name=element_{name}]").blur()


def save(form: Locator) -> None:
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")


def open_again(page: Page, conn_id: str) -> None:
    page.goto("/connections")
    page.locator("tr", has_text=conn_id).get_by_role("button", name="Edit Connection").click()
    page.get_by_role("dialog").locator("input[name=host]").wait_for()


def unfold(form: Locator, title: str) -> None:
    """Open a section of the form unless it is open."""
    button = form.get_by_role("button", name=title, exact=True)
    if button.get_attribute("aria-expanded") != "true":
        button.click()


def not_shown(form: Locator, one: FilledForm, extra: Mapping[str, str | bool]) -> list[str]:
    """Values that a reopened form does not show as typed; secrets must be hidden."""
    unfold(form, "Standard Fields")
    wrong = []
    for name, value in one.fields.items():
        expected = "***" if name == "password" else value
        if (shown := form.locator(f"input[name={name}]").input_value()) != expected:
            wrong.append(f"{one.id}: the form shows {shown!r} as {name}")
    unfold(form, "Extra Fields")
    form.locator("[name=element_header_name]").wait_for()
    for name, value in extra.items():
        found = form.locator(f"[name=element_{name}]")
        shown_extra = found.is_checked() if isinstance(value, bool) else found.input_value()
        if shown_extra != value and not is_hidden(shown_extra, value):
            wrong.append(f"{one.id}: the form shows {shown_extra!r} as {name}")
        if "s3cr3t" in str(shown_extra):
            wrong.append(f"{one.id}: the form shows a secret in {name}")
    return wrong


def is_hidden(shown: str | bool, typed: str | bool) -> bool:
    """Whether a form shows the typed value, with ``***`` for secrets."""
    if not isinstance(shown, str) or not isinstance(typed, str):
        return False
    if not typed.startswith("{"):
        return shown in ("***", typed.replace("s3cr3t-folder", "***")) and "s3cr3t" in typed
    expected = {name: "***" if "s3cr3t" in value else value for name, value in json.loads(typed).items()}
    return bool(json.loads(shown) == expected)


def run_dag(api: Callable[..., Any]) -> dict[str, str]:
    """Run the DAG; returns the final state of each task."""
    api("POST", f"/dags/{DAG_ID}/dagRuns", {"dag_run_id": "by-hand", "logical_date": None})
    run = f"/dags/{DAG_ID}/dagRuns/by-hand"
    wait_until("the DAG run has ended", lambda: api("GET", run)["state"] in ("success", "failed"))
    return {one["task_id"]: one["state"] for one in api("GET", f"{run}/taskInstances")["task_instances"]}


def judge(one: FilledForm, state: str, api: Callable[..., Any], received: list[Received]) -> list[str]:
    """Compare the received request with the form."""
    found = [request for request in received if request.target.endswith(f"/{one.id}")]
    log = json.dumps(api("GET", f"/dags/{DAG_ID}/dagRuns/by-hand/taskInstances/{one.id}/logs/1?full_content=true"))
    wrong = [f"{one.id}: its log shows a secret"] if "s3cr3t" in log else []
    if one.refused is not None:
        if found or state != "failed":
            wrong.append(f"{one.id}: {len(found)} requests arrived, and the task is {state}")
        whole = log.replace("\\n  ", " ")  # a long message is broken into lines
        return wrong if one.refused in whole else [*wrong, f"{one.id}: its log does not say {one.refused!r}: {log}"]
    if len(found) != 1 or state != "success":
        return [*wrong, f"{one.id}: {len(found)} requests arrived, and the task is {state}: {log}"]
    if not found[0].target.endswith(f"/api/v1/{one.id}"):
        wrong.append(f"{one.id}: the request went to {found[0].target}")
    if (found[0].method, found[0].content) != ("POST", b'{"ok":true}'):
        wrong.append(f"{one.id}: the request is {found[0]}")
    sent = {name: found[0].header(name) for name in one.arrives}
    if sent != dict(one.arrives):
        wrong.append(f"{one.id}: {sent} arrived, and {dict(one.arrives)} was typed")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
