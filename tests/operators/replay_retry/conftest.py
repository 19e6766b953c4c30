"""A finished replay of 12 contacts, of which 3 failed, in each database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.operators.flows import write_responses
from tests.operators.replay_retry.retries import answer, flow_source, replay_by_command, states
from tests.servers.recording import RecordingServer


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    return write_responses(tmp_path, 12)


@pytest.fixture
def source(server: RecordingServer, responses: Path, url: str) -> dict[str, Any]:
    """The flow of a finished replay of 12 contacts: 3 and 7 were refused with 422, 8 with 403; 9 are completed."""
    answer(server, {3: 422, 7: 422, 8: 403})
    source = flow_source(responses)
    replay_by_command(source, responses)
    assert states(url) == {"completed": 9, "failed": 3}
    server.received.clear()
    answer(server, {})
    return source
