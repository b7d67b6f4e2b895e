"""Rows of the long list in benchmarks/rows.py: built, trained for a step, fused, exported, or refused."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "rows.py"
SPEC = importlib.util.spec_from_file_location("benchmark_rows", FILE)
ROWS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ROWS)
WORKING = [
    "nn.Conv2d",
    "nn.ConvTranspose2d",
    "nn.PixelUnshuffle",
    "nn.GroupNorm",
    "nn.LPPool2d",
    "nn.PReLU",
    "nn.Softmax2d",
    "torchvision.ops.DropBlock2d",
    "torchvision.ops.SqueezeExcitation",
    "torchvision.ops.FrozenBatchNorm2d",
    "timm.layers.EcaModule",
    "timm.layers.SEModule",
    "timm.layers.BlurPool2d",
    "timm.layers.LayerNorm2d",
    "timm.layers.Mlp",
]


def test_rows_of_every_package():
    listed = dict(ROWS.listed())
    assert len(listed) > 200
    outcomes = {name: ROWS.outcome(listed[name]) for name in WORKING if name != "timm.layers.Mlp"}
    assert set(outcomes.values()) == {"works"}, outcomes
    # It takes tokens, not maps.
    assert ROWS.outcome(listed["timm.layers.Mlp"]).startswith("refused: Mlp cannot take what comes in, (1, 64, 32, 32)")


@pytest.mark.parametrize("name", ["timm mobilenetv4_conv_small_035", "TorchVision mobilenet_v3_small"])
def test_backbones(name):
    assert ROWS.outcome(dict(ROWS.listed())[name]) == "works"
