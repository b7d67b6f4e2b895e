"""Fixtures for tests of networks."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ultralytics


class Tree:
    """A copy of the package that a test may edit as a user would, and run in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nn = folder / "ultralytics" / "nn"
        source = Path(ultralytics.__file__).parent
        shutil.copytree(source, folder / "ultralytics", ignore=shutil.ignore_patterns("__pycache__"))

    def replace(self, file: str, old: str, new: str) -> None:
        """Put `new` in the place of the first `old` in a file of nn."""
        path = self.nn / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def append(self, file: str, text: str) -> None:
        """Put `text` at the end of a file of nn, which need not be there yet."""
        with (self.nn / file).open("a", encoding="utf-8") as out:
            out.write(text)

    def run(self, code: str) -> subprocess.CompletedProcess:
        """Run Python code on this tree."""
        environment = os.environ | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An editable copy of the package."""
    return Tree(tmp_path)


@pytest.fixture
def warnings(caplog):
    """Texts of warnings logged so far."""
    caplog.set_level(logging.WARNING, "ultralytics")
    return lambda: [record.getMessage() for record in caplog.records]
