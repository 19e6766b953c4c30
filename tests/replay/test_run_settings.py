"""The precedence of settings."""

from __future__ import annotations

from airflow_whatsapp_flows.flow.format import ReplayFormat
from airflow_whatsapp_flows.flow.loading.load import load_flow
from airflow_whatsapp_flows.replay.run_settings import options_to_keep, rates_of, resolve_run_settings
from tests.cli.replaying import LEADS


def test_the_first_given_option_wins_then_the_flow() -> None:
    flow = load_flow({**LEADS, "replay": {"concurrency": 8, "rate": 5, "send": "all", "stop_when_refused": False}})
    run = resolve_run_settings(flow, {"concurrency": None, "force": False}, {"concurrency": 4, "max_handled_errors": 0})
    assert (run.concurrency, run.rates, run.resend, run.stop_when_refused) == (4, {"": 5.0}, True, False)
    assert (run.max_handled_errors, run.max_failures, run.force) == (0, None, False)
    told = resolve_run_settings(flow, {"send": "failed", "rates": {}, "stop_when_refused": True}, {"force": True})
    assert (told.rates, told.resend, told.stop_when_refused, told.force) == ({}, False, True, True)


def test_defaults_are_those_of_a_flow_file() -> None:
    run, block = resolve_run_settings(load_flow(LEADS)), ReplayFormat()
    assert (run.concurrency, run.rates, run.max_failures) == (block.concurrency, rates_of(block.rate), None)
    assert (run.resend, run.stop_when_refused, run.force) == (False, True, False)


def test_a_retry_keeps_the_given_options_instead_of_the_flows() -> None:
    flow = load_flow({**LEADS, "replay": {"stop_when_refused": False}})
    said = {"concurrency": 3, "send": "all"}
    kept = options_to_keep(resolve_run_settings(flow, said), said)
    assert (kept["concurrency"], kept["send"], kept["stop_when_refused"]) == (3, "all", None)
    assert options_to_keep(resolve_run_settings(flow, kept), kept) == kept
