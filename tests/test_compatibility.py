"""docs/compatibility.md agrees with the lists, with the marks of the tests, and with what imports and options do.

Where it does not: `python -m benchmarks.compatibility`, with the names that were marked since, or any other one.
"""

import re
from pathlib import Path

from benchmarks.compatibility import PAGE, functions_of_page, page, read


def test_every_function_of_the_list_has_its_row():
    assert [[f.name, str(f.cases)] for f in functions_of_page()] == read("public_tests.csv")


def test_what_is_marked_is_what_the_page_has():
    marked = set()
    for file in Path(__file__).parent.rglob("test_*.py"):
        marked |= set(re.findall(r'"((?:python|engine|cli|exports)::\w+)"', file.read_text(encoding="utf-8")))
    functions = functions_of_page()
    assert marked == {f.name for f in functions if f.ours}
    assert all((f.state == "open") == (f.ours == 0) for f in functions)
    assert all(bool(f.sentence) == (f.state in ("in part", "refused")) for f in functions)


def test_totals_imports_and_lines_are_those_of_today():
    assert page(functions_of_page()) == PAGE.read_text(encoding="utf-8")
