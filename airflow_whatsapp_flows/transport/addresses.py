"""IP addresses: notations, embedded addresses, and the reach of each address."""

from __future__ import annotations

import socket
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

IpAddress = IPv4Address | IPv6Address


class Reach(Enum):
    """The reach of an address, which determines how it must be allowed."""

    PUBLIC = "public"
    PRIVATE = "private"
    SPECIAL = "special"


# Own tables, because `is_private` and `is_global` differ between Python 3.10 and 3.13 and call 168.63.129.16,
# 192.0.0.192 and multicast global. The first match counts.
_SPECIAL_BLOCKS = tuple(
    (ip_network(block), label)
    for label, blocks in (
        # AWS, Google, Azure and most others; Azure's agent; Alibaba; Oracle; then AWS, Google and Oracle over IPv6.
        (
            "a cloud metadata address",
            "169.254.169.254 169.254.170.2 169.254.170.23 168.63.129.16 100.100.100.200 192.0.0.192 "
            "fd00:ec2::/32 fd20:ce::/32 fd00:c1::/32",
        ),
        ("a loopback address", "127.0.0.0/8 ::1"),
        ("a link-local address", "169.254.0.0/16 fe80::/10"),
        ("an unspecified address", "0.0.0.0/8 ::"),
        ("a multicast address", "224.0.0.0/4 ff00::/8"),
        # RFC 6890 and the IANA special-purpose registries; Teredo hides an IPv4 address (RFC 4380 §4).
        (
            "a reserved address",
            "240.0.0.0/4 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
            "2001::/23 2001:db8::/32 3fff::/20",
        ),
    )
    for block in blocks.split()
)
# RFC 1918, RFC 6598 (carrier-grade NAT), RFC 4193 (unique local).
_PRIVATE_BLOCKS = tuple(
    ip_network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_GLOBAL_UNICAST = ip_network("2000::/3")  # RFC 4291 §2.4: all of IPv6 that is handed out
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052 §2.1
_IPV4_COMPATIBLE = ip_network("::/96")  # RFC 4291 §2.5.5.1; :: and ::1 are in it but count as themselves


@lru_cache(maxsize=1024)
def host_address(host: str) -> IpAddress | None:
    """Parse a URL's host as an address; ``None`` if it is a name.

    Args:
        host: host without brackets.

    Raises:
        ValueError: an address in a notation that libraries interpret differently, such as ``127.1`` or ``0x7f000001``.
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    if ":" in host or _is_legacy_ipv4(host):
        raise ValueError("write an address as four decimal numbers with dots, or as IPv6 in brackets")
    return None


def _is_legacy_ipv4(host: str) -> bool:
    # inet_aton(3) is what connects to 2130706433, 0177.1 and 0x7f000001.
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def unwrap(address: IpAddress) -> IpAddress:
    """Return the IPv4 address inside a mapped, compatible, NAT64 or 6to4 address; others unchanged."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is not None:
        return inner
    plain = IPv6Address(int(address))  # without a zone, which `in` ignores and `==` compares
    if plain in _NAT64 or (plain in _IPV4_COMPATIBLE and int(plain) > 1):
        return IPv4Address(int(plain) & 0xFFFF_FFFF)
    return plain


@lru_cache(maxsize=1024)
def reach_of(address: IpAddress) -> tuple[Reach, str]:
    """Return the reach of an unwrapped address, and its description for messages."""
    for block, label in _SPECIAL_BLOCKS:
        if address in block:
            return Reach.SPECIAL, label
    if any(address in block for block in _PRIVATE_BLOCKS):
        return Reach.PRIVATE, "a private address"
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return Reach.SPECIAL, "a reserved address"
    return Reach.PUBLIC, "a public address"
