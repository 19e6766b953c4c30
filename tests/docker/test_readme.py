"""The commands of docker/README.md do what its text says."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def conf() -> dict[str, Any]:
    (block,) = [found for found in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) if "dags trigger" in found]
    (line,) = [line for line in block.replace("\\\n", " ").splitlines() if "dags trigger lead_to_crm" in line]
    words = shlex.split(line)
    found: dict[str, Any] = json.loads(words[words.index("--conf") + 1])
    return found


def test_the_triggered_contact_answers_every_question(conf: dict[str, Any]) -> None:
    flow = json.loads((ROOT / "dags" / "flows" / "lead_to_crm.json").read_text(encoding="utf-8"))
    assert {step["name"] for step in flow["steps"] if step["type"] == "question"} <= conf["step"].keys()


def test_the_switch_covers_the_triggered_contact(conf: dict[str, Any]) -> None:
    assert f'"phones": ["{conf["contact"]["phone"]}"]' in TEXT
