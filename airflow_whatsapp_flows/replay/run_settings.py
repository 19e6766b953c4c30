"""The settings of a run, from the user, the ledger and the flow, with their defaults and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_whatsapp_flows.flow.format import ReplayFormat
from airflow_whatsapp_flows.flow.model import Flow
from airflow_whatsapp_flows.replay.host_limits import ANY_HOST
from airflow_whatsapp_flows.replay.option_checks import HandledErrors
from airflow_whatsapp_flows.settings import Settings

GivenOptions = Mapping[str, Any]
"""Options by name, as stored in the ledger: ``concurrency``, ``rates``, ``send``, ``max_failures``,
``max_handled_errors``, ``stop_when_refused`` and ``force``. One that is ``None`` or missing is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Settings of a run.

    Attributes:
        concurrency: maximum concurrent requests to one host.
        rates: requests per second by host, and for all other hosts under :data:`ANY_HOST`.
        max_failures: stop if more contacts of the replay failed, including earlier runs; ``None`` for never.
        retry_no: number of the retry by a DAG run; then only its own contacts count for the two limits.
        max_handled_errors: stop if more contacts took an error exit; ``None`` for never.
        stop_when_refused: stop if a server refuses the credentials, or every request of a step.
        resend: whether to send actions that succeeded on the platform.
        force: whether to resend every request intentionally, under new keys.
        chunks: chunks to run; by default all.
        workers: number of processes of one command that run the replay. Of one of them, ``concurrency`` is its share.
        grace: seconds for requests in progress to end when the run is stopped. The default stays below the 10 s that
            supervisors allow.
        reconnect_timeout: seconds to wait for an unreachable ledger server; ``None`` for the setting
            ``ledger_reconnect_timeout``.
    """

    concurrency: int = 64
    rates: Mapping[str, float] = field(default_factory=dict)
    max_failures: int | None = None
    max_handled_errors: HandledErrors | None = None
    retry_no: int | None = None
    stop_when_refused: bool = True
    resend: bool = False
    force: bool = False
    chunks: Sequence[int] | None = None
    workers: int = 1
    grace: float = 7.0
    reconnect_timeout: float | None = None

    def reconnect_seconds(self, settings: Settings) -> float:
        """Return the seconds to wait for an unreachable ledger server, given the settings of the deployment."""
        return settings.ledger_reconnect_timeout if self.reconnect_timeout is None else self.reconnect_timeout


def resolve_run_settings(flow: Flow, *given: GivenOptions, grace: float = 7.0) -> RunSettings:
    """Resolve the settings of a run.

    Args:
        flow: its ``replay`` applies to options not given, then the defaults of flow files.
        *given: given options; the first that sets an option takes precedence.
        grace: see :class:`RunSettings`.
    """
    block = replay_block(flow)

    def find(name: str, default: Any) -> Any:
        return next((one[name] for one in given if one.get(name) is not None), default)

    return RunSettings(
        concurrency=find("concurrency", block.concurrency),
        rates=find("rates", rates_of(block.rate)),
        max_failures=find("max_failures", block.max_failures),
        max_handled_errors=find("max_handled_errors", block.max_handled_errors),
        stop_when_refused=find("stop_when_refused", block.stop_when_refused),
        resend=find("send", block.send) == "all",
        force=any(one.get("force") for one in given),
        grace=grace,
    )


def options_to_keep(run: RunSettings, *given: GivenOptions) -> dict[str, Any]:
    """Return the options to store with a replay, so that a later ``retry`` uses the same settings."""
    refused = next((one["stop_when_refused"] for one in given if one.get("stop_when_refused") is not None), None)
    return {
        "concurrency": run.concurrency,
        "rates": run.rates,
        "send": "all" if run.resend else "failed",
        "max_handled_errors": run.max_handled_errors,
        "stop_when_refused": refused,
    }


def replay_block(flow: Flow) -> ReplayFormat:
    """Return the ``replay`` of a flow, with all defaults."""
    return flow.replay or ReplayFormat()


def rates_of(rate: float | Mapping[str, float] | None) -> dict[str, float]:
    """Return the requests per second by host, and for all other hosts under :data:`ANY_HOST`."""
    if isinstance(rate, Mapping):
        return dict(rate)
    return {} if rate is None else {ANY_HOST: rate}
