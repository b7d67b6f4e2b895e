"""How much of what people know from the public package works here: its tests, the names they import, lines of options.

    python -m benchmarks.compatibility [name …]    runs the marked tests, with reference data, and writes the page

With names, such as python::predict_txt, only their tests are run; of others docs/compatibility.md keeps what it has.

benchmarks/public_tests.csv names the functions of the public package's tests (8.4.190) that concern YOLOv8, and counts
their cases; `@pytest.mark.public("python::predict_txt")` marks a test of ours that checks what such a name says. One
that is about a refusal records the sentence as the property `refusal`. benchmarks/public_imports.csv counts, in 61
public trees that people have changed, those that import a name.
"""

import csv
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from ultralytics.utils.errors import YOLOError
from ultralytics.utils.refused import RefusedImportError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "compatibility.md"
STATES = ("works", "in part", "refused", "open")
HEAD = """# What people know from the public package, and what of it works here

Made by `python -m benchmarks.compatibility`, which runs all of it. *Refused* is what stops with the sentence that is
given; *in part*, what works but for that; *open*, what nothing here checks yet.

"""
TESTS = """
## Its tests

Functions of the tests of `ultralytics` 8.4.190 that concern YOLOv8. Ours check what the name says and are written anew:
the text of theirs is under another license. "Ours" counts the cases that ran.

| function | its cases | ours | state |
|---|---|---|---|
"""
IMPORTS = """
## Names that files import

Counted in 61 public trees that people have changed: the number behind a name is that of the trees that import it.

| module | works | refused |
|---|---|---|
"""
LINES = """
## Lines of options

Lines as the documentation of train, val, predict and export has them, and older habits (tests/public/test_cli.py). The
others are taken; these are refused, each by the name of its option:

"""


class Function(NamedTuple):
    """A function of the public tests: its cases, those of ours, how they fare and what is refused."""

    name: str
    cases: int
    ours: int
    state: str
    sentence: str = ""


class Recorder:
    """A plugin of pytest that notes what marked tests are about, how they went, and what they say is refused."""

    def __init__(self, wanted: Collection[str]) -> None:
        self.wanted = set(wanted)
        self.names: dict[str, list[str]] = {}  # by test
        self.failed: list[str] = []
        self.refusals: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the marks, and keep the tests that are wanted."""
        names = {item: [name for mark in item.iter_markers("public") for name in mark.args] for item in items}
        items[:] = [item for item in items if self.wanted & set(names[item])]
        self.names = {item.nodeid: names[item] for item in items}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a step of a test; one that is skipped has checked nothing."""
        if report.outcome != "passed":
            self.failed.append(report.nodeid)
        if "refusal" in (said := dict(report.user_properties)):
            self.refusals[report.nodeid] = said["refusal"]

    def functions(self) -> list[Function]:
        """Functions of the public tests, in the order of the list; those that are not wanted have no tests."""
        tests = defaultdict(list)
        for test, names in self.names.items():
            for name in names:
                tests[name].append(test)
        found = []
        for name, cases in read("public_tests.csv"):
            ours = tests.pop(name, [])
            refused = [self.refusals[test] for test in ours if test in self.refusals]
            state = (
                "open" if not ours else "works" if not refused else "in part" if len(refused) < len(ours) else "refused"
            )
            found.append(Function(name, int(cases), len(ours), state, "; ".join(dict.fromkeys(refused))))
        if tests:
            raise SystemExit(f"marked, and not in public_tests.csv: {', '.join(tests)}")
        return found


