"""Devices by every name people give them, and tools for any network: numbers as in the public package 8.4.190."""

import copy
import logging
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.utils import torch_utils
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.utils.errors import CheckpointError, DeviceError
from ultralytics.utils.torch_utils import EarlyStopping, ModelEMA, select_device


@pytest.fixture
def gpus(monkeypatch):
    """Set how many GPUs torch seems to find, and whether it is built for them."""

    def pretend(count: int, built: bool = True):
        monkeypatch.setattr(torch.version, "cuda", "13.0" if built else None)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_arch_list", list)  # of kernels nothing is known

    return pretend


@pytest.mark.public("python::select_device")
@pytest.mark.parametrize("device", ["cpu", "CPU", " cpu ", torch.device("cpu"), ["cpu"]])
def test_cpu(device):
    assert select_device(device) == torch.device("cpu")


@pytest.mark.public("python::select_device")
@pytest.mark.parametrize(
    "device", [0, "0", [0], (0,), "cuda", "cuda:0", "CUDA:0", ["cuda:0"], torch.device("cuda", 0), None, ""]
)
def test_first_gpu(gpus, device):
    gpus(2)
    assert select_device(device) == torch.device("cuda:0")


def test_another_gpu(gpus):
    gpus(2)
    assert select_device("1") == torch.device("cuda:1")
    assert select_device("1", batch=16, newline=True, verbose=False) == torch.device("cuda:1")


@pytest.mark.parametrize("device", [None, "", "None"])
def test_nothing_said_and_no_gpu_is_the_cpu(gpus, device):
    gpus(0)
    assert select_device(device) == torch.device("cpu")


@pytest.mark.public("python::select_device")
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
def test_several_devices_are_for_training(gpus, device):
    gpus(2)
    with pytest.raises(DeviceError, match="device=0,1: several devices are for training; name one"):
        select_device(device)


@pytest.mark.public("python::select_device")
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


def wave(*shape):
    """Values that every test of this file and the measured package know: sin(0.37 i)."""
    return (torch.arange(math.prod(shape)) * 0.37).sin().view(shape)


@pytest.fixture
def norm():
    norm = nn.BatchNorm2d(6).eval()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.copy_(wave(6))
        norm.running_var.copy_(wave(6).abs() + 0.5)
    return norm


@pytest.mark.public("python::utils_torchutils")
@pytest.mark.parametrize(
    ("conv", "fuse"),
    [
        (nn.Conv2d(4, 6, 3, 2, 1, groups=2), torch_utils.fuse_conv_and_bn),
        (nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect", bias=False), torch_utils.fuse_conv_and_bn),
        (nn.ConvTranspose2d(4, 6, 2, 2, bias=False), torch_utils.fuse_deconv_and_bn),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), torch_utils.fuse_deconv_and_bn),
    ],
    ids=["groups", "padding", "transposed", "transposed groups"],
)
@torch.no_grad()
def test_fused_convolutions(norm, conv, fuse):
    for p in conv.parameters():
        p.copy_(wave(*p.shape))
    before, x = copy.deepcopy(conv), wave(2, 4, 5, 5)
    fused = fuse(conv, norm)
    torch.testing.assert_close(fused(x), norm(conv(x)), rtol=2e-6, atol=3e-5)  # values of up to 12
    torch.testing.assert_close(conv(x), before(x), rtol=0, atol=0)  # a new one, and the old one as it was
    assert fused is not conv and type(fused) is type(conv)
    assert not any(p.requires_grad for p in fused.parameters())


def test_early_stopping(caplog):
    caplog.set_level(logging.INFO)
    stopper = EarlyStopping(patience=3)
    fitness = [0, 0, 0.1, 0.1, 0.05, 0.04, 0.2, None, 0.1, 0.1]
    told = [(stopper(e, f), stopper.best_epoch, stopper.possible_stop) for e, f in enumerate(fitness)]
    assert [stop for stop, _, _ in told] == [False] * 5 + [True] + [False] * 3 + [True]
    assert [best for _, best, _ in told] == [0, 1, 2, 2, 2, 2, 6, 6, 6, 6]
    assert [soon for _, _, soon in told] == [False] * 4 + [True, True] + [False] * 2 + [True, True]
    assert stopper.best_fitness == 0.2
    assert "early stopping: no improvement since epoch 3 (patience=3)" in caplog.text
    assert not any(EarlyStopping(patience=0)(epoch, 0.5 if epoch == 0 else 0.1) for epoch in range(1000))


