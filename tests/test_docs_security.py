"""The limits and proofs in docs/security.md are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_whatsapp_flows import sender
from airflow_whatsapp_flows.flow import json_source, json_values
from airflow_whatsapp_flows.flow.body import encoded, yaml_text
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule
from airflow_whatsapp_flows.flow.format import flow as flow_format
from airflow_whatsapp_flows.flow.loading import placeholder_limits
from airflow_whatsapp_flows.flow.reply import content
from airflow_whatsapp_flows.flow.reply import excerpt as reply_excerpt
from airflow_whatsapp_flows.flow.reply import xml_content as xml_reply
from airflow_whatsapp_flows.flow.request import headers as header_fields
from airflow_whatsapp_flows.flow.request import url
from airflow_whatsapp_flows.flow.template import cage, caged, filters
from airflow_whatsapp_flows.replay.sources import source
from airflow_whatsapp_flows.settings import Settings
from airflow_whatsapp_flows.transport import SendPolicy, reply_reader
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
LIMITS = {
    "exchange": (SendPolicy().deadline, Settings().request_timeout),
    "connection": (SendPolicy().connect_timeout,),
    "content of a reply": (Settings().response_max_bytes,),
    "head of a reply": (reply_reader.MAX_HEAD_BYTES,),
    "one header field of a reply": (reply_reader.MAX_FIELD_BYTES,),
    "content codings": (1,),
    "nesting levels of a reply": (content.MAX_DEPTH,),
    "values of a JSON reply": (json_values.MAX_VALUES,),
    "digits of a number": (json_values.MAX_DIGITS,),
    "elements and attributes": (xml_reply.MAX_NODES,),
    "attributes of one": (xml_reply.MAX_ATTRIBUTES,),
    "name of an XML namespace": (xml_reply.MAX_NAMESPACE,),
    "YAML reply": (content.MAX_YAML_BYTES, yaml_text.MAX_VALUES),
    "fields of a form": (content.MAX_FIELDS,),
    "result in XCom": (Settings().xcom_max_bytes,),
    "flow file": (json_source.MAX_BYTES, flow_format.MAX_STEPS),
    "placeholders of a flow": (placeholder_limits.MAX_PLACEHOLDERS, placeholder_limits.MAX_CHARACTERS),
    "template": (caged.MAX_TEMPLATE_BYTES, caged.MAX_IN_TEXT),
    "rendered text": (filters.MAX_TEXT,),
    "intermediate values of the expressions": (cage.MAX_MADE,),
    "body of a request": (encoded.MAX_CONTENT,),
    "file in a request": (sender.MAX_FILE_BYTES,),
    "URL of a request": (url.MAX_URL,),
    "headers of a request": (header_fields.MAX_VALUE, header_fields.MAX_VALUES),
    "row of a source": (source.MAX_ROW_BYTES,),
    "excerpt": (reply_excerpt.EXCERPT_LENGTH,),
    "wait requested by": (RetryRule.__dataclass_fields__["max_wait"].default,),
}


def _rows(heading: str) -> list[list[str]]:
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_every_limit_has_its_number() -> None:
    rows = _rows("Limits")
    assert len(rows) == len(LIMITS)
    for (name, numbers), row in zip(LIMITS.items(), rows, strict=True):
        assert row[0].startswith(name)
        said = {float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", " ".join(row[1:]))}
        assert set(numbers) <= said, row


@pytest.mark.parametrize("row", _rows("Guarantees"), ids=lambda row: row[0].split("**")[1][:40])
def test_every_guarantee_names_existing_code_and_tests(row: list[str]) -> None:
    for place in re.findall(r"`([a-z_/.]+)`", row[1]):
        assert (REPOSITORY / "airflow_whatsapp_flows" / place).exists(), place
    proofs = re.findall(r"`(tests/[^`]+)`", row[2])
    assert proofs
    for proof in proofs:
        path, *names = proof.split("::")
        text = Path(REPOSITORY / path).read_text(encoding="utf-8")
        assert all(f" {name}(" in text or f"class {name}:" in text for name in names), proof


def test_vulnerabilities_can_be_reported_privately() -> None:
    policy = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a vulnerability" in policy
    assert "(../SECURITY.md)" in TEXT
