"""The hook that pre-commit offers to other repositories."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FLOW = {"flow_format": 1, "id": "lead", "steps": [{"name": "M", "type": "message", "body": "hi"}]}


@pytest.fixture
def hook() -> dict[str, Any]:
    [only] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert isinstance(only, dict)
    return only


def test_the_hook_has_what_pre_commit_asks_for(hook: dict[str, Any]) -> None:
    assert (hook["id"], hook["language"]) == ("whatsapp-flows-validate", "python")
    assert {"id", "name", "entry", "language"} <= set(hook)


@pytest.mark.parametrize(
    ("path", "chosen"),
    [
        ("flows/lead.json", True),
        ("dags/flows/lead.json", True),
        ("flows/lead.json.md", False),
        ("flows/old/lead.json", False),
        ("overflows/lead.json", False),
        ("lead.json", False),
    ],
)
def test_it_is_run_on_the_flow_files_of_folders_called_flows(hook: dict[str, Any], path: str, chosen: bool) -> None:
    assert (re.search(hook["files"], path) is not None) is chosen


@pytest.mark.parametrize(("flow", "status"), [(FLOW, 0), ({**FLOW, "nmae": "x"}, 1)])
def test_its_hook_refuses_only_faulty_flows(
    hook: dict[str, Any], tmp_path: Path, flow: dict[str, Any], status: int
) -> None:
    program, *words = shlex.split(hook["entry"])
    assert f'{program} = "airflow_whatsapp_flows.cli:main"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "lead.json").write_text(json.dumps(flow), encoding="utf-8")

    command = [sys.executable, "-m", "airflow_whatsapp_flows.cli", *words, "lead.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, encoding="utf-8", timeout=60)

    assert done.returncode == status
    assert ("did you mean 'name'" in done.stdout) is bool(status)