@pytest.mark.parametrize(
    ("options", "shape", "total"),
    [
        ({"ratio": 0.5}, (32, 32), 1327.1136),
        ({"ratio": 0.5, "same_shape": True}, (10, 14), 141.66977),
        ({"ratio": 0.83, "gs": 8}, (16, 16), 226.74998),
        ({"ratio": 0.67}, (32, 32), 1302.3546),
    ],
)
def test_scaled_images(options, shape, total):
    image = wave(1, 3, 10, 14)
    scaled = torch_utils.scale_img(image, **options)
    assert scaled.shape[2:] == shape
    assert scaled.sum().item() == pytest.approx(total, rel=1e-6)
    assert scaled[0, 0, -1, -1].item() == pytest.approx(0.447)
    assert torch_utils.scale_img(image) is image


def test_attributes_are_copied():
    class Thing:
        def __init__(self, **values):
            vars(self).update(values)

    full = Thing(x=1, _y=2, z=3)
    for include, exclude, expected in [
        ((), (), {"x": 1, "z": 3}),
        (("x",), (), {"x": 1}),
        ((), ("x",), {"z": 3}),
        (("x", "z", "_y"), ("z",), {"x": 1}),
    ]:
        empty = Thing()
        torch_utils.copy_attr(empty, full, include, exclude)
        assert vars(empty) == expected


def test_intersection_of_state_dicts():
    da = {"a.w": torch.zeros(2), "b.w": torch.zeros(3), "c": torch.zeros(1), "d": torch.zeros(1)}
    db = {"a.w": torch.ones(2), "b.w": torch.ones(4), "c": torch.ones(1)}
    both = torch_utils.intersect_dicts(da, db)
    assert list(both) == ["a.w", "c"] and both["c"] is da["c"]
    assert list(torch_utils.intersect_dicts(da, db, exclude=("a",))) == ["c"]


def test_one_cycle():
    schedule = torch_utils.one_cycle(1, 0.01, 10)
    expected = [0.975772975566101, 1.0, 0.975772975566101, 0.505, 0.01, 0.03422702443389891]
    assert [schedule(x) for x in (-1, 0, 1, 5, 10, 11)] == pytest.approx(expected)


def test_wrappers():
    net = nn.Linear(1, 1)
    wrapped = nn.DataParallel(nn.DataParallel(net))
    assert torch_utils.is_parallel(wrapped) and not torch_utils.is_parallel(net)
    compiled = nn.Module()  # as torch.compile makes it, which takes seconds to import
    compiled._orig_mod = wrapped
    assert torch_utils.unwrap_model(compiled) is torch_utils.de_parallel(wrapped) is net


def test_initialized_weights():
    acts = [nn.ReLU(), nn.SiLU(), nn.Hardswish(), nn.LeakyReLU(), nn.ReLU6(), nn.Mish()]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), *acts)
    before = copy.deepcopy(net.state_dict())
    torch_utils.initialize_weights(net)
    assert [act.inplace for act in acts] == [True] * 5 + [False]
    assert (net[1].eps, net[1].momentum) == (1e-3, 0.03)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.public("python::utils_torchutils")
