"""The digest of a request: ledgers of earlier releases hold it."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from airflow_whatsapp_flows.flow.request.messages import HttpRequest

FIELDS = st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=3).map(tuple)


@given(st.text(max_size=8), st.text(max_size=20), FIELDS, st.binary(max_size=20))
def test_digest_is_that_of_the_head_as_json_and_the_content(
    method: str, url: str, headers: tuple[tuple[str, str], ...], content: bytes
) -> None:
    head = json.dumps([method, url, headers]).encode("ascii")

    digest = HttpRequest(method, url, headers, content).digest()

    assert digest == hashlib.sha256(head + b"\0" + content).hexdigest()
