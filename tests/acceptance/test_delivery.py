"""A replay without a network for a minute, and with connections reset at random."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_whatsapp_flows.flow.delivery.decision import retry_wait
from airflow_whatsapp_flows.flow.delivery.rule import RetryRule
from airflow_whatsapp_flows.flow.delivery.table import Delivery
from airflow_whatsapp_flows.flow.reply.result import SentRequest, classify
from airflow_whatsapp_flows.flow.request.messages import HttpRequest, HttpResponse
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


def test_every_reset_connection_puts_one_request_in_doubt(tmp_path: Path) -> None:
    with running_crm(tmp_path / "crm.log", shares={"reset_after": 0.05, "drop_not_applied": 0.05}) as crm:
        run = Run(tmp_path, crm, sqlite_url(tmp_path), total=300)
        ended = run.finish()

        assert ended.status == 0, ended
        unanswered = sum(entry.reply == "dropped" for entry in crm.requests())
        assert unanswered > 15
        assert run.states() == {"completed": 300 - unanswered, "in_doubt": unanswered}
        assert len(crm.requests()) == 300
        assert run.broken_promises(kills=0) == []


RULE = RetryRule.of(Delivery.IDEMPOTENT, wait=1, backoff=2, max_wait=30)
BROKEN = classify(HttpResponse(503), SentRequest(HttpRequest("PUT", "https://crm.example/"), 1, "key"))


@pytest.mark.parametrize("retry", [1, 3, 5, 20])
def test_waits_are_uniform_between_zero_and_their_limit(retry: int) -> None:
    """Kolmogorov-Smirnov test at the level of 1 %, with fixed draws."""
    count, limit = 2_000, RULE.cap(retry)
    draws = random.Random(20261122)

    waits = sorted(retry_wait(RULE, retry, BROKEN, 0.0, jitter=draws.uniform) for _ in range(count))

    assert 0 <= waits[0] <= waits[-1] <= limit
    distance = max(abs(wait / limit - (number + 0.5) / count) for number, wait in enumerate(waits)) + 0.5 / count
    assert distance < 1.63 / math.sqrt(count)


def test_forked_processes_use_different_waits() -> None:
    """Airflow forks its tasks, and forks must not share their random state."""
    script = """
import os, tests.acceptance.test_delivery as module
for _ in range(20):
    if not os.fork():
        os.write(1, f"{module.retry_wait(module.RULE, 5, module.BROKEN, 0.0)}\\n".encode())
        os._exit(0)
for _ in range(20):
    os.wait()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    waits = [float(line) for line in done.stdout.split()]
    assert len(waits) == len(set(waits)) == 20
    assert max(waits) - min(waits) > RULE.cap(5) / 3