def test_counts_of_any_network(caplog):
    caplog.set_level(logging.INFO)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)).requires_grad_(False)
    net[1].requires_grad_(True)
    assert (torch_utils.get_num_params(net), torch_utils.get_num_gradients(net)) == (84, 8)
    gflops = 2 * 2 * 9 * 4 * 30 * 30 / 1e9  # two channels, as the first convolution takes
    assert torch_utils.get_flops(nn.DataParallel(net), 32) == pytest.approx(gflops)
    assert torch_utils.model_info(net, detailed=True, imgsz=32) == (3, 84, 8, pytest.approx(gflops))
    assert "Sequential: 3 layers, 84 parameters, 8 gradients, 0.00 GFLOPs" in caplog.text
    assert "0.weight" in caplog.text and "4x2x3x3" in caplog.text


def test_modes():
    @torch_utils.smart_inference_mode()
    def modes():
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    assert modes() == (True, False)
    with torch_utils.autocast(True, device="cpu"):
        assert torch.is_autocast_enabled("cpu")
    with torch_utils.autocast(False, device="cpu"), torch_utils.torch_distributed_zero_first(-1):
        assert not torch.is_autocast_enabled("cpu")
    assert torch_utils.time_sync() <= torch_utils.time_sync()


def test_seeds(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        for deterministic in (False, True):
            torch_utils.init_seeds(3, deterministic)
            drawn = random.random(), np.random.rand(), torch.rand(1).item()
            assert drawn == (0.23796462709189137, 0.5507979025745755, 0.004263520240783691)
            assert torch.are_deterministic_algorithms_enabled() == deterministic
    finally:
        torch_utils.unset_deterministic()
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
    assert not torch.are_deterministic_algorithms_enabled()


def test_average_in_the_hands_of_a_trainer():
    net = nn.Linear(2, 1)
    average = ModelEMA(net, updates=5)
    assert average.decay(5) == pytest.approx(0.0024966279147796613)
    average.update(nn.DataParallel(net))
    average.enabled = False
    average.update(net)
    assert average.updates == 6
    net.names, net._hidden = {0: "a"}, 1
    average.update_attr(net, include=["names"])
    assert average.ema.names == {0: "a"} and not hasattr(average.ema, "_hidden")


def test_stripped_checkpoints(tmp_path):
    last, best = tmp_path / "last.pt", tmp_path / "best.pt"
    save_checkpoint(last, Checkpoint({"w": torch.ones(2)}, names={0: "a"}, epoch=3, training={"stop": False}))
    torch_utils.strip_optimizer(last, s=best, updates={"names": {0: "b"}})
    assert load_checkpoint(last).training and load_checkpoint(best).training is None
    assert load_checkpoint(best).names == {0: "b"} and load_checkpoint(best).epoch == 3
    torch_utils.strip_optimizer(last)
    assert torch.load(last)["model"]["w"].dtype is torch.float16 and load_checkpoint(last).training is None

    foreign = tmp_path / "foreign.pt"
    torch.save({"w": torch.ones(2)}, foreign)
    with pytest.raises(CheckpointError, match="was not written by this tree"):
        torch_utils.strip_optimizer(foreign)
    assert set(torch.load(foreign)) == {"w"}


@pytest.mark.public("python::rmsprop_checkpoint_preserves_square_avg")
@pytest.mark.parametrize(
    ("kind", "options", "exact", "halved"),
    [
        (torch.optim.RMSprop, {"momentum": 0.9}, {"step", "square_avg"}, {"momentum_buffer"}),
        (torch.optim.AdamW, {}, {"step", "exp_avg", "exp_avg_sq"}, set()),
        (torch.optim.Adamax, {}, {"step", "exp_avg"}, {"exp_inf"}),
    ],
)
def test_half_an_optimizer(kind, options, exact, halved):
    """Averages of squares stay as they are: those of gradients below 2e-4 would be 0 in half precision."""
    net = nn.Linear(2, 1)
    optimizer = kind(net.parameters(), **options)
    (1e-4 * net(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    before = {name: value.clone() for name, value in optimizer.state_dict()["state"][0].items()}
    state = torch_utils.convert_optimizer_state_dict_to_fp16(optimizer.state_dict())["state"][0]
    assert {name for name, value in state.items() if torch.equal(value, before[name])} >= exact
    assert {name for name, value in state.items() if value.dtype is torch.float16} == halved
