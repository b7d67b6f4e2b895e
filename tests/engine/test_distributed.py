"""Several processes train what one process would: the same samples, gradients, decisions and files."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.engine.processes import finish, start, train_runs
from tests.engine.runs import untimed
from tests.tiny import NETWORK, draw_split
from tests.training import rectangle
from ultralytics.cfg.options import TASKS

HEADS = {"detect": "Detect, [nc]", "segment": "Segment, [nc, 8, 16]", "pose": "Pose, [nc, kpt_shape]"}
HEADS["obb"] = "OBB, [nc, 1]"
CLASSIFIER = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\n  - [-1, 1, DynamicConv, [16, 3, 2]]\nhead:\n"
ROUTER = "DynamicConv, [32, 3, 2, {standardize: True}]"  # its running statistics are of all processes
LOSSES = {"iou_loss": "wiou3", "cls_loss": "slide"}  # which take means over a batch


def write_task(folder: Path, task: str) -> dict[str, Any]:
    """Options of a short run of a task: eleven training images in batches of five leave one for the last."""
    folder.mkdir()
    if task == "classify":
        for split, number in (("train", 11), ("val", 9)):
            for i in range(number):
                path = folder / "data" / split / ("red" if i % 2 else "blue") / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.random.default_rng(i).integers(0, 255, (40, 48, 3), np.uint8))
        text, data = f"{CLASSIFIER}  - [-1, 1, Classify, [nc]]\n", folder / "data"
    else:

        def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
            corners, box = rectangle(rng)
            points = np.concatenate((corners[:3] / 64, np.full((3, 1), 2)), 1)
            return corners, {"detect": box, "pose": [*box, *points.ravel()]}.get(task, (corners / 64).ravel())

        draw_split(folder / "data", "train", 11, 0, 3, draw)
        draw_split(folder / "data", "val", 9, 1, 3, draw)
        data = folder / "data" / "data.yaml"
        names = "train: images/train\nval: images/val\nnames: [red, blue]\n"
        data.write_text(f"{names}kpt_shape: [3, 3]\nflip_idx: [1, 0, 2]\n", encoding="utf-8")
        text = "kpt_shape: [3, 3]" + NETWORK.replace("{head}", HEADS[task]).replace("DynamicConv, [32, 3, 2]", ROUTER)
    (folder / "dynamic.yaml").write_text(text, encoding="utf-8")
    plain = text.replace(ROUTER, "Conv, [32, 3, 2]").replace("DynamicConv", "Conv")
    (folder / "plain.yaml").write_text(plain, encoding="utf-8")
    shape = {"imgsz": 64, "batch": 5, "nbs": 5, "epochs": 2, "warmup_epochs": 0.0, "optimizer": "SGD"}
    fixed = {"workers": 0, "device": "cpu", "plots": False, "verbose": False, "val": False}
    return {"data": str(data), "project": str(folder / "runs"), "name": "exp"} | shape | fixed


def run_all(processes: int, runs: dict[str, dict[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """What the runs leave, each trained by these processes."""
    (out := folder / f"of {processes}").mkdir()
    own = {name: run | {"name": f"{name} of {processes}"} for name, run in runs.items()}
    assert finish(start(processes, train_runs, own, out)) == [0] * processes
    return {name: torch.load(out / f"{name}.pt", weights_only=False) for name in runs}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Short runs of every task: plain with a step a batch, dynamic with one in three."""
    folder, chosen = tmp_path_factory.mktemp("runs"), {}
    for task in TASKS:
        options = write_task(folder / task, task)
        chosen[task] = options | {"model": str(folder / task / "plain.yaml")}
        chosen[f"{task}, dynamic"] = options | {"model": str(folder / task / "dynamic.yaml"), "nbs": 15}
    chosen["detect, dynamic"] |= LOSSES
    return chosen


@pytest.fixture(scope="module")
def of_one(runs, tmp_path_factory) -> dict[str, dict[str, Any]]:
    return run_all(1, runs, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def of_two(runs, tmp_path_factory) -> dict[str, dict[str, Any]]:
    return run_all(2, runs, tmp_path_factory.mktemp("two"))


def assert_close_weights(one: dict[str, torch.Tensor], several: dict[str, torch.Tensor]) -> None:
    """The same weights to 1e-5, relative to the norm of each tensor."""
    for name, weight in one.items():
        difference = (several[name].double() - weight.double()).norm()
        assert difference <= 1e-5 * weight.double().norm() + 1e-9, name


@pytest.mark.parametrize("kind", ["", ", dynamic"], ids=["plain", "dynamic, accumulated"])
@pytest.mark.parametrize("task", TASKS)
def test_two_processes_learn_what_one_does(of_one, of_two, task, kind):
    one, two = of_one[task + kind]["weights"], of_two[task + kind]["weights"]
    assert_close_weights(one, two)


def test_files_are_those_of_one_process(runs, of_one, of_two):
    folder = Path(runs["detect"]["project"])
    one, two = (folder / f"detect of {n}" for n in (1, 2))
    kept = [sorted(p.name for p in run.rglob("*") if "events" not in p.name) for run in (one, two)]
    assert kept[0] == kept[1]
    for row, other in zip(untimed(one), untimed(two), strict=True):
        assert [float(v or 0) for v in other.values()] == pytest.approx([float(v or 0) for v in row.values()], rel=1e-4)
