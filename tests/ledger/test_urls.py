"""Database URLs are shown without their password."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from airflow_whatsapp_flows.ledger.urls import hide_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ana:s3cret@db/x", "postgresql://ana:***@db/x"),
        ("postgresql://ana@db/x?password=s3cret", "postgresql://ana@db/x?password=***"),
        (
            "postgresql://db/x?sslpassword=s3cret&sslkey=s3cret&sslmode=require",
            "postgresql://db/x?sslkey=***&sslmode=require&sslpassword=***",
        ),
        ("snowflake://ana@acc/db?token=s3cret&private_key=s3cret", "snowflake://ana@acc/db?private_key=***&token=***"),
        ("sqlite:////srv/ledger.db", "sqlite:////srv/ledger.db"),
    ],
)
def test_no_spelling_of_a_password_is_shown(url: str, shown: str) -> None:
    got = hide_password(make_url(url))

    assert "s3cret" not in got
    assert sorted(got.partition("?")[2].split("&")) == sorted(shown.partition("?")[2].split("&"))
    assert got.partition("?")[0] == shown.partition("?")[0]
