"""The seven body types: a flow's body is parsed once and encoded for many contacts, without any I/O."""

from airflow_whatsapp_flows.flow.body.body import (
    ABSENT,
    Body,
    BodyType,
    EncodedBody,
    FileContent,
    FileSource,
    infer_body_type,
    parse_body,
)

__all__ = [
    "ABSENT",
    "Body",
    "BodyType",
    "EncodedBody",
    "FileContent",
    "FileSource",
    "infer_body_type",
    "parse_body",
]
