"""A function is named by a verb or by a noun; a bare participle (``stopped``) names only what returns a boolean."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_whatsapp_flows

PACKAGE = Path(airflow_whatsapp_flows.__file__).parent
TESTS = Path(__file__).parent

# ``read``, ``set``, and ``split`` are imperatives as well, and ``bound`` is a noun.
IRREGULAR = re.compile(
    "begun|bought|brought|broken|built|caught|chosen|done|drawn|fallen|felt|forgotten|found|frozen|given|gone|grown|heard|"
    "held|hidden|kept|known|laid|lain|led|left|lost|made|meant|met|paid|said|seen|sent|shown|spelt|spoken|stood|struck|"
    "stuck|sworn|taken|taught|thought|thrown|told|torn|understood|withheld|won|worn|woven|written"
)
REGULAR = re.compile("[a-z]{2,}(ed|ing)")
OTHERS = re.compile("mapping|setting|string|warning|bring|feed|need|proceed|seed|speed")
PARTICLES = re.compile("after|again|apart|as|at|away|before|by|down|for|from|in|into|of|off|on|out|over|to|up|with|yet")


def _is_participle(word: str) -> bool:
    return bool(IRREGULAR.fullmatch(word) or (REGULAR.fullmatch(word) and not OTHERS.fullmatch(word)))


def _is_bare_participle(name: str) -> bool:
    first, *others = name.strip("_").split("_")
    return _is_participle(first) and all(PARTICLES.fullmatch(word) or _is_participle(word) for word in others)


def _returns_boolean(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    returns = ast.unparse(function.returns) if function.returns else ""
    return returns == "bool" or returns.startswith(("TypeGuard[", "TypeIs["))


def _bare_participles(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                and _is_bare_participle(node.name)
                and not _returns_boolean(node)
            ):
                yield f"{path.relative_to(folder)}:{node.lineno} {node.name}"


def test_recognizes_bare_participles() -> None:
    bare = ["told", "_resting", "asked_for", "written"]
    others = ["pending_contacts", "read", "read_file", "feed", "mapping", "is_open"]
    assert [name for name in [*bare, *others] if _is_bare_participle(name)] == bare


@pytest.mark.parametrize("folder", [PACKAGE, TESTS], ids=["package", "tests"])
def test_no_function_is_named_by_a_bare_participle(folder: Path) -> None:
    found = list(_bare_participles(folder))
    assert found == [], "\n".join(["name these with a verb or a noun:", *found])
