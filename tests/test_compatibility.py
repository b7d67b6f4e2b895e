"""docs/compatibility.md agrees with the lists, with the marks of the tests, and with what imports and options do."""

import re
from pathlib import Path

from benchmarks.compatibility import PAGE, Function, import_table, line_states, read, summary

TEXT = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""  # it is written by running the tests
ROWS = re.findall(r"^\| (\w+::\w+) \| (\d+) \| (\d+) \| (works|in part|refused|open)(?:: (.*))? \|$", TEXT, re.M)
FUNCTIONS = [Function(name, int(cases), int(ours), state, said) for name, cases, ours, state, said in ROWS]


def test_every_function_of_the_list_has_its_row():
    assert [[f.name, str(f.cases)] for f in FUNCTIONS] == read("public_tests.csv")


def test_what_is_marked_is_what_the_page_has():
    marked = set()
    for file in Path(__file__).parent.rglob("test_*.py"):
        for marks in re.findall(r"\bmark\.public\(([^)]*)\)", file.read_text(encoding="utf-8")):
            marked |= set(re.findall(r'"(\w+::\w+)"', marks))
    assert marked == {f.name for f in FUNCTIONS if f.ours}
    assert all((f.state == "open") == (f.ours == 0) for f in FUNCTIONS)
    assert all(bool(f.sentence) == (f.state in ("in part", "refused")) for f in FUNCTIONS)


def test_totals_imports_and_lines_are_those_of_today():
    assert summary(FUNCTIONS) in TEXT and import_table() in TEXT
    refused = {line: said for line, said in line_states().items() if said}
    assert dict(re.findall(r"^- `(.*)`: (.*)$", TEXT, re.M)) == refused
