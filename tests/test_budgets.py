"""Files and functions of the package stay short. Ruff checks the number of parameters."""

from __future__ import annotations

import ast
from pathlib import Path

import airflow_whatsapp_flows

PACKAGE = Path(airflow_whatsapp_flows.__file__).parent
FILE_LINES = 350
FUNCTION_LINES = 60


def test_files_have_at_most_350_lines() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path.relative_to(PACKAGE)): count for path, count in lines.items() if count > FILE_LINES} == {}


def test_functions_have_at_most_60_lines() -> None:
    long = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES:
                    long[f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"] = count
    assert long == {}
