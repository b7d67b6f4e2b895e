"""Latency, batches and names of GPUs in comparisons, on a pretended one."""

import pytest
import torch

from tests.engine.test_device import CLASSIFIER
from tests.models.runs import task_run
from ultralytics import YOLO
from ultralytics.comparison import latency
from ultralytics.comparison.training import ComparedTrainer, gpu_name
from ultralytics.utils.errors import TrainingError


def test_a_gpu_is_named_and_waited_for(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "ROUNDS", 2)
    gpu.waits.clear()
    path = tmp_path / "latency.csv"
    run = task_run(tmp_path / "run", "classify", CLASSIFIER)
    times = latency.latencies({"a": (run["model"], [32, 32])}, 2, path, torch.device("cuda:0"))
    assert min(times.values()) > 0 and "Pretended GPU, torch" in path.read_text(encoding="utf-8")
    waits = sum(count for (why, _), count in gpu.waits.items() if why == "synchronize")
    assert waits == 2 * 3 * len(latency.BATCHES)  # before and after each pass, of which the first is warm-up


def test_a_compared_run_is_not_halved_and_its_gpu_is_kept(gpu, tmp_path):
    """The other variants have the batch that was asked for."""
    run = task_run(tmp_path, "classify", CLASSIFIER) | {"device": 0, "epochs": 1}
    model = YOLO(run["model"])
    model.add_callback("on_train_epoch_start", lambda trainer: setattr(gpu.memory, "total", gpu.memory.now + 1000))
    with pytest.raises(TrainingError, match="CUDA out of memory at batch=4, imgsz=32: reduce one of them"):
        model.train(ComparedTrainer, **run)
    assert gpu_name({"device": "0"}) == ", Pretended GPU"
    assert gpu_name({"device": "cpu"}) == gpu_name({"device": "7"}) == ""
