"""What a contact costs, in Python bytecodes: a figure that the load of a machine doesn't change."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bytecodes import bytecodes_per_contact
from benchmarks.server import running_server

pytestmark = [pytest.mark.long, pytest.mark.alone]
MOST = 2.3
"""Bytecodes per contact ÷ those of the bare loop; 2.05 to 2.2 when this was written, since it depends on how many
contacts share a commit. Lower it when they get fewer."""


def test_a_contact_costs_few_bytecodes(tmp_path: Path) -> None:
    with running_server(0) as url:
        ours, bare = bytecodes_per_contact(url, tmp_path, 200)

    assert ours.total() / bare.total() <= MOST, ours.most_common(20)
