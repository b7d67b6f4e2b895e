"""Every task on a pretended GPU (tests/pretend_cuda.py): one device for all tensors, waits of the host, memory.

What only a real GPU can show has not been run: its numbers, its speed, memory beside that of tensors, its driver, MPS,
and files traced on it.
"""

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from tests import pretend_cuda
from tests.engine.runs import rows_of
from tests.models.runs import task_run
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.cfg.options import TASKS
from ultralytics.engine import exporter
from ultralytics.engine.runtime import largest_batch, training_on
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils.errors import DeviceError, TrainingError
from ultralytics.utils.torch_utils import select_device

CLASSIFIER = "nc: 2\nbackbone:\n  - [-1, 1, DynamicConv, [8, 3, 2]]\nhead:\n  - [-1, 1, Classify, [nc]]\n"
GPU = torch.device("cuda:0")


@pytest.fixture
def tracing_on_the_cpu(monkeypatch):
    """Exporters whose tracer, which cannot follow pretended tensors, gets those of the CPU."""
    to_onnx = exporter.WRITERS["onnx"]

    def write(network, sample, outputs, *more):
        assert sample.device == network.device == outputs[0][0].device == GPU
        network, sample, outputs = deepcopy(network).cpu(), sample.cpu(), [[x.cpu() for x in out] for out in outputs]
        with _disable_current_modes():
            return to_onnx(network, sample, outputs, *more)

    monkeypatch.setitem(exporter.WRITERS, "onnx", write)


class KilledError(Exception):
    """The run is over, as if it was killed."""


def kill(trainer):
    raise KilledError


def classify(folder, **options):
    """Options of a run of the tiny classifier on GPU 0."""
    return task_run(folder, "classify", CLASSIFIER) | {"device": 0} | options


LONG = {"segment", "pose"}  # obb and detect have what they have


@pytest.mark.parametrize("task", [pytest.param(t, marks=pytest.mark.long) if t in LONG else t for t in TASKS])
def test_training_resume_validation_prediction_and_export(task, gpu, tracing_on_the_cpu, tmp_path):
    """With static and dynamic convolutions, in float16 with scaled gradients; in a step the host never waits."""
    small = {"device": 0, "batch": 2, "nbs": 2, "fraction": 0.34, "mosaic": 0.0, "verbose": False}
    run, seen = task_run(tmp_path, task, CLASSIFIER) | small, []
    model = YOLO(run["model"])
    for event in ("on_train_batch_start", "on_train_batch_end"):
        model.add_callback(event, lambda trainer: seen.append(gpu.waits.copy()))
    model.add_callback("on_train_epoch_end", lambda trainer: seen.append(trainer.scaler.get_scale()))
    model.add_callback("on_fit_epoch_end", kill)
    with pytest.raises(KilledError):
        model.train(**run)
    *_, before, after, scale = seen
    assert not after - before and scale > 1

    resumed = YOLO(model.trainer.last)
    resumed.train(resume=True)
    assert resumed.trainer.device == GPU and resumed.trainer.start_epoch == 1
    assert [row["epoch"] for row in rows_of(resumed.trainer.save_dir)] == ["1", "2"]

    best = YOLO(resumed.trainer.best)
    common = {"device": 0, "imgsz": run["imgsz"], "verbose": False}
    best.val(data=run["data"], half=True, batch=2, workers=0, plots=False, **common)
    (result,) = best.predict(np.full((40, 60, 3), 90, np.uint8), conf=1e-4, save_txt=True, project=tmp_path, **common)
    found = next(v for v in (result.obb, result.probs, result.boxes) if v is not None)
    assert found.data.device == GPU and isinstance(found.cpu().numpy().data, np.ndarray)
    assert best.export(format="onnx", device="cuda:0", imgsz=run["imgsz"]).endswith(".onnx")


