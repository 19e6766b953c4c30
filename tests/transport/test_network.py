"""Which addresses are allowed, and how a refusal explains itself."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.transport import NetworkPolicy
from airflow_whatsapp_flows.transport.origin import Origin


def allows(policy: NetworkPolicy, host: str, *addresses: str, port: int = 443) -> bool:
    """Whether a name with these addresses, or an address, may be connected to."""
    if not addresses:
        return policy.refusal_of_host(Origin("https", host, port)) is None
    return policy.refusal_of_resolved(host, port, [ip_address(address) for address in addresses]) is None


def policy_allowing(*entries: str) -> NetworkPolicy:
    return NetworkPolicy(allowed=entries)


class TestByDefault:
    def test_public_addresses_are_allowed(self) -> None:
        assert allows(NetworkPolicy(), "crm.example", "93.184.216.34", "2606:4700::1111")
        assert allows(NetworkPolicy(), "8.8.8.8")

    @pytest.mark.parametrize("address", ["10.0.0.5", "100.64.1.1", "fd12::1", "127.0.0.2", "169.254.169.254", "::1"])
    def test_others_are_not(self, address: str) -> None:
        assert not allows(NetworkPolicy(), "crm.example", address)
        assert not allows(NetworkPolicy(), address)

    def test_one_bad_address_among_good_ones_refuses_the_name(self) -> None:
        assert not allows(NetworkPolicy(), "crm.example", "93.184.216.34", "127.0.0.2")

    @pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"])
    def test_refuses_loopback_in_every_form(self, host: str) -> None:
        assert not allows(NetworkPolicy(), host)


class TestPrivateAddresses:
    @pytest.mark.parametrize(
        "entry", ["crm.internal", "CRM.internal.", "crm.internal:443", "10.0.0.0/8", "10.0.0.5", "10.0.0.5:443",
                  "10.0.0.5/32", " crm.internal "]
    )  # fmt: skip
    def test_an_entry_allows(self, entry: str) -> None:
        assert allows(policy_allowing(entry), "crm.internal", "10.0.0.5")

    @pytest.mark.parametrize("entry", ["other.internal", "crm.internal:8443", "10.1.0.0/16", "10.0.0.6", "10.0.0.5:80"])
    def test_another_entry_does_not(self, entry: str) -> None:
        assert not allows(policy_allowing(entry), "crm.internal", "10.0.0.5")

    def test_a_connections_origin_allows_its_host_and_port(self) -> None:
        policy = NetworkPolicy(trusted=("https://crm.internal/v1",))
        assert allows(policy, "crm.internal", "10.0.0.5")
        assert not allows(policy, "crm.internal", "10.0.0.5", port=8443)
        assert not allows(policy, "evil.example", "10.0.0.5")

    def test_ipv6_entries_are_read_with_and_without_brackets(self) -> None:
        for entry in ("fd12::5", "[fd12::5]", "[fd12::5]:443", "fd12::/16"):
            assert allows(policy_allowing(entry), "fd12::5")
        assert not allows(policy_allowing("[fd12::5]:80"), "fd12::5")


class TestSpecialAddresses:
    @pytest.mark.parametrize("wide", ["169.254.0.0/16", "0.0.0.0/0", "169.254.169.254/31", "crm.example"])
    def test_a_range_or_an_ordinary_name_does_not_allow_them(self, wide: str) -> None:
        assert not allows(policy_allowing(wide), "crm.example", "169.254.169.254")

    @pytest.mark.parametrize(
        ("entry", "address"),
        [
            ("100.0.0.0/8", "100.100.100.200"),
            ("100.64.0.0/10", "100.100.100.200"),
            ("fc00::/7", "fd00:ec2::254"),
            ("192.0.0.0/24", "192.0.0.192"),
            ("168.63.0.0/16", "168.63.129.16"),
            ("127.0.0.0/8", "127.0.0.1"),
        ],
    )
    def test_metadata_and_loopback_stay_refused_inside_an_allowed_range(self, entry: str, address: str) -> None:
        assert not allows(policy_allowing(entry), "crm.example", address)
        assert not allows(policy_allowing(entry), address)

    @pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.1/32", "127.0.0.1:443", "::ffff:127.0.0.1"])
    def test_the_exact_address_allows_it(self, entry: str) -> None:
        assert allows(policy_allowing(entry), "127.0.0.1")
        assert allows(policy_allowing(entry), "::ffff:127.0.0.1")
        assert not allows(policy_allowing(entry), "127.0.0.2")

    def test_a_connection_to_the_exact_address_allows_its_port(self) -> None:
        policy = NetworkPolicy(trusted=("http://127.0.0.1:8080",))
        assert allows(policy, "127.0.0.1", port=8080)
        assert not allows(policy, "127.0.0.1", port=8081)

    def test_localhost_allows_loopback_under_that_name_only(self) -> None:
        policy = policy_allowing("localhost")
        assert allows(policy, "localhost", "127.0.0.1", "::1")
        assert not allows(policy, "crm.example", "127.0.0.1")
        assert not allows(policy, "127.0.0.1")
        assert not allows(policy, "localhost", "169.254.169.254")

    def test_a_connection_to_a_name_does_not_open_loopback(self) -> None:
        policy = NetworkPolicy(trusted=("https://crm.example",))
        assert not allows(policy, "crm.example", "127.0.0.1")


class TestProxy:
    def test_its_own_name_may_resolve_to_a_private_address(self) -> None:
        policy = NetworkPolicy(proxy="http://ana:s3cret@proxy.internal:3128")
        assert allows(policy, "proxy.internal", "10.0.0.9", port=3128)
        assert not allows(policy, "proxy.internal", "10.0.0.9", port=80)

    def test_its_password_is_in_no_repr(self) -> None:
        assert "s3cret" not in repr(NetworkPolicy(proxy="http://ana:s3cret@proxy.internal:3128"))


def test_a_refusal_names_host_address_rule_and_remedy() -> None:
    assert NetworkPolicy().refusal_of_resolved("crm.internal", 443, [ip_address("10.0.0.5")]) == (
        "crm.internal:443 is refused: crm.internal resolves to 10.0.0.5, which is a private address. To allow it, add "
        "crm.internal to allowed_hosts in [whatsapp_flows], or use a connection with this host and port."
    )
    assert NetworkPolicy().refusal_of_resolved("crm.example", 80, [ip_address("64:ff9b::a9fe:a9fe")]) == (
        "crm.example:80 is refused: crm.example resolves to 64:ff9b::a9fe:a9fe, which is a cloud metadata address "
        "(that is, 169.254.169.254). Only 169.254.169.254 itself, named in allowed_hosts in [whatsapp_flows] or as the "
        "host of a connection, allows it."
    )
    assert NetworkPolicy().refusal_of_host(Origin("http", "127.0.0.1", 80)) == (
        "127.0.0.1:80 is refused: it is a loopback address. Only 127.0.0.1 itself, named in allowed_hosts in "
        "[whatsapp_flows] or as the host of a connection, allows it."
    )


@pytest.mark.parametrize(
    "entry",
    ["", " ", "https://crm.internal", "crm.internal/v1", "10.0.0.5/8", "crm.internal:0", "crm.internal:70000", "a b",
     "crm.internal:https", "*.internal", "127.1", "0x7f000001", "[::1", "ana@crm.internal", "-a", "10.0.0.0/33"],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_is_named(entry: str) -> None:
    with pytest.raises(ConnectionConfigError, match="allowed_hosts") as caught:
        NetworkPolicy(allowed=("crm.internal", entry))
    assert repr(entry) in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"trusted": ("crm.internal",)}, {"trusted": ("http://127.1/",)}, {"proxy": "proxy:1"}]
)
def test_a_bad_origin_or_proxy_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConnectionConfigError):
        NetworkPolicy(**given)
