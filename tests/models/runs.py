"""Runs of a few seconds: a tiny network on drawn pictures, and what every task's runs must hold."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.resume import differences, kill_again_and_again, run
from tests.engine.runs import rows_of

NETWORK = """
nc: 2
kpt_shape: [17, 3]
backbone:
  - [-1, 1, Conv, [16, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1, stride 8
  - [-1, 1, DynamicConv, [32, 3, 2]] # 2, stride 16
  - [-1, 1, Conv, [32, 3, 2]] # 3, stride 32
head:
  - [[1, 2, 3], 1, {head}]
"""
COLOURS = ((40, 40, 230), (230, 200, 30))  # BGR, by class
Draw = Callable[[np.random.Generator], tuple[np.ndarray, list[float]]]  # to corners (n, 2) in pixels, numbers of a row


def draw_split(folder: Path, split: str, count: int, seed: int, most: int, draw: Draw) -> None:
    """Pictures of 64 x 64 with one to `most` coloured shapes, which may overlap, and their labels."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for i in range(count):
        picture, rows = np.full((64, 64, 3), 90, np.uint8), []
        for _ in range(rng.integers(1, most + 1)):
            cls = int(rng.integers(2))
            corners, numbers = draw(rng)
            cv2.fillConvexPoly(picture, np.round((corners - 0.5) * 256).astype(np.int32), COLOURS[cls], shift=8)
            rows.append(f"{cls} " + " ".join(f"{v:.6f}" for v in numbers))
        cv2.imwrite(str(folder / "images" / split / f"{i:02d}.png"), picture)
        (folder / "labels" / split / f"{i:02d}.txt").write_text("\n".join(rows), encoding="utf-8")


def tiny_run(folder: Path, head: str, draw: Draw, most: int = 3, more: str = "") -> dict[str, Any]:
    """Options of a short run of the tiny network on such pictures in folder/runs/exp; `more` ends the data YAML."""
    draw_split(folder / "data", "train", 12, 0, most, draw)
    draw_split(folder / "data", "val", 4, 1, most, draw)
    data, network = folder / "data" / "data.yaml", folder / "tiny.yaml"
    data.write_text(f"train: images/train\nval: images/val\nnames: [red, blue]\n{more}", encoding="utf-8")
    network.write_text(NETWORK.replace("{head}", head), encoding="utf-8")
    paths = {"model": str(network), "data": str(data), "project": str(folder / "runs")}
    run = {"epochs": 2, "imgsz": 64, "batch": 4, "nbs": 4, "optimizer": "SGD"}
    return paths | run | {"workers": 0, "device": "cpu", "plots": False}


def assert_left(folder: Path, task: type, losses: list[str], curves: list[str]) -> list[dict[str, str]]:
    """Columns of results.csv, whose rows are returned, and pictures of a run; `curves` begin the names of curves."""
    rows = rows_of(folder)
    for kind in ("train", "val"):
        assert [n.removeprefix(f"{kind}/") for n in rows[0] if n.startswith(f"{kind}/")] == losses
    assert [n for n in rows[0] if n.startswith("metrics/")] == list(task.metric_keys)
    there = {path.name for path in folder.iterdir()}
    assert {"labels.jpg", "train_batch0.jpg", "val_batch0_labels.jpg", "val_batch0_pred.jpg"} <= there
    assert {"results.png", "args.yaml", "confusion_matrix.png", "confusion_matrix_normalized.png"} <= there
    assert {f"{kind}{curve}_curve.png" for kind in curves for curve in ("PR", "F1", "P", "R")} <= there
    return rows


def assert_killed_equals_whole(options: dict[str, Any]) -> None:
    """A run that is killed once, when an epoch is over, and resumed leaves what one that was left alone does."""
    options = options | {"epochs": 3}
    run(options | {"name": "whole"})
    how = {"kills": 1, "longest": 0.3, "rng": random.Random(0), "started": True}
    (hit,) = kill_again_and_again(options | {"name": "killed"}, **how)
    assert hit.startswith(("killed after epoch 1", "killed after epoch 2"))
    runs = Path(options["project"])
    assert differences(runs / "whole", runs / "killed") == []
