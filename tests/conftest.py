"""Fixtures that every test may use."""

import os
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
