"""Fixtures of tests/training.py for the tests in this folder, and a short run of every task."""

import cv2
import numpy as np
import pytest

from tests.models.runs import tiny_run
from tests.training import data, network, rectangle, settings, train
from ultralytics import YOLO
from ultralytics.cfg.options import TASKS

__all__ = ["data", "network", "settings", "train"]
HEADS = {
    "detect": "Detect, [nc]",
    "segment": "Segment, [nc, 8, 16]",
    "pose": "Pose, [nc, kpt_shape]",
    "obb": "OBB, [nc, 1]",
}
CLASSIFIER = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [-1, 1, Classify, [nc]]\n"


def draw_for(task):
    """The label numbers that a task reads, of a rectangle."""

    def draw(rng):
        corners, box = rectangle(rng)
        points = np.concatenate((corners[:3] / 64, np.full((3, 1), 2)), 1)
        numbers = {"detect": box, "pose": [*box, *points.ravel()]}
        return corners, numbers.get(task, (corners / 64).ravel())

    return draw


@pytest.fixture(params=TASKS)
def words(request, tmp_path):
    """Words of a short run of a task: task, data, a network and how it is trained."""
    task = request.param
    if task == "classify":
        for split in ("train", "val"):
            for name in ("red", "blue"):
                (folder := tmp_path / "data" / split / name).mkdir(parents=True)
                for i in range(2):
                    cv2.imwrite(str(folder / f"{i}.png"), np.full((32, 32, 3), 40 * i, np.uint8))
        (tmp_path / "tiny.yaml").write_text(CLASSIFIER, encoding="utf-8")
        return {"task": task, "data": f"data={tmp_path / 'data'}", "image": tmp_path / "data" / "val" / "red" / "0.png"}
    more = "kpt_shape: [3, 3]\nflip_idx: [1, 0, 2]\n" if task == "pose" else ""
    run = tiny_run(tmp_path, HEADS[task], draw_for(task), more=more)
    return {"task": task, "data": f"data={run['data']}", "image": tmp_path / "data" / "images" / "val" / "00.png"}


@pytest.fixture
def weights(words, tmp_path):
    """Weights of the network for the task, for the classes and points of the data."""
    text = (tmp_path / "tiny.yaml").read_text(encoding="utf-8").replace("[17, 3]", "[3, 3]")
    (tmp_path / "tiny.yaml").write_text(text, encoding="utf-8")
    YOLO(tmp_path / "tiny.yaml").save(tmp_path / "best.pt")
    return tmp_path / "best.pt"
