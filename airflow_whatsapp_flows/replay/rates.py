"""How many requests a second a host is sent at most."""

from __future__ import annotations

from collections.abc import Mapping

PRESETS: Mapping[str, float] = {
    # ActiveCampaign: 5 requests a second and account, whatever the key; an account is a host of its own.
    "api-us1.com": 5.0,
    "activehosted.com": 5.0,
}
"""Documented limits of known services: domain to requests per second. Hilos documents none."""


def rate_for(host: str, rates: Mapping[str, float], default: float | None) -> float | None:
    """Requests a second that a host is sent at most.

    What is given for the host itself holds, also above a preset. Otherwise it is the lower one of the default and
    the preset of a known service.

    Args:
        host: as in :attr:`Origin.authority`, ``"crm.example:443"``, or without the port.
        rates: by host, with or without the port, in any case.
        default: for hosts that are not named; ``None`` for no limit.

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
    """The ways in which a rate may name a host, in lower case: with its port, and without."""
    authority = host.lower()
    return authority, _without_port(authority)


def _without_port(authority: str) -> str:
    name, colon, port = authority.rpartition(":")
    return name if colon and port.isdecimal() and (name.endswith("]") or ":" not in name) else authority
