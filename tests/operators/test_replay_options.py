"""The options of replay tasks have the limits of the command line."""

from __future__ import annotations

import argparse

import pytest

from airflow_whatsapp_flows.cli.argument_types import concurrency, rate
from airflow_whatsapp_flows.operators.replay_options import ReplayOptions

pytestmark = pytest.mark.usefixtures("airflow")


@pytest.mark.parametrize("number", [0, -1, 1025])
def test_operators_and_command_line_refuse_the_same_concurrency(number: int) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        concurrency(str(number))
    with pytest.raises(ValueError, match=str(number)):
        ReplayOptions(concurrency=number)


@pytest.mark.parametrize("number", [0.0, -1.0, 100_001.0, float("nan")])
def test_operators_and_command_line_refuse_the_same_rate(number: float) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        rate(str(number))
    for given in (number, {"crm.example": number}):
        with pytest.raises(ValueError, match="requests per second"):
            ReplayOptions(rate=given)
