"""What every block of Addmodules does: sizes, gradients, layouts, half precision, fusing, export."""

import copy
import io
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tests.nn.blocks import CASES, build, lively, maps
from ultralytics.nn import Addmodules
from ultralytics.nn.fuse import fold_all, foldable
from ultralytics.nn.modules import RepConv

every_block = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_block
def test_sizes_and_gradients(case):
    """Odd sides too, and a batch of one image in training."""
    block = build(case)
    odd, even = case.heights
    for (height, width), expected in (((9, 12), (odd, even)), ((12, 9), (even, odd))):
        assert block(maps(case, 2, height, width)).shape == (2, case.channels, *expected)
    x = maps(case, 1, 9, 12)
    leaf = (x[0] if isinstance(x, list) else x).requires_grad_()
    block(x).square().mean().backward()
    for tensor in (leaf, *block.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.any()


@every_block
@torch.no_grad()
def test_the_layout_in_memory_changes_nothing(case):
    block, x = build(case).eval(), maps(case, 3, 9, 12)
    last = [part.to(memory_format=torch.channels_last) for part in (x if isinstance(x, list) else [x])]
    twin = copy.deepcopy(block).to(memory_format=torch.channels_last)
    torch.testing.assert_close(twin(last if isinstance(x, list) else last[0]), block(x), atol=1e-5, rtol=1e-4)


@every_block
@torch.no_grad()
def test_a_fused_block_computes_the_same(case):
    block, x = build(case).eval(), maps(case, 3, 9, 12)
    expected, fused = block(x), copy.deepcopy(block)
    fold_all(fused)
    assert next(foldable(fused), None) is None
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    torch.testing.assert_close(copy.deepcopy(fused)(x), expected, atol=2e-5, rtol=1e-4)


@every_block
@torch.no_grad()
def test_half_precision_is_as_good_as_it_can_be(case):
    block, x = build(case).eval(), maps(case, 2, 12, 9)
    expected = block(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = block(x)
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()


class Sized(nn.Module):
    """A block, and a reader of the size of what it gives, as heads are: in a graph it may have become a constant."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        y = self.block(x)
        return y + torch.arange(y.shape[2]).view(-1, 1) + torch.arange(y.shape[3])


@every_block
@torch.no_grad()
def test_an_onnx_file_of_it_takes_any_batch_and_size(case):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    block = Sized(build(case)).eval()
    expected = {shape: block(maps(case, *shape)).numpy() for shape in ((2, 12, 9), (1, 7, 10), (3, 4, 4))}
    for module in block.modules():
        if hasattr(module, "portable"):
            module.portable = True
    names = [f"x{i}" for i in range(case.inputs)]
    axes = {name: {0: "batch", 2: "height", 3: "width"} for name in (*names, "y")}
    buffer, options = io.BytesIO(), {"dynamo": False, "opset_version": 18, "dynamic_axes": axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the older of torch's two
        torch.onnx.export(block, (maps(case, 2, 12, 9),), buffer, input_names=names, output_names=["y"], **options)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    for shape, y in expected.items():
        x = maps(case, *shape)
        given = dict(zip(names, x if isinstance(x, list) else [x], strict=True))
        (found,) = session.run(None, {name: part.numpy() for name, part in given.items()})
        np.testing.assert_allclose(found, y, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_fuse_asks_blocks_of_several_branches_those_of_timm_too():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    for name in ("mobileone_s0", "fastvit_t8", "repghostnet_050"):
        network = lively(timm.create_model(name, num_classes=3)).eval()
        x, before = torch.randn(1, 3, 64, 64), sum(1 for _ in network.parameters())
        expected = network(x)
        fold_all(network)
        assert sum(1 for _ in network.parameters()) < 0.8 * before
        torch.testing.assert_close(network(x), expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3)


def test_a_norm_that_does_more_is_not_folded():
    """timm's BatchNormAct2d is a BatchNorm2d with an activation in it."""

    class NormAct(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    assert list(foldable(nn.Sequential(nn.Conv2d(3, 3, 1), NormAct(3)))) == []


def test_every_block_here_is_a_name_of_the_folder():
    for case in CASES.values():
        assert case.block is RepConv or getattr(Addmodules, case.block.__name__) is case.block
