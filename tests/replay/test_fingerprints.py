"""Equal errors are one group with one advice."""

from __future__ import annotations

import random
import re
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.request.messages import ErrorKind
from airflow_whatsapp_flows.replay.fingerprints import fingerprint, normalize, suggestion

HOST = "crm.example:443"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("contact 17 has no e-mail", "contact # has no e-mail"),
        ("contact c-1a2B3c9 not found", "contact c-# not found"),
        ("order 3f2a9c1e-1111-4222-8333-deadbeefcafe exists", "order # exists"),
        ("'Ana María' is not a name", "<text> is not a name"),
        ("the value \"Ana 'x' 5\" is not allowed", "the value <text> is not allowed"),
        ("it isn't Ana's", "it isn't Ana's"),
        ("no contact ana.lopez+x@mail.example.com here", "no contact <email> here"),
        ("phone +52 1 (55) 1234-5678 is taken", "phone # is taken"),
        ("phone +525512345678 is taken", "phone # is taken"),
        ("token 0xdeadBEEF10 expired", "token # expired"),
        ("since 2026-11-22T10:04:05.123Z", "since <date>"),
        ("since 2026-11-22 10:04", "since <date>"),
        ("since 22/11/2026", "since <date>"),
        ("took 1,234.5 ms  at\n10:04:05", "took # ms at #"),
        ("no connection to 127.0.0.1:8443: connection refused", "no connection to #: connection refused"),
    ],
)
def test_fingerprints_omit_what_differs_between_contacts(message: str, expected: str) -> None:
    assert normalize(message) == expected


def test_equal_errors_are_one_group() -> None:
    chance = random.Random(5)

    def message(number: int) -> str:
        identity = uuid.UUID(int=chance.getrandbits(128), version=4)
        token = "".join(chance.choices("0123456789abcdef", k=24))
        return (
            f"contact {number * 37} ({identity}, {token}, +52{chance.randrange(10**9, 10**10)}) of "
            f"'Ana {number}' <a.{number}@mail{number % 7}.example> changed 2026-{1 + number % 12:02d}-03T10:00:00Z"
        )

    prints = {fingerprint(ErrorKind.STATUS, 422, HOST, "Create contact", message(n)) for n in range(5000)}
    assert len(prints) == 1


def test_different_errors_are_different_groups() -> None:
    keys = [
        fingerprint(*arguments).key
        for arguments in (
            (ErrorKind.STATUS, 500, HOST, "Create", "the server answered 500"),
            (ErrorKind.STATUS, 502, HOST, "Create", "the server answered 502"),
            (ErrorKind.STATUS, 500, "other.example:443", "Create", "the server answered 500"),
            (ErrorKind.STATUS, 500, HOST, "Update", "the server answered 500"),
            (ErrorKind.TIMEOUT, None, HOST, "Create", "no complete reply"),
            (ErrorKind.TIMEOUT, None, HOST, "Create", "no connection"),
            ("not_json", None, "", "", "no connection"),
        )
    ]
    assert len(set(keys)) == len(keys)


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    one = fingerprint(ErrorKind.STATUS, 500, HOST, "Create", "the server answered 500 Internal Server Error")
    assert one.key == "69a24167c757"
    assert one.label == "Create · status 500 · crm.example:443 · the server answered # Internal Server Error"
    assert fingerprint("not_json", None, "", "", "line 3").label == "not_json · line #"


@given(st.text(max_size=3000), st.text(max_size=20))
def test_every_message_has_a_fingerprint(message: str, step: str) -> None:
    one = fingerprint(ErrorKind.STATUS, 500, HOST, step, message)
    assert re.fullmatch("[0-9a-f]{12}", one.key)
    assert not re.search("[0-9]", normalize(message))


@pytest.mark.parametrize(
    "text", ["a" * 5000, "'" * 5000, "a@" * 2500, "1." * 2500, "+(" * 2500, "# " * 2500, "-a" * 2500]
)
def test_no_message_takes_long(text: str) -> None:
    began = time.process_time()
    normalize(text)
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize("in_doubt", [True, False])
@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_next_step(kind: ErrorKind, in_doubt: bool) -> None:
    assert len(suggestion(kind, None, in_doubt=in_doubt)) > 20


def test_every_status_has_a_next_step() -> None:
    assert all(len(suggestion(ErrorKind.STATUS, status)) > 20 for status in range(100, 600))


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        (ErrorKind.STATUS, 401, "password or token of the connection"),
        (ErrorKind.STATUS, 403, "token of the connection"),
        (ErrorKind.STATUS, 404, "URL"),
        (ErrorKind.STATUS, 400, "one sample"),
        (ErrorKind.STATUS, 422, "one sample"),
        (ErrorKind.STATUS, 429, "--rate"),
        (ErrorKind.STATUS, 302, "redirects are not followed"),
        (ErrorKind.STATUS, 500, "`replay retry`"),
        (ErrorKind.STATUS, 503, "`replay retry`"),
        (ErrorKind.TIMEOUT, None, "`replay retry`"),
        (ErrorKind.CONNECT, None, "host"),
        (ErrorKind.TLS, None, "certificate"),
        (ErrorKind.POLICY, None, "allowed_hosts"),
        (ErrorKind.TOO_LARGE, 200, "response_max_bytes"),
        (ErrorKind.SUCCESS_WHEN, 200, "success_when"),
    ],
)
def test_the_next_step_fits(kind: ErrorKind, status: int | None, words: str) -> None:
    assert words in suggestion(kind, status)
    assert "`replay resolve`" in suggestion(kind, status, in_doubt=True)


@pytest.mark.parametrize(
    ("delivery", "first"),
    [
        (None, "look it up in the CRM"),
        (Delivery.AT_MOST_ONCE, "look it up in the CRM"),
        (Delivery.KEYED, "`replay retry --state in_doubt` sends the same bytes again under the same key"),
        (Delivery.IDEMPOTENT, "`replay retry --state in_doubt` sends it again"),
    ],
)
def test_the_advice_for_a_doubt_depends_on_the_delivery(delivery: Delivery | None, first: str) -> None:
    for kind in (ErrorKind.TIMEOUT, ErrorKind.STATUS):
        told = suggestion(kind, 500, in_doubt=True, delivery=delivery)
        assert told.startswith(f"it is unknown whether the request arrived: {first}")
    assert suggestion(ErrorKind.STATUS, 422, delivery=delivery) == suggestion(ErrorKind.STATUS, 422)
