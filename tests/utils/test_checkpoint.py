"""Checkpoints of every origin, what is refused and how it is said, and writes that cannot lose the old file."""

import errno
import logging
import os
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.utils.errors import CheckpointError, YOLOError


class Tiny(nn.Module):
    """A network with everything a module's state can hold."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("anchors", torch.arange(3.0))
        self.register_buffer("lost", torch.zeros(9), persistent=False)
        self.yaml = {"nc": 2, "backbone": [[-1, 1, "Conv", [64, 3, 2]]], "head": []}
        self.names = {0: "RBC", 1: "WBC"}
        self.args = SimpleNamespace(imgsz=64, data="a.yaml", task="detect")


@pytest.fixture
def network():
    """A network with settled weights."""
    torch.manual_seed(0)
    return Tiny()


def same(found: dict, expected: dict) -> bool:
    """Whether two state dicts have the same entries in the same order, the first being float32."""
    return list(found) == list(expected) and all(
        torch.equal(found[k], v.float() if v.is_floating_point() else v) for k, v in expected.items()
    )


def checkpoint(network: nn.Module, **fields) -> Checkpoint:
    """A checkpoint with all fields."""
    fields = {
        "yaml": network.yaml,
        "task": "detect",
        "names": network.names,
        "args": {"imgsz": 64},
        "epoch": 3,
    } | fields
    return Checkpoint(network.state_dict(), metrics={"fitness": 0.5}, **fields)


def test_finished_checkpoints_are_plain_half_precision_data(tmp_path, network):
    save_checkpoint(tmp_path / "best.pt", checkpoint(network))
    raw = torch.load(tmp_path / "best.pt", weights_only=True)
    assert list(raw) == ["format", "model", "yaml", "task", "names", "args", "epoch", "metrics", "training"]
    assert raw["training"] is None
    assert {t.dtype for t in raw["model"].values()} == {torch.float16, torch.int64}
    assert list(raw["model"]) == list(network.state_dict())
    loaded = load_checkpoint(tmp_path / "best.pt")
    assert same(
        loaded.state_dict, {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    )
    assert (loaded.origin, loaded.task, loaded.names, loaded.epoch) == ("native", "detect", network.names, 3)
    assert (loaded.yaml, loaded.args, loaded.metrics) == (network.yaml, {"imgsz": 64}, {"fitness": 0.5})


def test_an_unfinished_run_keeps_full_precision_and_its_state(tmp_path, network):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.scale.sum().backward()
    optimizer.step()
    training = {
        "optimizer": optimizer.state_dict(),
        "rng": {"torch": torch.get_rng_state(), "python": (3, (1, 2, 2**31), None)},
        "last": network.model[0].weight.detach().to(memory_format=torch.channels_last),
        "best": np.float64(0.25),
        "path": Path("runs"),
        "ordered": OrderedDict(a=np.int64(1)),
    }
    save_checkpoint(tmp_path / "last.pt", checkpoint(network, training=training))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["training"]["best"] == 0.25
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert same(loaded.state_dict, network.state_dict())
    found = loaded.training
    assert torch.equal(found["rng"]["torch"], torch.get_rng_state())
    assert found["rng"]["python"] == (3, (1, 2, 2**31), None)
    assert found["last"].stride() == training["last"].stride()
    assert torch.equal(found["last"], training["last"])
    assert (found["best"], found["path"], found["ordered"]) == (0.25, "runs", {"a": 1})
    optimizer.load_state_dict(found["optimizer"])


def test_what_is_no_plain_data_is_named(tmp_path, network):
    with pytest.raises(CheckpointError, match=r"training\.callbacks\.mine holds a function"):
        save_checkpoint(tmp_path / "a.pt", checkpoint(network, training={"callbacks": {"mine": same}}))
    assert list(tmp_path.iterdir()) == []


def test_storages_larger_than_their_tensors_are_not_saved(tmp_path):
    large = torch.randn(1_000_000)
    part = {"view": large[10:20], "t": torch.randn(3, 4).t(), "wide": torch.ones(1).expand(5)}
    for training in (None, {"view": large[:5]}):
        save_checkpoint(tmp_path / "a.pt", Checkpoint(part, training=training))
        assert (tmp_path / "a.pt").stat().st_size < 10_000
        loaded = load_checkpoint(tmp_path / "a.pt").state_dict
        assert all(torch.allclose(loaded[k], part[k], atol=2e-3) and loaded[k].is_contiguous() for k in part)


@pytest.mark.public("engine::checkpoint_fp16_overflow")
def test_weights_beyond_float16_keep_float32_and_lost_ones_are_reported(tmp_path, caplog):
    weights = {"var": torch.tensor([1e5, 1.0]), "gone": torch.tensor([float("nan"), 1.0]), "fine": torch.ones(2)}
    with caplog.at_level(logging.WARNING, logger="ultralytics"):
        save_checkpoint(tmp_path / "a.pt", Checkpoint(weights))
        loaded = load_checkpoint(tmp_path / "a.pt").state_dict
    assert torch.equal(loaded["var"], weights["var"])
    saved_var, saved_gone, read = caplog.messages
    assert "var" in saved_var
    assert "float32" in saved_var
    assert "gone" in saved_gone
    assert "1 of 3 weights are not finite, the first is gone" in read
    assert str(tmp_path / "a.pt") in read


def test_bfloat16_and_double_weights_are_read(tmp_path):
    weights = {"b": torch.randn(3).bfloat16(), "d": torch.randn(3).double(), "i": torch.arange(3, dtype=torch.int16)}
    torch.save(weights, tmp_path / "a.pt")
    assert same(load_checkpoint(tmp_path / "a.pt").state_dict, weights)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch, network, code):
    save_checkpoint(tmp_path / "last.pt", checkpoint(network))
    before = (tmp_path / "last.pt").read_bytes()

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(YOLOError, match=os.strerror(code)):
        save_checkpoint(tmp_path / "last.pt", checkpoint(network, epoch=4))
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.skipif(os.name == "nt", reason="no file size limits on Windows")
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, network):
    import resource

    save_checkpoint(tmp_path / "last.pt", checkpoint(network))
    before = (tmp_path / "last.pt").read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
    try:
        with pytest.raises(YOLOError, match=os.strerror(errno.EFBIG)):
            save_checkpoint(tmp_path / "last.pt", checkpoint(network, training={"big": torch.randn(5000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("name", ["detect", "detect-DynamicConv"])
def test_public_checkpoints_equal_their_safetensors(golden, name):
    loaded = load_checkpoint(golden / "weights" / f"{name}.pt")
    expected = load_file(golden / "weights" / f"{name}.safetensors")
    assert set(loaded.state_dict) == set(expected)
    for key, tensor in expected.items():
        assert torch.equal(loaded.state_dict[key].to(tensor.dtype), tensor), key
    assert all(t.dtype == torch.float32 for t in loaded.state_dict.values() if t.is_floating_point())
    other = load_checkpoint(golden / "weights" / f"{name}.safetensors")
    assert other.origin == "safetensors"
    assert other.yaml is None
    assert all(torch.equal(other.state_dict[k], loaded.state_dict[k]) for k in expected)


@pytest.mark.parametrize(
    ("name", "task", "entries"),
    [("classify", "classify", 158), ("detect", "detect", 355), ("detect-DynamicConv", "detect", 337),
     ("obb", "obb", 397), ("pose", "pose", 397), ("segment", "segment", 417)],
)  # fmt: skip
def test_public_checkpoints_tell_what_they_are(golden, name, task, entries):
    loaded = load_checkpoint(golden / "weights" / f"{name}.pt")
    assert (loaded.origin, loaded.task, len(loaded.state_dict), loaded.training) == ("ultralytics", task, entries, None)
    assert loaded.yaml["nc"] == len(loaded.names)
    assert isinstance(loaded.yaml["backbone"][0][3], list)
    assert isinstance(loaded.args["imgsz"], int)
    assert "fitness" in loaded.metrics


@pytest.mark.parametrize("half", [True, False])
def test_pickled_modules_give_their_state_dict(tmp_path, network, half):
    network = network.half() if half else network
    saved = {"epoch": 7, "ema": network, "model": None, "train_args": {"imgsz": 64}, "train_metrics": {"fitness": 1.0}}
    torch.save(saved, tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert same(loaded.state_dict, network.state_dict())
    assert (loaded.yaml, loaded.names, loaded.args, loaded.epoch) == (network.yaml, network.names, {"imgsz": 64}, 7)
    torch.save(network, tmp_path / "b.pt")
    bare = load_checkpoint(tmp_path / "b.pt")
    assert same(bare.state_dict, network.state_dict())
    assert (bare.args["data"], bare.task) == ("a.yaml", "detect")


def test_ema_wins_over_model(tmp_path, network):
    averaged = Tiny()
    torch.save({"model": network, "ema": averaged}, tmp_path / "a.pt")
    assert same(load_checkpoint(tmp_path / "a.pt").state_dict, averaged.state_dict())


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 1}, lambda s: {"model": dict(s)}])
def test_bare_state_dicts_are_read(tmp_path, network, wrap):
    torch.save(wrap(network.state_dict()), tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert same(loaded.state_dict, network.state_dict())
    assert (loaded.origin, loaded.yaml) == ("state_dict", None)


def test_shared_and_strided_weights_come_out_separate_and_contiguous(tmp_path):
    base = torch.arange(12.0)
    weights = {
        "a": base[:6].view(2, 3).t(),
        "b": base[3:9],
        "c": base,
        "empty": torch.zeros(0),
        "one": torch.tensor(2.0),
    }
    torch.save(weights, tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt").state_dict
    assert same(loaded, weights)
    assert all(t.is_contiguous() for t in loaded.values())
    loaded["c"].zero_()
    assert torch.equal(loaded["b"], base[3:9])
