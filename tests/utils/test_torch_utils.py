"""Devices by every name people give them, and why one is not there."""

import pytest
import torch

from ultralytics.utils.errors import DeviceError
from ultralytics.utils.torch_utils import select_device


@pytest.fixture
def gpus(monkeypatch):
    """Set how many GPUs torch seems to find, and whether it is built for them."""

    def pretend(count: int, built: bool = True):
        monkeypatch.setattr(torch.version, "cuda", "13.0" if built else None)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize("device", ["cpu", "CPU", " cpu ", torch.device("cpu"), ["cpu"]])
def test_cpu(device):
    assert select_device(device) == torch.device("cpu")


@pytest.mark.parametrize(
    "device", [0, "0", [0], (0,), "cuda", "cuda:0", "CUDA:0", ["cuda:0"], torch.device("cuda", 0), None, ""]
)
def test_first_gpu(gpus, device):
    gpus(2)
    assert select_device(device) == torch.device("cuda:0")


def test_another_gpu(gpus):
    gpus(2)
    assert select_device("1") == torch.device("cuda:1")


@pytest.mark.parametrize("device", [None, "", "None"])
def test_nothing_said_and_no_gpu_is_the_cpu(gpus, device):
    gpus(0)
    assert select_device(device) == torch.device("cpu")


@pytest.mark.parametrize(
    ("count", "built", "device", "reason"),
    [
        (0, False, "0", "without CUDA.*device=cpu"),
        (0, True, "0", "no usable GPU.*device=cpu"),
        (1, True, "1", "only device 0 is there"),
        (4, True, 4, "devices 0 to 3 are there"),
    ],
)
def test_a_gpu_that_is_not_there_says_why(gpus, count, built, device, reason):
    gpus(count, built)
    with pytest.raises(DeviceError, match=reason):
        select_device(device)


@pytest.mark.parametrize("device", ["0,1", [0, 1], (0, 1), "cuda:0,1", "cuda:0,cuda:1", ["cuda:0", "cuda:1"]])
def test_several_devices_come_later(gpus, device):
    gpus(2)
    with pytest.raises(DeviceError, match="device=0,1: several devices come later"):
        select_device(device)


@pytest.mark.parametrize("device", ["gpu", -1, True, 0.5, "cuda:x", "cpu:0"])
def test_what_is_no_device_says_what_is(gpus, device):
    gpus(2)
    with pytest.raises(DeviceError, match="expected an index"):
        select_device(device)


def test_mps(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert select_device("mps") == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no MPS device"):
        select_device("mps:0")
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    with pytest.raises(DeviceError, match="without MPS"):
        select_device("mps")