def read(name: str) -> list[list[str]]:
    """Rows of a list beside this script."""
    with (ROOT / "benchmarks" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def functions_of_page() -> list[Function]:
    """What the page has of the functions of the public tests."""
    row = r"^\| (\w+::\w+) \| (\d+) \| (\d+) \| (works|in part|refused|open)(?:: (.*))? \|$"
    rows = re.findall(row, PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [
        Function(name, int(cases), int(ours), state, said.replace("\\|", "|"))
        for name, cases, ours, state, said in rows
    ]


def run_tests(wanted: Collection[str]) -> list[Function]:
    """Run the tests of functions, in one process; SystemExit if one fails or is skipped."""
    recorder = Recorder(wanted)
    code = pytest.main(["-n", "0", "--durations=5", "-q", str(ROOT / "tests")], [recorder])
    if code or recorder.failed:
        raise SystemExit(f"no page: these fail or are skipped: {', '.join(recorder.failed) or 'see above'}")
    return recorder.functions()


def import_states() -> list[tuple[str, str, int, bool]]:
    """Every name of the list: its module, the name, trees that import it, and whether it works or is refused."""

    def works(module: str, name: str) -> bool:
        try:
            exec(f"from {module} import {name}", {})
        except RefusedImportError:
            return False
        return True

    return [(module, name, int(trees), works(module, name)) for module, name, trees in read("public_imports.csv")]


def line_states() -> dict[str, str]:
    """Every line of options: the sentence that refuses it, or nothing."""
    from tests.public.test_cli import LINES, REFUSED
    from ultralytics.cfg.command import parse_command, parse_words

    def refusal(line: str) -> str:
        try:
            parse_words(parse_command(line.split()).words)
        except YOLOError as exc:
            return str(exc)
        return ""

    return {line: refusal(line) for line in (*LINES.strip().splitlines(), *REFUSED)}


def summary(functions: Sequence[Function]) -> str:
    """Table of the totals."""

    def row(title: str, counts: Iterable[tuple[str, int]]) -> str:
        totals = dict.fromkeys(STATES, 0)
        for state, count in counts:
            totals[state] += count
        return f"| {title} | {' | '.join(map(str, totals.values()))} | {sum(totals.values())} |\n"

    imports = [("works" if works else "refused", trees) for _, _, trees, works in import_states()]
    lines = ["refused" if sentence else "works" for sentence in line_states().values()]
    return (
        f"| | {' | '.join(STATES)} | of |\n|---|---|---|---|---|---|\n"
        + row("functions of its tests", ((f.state, 1) for f in functions))
        + row("cases of these functions", ((f.state, f.cases) for f in functions))
        + row("names that files import", ((state, 1) for state, _ in imports))
        + row("the same, weighted by the trees that have them", imports)
        + row("lines of options", ((state, 1) for state in lines))
    )


def import_table() -> str:
    """Rows of the table of imports."""
    homes: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for module, name, trees, works in import_states():
        homes[module][not works].append(f"{name.replace('*', chr(92) + '*')} {trees}")
    return "".join(f"| `{home}` | {', '.join(ok)} | {', '.join(no)} |\n" for home, (ok, no) in homes.items())


def function_row(function: Function) -> str:
    """Row of the table of functions."""
    state = ": ".join(part for part in (function.state, function.sentence.replace("|", "\\|")) if part)
    return f"| {function.name} | {function.cases} | {function.ours} | {state} |\n"


def page(functions: Sequence[Function]) -> str:
    """Text of docs/compatibility.md."""
    lines = "".join(f"- `{line}`: {sentence}\n" for line, sentence in line_states().items() if sentence)
    table = "".join(map(function_row, functions))
    return HEAD + summary(functions) + TESTS + table + IMPORTS + import_table() + LINES + lines


if __name__ == "__main__":
    every = [name for name, _ in read("public_tests.csv")]
    kept = {function.name: function for function in functions_of_page()} if sys.argv[1:] else {}
    wanted = set(sys.argv[1:]) or set(every)
    if unknown := wanted - set(every):
        raise SystemExit(f"not in public_tests.csv: {', '.join(sorted(unknown))}")
    measured = run_tests(wanted)
    PAGE.write_text(page([f if f.name in wanted else kept[f.name] for f in measured]), encoding="utf-8")
    print(f"{PAGE} written")
