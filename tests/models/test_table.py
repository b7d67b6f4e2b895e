"""The table of tasks, and what follows from naming one."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from ultralytics.cfg import get_options
from ultralytics.cfg.options import OPTIONS
from ultralytics.cfg.types import choice, optional
from ultralytics.engine import cli as script
from ultralytics.models import yolo
from ultralytics.models.yolo.detect.task import DetectTask

SETTINGS = {"model": "yolov8n-DynamicConv.yaml", "data": "shapes.yaml", "device": None, "epochs": 3}


@pytest.fixture
def other(monkeypatch):
    """A second task, called other."""

    task = SimpleNamespace(default_settings={"model": "other.yaml", "data": "shapes-other.yaml"})
    find = yolo.task_class
    monkeypatch.setattr(yolo, "task_class", lambda name: task if name == "other" else find(name))


def test_model_and_data_follow_the_task_unless_they_were_edited(other):
    assert yolo.settings_for("detect", SETTINGS) == SETTINGS
    assert yolo.settings_for("other", SETTINGS) == {**SETTINGS, "model": "other.yaml", "data": "shapes-other.yaml"}
    edited = {**SETTINGS, "data": "mine.yaml"}
    assert yolo.settings_for("other", edited) == {**edited, "model": "other.yaml"}
    assert yolo.settings_for("other", {"model": None, "split": "val"}) == {"model": None, "split": "val"}
    sizes = [yolo.settings_for("classify", {"imgsz": size})["imgsz"] for size in (640, 320)]
    assert sizes == [224, 320]


@pytest.mark.parametrize("place", ["command line", "settings", "default.yaml"])
def test_where_a_task_may_be_named(other, place, monkeypatch):
    monkeypatch.setitem(OPTIONS, "task", optional(choice(*yolo.TASK_CLASSES, "other")))
    words = ["train.py", "device=cpu", *(["task=other"] if place == "command line" else [])]
    monkeypatch.setattr("sys.argv", words)
    named = {"task": "other"} if place == "settings" else {}
    if place == "default.yaml":
        options = script.get_options()
        monkeypatch.setattr(script, "get_options", lambda: options.replace(task="other"))
    seen = []
    script.run(seen.append, SETTINGS | named, "")
    assert (seen[0]["model"], seen[0]["data"]) == ("other.yaml", "shapes-other.yaml")


def test_a_plain_function_makes_the_loss_or_the_evaluator_of_a_task():
    def loss(model):
        return f"loss of {model}"

    def evaluator(task, dataset, save_dir, nc, final):
        return task.name, dataset, save_dir, nc, final

    class Mine(DetectTask):
        loss_class = loss
        evaluator_class = evaluator

    task, network = Mine(get_options({})), SimpleNamespace(model=[nn.Identity()])
    assert task.criterion(network) == f"loss of {network}"
    assert task.evaluator("images", Path("run"), 3, True) == ("detect", "images", Path("run"), 3, True)
