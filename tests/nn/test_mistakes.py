"""Mistakes in a row of a model YAML: each gives one sentence that begins with the YAML and the row."""

import re

import pytest
import torch
from torch import nn

from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ModelError


def block(name, forward):
    """A class of modules without weights."""
    return type(name, (nn.Module,), {"forward": forward})


def bright(self, x):
    """Reads a value, and does not like it."""
    if float(x.mean()) < 2:
        raise ValueError("the image is too dark")
    return x


def unfinished(self, x):
    """Fails without a word, as a bare `assert h == w` does."""
    raise NotImplementedError


BLOCKS = [
    block("Unfinished", unfinished),
    block("OnCpu", lambda self, x: x + torch.ones(x.shape)),
    block("OnCpuInTraining", lambda self, x: x + torch.ones(x.shape) if self.training else x),
    block("FailsInTraining", lambda self, x: x.view(2, 9) if self.training else x),
    block("HalfInTraining", lambda self, x: x[:, ::2] if self.training else x),
    block("GivesNothing", lambda self, x: None),
    block("GivesSize", lambda self, x: (x, x.shape)),
    block("GivesTwo", lambda self, x: (x[:, :3], x[:, 3:])),
    block("ReadsAValue", bright),
]

MISTAKES = [  # row 1, behind a Conv of 8 channels at stride 2 that is called stem; what is said of it
    # what a row is
    ([-1, 1, "Conv"], r"must be \[from, repeats, module, args\]"),
    ("Conv", r"must be \[from, repeats, module, args\]"),
    ([-1, 0, "Conv", [8]], "repeats must be"),
    ([-1, True, "Conv", [8]], "repeats must be"),
    ([-1, 1, Conv, [8]], "must be the name of a module"),
    ([-1, 1, "Conv", 8], "the list of its args"),
    # from
    ([2.5, 1, "Conv", [8]], "number or the name of a layer"),
    ([[], 1, "Concat", [1]], "number or the name of a layer"),
    ([5, 1, "Conv", [8]], "from layer 5, but the layers before it are 0 to 0"),
    ([-3, 1, "Conv", [8]], "from layer -3"),
    ([[0, -1], 1, "Conv", [8]], "takes its input from one layer"),
    ([-1, 1, "Concat", [1]], "from a list of layers"),
    ([-1, 1, "Detect", ["nc"]], "from a list of layers"),
    ([[0, -1], 1, "nn.Conv2d", [8, 8, 1]], "these are several maps: take one with a row such as"),
    ([-1, 1, "Index", [3]], "Index takes one of several maps, and what comes in is a single one"),
    # names
    (["stam", 1, "Conv", [8]], "from 'stam', but no row is called so; the nearest names are stem"),
    (["late", 1, "Conv", [8]], "from late, but that is row 2, which comes later"),
    (["mine", 1, "Conv", [8], "mine"], "from mine, but that is this row itself"),
    ([-1, 1, "Conv", [8], "stem"], "the name stem is taken by row 0"),
    ([-1, 1, "Conv", [8], 7], "the fifth entry names the row: a word such as p3, not 7"),
    ([-1, 1, "Conv", [8], "a.b"], "the fifth entry names the row"),
    (["stem.x", 1, "Conv", [8]], "from 'stem.x', but no row is called so"),
    (["stem.1", 1, "Conv", [8]], "it takes map 1 of row 0, which gives one map"),
    # modules
    ([-1, 1, "nn.ReLU()", []], "no module 'nn.ReLU"),
    ([-1, 1, "nn.Conv3", ["c1"]], "'Conv3' is not a class of torch.nn .*nearest are Conv3d"),
    ([-1, 1, "nn.functional", ["c1"]], "'functional' is not a class of torch.nn"),
    ([-1, 1, "torchvision.ops.nms", []], "'nms' is not a class of torchvision.ops"),
    ([-1, 1, "timm.layers.nn.Conv2d", []], "not a class of timm.layers"),
    ([-1, 1, "os.system", ["ls"]], "no module 'os.system'"),
    ([-1, 1, "timm", ["resnet1888"]], "has no model 'resnet1888'; the nearest are resnet18"),
    ([-1, 1, "timm", ["resnet18", {"out_indices": [9]}]], "cannot be built"),
    ([-1, 1, "TorchVision", [8, "resnet19"]], "torchvision has no model 'resnet19'; the nearest are"),
    ([-1, 1, "TorchVision", [8, "resnet18"]], r"resnet18-\w+.pth, which is not there, and nothing is downloaded"),
    ([-1, 1, "TorchVision", [8, "resnet18", "BEST"]], "no weights 'BEST'; it has DEFAULT, IMAGENET1K_V1"),
    # args
    ([-1, 1, "Conv", []], "number of output channels, found nothing"),
    ([-1, 1, "Conv", ["nearest"]], "number of output channels, found 'nearest'"),
    ([-1, 1, "Conv", ["c3"]], "found 'c3'; the words that a row knows are c1 "),
    ([-1, 1, "Conv", [True]], "number of output channels, found True"),
    ([-1, 1, "Conv", ["w(x)"]], r"w\(x\) takes a number, such as w\(256\)"),
    ([-1, 1, "Conv", [8, {"q": 1}]], "unexpected keyword argument 'q'"),
    ([-1, 1, "Conv", [8, {"k": 3}, 2]], "a mapping of keyword arguments must be the last of the args"),
    ([-1, 1, "Conv", [8, "3x"]], r"Conv\(8, 8, '3x'\) cannot be built: TypeError"),
    ([-1, 1, "SPPF", [8, 5, 6]], r"it is called as SPPF\(c1, c2, k=5, block=None\)$"),
    (
        [[-1], 1, "Detect", ["ncc"]],
        r"Detect\('ncc', \[8\]\) cannot be built: .*; it is called as Detect\(nc.*\); 'ncc' is a text",
    ),
    ([-1, 1, "DynamicConv", [8, 3, 1, "", 1, 3]], r"DynamicConv, \[8, 3, 1, '', 1, 3\]\]: .*into 3 groups"),
    ([-1, 1, "nn.Conv2d", ["c1", "d(c9)", 3]], r"d\(c9\) takes a number, such as d\(3\)"),
    ([-1, 1, "nn.Conv2d", ["c1", "cc2", 3]], "'cc2' is a text, the words that a row knows are c1"),
    ([-1, 1, "nn.Conv2d", ["c1", 16, 3, {"padding": 7, "strid": 2}]], "unexpected keyword argument 'strid'"),
    ([-1, 1, "nn.Conv2d", [16, 16, 3]], "cannot take what comes in, .*to have 16 channels, but got 8"),
    ([-1, 1, "C2f", [8, True, {"block": "Botleneck"}]], "there is no module 'Botleneck'; .* Bottleneck"),
    # what a module does
    ([-1, 1, "OnCpu", []], r"OnCpu makes a tensor on another device than its input.*make it with device=x\.device"),
    ([-1, 1, "OnCpuInTraining", []], "OnCpuInTraining makes a tensor on another device than its input"),
    ([-1, 1, "timm.layers.PatchDropout", []], "PatchDropout cannot take what comes in, .*, in training: RuntimeError"),
    ([-1, 1, "FailsInTraining", []], r"\(2, 8, 128, 128\), in training: RuntimeError: shape '\[2, 9\]' is invalid"),
    ([-1, 1, "HalfInTraining", []], "gives 4x128x128 in training and 8x128x128 otherwise"),
    ([-1, 1, "GivesNothing", []], "GivesNothing gives NoneType: a row gives a map"),
    ([-1, 1, "GivesSize", []], r"GivesSize gives \(1, 8, 128, 128\), Size: a row gives a map"),
    ([-1, 1, "ReadsAValue", []], "cannot take what comes in.* ValueError: the image is too dark"),
    ([-1, 1, "Unfinished", []], r"NotImplementedError: raise NotImplementedError \(test_mistakes\.py, line \d+\)"),
]
BEHIND = [  # they build, and what they give does not suit the row behind, 2 or the head: row 3
    ([-1, 1, "GivesTwo", []], "row 2 .*Conv takes one map, and what comes in are 2: take one with a row such as"),
    ([-1, 1, "nn.MaxPool2d", [2, {"return_indices": True}]], "row 2 .*Conv takes one map, and what comes in are 2"),
    ([-1, 1, "nn.Unflatten", [1, [2, 4]]], "row 2 .*Conv"),
    ([-1, 1, "Conv", [8, 3, 3]], "row 3 .*Detect takes a map of 43 cells a side .*not a power of two such as 8"),
]


@pytest.mark.parametrize(("row", "sentence"), [(row, f"row 1 .*{said}") for row, said in MISTAKES] + BEHIND)
def test_a_mistake_is_told_in_one_sentence_with_its_row(row, sentence, monkeypatch, tmp_path):
    for cls in BLOCKS:
        monkeypatch.setattr(tasks, cls.__name__, cls, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))  # where torchvision's weights would be
    rows = [[-1, 1, "Conv", [8, 3, 2], "stem"], row, [-1, 1, "Conv", [8], "late"]]
    d = {"nc": 2, "yaml_file": "mine.yaml", "backbone": rows, "head": [[[-1], 1, "Detect", ["nc"]]]}
    with pytest.raises(ModelError) as caught:
        DetectionModel(d, verbose=False)
    assert re.match(f"mine.yaml, {sentence}", str(caught.value)) and "\n" not in str(caught.value)
