"""Valid options drawn at random, and runs of two steps with them, for each task."""

import shutil
from pathlib import Path
from random import Random

import cv2
import numpy as np

from benchmarks.fuzz_files import CLASSIFIER, ROWS, Kind, network
from ultralytics import YOLO
from ultralytics.cfg.options import OPTIONS, TASKS
from ultralytics.cfg.types import INVALID
from ultralytics.utils.losses.table import LOSSES

HEADS = {
    "detect": "Detect, [nc]",
    "segment": "Segment, [nc, 4, 8]",
    "pose": "Pose, [nc, kpt_shape]",
    "obb": "OBB, [nc, 1]",
}
# Options that say where a run is, or that take longer than two steps.
LEFT_OUT = {
    "task",
    "model",
    "data",
    "cfg",
    "device",
    "project",
    "name",
    "resume",
    "compile",
    "source",
    "verbose",
    "show",
}
NUMBERS = (*range(12), 20, 30, 31, 32, 45, 64, 89, 90, 96, 100, 180, 1000, 10**6, -1)
FRACTIONS = (1e-9, 1e-5, 0.001, 0.01, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999, 1.5, 1e3 + 0.5)
LISTS = ([0, 1], [0], [1, 2], [0.0, 0.95], [0.5, 1.5], [0.2, 0.8], ["model.0", 1], ["bn"], ["2.conv"])
FEW = {"epochs": (1, 2), "batch": (1, 2, 3, 4, 8), "imgsz": (32, 64, 96, 60, [64]), "workers": (0,) * 30 + (2,)}
FEW |= {"plots": (False,) * 15 + (True,), "cache": (False, "ram", "disk", True), "patience": (0, 1, 100)}
FEW |= {"time": (None, None, 1e-9, 1e-6), "classes": (None, [0], [1], [0, 1])}  # hours; of two classes
FEW |= {"freeze": (None, 0, 1, 2, 3, [0], [0, 1], ["model.0", 1], ["bn"])}  # of the three layers before the head
BOX_LOSSES = {"iou_loss", "cls_loss", "assign_iou", "inner_ratio", "focaler", "nwd", "nwd_c"}  # refused by other tasks


def task_run(folder: Path, task: str) -> dict[str, object]:
    """Options of a run of the tiny network of a task on four images, two of which are validated on."""
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            name, level = ("red", "blue")[i % 2], 40 * i
            place = folder / split / name if task == "classify" else folder / "images" / split
            place.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place / f"{i}.png"), np.full((64, 48 + 8 * i, 3), level, np.uint8))
            if task != "classify":
                (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
                (folder / "labels" / split / f"{i}.txt").write_bytes(ROWS[task] if i else b"")
    if task == "classify":
        (folder / "tiny.yaml").write_text(CLASSIFIER, encoding="utf-8")
    else:
        network(folder, HEADS[task])
    rows = f"path: {folder}\ntrain: images/train\nval: images/val\nnames: [red, blue]\n"
    rows += "kpt_shape: [3, 3]\nflip_idx: [1, 0, 2]\n" if task == "pose" else ""
    (folder / "data.yaml").write_text(rows, encoding="utf-8")
    data = folder if task == "classify" else folder / "data.yaml"
    paths = {"model": str(folder / "tiny.yaml"), "data": str(data), "project": str(folder / "runs")}
    return paths | {
        "imgsz": 64,
        "epochs": 1,
        "batch": 2,
        "workers": 0,
        "device": "cpu",
        "plots": False,
        "verbose": False,
    }


def valid_values(name: str) -> list[object]:
    """Values that an option takes: few where others take long, else those of a large choice that are of its type."""
    if name in FEW:
        return list(FEW[name])
    losses = LOSSES.get(name, {})  # filled by what trains
    pool = (True, False, None, *NUMBERS, *FRACTIONS, *LISTS, *OPTIONS[name].alternatives, *losses)
    return [value for value in pool if OPTIONS[name].read(value) is not INVALID]


VALUES = {name: valid_values(name) for name in OPTIONS if name not in LEFT_OUT}


def draw(runs: dict[str, dict[str, object]], rng: Random) -> dict[str, object]:
    """Options of a run of one of the tasks: its own, and three to twenty that are drawn."""
    task, names = rng.choice(TASKS), rng.sample(sorted(VALUES), rng.randint(3, 20))
    if task in ("obb", "classify"):
        names = [name for name in names if name not in BOX_LOSSES]
    return runs[task] | {name: rng.choice(VALUES[name]) for name in names} | ({"nwd": 0.5} if "nwd_c" in names else {})


def make(folder: Path) -> tuple[Path, object]:
    """Runs of the tasks, each in a folder of its own."""
    return folder, {task: task_run(folder / task, task) for task in TASKS}


def train(_: Path, options: dict[str, object]) -> object:
    """Train, and leave nothing."""
    options = dict(options)
    try:
        return YOLO(options.pop("model")).train(**options)
    finally:
        shutil.rmtree(options["project"], ignore_errors=True)


OPTION_SETS = Kind(make, train, draw, files=False)
