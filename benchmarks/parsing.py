"""Parsing 1,000 flows of ten steps: ``load_dags`` against plain Python loops and against dag-factory.

The HTTP loop makes as many plain ``HttpOperator`` tasks, one after another, without labels, forms, and documentation.
The plain loop makes the same DAGs with the same operators, labels and forms, of one flow that was read before. Both
read no file and check nothing. dag-factory 1.1.0 makes 1,000 DAGs of one YAML file with the same actions, branch and
form; its other steps are Python branches, as ours are branches. It is installed into a temporary folder. Every reading
is CPU time of a process of its own that has imported everything and built one DAG before; they take turns. With
Airflow's parsing context set, one DAG of the 1,000 is built; and 1,000 flows are checked as ``validate`` does.

Imports are compared with those of ``HttpOperator``, both beside ``airflow.sdk``; the start of ``validate`` for one
file, the interpreter and all imports included, with ``python -c pass``.

    python benchmarks/parsing.py [--flows 1000] [--rounds 3]
"""

from __future__ import annotations

import os
import sys

if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    # Started as a file, this folder comes first, and operator.py hides the standard library's.
    del sys.path[0]

import argparse
import importlib
import json
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PEER = "dag-factory==1.1.0"
LOOP_LIMIT, HTTP_LIMIT, PEER_LIMIT, ONE_LIMIT, VALIDATE_LIMIT = 1.5, 1.5, 1 / 3, 0.15, 3.0
START_LIMIT = 0.3
"""Seconds of CPU, where ``python -c pass`` takes 0.01 to 0.02."""
HTTP_TASKS = 12
"""As many as one DAG of a flow has."""


