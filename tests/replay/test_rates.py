"""The rate limit of a host."""

from __future__ import annotations

import pytest

from airflow_whatsapp_flows.replay.rates import rate_for


@pytest.mark.parametrize(
    ("host", "rates", "default", "expected"),
    [
        pytest.param("crm.example:443", {}, None, None, id="none"),
        pytest.param("crm.example:443", {}, 50.0, 50.0, id="default"),
        pytest.param("crm.example:443", {"crm.example": 7.0}, 50.0, 7.0, id="host without port"),
        pytest.param("crm.example:8443", {"crm.example": 7.0, "crm.example:8443": 9.0}, None, 9.0, id="with port"),
        pytest.param("CRM.example:443", {"crm.EXAMPLE": 7.0}, None, 7.0, id="case"),
        pytest.param("[::1]:8080", {"[::1]": 7.0}, None, 7.0, id="IPv6"),
        pytest.param("[::1]", {"[::1]": 7.0}, None, 7.0, id="IPv6 without port"),
        pytest.param("ana.api-us1.com:443", {}, None, 5.0, id="ActiveCampaign"),
        pytest.param("ana.activehosted.com", {}, None, 5.0, id="ActiveCampaign's other name"),
        pytest.param("ana.api-us1.com:443", {}, 50.0, 5.0, id="a general limit does not lift a documented one"),
        pytest.param("ana.api-us1.com:443", {}, 2.0, 2.0, id="a lower general limit holds"),
        pytest.param(
            "ana.api-us1.com:443", {"ana.api-us1.com": 20.0}, None, 20.0, id="one for the host itself lifts it"
        ),
        pytest.param("api-us1.com.example:443", {}, None, None, id="not a host of that domain"),
        pytest.param("notapi-us1.com:443", {}, None, None, id="not a domain of that name"),
        pytest.param("api.hilos.io:443", {}, None, None, id="Hilos documents none"),
    ],
)
def test_the_limit_of_a_host(host: str, rates: dict[str, float], default: float | None, expected: float | None) -> None:
    assert rate_for(host, rates, default) == expected
