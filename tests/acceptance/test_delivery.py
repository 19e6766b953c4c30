"""What a network does to a replay: it is cut off for a minute, and connections are reset at random."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.partition import TOTAL
from tests.replay.runs import Run, sqlite_url
from tests.servers.crm_log import REPOSITORY, running_crm


@pytest.mark.long
@pytest.mark.parametrize(("shape", "seconds"), [("post", 60), ("keyed", 20)])
def test_a_minute_without_a_network_leaves_no_wrong_state(tmp_path: Path, shape: str, seconds: int) -> None:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "iptables"))):
        pytest.skip("a network namespace whose packets are dropped needs root, unshare, ip and iptables")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no network namespaces")
    command = [
        "unshare",
        "--net",
        sys.executable,
        "-m",
        "tests.acceptance.partition",
        str(tmp_path),
        shape,
        str(seconds),
    ]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=500)

    assert done.returncode == 0, done.stderr
    came = json.loads(done.stdout.splitlines()[-1])
    assert came["broken_promises"] == []
    assert came["statuses"][-1] == 0, came
    assert came["received_when_healed"] < TOTAL
    states = came["states"]
    assert sum(states.values()) == TOTAL
    assert set(states) <= {"completed", "in_doubt", "failed"}
    assert states["completed"] > TOTAL // 2
    if shape == "keyed":  # what may be sent again is settled by its key
        assert states["completed"] >= came["received_when_healed"]


def test_every_reset_connection_leaves_one_doubt(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", shares={"reset_after": 0.05, "drop_not_applied": 0.05}) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=300)
        ended = run.finish()

        assert ended.status == 0, ended
        unanswered = sum(entry.reply == "dropped" for entry in crm.requests())
        assert unanswered > 15
        assert run.states() == {"completed": 300 - unanswered, "in_doubt": unanswered}
        assert len(crm.requests()) == 300
        assert run.broken_promises(kills=0) == []
