"""compose.yaml is valid, publishes on loopback only, and uses commands and settings that exist in Airflow."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

DOCKER = Path(__file__).resolve().parents[2] / "docker"
TEXT = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
ASK_AIRFLOW = """
import json, sys
from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf
from airflow.models.connection import Connection

asked = json.load(sys.stdin)
for command in asked["commands"]:
    get_parser().parse_args(command)
known = conf.configuration_description
crm = Connection.from_json(asked["connection"])
print(json.dumps({
    "unknown": [f"{s}/{k}" for s, k in asked["settings"] if k not in known.get(s, {}).get("options", {})],
    "crm": [crm.conn_type, crm.schema, crm.host, crm.port],
}))
"""


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    """The file as Compose sees it: merge keys resolved, extensions gone."""
    loaded: dict[str, Any] = yaml.safe_load(TEXT)
    return {name: value for name, value in loaded.items() if not name.startswith("x-")}


def airflow_services(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in plan["services"].items() if service["image"] == "airflow-whatsapp-flows"}


def test_the_compose_file_is_valid(plan: dict[str, Any]) -> None:
    compose = compose_spec.PyCompose.from_yaml(yaml.safe_dump(plan))
    compose.validate()
    assert set(compose.to_spec().services) == {
        "postgres", "init", "api-server", "scheduler", "dag-processor", "triggerer", "demo-crm",
    }  # fmt: skip


def test_the_check_detects_a_mistake(plan: dict[str, Any]) -> None:
    misspelt = json.loads(json.dumps(plan))
    misspelt["services"]["scheduler"]["comand"] = []
    with pytest.raises(ValueError, match="comand"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(misspelt))


def test_every_command_and_setting_is_one_of_airflow(plan: dict[str, Any], tmp_path: Path) -> None:
    services = airflow_services(plan)
    commands = [service["command"] for service in services.values()]
    checks = [service["healthcheck"]["test"][1:] for service in services.values() if "healthcheck" in service]
    commands += [check for check in checks if check[0] == "airflow"]
    assert {command[0] for command in commands} == {"airflow"}
    environment = services["scheduler"]["environment"]
    settings = [re.fullmatch(r"AIRFLOW__(\w+?)__(\w+)", name) for name in environment]
    asked = {
        "commands": [command[1:] for command in commands],
        "settings": [[found[1].lower(), found[2].lower()] for found in settings if found],
        "connection": environment["AIRFLOW_CONN_CRM"],
    }
    unset = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    result = subprocess.run(
        [sys.executable, "-c", ASK_AIRFLOW],
        input=json.dumps(asked),
        env={**unset, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(asked["settings"]) >= 8
    answer = json.loads(result.stdout.strip().splitlines()[-1])
    assert answer == {"unknown": [], "crm": ["http", "http", "demo-crm", 8000]}


def test_all_of_airflow_shares_one_environment(plan: dict[str, Any]) -> None:
    services = airflow_services(plan)
    assert len(services) == 5
    assert len({json.dumps(service["environment"], sort_keys=True) for service in services.values()}) == 1
    environment = services["init"]["environment"]
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://api-server:8080/execution/"


def test_ports_are_published_on_loopback_only(plan: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in plan["services"].items() if "ports" in service}
    assert published == {"api-server": ["127.0.0.1:8080:8080"], "demo-crm": ["127.0.0.1:8000:8000"]}


def test_dags_are_read_only_and_exist(plan: dict[str, Any]) -> None:
    for service in airflow_services(plan).values():
        assert "../dags:/opt/airflow/dags:ro" in service["volumes"]
    assert (DOCKER / "../dags").resolve().is_dir()


def test_nothing_starts_before_what_it_needs(plan: dict[str, Any]) -> None:
    services = plan["services"]
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert needs["init"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
        assert needs[name]["init"] == {"condition": "service_completed_successfully"}
    for name, conditions in needs.items():
        for other, condition in conditions.items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for {other}, which never says it is healthy"


def test_contains_no_literal_secret(plan: dict[str, Any]) -> None:
    """Every secret is a required variable: without it Compose stops."""
    asked = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert set(re.findall(r"\$\{?(\w+)", TEXT)) == asked
    for service in plan["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD|KEY|SQL_ALCHEMY", name):
                assert "${WHATSAPP_FLOWS_" in value
    assert ".env" in (DOCKER / ".gitignore").read_text().split()


def test_make_env_creates_every_variable_that_compose_requires(tmp_path: Path) -> None:
    script = tmp_path / "make_env.py"
    script.write_bytes((DOCKER / "make_env.py").read_bytes())
    runs = [subprocess.run([sys.executable, script], check=True, capture_output=True, text=True) for _ in range(2)]
    made = tmp_path / ".env"
    values = dict(line.split("=", 1) for line in made.read_text().splitlines())
    assert set(values) == set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert all(len(value) >= 32 for value in values.values())
    assert len(set(values.values())) == len(values)
    assert made.stat().st_mode & 0o777 == 0o600
    assert "is kept" in runs[1].stderr
    assert "$" not in made.read_text(), "Compose would interpolate it"