def main() -> int:
    """Measure and print; returns 1 when a ratio is beyond its limit."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--flows", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--child", help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        print(json.dumps(CHILDREN[given.child](given.folder)))
        return 0
    with tempfile.TemporaryDirectory(prefix="whatsapp-flows-benchmark-") as home:
        folder = Path(home)
        prepare(folder, given.flows)
        kinds = ["ours", "http", "plain", "one", "validate", "import", "import_http"]
        kinds += ["peer"] if install_peer(folder) else []
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(given.rounds):
            for kind in kinds:
                seconds[kind].append(measured(kind, folder))
            for kind, started in starts(folder).items():
                seconds.setdefault(kind, []).append(started)
    return report({kind: statistics.median(values) for kind, values in seconds.items()}, given.flows)


def report(seconds: dict[str, float], flows: int) -> int:
    """Print the table; returns 1 when something is beyond its limit."""
    ours, each = seconds["ours"], seconds["validate"] / flows * 1000
    print(f"CPU for {flows} flows of ten steps, median:\n  load_dags                 {ours:7.2f} s")
    rows = [
        (f"HttpOperator in a loop   {seconds['http']:7.2f} s", "ratio", ours / seconds["http"], HTTP_LIMIT),
        (f"the same DAGs in a loop  {seconds['plain']:7.2f} s", "ratio", ours / seconds["plain"], LOOP_LIMIT),
        (f"one DAG of {flows:<5}         {seconds['one']:7.3f} s", "seconds", seconds["one"], ONE_LIMIT),
        (f"validate                 {seconds['validate']:7.2f} s", "ms for each flow", each, VALIDATE_LIMIT),
    ]
    if "peer" in seconds:
        rows.append((f"{PEER}      {seconds['peer']:7.2f} s", "ratio", ours / seconds["peer"], PEER_LIMIT))
    else:
        print(f"  {PEER} could not be installed, so nothing is measured against it")
    start, imports = seconds["start"], seconds["import"]
    times = f"{start / seconds['bare']:.0f} times `python -c pass`"
    rows.append((f"start of validate       {start:7.3f} s", f"{times}; seconds", start, START_LIMIT))
    print(f"  imports of dag_factory    {imports:7.3f} s   {imports / seconds['import_http']:.2f} times HttpOperator's")
    for text, unit, value, limit in rows:
        print(f"  {text}   {unit} {value:.2f} (asked: at most {limit})")
    return int(any(value > limit for _, _, value, limit in rows))


def flow(number: int) -> dict[str, Any]:
    """One flow of ten steps."""
    return {
        "flow_format": 1,
        "id": f"flow_{number:04}",
        "name": f"Flow {number}",
        "timezone": "America/Mexico_City",
        "variables": {"campaign": {"type": "text", "default": "none"}},
        "steps": [
            {
                "name": "Ask name",
                "type": "question",
                "body": "Who are you?",
                "answer_type": "FREE_TEXT",
                "next": "Choose",
            },
            {
                "name": "Choose",
                "type": "menu",
                "body": "What is it about, {{ step.Ask name }}?",
                "options": {"Sales": "Which plan", "Support": "Mark"},
                "on_no_answer": "Remind",
            },
            {
                "name": "Which plan",
                "type": "conditional",
                "paths": [
                    {
                        "name": "pro",
                        "conditions": [{"field": "contact.meta.plan", "comparison": "exact", "value": "pro"}],
                        "next": "Create contact",
                    }
                ],
                "otherwise": "Mark",
            },
            {
                "name": "Create contact",
                "type": "action",
                "connection": "crm",
                "url": "/v1/contacts",
                "headers": {"X-Source": "whatsapp"},
                "query_params": {"upsert": "true"},
                "body": {
                    "name": "{{ step.Ask name }}",
                    "phone": "{{ contact.phone }}",
                    "campaign": "{{ flow_execution_variables.campaign }}",
                    "tags": ["whatsapp", "{{ step.Choose }}"],
                },
                "on_success": "Say thanks",
                "on_error": "Tell sales",
            },
            {
                "name": "Say thanks",
                "type": "message",
                "body": "Thanks {{ contact.first_name }}, you are number {{ step.Create contact.response.id }}.",
                "next": "Note it",
            },
            {
                "name": "Note it",
                "type": "contact_update",
                "meta": {"crm_id": "{{ step.Create contact.response.id }}"},
                "next": "Mark",
            },
            {"name": "Mark", "type": "tag", "contact_tags": ["whatsapp"]},
            {
                "name": "Tell sales",
                "type": "action",
                "url": "https://hooks.example.com/sales",
                "body_type": "form",
                "body": {"phone": "{{ contact.phone }}", "status": "{{ step.Create contact.status_code }}"},
                "on_success": "Give up",
            },
            {"name": "Remind", "type": "template", "whatsapp_template": "reminder_1", "next": "Mark"},
            {
                "name": "Give up",
                "type": "end",
                "state": "failed",
                "reason": "the CRM said {{ step.Create contact.status_code }}",
            },
        ],
    }


def peer_dag() -> dict[str, Any]:
    """What dag-factory makes the same ten tasks of."""
    http = {
        "operator": "airflow_whatsapp_flows.operators.action.WhatsAppActionOperator",
        "http_conn_id": "crm",
        "url": "/v1/contacts",
        "headers": {"X-Source": "whatsapp"},
        "body": {"name": "{{ step['Ask name'] }}", "phone": "{{ contact.phone }}", "tags": ["whatsapp"]},
    }
    branch = {
        "operator": "airflow_whatsapp_flows.operators.branch.WhatsAppBranchOperator",
        "action": "create_contact",
        "on_success": "say_thanks",
        "on_error": "tell_sales",
    }
    choose = {
        "operator": "airflow.providers.standard.operators.python.BranchPythonOperator",
        "python_callable": "benchmarks.parsing.choose",
    }
    tasks = {
        "ask_name": choose,
        "choose": {**choose, "dependencies": ["ask_name"]},
        "which_plan": {**choose, "dependencies": ["choose"]},
        "create_contact": {**http, "dependencies": ["which_plan"]},
        "created": {**branch, "dependencies": ["create_contact"]},
        "say_thanks": {**choose, "dependencies": ["created"]},
        "note_it": {**choose, "dependencies": ["say_thanks"]},
        "mark": {**choose, "dependencies": ["note_it", "which_plan", "choose"]},
        "tell_sales": {**http, "dependencies": ["created"]},
        "remind": {**choose, "dependencies": ["choose"]},
        "give_up": {**choose, "dependencies": ["tell_sales"]},
    }
    listed = [{"task_id": name, **task} for name, task in tasks.items()]
    form = ("id", "contact.phone", "contact.first_name", "contact.plan", "step.Ask name", "step.Choose", "campaign")
    return {
        "default_args": {"start_date": "2026-01-01", "owner": "data"},
        "schedule": None,
        "params": dict.fromkeys(form),
        "tasks": listed,
    }


def choose() -> str:
    """What the branches of the YAML call; nothing is run here."""
    return "mark"


def prepare(folder: Path, flows: int) -> None:
    """Write the flows, and the YAML."""
    import yaml

    (folder / "flows").mkdir()
    for number in range(flows):
        (folder / "flows" / f"flow_{number:04}.json").write_text(json.dumps(flow(number), indent=2), encoding="utf-8")
    dags = {f"flow_{number:04}": peer_dag() for number in range(flows)}
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign, assignment]  # people write no anchors
    (folder / "dags.yml").write_text(yaml.dump(dags, Dumper=dumper, sort_keys=False), encoding="utf-8")


def install_peer(folder: Path) -> bool:
    """Install dag-factory where only its own process finds it; what it needs is what Airflow needs."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*pip, "--target", str(folder / "peer"), PEER], capture_output=True, check=False)
    return done.returncode == 0


