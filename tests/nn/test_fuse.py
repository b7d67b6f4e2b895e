"""Folding norms into convolutions changes no output."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.close import PIXELS, RAW
from tests.nn.blocks import YAMLS as BLOCK_YAMLS
from ultralytics import cfg
from ultralytics.models.yolo import task_class
from ultralytics.nn.Addmodules.DynamicConv import (
    C2f_GhostResidual_DynamicConv,
    ConvBnAct,
    DynamicConvBnAct,
    GhostBottleneck,
    GhostModule,
)
from ultralytics.nn.fuse import PackedConv, fold_all, foldable, pack_convolutions
from ultralytics.nn.model_yaml import yaml_model_load
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel, find_task

FOLDER = Path(cfg.__file__).parent / "models" / "v8"
# Those of blocks are in test_block_yamls.py.
YAMLS = [f.stem for f in sorted(FOLDER.glob("*.yaml")) if f.stem.removeprefix("yolov8-") not in BLOCK_YAMLS]


def randomise_norms(model, seed=0):
    """Statistics and affine parameters as after training, so that folding has something to fold."""
    generator = torch.Generator().manual_seed(seed)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.bias.data):
                tensor.normal_(0, 0.2, generator=generator)
            for tensor in (norm.running_var, norm.weight.data):
                tensor.uniform_(0.5, 2, generator=generator)
    return model


def is_packed(module):
    return isinstance(vars(module).get("forward"), PackedConv)


def flat(raw):
    """What a head says before it is decoded, part by part: boxes, scores, maps, masks, points; a classifier, logits."""
    if isinstance(raw, torch.Tensor):
        return {"logits": raw}
    maps = {f"map {i}": feat for i, feat in enumerate(raw["feats"])}
    return maps | {name: part for name, part in raw.items() if name != "feats"}


@pytest.mark.public("python::all_model_yamls")
@pytest.mark.parametrize("name", YAMLS)
def test_every_yaml_gives_the_same_outputs(name):
    torch.manual_seed(0)
    d = yaml_model_load(f"{name.replace('yolov8', 'yolov8n')}.yaml")
    model = randomise_norms(task_class(find_task(d)).model_class(d, verbose=False)).eval()
    fused = copy.deepcopy(model).fuse(verbose=False)
    packed = copy.deepcopy(fused).to(memory_format=torch.channels_last)
    pack_convolutions(packed)
    image = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        (decoded, raw), (decoded_fused, raw_fused), (decoded_packed, _) = model(image), fused(image), packed(image)

    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    assert fused.is_fused() and not model.is_fused()
    parts, fused_parts = (flat(raw), flat(raw_fused))
    assert parts.keys() == fused_parts.keys() and parts
    for part, expected in parts.items():
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(fused_parts[part], expected, **RAW)
    torch.testing.assert_close(decoded_fused, decoded, **PIXELS)
    assert any(map(is_packed, packed.modules())) and not any(map(is_packed, fused.modules()))
    torch.testing.assert_close(decoded_packed, decoded, **PIXELS)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv(4, 8, 3, 2),
        lambda: ConvBnAct(8, 8, 3, skip=True),
        lambda: DynamicConvBnAct(4, 6, 3, 2, num_experts=3, router="softmax", temperature=30),
        lambda: DynamicConvBnAct(4, 6, 3, 2, standardize=True),
        lambda: C2f_GhostResidual_DynamicConv(4, 8, 2, True),
        lambda: GhostModule(4, 7),
        lambda: GhostBottleneck(4, 6, stride=2),
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, bias=True), nn.BatchNorm2d(6, affine=False)),
    ],
    ids=[
        "Conv",
        "ConvBnAct",
        "DynamicConvBnAct",
        "standardized",
        "C2f_GhostResidual",
        "GhostModule",
        "GhostBottleneck",
        "bias",
    ],
)
def test_every_kind_of_pair(make, batch):
    torch.manual_seed(1)
    block = make().eval()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            if norm.affine:
                nn.init.normal_(norm.weight)
                nn.init.normal_(norm.bias)
    x = torch.randn(batch, 8 if isinstance(block, ConvBnAct) else 4, 9, 11)
    with torch.no_grad():
        expected = block(x)
        fold_all(block)
        torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(copy.deepcopy(block)(x), expected, atol=1e-5, rtol=1e-5)
    assert next(foldable(block), None) is None


def test_the_copy_of_a_fused_network_has_weights_of_its_own():
    model = DetectionModel("yolov8n.yaml", verbose=False).eval().fuse(verbose=False)
    twin = copy.deepcopy(model)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image)[0]
        for p in twin.parameters():
            p.zero_()
        torch.testing.assert_close(model(image)[0], before)
        assert not torch.equal(twin(image)[0], before)


def test_fused_yolov8n_has_the_known_size():
    model = DetectionModel("yolov8n.yaml", verbose=False).fuse(verbose=False)
    assert model.info(verbose=False)[:2] == (168, 3_151_904)


def test_a_norm_that_does_not_follow_the_convolution_stays():
    class Pre(nn.Module):  # neither Sequential nor forward_fuse: nothing says what runs before what
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    block = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), Pre(), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3))
    assert list(foldable(block)) == []


class Squared(Conv):
    """Conv that does more after it, as pasted ones may."""

    def forward_fuse(self, x):
        return super().forward_fuse(x) ** 2


def given_forward(module):
    module.forward_fuse = lambda x: module.conv(x) * 2
    return module


def given_convolution(module):
    module.conv.forward = lambda x: x
    return module


def reflecting(module):
    module.conv.padding_mode = "reflect"
    return module


@pytest.mark.parametrize(
    ("make", "packs"),
    [
        (lambda: Conv(3, 4, 3, 2), True),
        (lambda: Conv(3, 4, 3, act=False), True),
        (lambda: Conv(3, 4, (1, 3), act=nn.ReLU()), True),
        (lambda: Conv(3, 4, 3, d=2, act=nn.LeakyReLU(0.1)), True),
        (lambda: Conv(3, 6, 3, g=3, act=nn.GELU()), True),
        (lambda: Squared(3, 4, 3), False),
        (lambda: given_forward(Conv(3, 4, 3)), False),
        (lambda: given_convolution(Conv(3, 3, 3)), False),
        (lambda: Conv(1, 4, 1), False),
        (lambda: reflecting(Conv(3, 4, 3)), False),
        (lambda: Conv(3, 4, 3, p="same"), False),
    ],
)
def test_what_is_packed_gives_the_same_and_so_do_its_copies(make, packs):
    torch.manual_seed(0)
    block = randomise_norms(nn.Sequential(make())).eval()
    fold_all(block)
    image = torch.rand(2, block[0].conv.in_channels, 9, 14)
    with torch.no_grad():
        expected = block(image)
        pack_convolutions(block)
        assert is_packed(block[0]) == packs
        torch.testing.assert_close(block(image), expected)
        for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block)) if packs else block):
            torch.testing.assert_close(twin(image), expected)
    assert not is_packed(copy.deepcopy(block)[0])


def test_a_packed_network_counts_as_before():
    model = DetectionModel("yolov8n.yaml", verbose=False).eval().fuse(verbose=False)
    before = model.info(verbose=False)
    pack_convolutions(model)
    assert is_packed(model.model[0]) and model.info(verbose=False) == before


@pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")
def test_nothing_is_packed_where_onednn_is_off():
    block = nn.Sequential(Conv(3, 4, 3)).eval()
    fold_all(block)
    with torch.backends.mkldnn.flags(enabled=False):
        pack_convolutions(block)
    assert not is_packed(block[0])


def test_nothing_is_packed_where_torch_lacks_the_operator(monkeypatch):
    def missing(*_):
        raise RuntimeError("ATen not compiled with MKLDNN support")

    block = nn.Sequential(Conv(3, 4, 3)).eval()
    fold_all(block)
    monkeypatch.setattr(PackedConv, "__call__", missing)
    pack_convolutions(block)
    assert not is_packed(block[0])
