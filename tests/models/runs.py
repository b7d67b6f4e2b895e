"""Runs of a few seconds: a tiny network on drawn pictures, and what every task's runs must hold."""

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.resume import differences, kill_again_and_again, run
from tests.engine.runs import rows_of
from tests.tiny import NETWORK, Draw, draw_split
from tests.training import rectangle

HEADS = {
    "detect": "Detect, [nc]",
    "segment": "Segment, [nc, 8, 16]",
    "pose": "Pose, [nc, kpt_shape]",
    "obb": "OBB, [nc, 1]",
}
CLASSIFIER = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [-1, 1, Classify, [nc]]\n"
SHORT = {"epochs": 2, "batch": 4, "nbs": 4, "optimizer": "SGD", "workers": 0, "device": "cpu", "plots": False}


def tiny_run(folder: Path, head: str, draw: Draw, most: int = 3, more: str = "") -> dict[str, Any]:
    """Options of a short run of the tiny network on such pictures in folder/runs/exp; `more` ends the data YAML."""
    draw_split(folder / "data", "train", 12, 0, most, draw)
    draw_split(folder / "data", "val", 4, 1, most, draw)
    data, network = folder / "data" / "data.yaml", folder / "tiny.yaml"
    data.write_text(f"train: images/train\nval: images/val\nnames: [red, blue]\n{more}", encoding="utf-8")
    network.write_text("kpt_shape: [17, 3]" + NETWORK.replace("{head}", head), encoding="utf-8")  # pose asks for it
    paths = {"model": str(network), "data": str(data), "project": str(folder / "runs")}
    return paths | {"imgsz": 64, **SHORT}


def draw_for(task: str) -> Draw:
    """Draws a rectangle, with the label numbers that a task reads."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
        corners, box = rectangle(rng)
        points = np.concatenate((corners[:3] / 64, np.full((3, 1), 2)), 1)
        numbers = {"detect": box, "pose": [*box, *points.ravel()]}
        return corners, numbers.get(task, (corners / 64).ravel())

    return draw


def task_run(folder: Path, task: str, classifier: str = CLASSIFIER) -> dict[str, Any]:
    """Options of a short run of a task, by `tiny_run`; for classify on two pictures of each class in each split."""
    if task != "classify":
        more = "kpt_shape: [3, 3]\nflip_idx: [1, 0, 2]\n" if task == "pose" else ""
        return tiny_run(folder, HEADS[task], draw_for(task), more=more)
    for split in ("train", "val"):
        for name in ("red", "blue"):
            (pictures := folder / "data" / split / name).mkdir(parents=True)
            for i in range(2):
                cv2.imwrite(str(pictures / f"{i}.png"), np.full((32, 32, 3), 40 * i, np.uint8))
    network = folder / "tiny.yaml"
    network.write_text(classifier, encoding="utf-8")
    paths = {"model": str(network), "data": str(folder / "data"), "project": str(folder / "runs")}
    return paths | {"imgsz": 32, **SHORT}


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
