"""The grammar of rows: channels that are measured, words, packages, several maps, names."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tests.nn.described import describe, layers
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv
from ultralytics.nn.probe import probe
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ModelError

SCALES = {"scales": {"n": [0.5, 0.5, 64]}, "scale": "n"}


def mistake(*backbone, **keys):
    """What building says about it."""
    with pytest.raises(ModelError) as caught:
        DetectionModel(describe(*backbone, **keys), verbose=False)
    assert str(caught.value).startswith("mine.yaml, row ") and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def known(monkeypatch):
    """Make a class known to YAMLs for the length of a test, in no set."""
    return lambda cls: monkeypatch.setattr(tasks, cls.__name__, cls, raising=False)


# Channels


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ([-1, 1, "nn.PixelUnshuffle", [2]], (1, 32, 128, 128)),
        ([-1, 1, "nn.Conv2d", ["c1", "w(32)", 3, {"stride": 2, "padding": 1}]], (1, 16, 128, 128)),
        ([-1, 1, "torch.nn.ConvTranspose2d", [32, 2, 2]], (1, 16, 512, 512)),  # as in public YAMLs: c2, scaled
        ([-1, 1, "nn.ConvTranspose2d", ["c1", "w(32)", 2, 2]], (1, 16, 512, 512)),
        ([-1, 1, "nn.BatchNorm2d", []], (1, 8, 256, 256)),
        ([-1, 1, "Conv", ["c1", 3, 2]], (1, 8, 128, 128)),
        ([-1, 1, "Conv", ["w(64)", 3, 2]], (1, 32, 128, 128)),
        ([-1, 1, "nn.Sequential", []], (1, 8, 256, 256)),
        ([-1, 1, "torchvision.ops.Conv2dNormActivation", ["c1", "w(24)"]], (1, 16, 256, 256)),
        ([-1, 1, "timm.layers.EcaModule", ["c1"]], (1, 8, 256, 256)),
    ],
)
def test_channels_are_those_that_come_out(row, shape):
    built = layers([-1, 1, "Conv", [16]], row, [-1, 1, "Conv", [16]], **SCALES)
    assert built.shapes[1] == shape
    assert built[2].conv.in_channels == shape[1]
    x = built[1](built[0](torch.rand(2, 3, 256, 256)))
    assert x.shape[1:] == shape[1:]


class Restless(nn.Module):
    """Changes everything that a forward pass can change."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.register_buffer("calls", torch.zeros(1))
        self.count, self.cache, self.seen, self.kept = 0, {}, [], torch.zeros(2)

    def forward(self, x):
        self.calls += 1
        self.count += 1
        self.cache[x.shape] = x
        self.seen.append(x.mean())
        self.kept += 1
        self.new = x
        x = x + torch.rand(1, device=x.device) * random.random() * np.random.rand()
        return self.norm(x)


class ReadsValues(Restless):
    """Cannot run without values."""

    def forward(self, x):
        return super().forward(x) * (2 if x.mean().item() > 0 else 3)


@pytest.mark.parametrize("cls", [Restless, ReadsValues])
@pytest.mark.parametrize("training", [False, True])
def test_a_probe_leaves_no_trace(cls, training):
    torch.manual_seed(0)
    layer = cls()
    layer.norm.eval()
    state = {k: v.clone() for k, v in layer.state_dict().items()}
    keys, seeds = set(vars(layer)), (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    assert probe(layer, torch.empty(1, 8, 4, 4, device="meta"), training).is_meta
    assert all(torch.equal(v, state[k]) for k, v in layer.state_dict().items())
    assert layer.training and not layer.norm.training and set(vars(layer)) == keys
    assert (layer.count, layer.cache, layer.seen, layer.kept.tolist()) == (0, {}, [], [0, 0])
    assert torch.equal(torch.get_rng_state(), seeds[0]) and random.getstate() == seeds[1]
    assert np.random.get_state()[1].tolist() == seeds[2]


def test_weights_of_a_seed_do_not_depend_on_the_probe():
    torch.manual_seed(3)
    built = layers([-1, 1, "Conv", [8, 3]], [-1, 1, "nn.Dropout2d", [0.5]], [-1, 1, "Conv", [8, 3]])
    torch.manual_seed(3)
    plain = Conv(3, 8, 3), Conv(8, 8, 3)
    assert torch.equal(built[2].conv.weight, plain[1].conv.weight)


def test_every_row_is_run_once(monkeypatch):
    calls = []
    original = Conv.forward
    monkeypatch.setattr(Conv, "forward", lambda self, x: calls.append(self) or original(self, x))
    model = DetectionModel("yolov8n.yaml", verbose=False)
    assert len(calls) == len(set(map(id, calls))) == sum(isinstance(m, Conv) for m in model.modules())


def test_building_needs_none_of_what_torch_imports_for_the_meta_device():
    code = (
        "import sys\nfrom ultralytics.nn.tasks import DetectionModel\nDetectionModel('yolov8n.yaml', verbose=False)\n"
    )
    command = [sys.executable, "-c", code + "print('sympy' in sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: x + torch.ones(x.shape),
        lambda self, x: x @ torch.zeros(256, 256),  # on meta torch itself does not notice these
        lambda self, x: nn.functional.conv2d(x, torch.zeros(8, 8, 1, 1)),
        lambda self, x: self.conv(torch.zeros(1, 8, 256, 256)),
        lambda self, x: torch.zeros(1, 8, 256, 256),
    ],
)
def test_a_tensor_on_another_device_is_told(known, forward):
    cls = type("Mixed", (nn.Module,), {"forward": forward, "conv": nn.Conv2d(8, 8, 1)})
    known(cls)
    message = mistake([-1, 1, "Conv", [8]], [-1, 1, "Mixed", []])
    assert "row 1 [-1, 1, Mixed, []]: Mixed makes a tensor on another device than its input" in message
    assert "device=x.device" in message


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: x * torch.tensor(2.0),  # single numbers may lie on the CPU
        lambda self, x: x[:, torch.arange(8)],  # places to pick as well
        lambda self, x: x + torch.ones(x.shape).to(x),
        lambda self, x: x * float(x.mean()),  # reads a value: run on real numbers
        lambda self, x: x + torch.from_numpy(x.cpu().numpy()).to(x.device),
    ],
)
def test_what_works_on_a_gpu_is_no_mistake(known, forward):
    known(type("Fine", (nn.Module,), {"forward": forward}))
    assert layers([-1, 1, "Conv", [8]], [-1, 1, "Fine", []]).shapes[1] == (1, 8, 256, 256)