def measured(kind: str, folder: Path) -> float:
    """CPU seconds of one reading, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    environment |= {
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "DO_NOT_TRACK": "true",
        "SCARF_NO_ANALYTICS": "true",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), str(folder / "peer")]),
    }
    command = [sys.executable, __file__, "--child", kind, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=True)
    return float(done.stdout.splitlines()[-1])


def cpu_of(work: Callable[[], object]) -> float:
    """CPU seconds of some work."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def ours(folder: Path) -> float:
    """``load_dags`` of the folder."""
    from airflow_whatsapp_flows.dag_factory import build_dag, load_dags

    build_dag(flow(0))
    return cpu_of(lambda: load_dags(folder / "flows"))


def one(folder: Path) -> float:
    """The same when Airflow asks for one DAG."""
    from airflow_whatsapp_flows.dag_factory import load_dags

    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = "flow_0000"
    return cpu_of(lambda: load_dags(folder / "flows"))


def validate(folder: Path) -> float:
    """What ``validate`` does, without its output."""
    from airflow_whatsapp_flows.flow_files import find_flow_files, load_flow_file

    return cpu_of(lambda: [load_flow_file(path, in_flows_folder=True) for path in find_flow_files(folder / "flows")])


def imports_ours(folder: Path) -> float:
    """Import what a DAG file of a folder of flows imports."""
    import airflow.sdk  # noqa: F401

    return cpu_of(lambda: importlib.import_module("airflow_whatsapp_flows.dag_factory"))


def imports_http(folder: Path) -> float:
    """Import what a DAG file with an ``HttpOperator`` imports."""
    import airflow.sdk  # noqa: F401

    return cpu_of(lambda: importlib.import_module("airflow.providers.http.operators.http"))


def starts(folder: Path) -> dict[str, float]:
    """CPU seconds of ``validate`` with one file, and of an interpreter that does nothing."""
    validate = ["-m", "airflow_whatsapp_flows.cli", "validate", str(folder / "flows" / "flow_0000.json")]
    return {"start": cpu_of_process(validate), "bare": cpu_of_process(["-c", "pass"])}


