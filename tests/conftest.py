"""Fixtures that every test may use."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from tests import pretend_cuda

if TYPE_CHECKING:
    from ultralytics import YOLO

# pytest runs the tests in several processes, each of which computes on one thread, and so do the scripts they start:
# the networks are tiny, and threads that wait for each other on busy processors take many times as long.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

if not pretend_cuda.can_pretend():
    pretend_cuda.prepare()  # before the first backward pass of any test

# The gate gives the same answer to the same code; every other run tries new examples. A busy machine is no failure.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("trial", **PATIENT)
settings.register_profile("gate", derandomize=True, **PATIENT)
settings.load_profile("gate" if os.environ.get("CI") else "trial")

DETECTOR = """
nc: 3
backbone:
  - [-1, 1, Conv, [16, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1, stride 8
  - [-1, 1, Conv, [32, 3, 2]] # 2, stride 16
  - [-1, 1, Conv, [32, 3, 2]] # 3, stride 32
head:
  - [[1, 2, 3], 1, Detect, [nc]]
"""


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
    """`dataset(name)`: folder of a copy of a reference dataset, beside which label caches may be written."""

    @cache
    def copy(name: str) -> Path:
        folder = tmp_path_factory.mktemp("data") / name
        shutil.copytree(reference / "data" / name, folder, copy_function=shutil.copyfile)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return folder

    return copy


@pytest.fixture
def gpu() -> Iterator[pretend_cuda.PretendedGpu]:
    """Pretended GPU 0 and nothing else, while a test runs."""
    if reason := pretend_cuda.can_pretend():
        pytest.skip(reason)
    with pretend_cuda.pretended() as gpu:
        yield gpu


@pytest.fixture
def detector(tmp_path: Path) -> "YOLO":
    """A tiny untrained network of the classes a, b, c that finds a lot in `picture`, at confidences from 0.1 to 0.5."""
    from ultralytics import YOLO

    path = tmp_path / "tiny.yaml"
    path.write_text(DETECTOR, encoding="utf-8")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = YOLO(path)
        head = model.model.model[-1]
        for boxes, classes in zip(head.cv2, head.cv3, strict=True):
            boxes[-1].weight *= 20
            boxes[-1].bias.copy_(torch.arange(16).repeat(4) * -0.2)  # boxes of a few strides
            classes[-1].weight *= 120
            classes[-1].bias.fill_(-1.2)
    model.model.names = {0: "a", 1: "b", 2: "c"}
    return model


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """Blocks of random colors, (120, 160, 3) BGR."""
    blocks = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    picture = blocks.repeat(10, 0).repeat(10, 1)
    picture.flags.writeable = False
    return picture
