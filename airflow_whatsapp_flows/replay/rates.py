"""Maximum requests per second for each host."""

from __future__ import annotations

from collections.abc import Mapping

PRESETS: Mapping[str, float] = {
    # ActiveCampaign: 5 requests per second and account, regardless of the key; each account has its own host.
    "api-us1.com": 5.0,
    "activehosted.com": 5.0,
}
"""Documented limits of known services: domain to requests per second. Hilos documents none."""


def rate_for(host: str, rates: Mapping[str, float], default: float | None) -> float | None:
    """Return the maximum requests per second for a host.

    A rate for the host itself applies, even above a preset. Otherwise it is the lower of the default and the preset of
    a known service.

    Args:
        host: as in :attr:`Origin.authority`, ``"crm.example:443"``, or without the port.
        rates: rates by host, with or without the port, in upper or lower case.
        default: rate for other hosts; ``None`` for no limit.

    Returns:
        ``None`` for no limit.
    """
    given = {key.lower(): rate for key, rate in rates.items()}
    authority, name = spellings(host)
    for key in (authority, name):
        if key in given:
            return given[key]
    preset = next((rate for domain, rate in PRESETS.items() if f".{name}".endswith(f".{domain}")), None)
    limits = [rate for rate in (default, preset) if rate is not None]
    return min(limits, default=None)


def spellings(host: str) -> tuple[str, str]:
    """Return the names under which a rate may be given for a host, in lowercase: with and without port."""
    authority = host.lower()
    return authority, _without_port(authority)


def _without_port(authority: str) -> str:
    name, colon, port = authority.rpartition(":")
    return name if colon and port.isdecimal() and (name.endswith("]") or ":" not in name) else authority
