"""The reach of each address, in any notation."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from airflow_whatsapp_flows.transport.addresses import Reach, host_address, reach_of, unwrap

METADATA = [
    "169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192",
    "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe",
]  # fmt: skip


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_are_public(text: str) -> None:
    assert reach_of(ip_address(text))[0] is Reach.PUBLIC


@pytest.mark.parametrize(
    "text", ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fd12:3456::1"]
)
def test_private_addresses_are_private(text: str) -> None:
    assert reach_of(ip_address(text))[0] is Reach.PRIVATE


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "127.255.0.9", "::1", "169.254.1.1", "fe80::1", "fe80::1%eth0", "0.0.0.0", "0.1.2.3", "::",
     "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "203.0.113.1", "2001:db8::1",
     "2001::1", "fec0::1", "64:ff9b:1::1", "::ffff:0:127.0.0.1", "5f00::1", *METADATA],
)  # fmt: skip
def test_special_addresses_are_special(text: str) -> None:
    assert reach_of(unwrap(ip_address(text)))[0] is Reach.SPECIAL


@pytest.mark.parametrize("text", METADATA)
def test_metadata_addresses_are_recognized(text: str) -> None:
    assert "metadata" in reach_of(ip_address(text))[1]


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:a9fe:a9fe", "169.254.169.254"),
        ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
        ("2002:7f00:1::", "127.0.0.1"),
        ("::127.0.0.1", "127.0.0.1"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1", "::1"),
        ("::", "::"),
    ],
)
def test_an_embedded_address_is_the_one_that_counts(text: str, inner: str) -> None:
    assert unwrap(ip_address(text)) == ip_address(inner)


@pytest.mark.parametrize(
    "text", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.01", "0x7f.1", "1", "::g"]
)
def test_refuses_ambiguous_address_forms(text: str) -> None:
    with pytest.raises(ValueError, match="four decimal numbers"):
        host_address(text)


@pytest.mark.parametrize("text", ["crm.example", "beef.cafe", "1password.com", "localhost", "a", "x0x7f"])
def test_a_name_is_not_an_address(text: str) -> None:
    assert host_address(text) is None
