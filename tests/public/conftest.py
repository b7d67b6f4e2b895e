"""Fixtures of tests/training.py for the tests in this folder, and a short run of every task."""

from pathlib import Path

import pytest

from tests.models.runs import task_run
from tests.training import data, network, settings, train
from ultralytics import YOLO
from ultralytics.cfg.options import TASKS

__all__ = ["data", "network", "settings", "train"]


@pytest.fixture(params=TASKS)
def words(request, tmp_path):
    """Words of a short run of a task: task, data, a network and how it is trained."""
    task = request.param
    run = task_run(tmp_path, task)
    image = Path("val/red/0.png" if task == "classify" else "images/val/00.png")
    return {"task": task, "data": f"data={run['data']}", "image": tmp_path / "data" / image}


@pytest.fixture
def weights(words, tmp_path):
    """Weights of the network for the task, for the classes and points of the data."""
    text = (tmp_path / "tiny.yaml").read_text(encoding="utf-8").replace("[17, 3]", "[3, 3]")
    (tmp_path / "tiny.yaml").write_text(text, encoding="utf-8")
    YOLO(tmp_path / "tiny.yaml").save(tmp_path / "best.pt")
    return tmp_path / "best.pt"