def test_a_run_that_was_begun_on_a_cpu_goes_on(gpu, tmp_path):
    model = YOLO((run := classify(tmp_path, device="cpu"))["model"])
    model.add_callback("on_fit_epoch_end", kill)
    with pytest.raises(KilledError):
        model.train(**run)
    resumed = YOLO(model.trainer.last)
    resumed.train(resume=True, device=0)
    assert resumed.trainer.device == GPU and resumed.trainer.scaler.is_enabled()


@pytest.fixture
def held(gpu, monkeypatch):
    """Bytes on the device when a network is built; from then on there is room again."""
    seen, setup_model = [], BaseTrainer.setup_model

    def spy(self):
        seen.append(gpu.memory.now)
        gpu.memory.total = 24e9
        return setup_model(self)

    monkeypatch.setattr(BaseTrainer, "setup_model", spy)
    return seen


def test_memory_that_runs_out_in_the_backward_pass(gpu, held, tmp_path, caplog):
    """What the first attempt held is given back before the next one builds its network."""

    def fill(trainer):
        head = trainer.model.model[-1]
        head.register_full_backward_hook(lambda *_: setattr(gpu.memory, "total", gpu.memory.now))

    model = YOLO((run := classify(tmp_path, epochs=1))["model"])
    model.add_callback("on_train_start", fill)
    model.train(**run)
    assert model.trainer.batch_size == 2 and max(held) < 100
    assert "CUDA out of memory at batch=4: starting again with half of it" in caplog.text


def test_memory_that_is_never_enough(gpu, held, tmp_path):
    def fill(trainer):
        gpu.memory.total = gpu.memory.now + 1000

    model = YOLO((run := classify(tmp_path, epochs=1))["model"])
    model.add_callback("on_train_epoch_start", fill)
    with pytest.raises(TrainingError, match=r"^CUDA out of memory at batch=1, imgsz=32: reduce one of them$"):
        model.train(**run)
    assert len(held) == 3 and max(held) < 100

    gpu.memory.total = 24e9
    model = YOLO(run["model"])
    model.add_callback("on_fit_epoch_end", kill)
    with pytest.raises(KilledError):
        model.train(**run | {"epochs": 2})
    resumed = YOLO(model.trainer.last)
    resumed.add_callback("on_train_epoch_start", fill)
    with pytest.raises(TrainingError, match=r"^CUDA out of memory at batch=4, imgsz=32: start a new run from its "):
        resumed.train(resume=True)


@pytest.mark.parametrize("room", [0, 80_000])
def test_memory_that_runs_out_elsewhere(room, gpu, tmp_path):
    """With room for nothing, and with room for the network alone."""
    run = classify(tmp_path)
    model, common = YOLO(run["model"]), {"device": 0, "imgsz": 512}
    gpu.memory.total = room
    where = r"(the network|validation|prediction|export) at batch=\d+, imgsz=512"
    sentence = f"^CUDA out of memory in {where}: reduce one of them, see by nvidia-smi what else holds it, or use "
    with pytest.raises(DeviceError, match=sentence):
        model.val(data=run["data"], batch=2, workers=0, plots=False, **common)
    with pytest.raises(DeviceError, match=sentence):
        model.predict(np.zeros((64, 64, 3), np.uint8), **common)
    with pytest.raises(DeviceError, match=sentence):
        model.export(format="onnx", **common)


def test_the_batch_that_fits(gpu, tmp_path, caplog):
    """By measuring; nothing runs out, and less is taken where other processes hold a part of the memory."""
    gpu.memory.total = 1e8
    model = YOLO((run := classify(tmp_path, epochs=1, batch=-1, val=False))["model"])
    model.add_callback("on_train_epoch_end", kill)
    with pytest.raises(KilledError):
        model.train(**run)
    assert 8 < model.trainer.batch_size < 100 and f"batch=-1: using {model.trainer.batch_size}" in caplog.text


@pytest.mark.parametrize(("fits", "expected"), [(1, 1), (2, 2), (4, 4), (7, 4), (8, 15)])
def test_the_batch_where_eight_images_do_not_fit(fits, expected, monkeypatch):
    def step_memory(batch):
        if batch > fits:
            raise torch.cuda.OutOfMemoryError
        return 1000 + 100 * batch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3600, 10_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 1400)
    assert largest_batch(GPU, step_memory, fraction=0.5) == expected


