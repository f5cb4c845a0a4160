"""The table in docs/toolbox.md and the tests of this folder say the same."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TABLE = HERE.parents[2] / "docs" / "toolbox.md"
VERDICT = re.compile(r"\*\*(works|works, but|no effect|refused)\*\*")
TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    """Cells of every row that is neither a heading nor the rule under one."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "what" and not set(row[0]) <= set("-")]


def functions_here(run_with: tuple[str, ...] = ("",)) -> dict[tuple[str, str], str]:
    """File and name -> source of every test in this folder but those of the table itself; of those whose decorators name one of these."""
    found = {}
    for path in HERE.glob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        for item in ast.parse(source).body:
            if path != Path(__file__) and isinstance(item, ast.FunctionDef) and item.name.startswith("test_"):
                marks = " ".join(["", *map(ast.unparse, item.decorator_list)])
                if any(name in marks for name in run_with):
                    found[path.name, item.name] = ast.get_source_segment(source, item)
    return found


ROWS, TESTS = rows(), functions_here()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_row(row):
    """Four cells, a verdict of a known kind, tests that exist; a refusal quotes a message that one of its tests looks for."""
    what, _, verdict, tests = row
    kind = VERDICT.match(verdict)
    named = TEST.findall(tests)
    assert what and kind and named and set(named) <= TESTS.keys()
    if kind[1] == "refused":
        sources = "".join(TESTS[name].replace("\\", "") for name in named)
        assert all(message in sources for message in re.findall(r'"([^"]+)"', verdict))


def test_every_test_has_a_row():
    named = {name for row in ROWS for name in TEST.findall(row[3])}
    assert named == TESTS.keys()


def test_the_rows_of_dynamicrafter_name_tests_that_run_with_it():
    section = TABLE.read_text(encoding="utf-8").partition("\n## DynamiCrafter")[2]
    named = set(TEST.findall(section))
    assert len(named) > 40 and named <= functions_here(run_with=("every_family", "dynamicrafter", "DYNAMICRAFTER")).keys()


def test_the_rows_of_animate_anyone_name_tests_that_run_with_it():
    section = TABLE.read_text(encoding="utf-8").partition("\n## Animate Anyone")[2].partition("\n## ")[0]
    shared = {name for name in TEST.findall(section) if name[0] != "test_animate_anyone.py"}
    assert len(shared) > 20 and shared <= functions_here(run_with=("every_family", "ANIMATE_ANYONE")).keys()


def test_a_column_too_many_would_be_seen():
    assert len(ROWS) > 50 and {len(row) for row in ROWS} == {4}
