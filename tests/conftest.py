"""Fixtures that every test may use."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest


def reference_root() -> Path:
    """The folder of reference data: `YOLO_REFERENCE`, else `../shared` beside the repository."""
    return Path(os.environ.get("YOLO_REFERENCE") or Path(__file__).resolve().parents[2] / "shared")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Reference folder with `golden/`, `data/` and `tutorial/`; skips, saying why, where it is missing."""
    root = reference_root()
    if not (root / "golden").is_dir():
        pytest.skip(f"no reference data at {root}: set YOLO_REFERENCE to the folder that holds golden/ and data/")
    return root


@pytest.fixture(scope="session")
def golden(reference: Path) -> Path:
    """Reference outputs, described in their own README."""
    return reference / "golden"


@pytest.fixture(scope="session")
def dataset(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`dataset(name)`: folder of a copy of a reference data set, beside which label caches may be written."""

    @cache
    def copy(name: str) -> Path:
        folder = tmp_path_factory.mktemp("data") / name
        shutil.copytree(reference / "data" / name, folder, copy_function=shutil.copyfile)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return folder

    return copy
