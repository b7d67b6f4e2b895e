"""A dataset and a network so small that a training run takes a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import NETWORK, draw_split
from ultralytics import YOLO


def rectangle(rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
    """Corners of a rectangle in pixels, and its box."""
    left, top = rng.integers(0, 34, 2)
    width, height = rng.integers(14, 30, 2)
    right, bottom = left + width, top + height
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    return corners, [(left + right) / 128, (top + bottom) / 128, width / 64, height / 64]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The YAML of 12 training and 4 validation pictures with rectangles of two classes."""
    folder = tmp_path / "data"
    draw_split(folder, "train", 12, 0, 3, rectangle)
    draw_split(folder, "val", 4, 1, 3, rectangle)
    path = folder / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [red, blue]\n", encoding="utf-8")
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """The YAML of a network with three levels and a dynamic convolution."""
    path = tmp_path / "tiny.yaml"
    path.write_text(NETWORK.replace("{head}", "Detect, [nc]"), encoding="utf-8")
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
