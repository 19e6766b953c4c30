"""Which hosts and addresses may be connected to. Set by the platform's operator, never by a flow."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network

from yarl import URL

from airflow_whatsapp_flows.errors import ConnectionConfigError
from airflow_whatsapp_flows.transport.addresses import IpAddress, Reach, host_address, reach_of, unwrap
from airflow_whatsapp_flows.transport.origin import Origin, origin_of_connection, origin_of_parsed

_SETTING = "allowed_hosts in [whatsapp_flows]"
_HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_ENTRY = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?")
_LOOPBACK = host_address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class _AllowedTargets:
    """Targets that the operator allows; a port of ``None`` means every port."""

    hosts: frozenset[tuple[str, int | None]]
    addresses: frozenset[tuple[IpAddress, int | None]]
    networks: tuple[IPv4Network | IPv6Network, ...]

    def holds_host(self, host: str, port: int) -> bool:
        return (host, port) in self.hosts or (host, None) in self.hosts

    def holds_address(self, address: IpAddress, port: int) -> bool:
        return (address, port) in self.addresses or (address, None) in self.addresses


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Which hosts and addresses may be connected to.

    Public addresses are allowed. Private ones (RFC 1918, RFC 6598, RFC 4193) are allowed only if the host, the address
    or a range containing it is listed here. Loopback, link-local, cloud metadata, multicast and reserved addresses only
    if the exact address is listed or, for loopback, the name ``localhost`` (RFC 6761 §6.3).

    Attributes:
        allowed: ``host``, ``host:port``, an address, ``address:port`` or a CIDR range; the setting ``allowed_hosts``.
        trusted: origins of connections, such as ``"https://crm.internal:8443"``; each counts as its host and port.
        proxy: URL of the egress proxy that every request goes through; default none. The environment's ``HTTP_PROXY``
            is never read. Behind a proxy, the proxy resolves and checks host names; addresses in URLs are still checked
            here.

    Raises:
        ConnectionConfigError: an entry cannot be read; the message names it.
    """

    allowed: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    proxy: str | None = field(default=None, repr=False)
    _named: _AllowedTargets = field(init=False, repr=False, compare=False)
    _proxy_named: _AllowedTargets = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        entries = [_read_entry(entry) for entry in self.allowed]
        entries += [_read_origin(origin_of_connection(url)) for url in self.trusted]
        object.__setattr__(self, "_named", _operator_entries(entries))
        proxies = [] if self.proxy is None else [_read_origin(_proxy_origin(self.proxy))]
        object.__setattr__(self, "_proxy_named", _operator_entries(proxies))

    def refusal_of_host(self, target: Origin) -> str | None:
        """Return why a request may not go to this host, judging by its URL; ``None`` if allowed, or if DNS must decide.

        Addresses need no resolver, so they are checked here, before any connection is opened.
        """
        try:
            address = host_address(target.host)
        except ValueError as error:
            return f"{target.authority} is refused: {error}"
        if address is None and self.proxy is not None and _is_localhost(target.host):
            address = _LOOPBACK
        return None if address is None else self.refusal(target, address)

    def refusal(self, target: Origin, address: IpAddress) -> str | None:
        """Return why a host may not be reached at an address; ``None`` if allowed."""
        return None if _allows(self._named, target, address) else _explain(target, address)

    def refusal_of_resolved(self, host: str, port: int, addresses: list[IpAddress]) -> str | None:
        """Return why a name may not be connected to, given its addresses; one forbidden address refuses the name.

        The name may also be that of the proxy, which the operator allows by setting it.
        """
        target = Origin("", host.lower().rstrip("."), port)
        for address in addresses:
            if not (_allows(self._named, target, address) or _allows(self._proxy_named, target, address)):
                return _explain(target, address)
        return None


def _allows(named: _AllowedTargets, target: Origin, address: IpAddress) -> bool:
    inner = unwrap(address)
    reach, _ = reach_of(inner)
    if reach is Reach.PUBLIC or named.holds_address(inner, target.port):
        return True
    by_name = named.holds_host(target.host, target.port)
    if reach is Reach.SPECIAL:
        # A name allowed for its private address must not give access to loopback after a change in DNS.
        return by_name and inner.is_loopback and _is_localhost(target.host)
    return by_name or any(inner in network for network in named.networks)


def _explain(target: Origin, address: IpAddress) -> str:
    inner = unwrap(address)
    reach, label = reach_of(inner)
    what = "it" if target.host == str(address) else f"{target.host} resolves to {address}, which"
    inside = "" if inner == address else f" (that is, {inner})"
    if reach is Reach.PRIVATE:
        remedy = f"To allow it, add {target.host} to {_SETTING}, or use a connection with this host and port."
    else:
        remedy = f"Only {inner} itself, named in {_SETTING} or as the host of a connection, allows it."
    return f"{target.authority} is refused: {what} is {label}{inside}. {remedy}"


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


_Entry = tuple[str, int | None] | tuple[IpAddress, int | None] | IPv4Network | IPv6Network


def _read_entry(text: str) -> _Entry:
    entry = text.strip().lower()
    try:
        if "/" in entry:
            network = ip_network(entry)
            return (unwrap(network[0]), None) if network.num_addresses == 1 else network
        if entry.count(":") > 1 and not entry.startswith("["):
            entry = f"[{entry}]"
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError("write a host, host:port, an address or a CIDR range")
        port = None if match["port"] is None else int(match["port"])
        if port is not None and not 0 < port < 65_536:
            raise ValueError("a port is a number from 1 to 65535")
        return _host_entry(match["ipv6"] or match["host"] or "", port)
    except ValueError as error:
        raise ConnectionConfigError(f"{_SETTING}: {text!r} cannot be used: {error}") from None


def _host_entry(host: str, port: int | None) -> _Entry:
    address = host_address(host)
    if address is not None:
        return unwrap(address), port
    name = host.rstrip(".")
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("write a host, host:port, an address or a CIDR range")
    return name, port


def _read_origin(origin: Origin) -> _Entry:
    try:
        return _host_entry(origin.host, origin.port)
    except ValueError as error:
        raise ConnectionConfigError(
            f"the host {origin.host!r} of a connection or proxy cannot be used: {error}"
        ) from None


def _proxy_origin(url: str) -> Origin:
    try:
        return origin_of_parsed(URL(url).with_user(None))
    except ValueError as error:
        raise ConnectionConfigError(f"the proxy setting cannot be used: {error}") from None


def _operator_entries(entries: list[_Entry]) -> _AllowedTargets:
    hosts: set[tuple[str, int | None]] = set()
    addresses: set[tuple[IpAddress, int | None]] = set()
    networks: list[IPv4Network | IPv6Network] = []
    for entry in entries:
        if not isinstance(entry, tuple):
            networks.append(entry)
        elif isinstance(entry[0], str):
            hosts.add((entry[0], entry[1]))
        else:
            addresses.add((entry[0], entry[1]))
    return _AllowedTargets(frozenset(hosts), frozenset(addresses), tuple(networks))


PUBLIC_ONLY = NetworkPolicy()