# Words


def test_words_anywhere(known):
    class Keeps(nn.Module):
        def __init__(self, *args, **kwargs):
            super().__init__()
            self.args, self.kwargs = args, kwargs

        def forward(self, x):
            return x[0] if isinstance(x, list) else x

    known(Keeps)
    args = ["c1", "w(100)", "d(5)", ["w(nc)", ["c1"]], "\\c1", "\\w(3)", "\\nc", "c3", {"a": "w(24)", "b": {"c": "c1"}}]
    built = layers([-1, 1, "Conv", [16]], [-1, 1, "Keeps", args], [[0, 1], 1, "Keeps", ["c1"]], **SCALES)
    assert built[1].args == (8, 32, 2, [8, [8]], "c1", "w(3)", "nc", "c3")
    assert built[1].kwargs == {"a": 16, "b": {"c": 8}}
    assert built[2].args == ([8, 8],)


def test_layers_keep_attributes_of_their_own(known):
    class Owner(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.i, self.f, self.c2 = nn.Conv2d(c, c, 1), nn.Sigmoid(), 7

        def forward(self, x):
            return self.f(self.i(x)) * self.c2

    known(Owner)
    model = DetectionModel(describe([-1, 1, "Conv", [8]], [-1, 1, "Owner", ["c1"]]), verbose=False)
    assert isinstance(model.model[1].i, nn.Conv2d) and model.model[1].c2 == 7
    assert (model.model[0].i, model.model[0].f, model.model[2].i) == (0, -1, 2)
    assert model.train()(torch.rand(1, 3, 32, 32))["boxes"].shape == (1, 64, 1024)


# Names of rows


NAMED = (
    [-1, 1, "Conv", [8, 3, 2], "stem"],
    [-1, 1, "Conv", [16, 3, 2]],
    ["stem", 1, "Conv", [16, 3, 2], "side"],
    [["side", 1], 1, "Concat", [1]],
)


def test_names_and_numbers_mixed():
    model = DetectionModel(describe(*NAMED, head=[[[1, "side", -1], 1, "Detect", ["nc"]]]), verbose=False)
    assert model.froms == [-1, -1, 0, [2, 1], [1, 2, -1]] and model.save == [0, 1, 2]
    assert model.stride.tolist() == [4, 4, 4]
    assert model.train()(torch.rand(1, 3, 32, 32))["boxes"].shape == (1, 64, 192)


def test_a_list_is_taken_apart_by_name_and_number(known):
    class Halves(nn.Module):
        def forward(self, x):
            return list(x.split([3, 5], 1))

    known(Halves)
    rows = [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Halves", [], "halves"], ["halves.1", 1, "Conv", [8]]
    model = DetectionModel(
        describe(*rows, [["halves.0", -1], 1, "Concat", [1]], head=[[["halves.1", -1], 1, "Detect", ["nc"]]]),
        verbose=False,
    )
    assert model.model[2].conv.in_channels == 5 and model.model.shapes[3] == (1, 11, 128, 128)
    assert model.train()(torch.rand(1, 3, 32, 32))["boxes"].shape == (1, 64, 512)
    assert "it takes map 2 of row 1, which gives 2 maps" in mistake(*rows[:2], ["halves.2", 1, "Conv", [8]])
