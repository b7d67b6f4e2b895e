"""A data set and a network so small that a training run takes a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ultralytics import YOLO

COLOURS = ((40, 40, 230), (230, 200, 30))  # BGR, by class
NETWORK = """
nc: 2
backbone:
  - [-1, 1, Conv, [16, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1, stride 8
  - [-1, 1, DynamicConv, [32, 3, 2]] # 2, stride 16
  - [-1, 1, Conv, [32, 3, 2]] # 3, stride 32
head:
  - [[1, 2, 3], 1, Detect, [nc]]
"""


def draw_split(folder: Path, split: str, count: int, seed: int) -> None:
    """Pictures of 64 x 64 with one to three coloured rectangles, and their labels."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for i in range(count):
        picture = np.full((64, 64, 3), 90, np.uint8)
        rows = []
        for _ in range(rng.integers(1, 4)):
            cls = int(rng.integers(2))
            left, top = rng.integers(0, 34, 2)
            width, height = rng.integers(14, 30, 2)
            picture[top : top + height, left : left + width] = COLOURS[cls]
            box = np.array((left + width / 2, top + height / 2, width, height)) / 64
            rows.append(f"{cls} " + " ".join(map(str, box)))
        cv2.imwrite(str(folder / "images" / split / f"{i:02d}.png"), picture)
        (folder / "labels" / split / f"{i:02d}.txt").write_text("\n".join(rows), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The YAML of 12 training and 4 validation pictures with rectangles of two classes."""
    folder = tmp_path / "data"
    draw_split(folder, "train", 12, seed=0)
    draw_split(folder, "val", 4, seed=1)
    path = folder / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [red, blue]\n", encoding="utf-8")
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """The YAML of a network with three levels and a dynamic convolution."""
    path = tmp_path / "tiny.yaml"
    path.write_text(NETWORK, encoding="utf-8")
    return path


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> dict[str, Any]:
    """Options of a short run in tmp_path/runs/exp."""
    return {
        "data": str(data),
        "project": str(tmp_path / "runs"),
        "epochs": 2,
        "imgsz": 64,
        "batch": 4,
        "nbs": 4,
        "workers": 0,
        "device": "cpu",
        "plots": False,
        "optimizer": "SGD",
    }


@pytest.fixture
def train(network: Path, settings: dict[str, Any]) -> Callable[..., YOLO]:
    """`train(**changes)`: the tiny network, or `model`, trained with these options and `callbacks` by event."""

    def run(model: YOLO | None = None, callbacks: dict[str, Callable] | None = None, **changes: Any) -> YOLO:
        model = model or YOLO(network)
        for event, function in (callbacks or {}).items():
            model.add_callback(event, function)
        model.train(**{**settings, **changes})
        return model

    return run