def cpu_of_process(arguments: list[str]) -> float:
    """CPU seconds of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, env=here)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def http(folder: Path) -> float:
    """As many tasks of Airflow's own: no labels, form, or documentation, and nothing is read."""
    from airflow.providers.http.operators.http import HttpOperator
    from airflow.sdk import DAG

    def build(number: int) -> DAG:
        with DAG(f"flow_{number:04}", schedule=None, tags=["whatsapp"], auto_register=False) as dag:
            before = None
            for position in range(HTTP_TASKS):
                task = HttpOperator(
                    task_id=f"task_{position}",
                    http_conn_id="crm",
                    endpoint="/v1/contacts",
                    headers={"X-Source": "whatsapp"},
                    data='{"name": "{{ params.name }}"}',
                )
                if before is not None:
                    before >> task
                before = task
        return dag

    build(0)
    flows = len(list((folder / "flows").iterdir()))
    return cpu_of(lambda: {f"flow_{number:04}": build(number) for number in range(flows)})


def plain(folder: Path) -> float:
    """The same DAGs written by hand: ten operators, a branch, the edges, and the form."""
    from airflow.sdk import DAG, Label

    from airflow_whatsapp_flows.dag_factory import task_ids_of
    from airflow_whatsapp_flows.dag_factory.params import build_params
    from airflow_whatsapp_flows.flow.loading.load import load_flow
    from airflow_whatsapp_flows.flow.model import Action
    from airflow_whatsapp_flows.operators.branch import WhatsAppBranchOperator
    from airflow_whatsapp_flows.operators.flow_step import FlowStep
    from airflow_whatsapp_flows.operators.flow_steps import FlowActionOperator, FlowStepOperator

    known = load_flow(flow(0))
    task_ids = task_ids_of(known)
    joined = ("Mark",)

    def build(number: int) -> DAG:
        with DAG(
            f"flow_{number:04}",
            dag_display_name=f"Flow {number}",
            schedule=None,
            params=build_params(known),
            tags=["whatsapp"],
            doc_md="Walks one contact through a flow.",
            max_active_runs=16,
            auto_register=False,
        ) as dag:
            tasks: dict[str, Any] = {}
            for name, step in known.steps.items():
                operator = FlowActionOperator if isinstance(step, Action) else FlowStepOperator
                rule = {"trigger_rule": "none_failed_min_one_success"} if name in joined else {}
                place = FlowStep(flow=known, name=name, task_ids=task_ids)
                tasks[name] = operator.of_step(place, task_id=task_ids[name], task_display_name=name, **rule)
            branch = WhatsAppBranchOperator(
                task_id="create_contact__exit",
                action="create_contact",
                on_success="say_thanks",
                on_error="tell_sales",
            )
            tasks["Ask name"] >> tasks["Choose"]
            tasks["Choose"] >> Label("Sales") >> tasks["Which plan"]
            tasks["Choose"] >> Label("Support") >> tasks["Mark"]
            tasks["Choose"] >> Label("no answer") >> tasks["Remind"]
            tasks["Which plan"] >> Label("pro") >> tasks["Create contact"]
            tasks["Which plan"] >> Label("otherwise") >> tasks["Mark"]
            tasks["Create contact"] >> branch
            branch >> Label("success") >> tasks["Say thanks"]
            branch >> Label("error") >> tasks["Tell sales"]
            tasks["Say thanks"] >> tasks["Note it"] >> tasks["Mark"]
            tasks["Tell sales"] >> Label("success") >> tasks["Give up"]
            tasks["Remind"] >> tasks["Mark"]
        return dag

    build(0)
    flows = len(list((folder / "flows").iterdir()))
    return cpu_of(lambda: {f"flow_{number:04}": build(number) for number in range(flows)})


def peer(folder: Path) -> float:
    """dag-factory's reading of the YAML."""
    from dagfactory import load_yaml_dags  # type: ignore[import-not-found]  # installed for this alone

    load_yaml_dags({}, config_dict={"warm": peer_dag()})
    return cpu_of(lambda: load_yaml_dags({}, config_filepath=str(folder / "dags.yml")))


CHILDREN: dict[str, Callable[[Path], float]] = {
    "ours": ours,
    "plain": plain,
    "http": http,
    "import": imports_ours,
    "import_http": imports_http,
    "one": one,
    "validate": validate,
    "peer": peer,
}

if __name__ == "__main__":
    sys.exit(main())
