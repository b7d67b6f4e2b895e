"""Small tools under published names; numbers are those of the public package (8.4.190)."""

import os
import sys
import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.tasks import temporary_modules, torch_safe_load
from ultralytics.utils.errors import CheckpointError
from ultralytics.utils.files import WorkingDirectory, file_age, file_date, file_size, get_latest_run, spaces_in_path
from ultralytics.utils.patches import imread, imwrite, torch_load, torch_save
from ultralytics.utils.torch_utils import get_flops, get_flops_with_torch_profiler, profile_ops, time_sync


@pytest.mark.public("python::utils_files")
def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "a b" / "c.txt"
    file.parent.mkdir()
    file.write_bytes(b"x" * 3 * 2**20)
    assert file_size(file) == file_size(file.parent) == 3.0
    os.utime(file, (0, datetime.now().timestamp() - 3 * 86400))
    assert file_age(file) == 3
    day = datetime.fromtimestamp(file.stat().st_mtime)
    assert file_date(file) == f"{day.year}-{day.month}-{day.day}"
    with WorkingDirectory(file.parent):
        assert Path.cwd() == file.parent
    assert Path.cwd() == tmp_path
    with spaces_in_path(file) as plain:
        assert " " not in str(plain) and Path(plain).read_bytes() == file.read_bytes()
        Path(plain).write_bytes(b"new")
    assert file.read_bytes() == b"new"
    for i, name in enumerate(("exp", "exp2")):
        (last := tmp_path / "runs" / name / "last.pt").parent.mkdir(parents=True)
        last.touch()
        os.utime(last, (i, i))
    assert Path(get_latest_run("runs")).parent.name == "exp2" and not get_latest_run("a b")


@pytest.mark.public("python::utils_patches_torch_save")
def test_files_of_torch_and_images_at_any_path(tmp_path):
    file = tmp_path / "权重.pt"
    torch_save({"w": torch.ones(2)}, file)
    torch_save({"w": torch.zeros(2)}, file)
    assert torch_load(file)["w"].tolist() == [0, 0] and [path.name for path in tmp_path.iterdir()] == ["权重.pt"]
    with pytest.raises(TypeError, match="lock"):
        torch_save({"w": threading.Lock()}, tmp_path / "lock.pt")
    assert not list(tmp_path.glob("*lock*"))
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    assert imwrite(tmp_path / "图.png", image) and np.array_equal(imread(tmp_path / "图.png"), image)
    assert imread(tmp_path / "图.png", 0).shape == (5, 6, 1) and imread(tmp_path / "none.png") is None


@pytest.mark.public("python::restricted_load_threaded")
def test_files_are_read_by_several_threads_at_once(detector, tmp_path):
    detector.save(tmp_path / "w.pt")
    wanted, found = detector.model.state_dict()["model.0.conv.weight"].half().float(), []

    def load():
        found.append(torch_safe_load(tmp_path / "w.pt", safe_only=True)[0]["model"].state_dict()["model.0.conv.weight"])

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(torch.equal(weight.float(), wanted) for weight in found)


class Criterion:
    """A loss as the public package keeps it: no module, with a module, a tensor and numbers."""

    def __init__(self):
        self.bce, self.proj, self.hyp = torch.nn.BCEWithLogitsLoss(), torch.arange(16.0), {"box": 7.5}


@pytest.mark.public("python::restricted_load_criterion")
@pytest.mark.parametrize("kind", ["values", "code"])
def test_a_network_that_was_saved_with_its_loss(detector, tmp_path, kind):
    """Objects in a file are read as their values; what would be run is refused, and is not run."""

    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    detector.model.criterion = Runs() if kind == "code" else Criterion()
    torch.save({"model": detector.model, "epoch": 3}, tmp_path / "w.pt")
    if kind == "code":
        with pytest.raises(CheckpointError, match="mkdir"):
            torch_safe_load(tmp_path / "w.pt")
        assert not (tmp_path / "ran").exists()
    else:
        content, _ = torch_safe_load(tmp_path / "w.pt")
        weight = detector.model.state_dict()["model.0.conv.weight"]
        assert torch.equal(content["model"].state_dict()["model.0.conv.weight"], weight) and content["epoch"] == 3


@pytest.mark.public("python::temporary_modules_restores_preexisting_alias")
def test_names_of_modules_are_what_they_were_before():
    import json
    import math

    before = sys.modules.get("json.older")
    with temporary_modules({"json": "math", "json.older": "math"}, {"json.root": "math.sqrt"}):
        assert sys.modules["json"] is math is sys.modules["json.older"] and json.root is math.sqrt
    assert sys.modules["json"] is json and sys.modules.get("json.older") is before and not hasattr(json, "root")
    with pytest.raises(KeyError), temporary_modules({"json": "math"}):
        raise KeyError
    assert sys.modules["json"] is json


@pytest.mark.public("python::autobackend_memory_format")
def test_the_layout_of_images_in_memory_changes_nothing(detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    last = images.to(memory_format=torch.channels_last)
    for model in (detector.model, detector.export(format="torchscript", imgsz=64, batch=2)):
        backend = AutoBackend(model, verbose=False)
        with torch.no_grad():
            plain, turned = (backend(x) for x in (images, last))
        first = [x[0] if isinstance(x, tuple) else x for x in (plain, turned)]
        torch.testing.assert_close(*first, rtol=1e-4, atol=1e-3)
        assert backend.stride == 32 and backend.names == {0: "a", 1: "b", 2: "c"} and images.is_contiguous()


@pytest.mark.public("python::utils_torchutils")
def test_what_a_layer_costs():
    layer = torch.nn.Conv2d(3, 8, 3, bias=False)
    layer.stride_ = layer.stride
    (row,) = profile_ops(torch.zeros(1, 3, 16, 16), layer, n=1, device="cpu")
    assert row[0] == sum(p.numel() for p in layer.parameters()) == 216
    model = YOLO("yolov8n.yaml").model
    assert get_flops(model, 64) == pytest.approx(get_flops_with_torch_profiler(model, 64), rel=0.05)
    assert time_sync() <= time_sync()
