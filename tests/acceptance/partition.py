"""A replay that loses the connection to its server for a while, in its own network namespace.

``unshare --net python -m tests.acceptance.partition FOLDER SHAPE SECONDS`` silently drops every packet between the
two for that many seconds, in both directions, and prints the result as one JSON line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.replay.runs import Run, await_requests, sqlite_url
from tests.servers.crm_log import running_crm

TOTAL = 600


def main(folder: Path, shape: str, seconds: float) -> dict[str, object]:
    """Run the replay to its end; returns states, exit statuses, and the checker's findings."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with running_crm(folder / "crm.log", latency_ms=60, dedupe=True) as crm:
        run = Run(folder, crm, sqlite_url(folder), shape, total=TOTAL)
        rules = [["OUTPUT", "-p", "tcp", end, str(crm.port), "-j", "DROP"] for end in ("--dport", "--sport")]
        with run.start() as running:
            await_requests(crm, 100)
            for rule in rules:
                subprocess.run(["iptables", "-A", *rule], check=True)
            time.sleep(seconds)
            during = len(crm.requests())
            for rule in rules:
                subprocess.run(["iptables", "-D", *rule], check=True)
            statuses = [running.wait(120).status]
        while statuses[-1] == 4 and len(statuses) < 4:  # it gave the host up, and some contacts are pending
            statuses.append(run.finish(timeout=120).status)
        return {
            "statuses": statuses,
            "states": dict(run.states()),
            "received_when_healed": during,
            "received": len(crm.requests()),
            "broken_promises": run.broken_promises(kills=None),
        }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