def test_devices_by_name():
    if reason := pretend_cuda.can_pretend():
        pytest.skip(reason)
    with pretend_cuda.pretended(devices=2):
        for name in (0, "0", [0], "cuda:0", "cuda", None, ""):
            assert select_device(name) == GPU
        assert select_device("1") == select_device([1]) == torch.device("cuda:1")
        assert select_device("cpu") == torch.device("cpu")
        with pytest.raises(DeviceError, match="device=2: there is no such GPU; devices 0 to 1 are there"):
            select_device(2)
        with pytest.raises(DeviceError, match="device=-1: expected an index"):
            select_device(-1)


def test_the_second_gpu_is_the_current_one_while_something_runs(tmp_path):
    """So that a block that says "cuda" means it; afterwards the first one is again."""
    if reason := pretend_cuda.can_pretend():
        pytest.skip(reason)
    with pretend_cuda.pretended(devices=2):
        model, seen = YOLO(classify(tmp_path)["model"]), []
        model.model.model[0].register_forward_hook(lambda *_: seen.append(torch.zeros(1, device="cuda").device))
        (result,) = model.predict(np.zeros((32, 32, 3), np.uint8), device=1, imgsz=32)
        assert seen == [result.probs.data.device] == [torch.device("cuda:1")] and torch.cuda.current_device() == 0
        with training_on(torch.device("cuda:1"), SimpleNamespace(deterministic=True), {}):
            assert torch.cuda.current_device() == 1
        assert torch.cuda.current_device() == 0


def test_new_tensors_are_not_filled_in_deterministic_training():
    before = torch.utils.deterministic.fill_uninitialized_memory
    with training_on(torch.device("cpu"), get_options({"deterministic": True}), {}):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.utils.deterministic.fill_uninitialized_memory is before
    assert not torch.are_deterministic_algorithms_enabled()


# The pretended device itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mistake", "kind"),
    [
        (lambda x: x + torch.ones(3), RuntimeError),
        (lambda x: torch.cat((x, torch.ones(3))), RuntimeError),
        (lambda x: torch.zeros(3)[x.long()], RuntimeError),
        (lambda x: x.numpy(), TypeError),
        (lambda x: torch.rand(3, device="cuda", generator=torch.Generator()), RuntimeError),
        (lambda x: torch.empty(10**9, device="cuda", dtype=torch.float64).expand(9).clone(), torch.OutOfMemoryError),
    ],
)
def test_what_a_gpu_refuses(mistake, kind, gpu):
    gpu.memory.total = 1000
    with pytest.raises(kind):
        mistake(torch.ones(3, device="cuda"))


def test_what_a_gpu_waits_for(gpu):
    x = torch.ones(3, device="cuda")
    assert (x * torch.tensor(2.0)).is_cuda and x[torch.tensor([0, 1])].is_cuda
    gpu.waits.clear()
    x.sum().item()
    x[x > 0], x.nonzero(), x.cpu(), x.new_tensor([1.0, 2.0]), torch.ones(3).to("cuda", non_blocking=True)
    assert sum(gpu.waits.values()) == 6
    gpu.waits.clear()
    torch.ones(3).pin_memory().to("cuda", non_blocking=True) * 2
    assert not gpu.waits


def test_autocast_is_that_of_a_gpu_and_memory_is_given_back(gpu):
    held = gpu.memory.now
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to("cuda")
    with torch.autocast("cuda", torch.float16):
        y = net(torch.rand(2, 3, 8, 8, device="cuda"))
        assert y.dtype is torch.float16 and y.exp().dtype is torch.float32
    y.float().square().mean().backward()
    assert all(p.is_cuda and p.grad.is_cuda for p in net.parameters()) and gpu.memory.now > held
    del net, y
    assert gpu.memory.now == held
