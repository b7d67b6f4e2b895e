"""The conditional convolution by every way it may be computed, against timm's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ultralytics.nn.Addmodules.CondConv import CondConv2d

LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
SIDES = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))


@st.composite
def geometries(draw):
    """Constructor arguments of a conditional convolution that fits an input of at least 11 x 13."""
    groups = draw(st.integers(1, 3))
    padding = st.one_of(st.sampled_from(["", "same", "valid"]), st.integers(0, 3), st.just((1, 2)))
    return {
        "in_channels": groups * draw(st.integers(1, 3)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": draw(st.one_of(st.integers(1, 5), st.just((1, 3)))),
        "stride": draw(SIDES),
        "padding": draw(padding),
        "dilation": draw(st.integers(1, 2)),
        "groups": groups,
        "bias": draw(st.booleans()),
        "num_experts": draw(st.integers(1, 5)),
    }


def results(layer, x, alpha):
    """Output, and gradients of the input, the routing weights and the parameters, in float32."""
    inputs = [x.clone().requires_grad_(), alpha.clone().requires_grad_()]
    y = layer(*inputs)
    y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape).to(y.dtype))
    assert y.dtype == x.dtype
    return [t.float() for t in (y, *(t.grad for t in (*inputs, *layer.parameters())))]


def compare(geometry, batch, layout="NCHW", dtype=torch.float32, portable=False):
    """Our layer in a format and layout with timm's in float32, of the same weights and inputs."""
    layers = pytest.importorskip("timm.layers")
    ours, theirs = CondConv2d(**geometry).to(dtype), layers.CondConv2d(**geometry)
    theirs.load_state_dict(ours.state_dict())  # strict: names and shapes are the same
    ours.portable = portable
    x = torch.randn(batch, geometry["in_channels"], 11, 13).to(dtype, memory_format=LAYOUTS[layout])
    alpha = torch.rand(batch, geometry["num_experts"]).to(dtype)
    for mine, reference in zip(results(ours, x, alpha), results(theirs, x.float(), alpha.float()), strict=True):
        tolerance = 1e-4 if dtype == torch.float32 else 0.05  # each of several roundings to bfloat16 is 0.004
        scale = reference.abs().max().clamp(min=1).item()
        torch.testing.assert_close(mine, reference, atol=tolerance * scale, rtol=0)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    geometry=geometries(),
    batch=st.sampled_from([1, 2, 5]),
    layout=st.sampled_from(list(LAYOUTS)),
    portable=st.booleans(),
    seed=st.integers(0, 9),
)
def test_equals_timm_forward_and_backward(geometry, batch, layout, portable, seed):
    torch.manual_seed(seed)
    compare(geometry, batch, layout, portable=portable)


GEOMETRIES = {
    "pointwise": {"kernel_size": 1},
    "pointwise-bias": {"kernel_size": 1, "bias": True},
    "pointwise-stride": {"kernel_size": 1, "stride": 2},
    "pointwise-padding": {"kernel_size": 1, "padding": 1},
    "dense": {"kernel_size": 3},
    "dense-stride-bias": {"kernel_size": 3, "stride": 2, "bias": True},
    "dense-dilation-same": {"kernel_size": 3, "dilation": 2, "padding": "same"},
    "dense-rectangular": {"kernel_size": (1, 4), "stride": (2, 1), "padding": (0, 2)},
    "grouped-stride-same": {"kernel_size": 3, "stride": 2, "padding": "same", "groups": 2},
    "grouped-pointwise": {"kernel_size": 1, "groups": 2, "bias": True},
    "depthwise": {"kernel_size": 3, "groups": 4, "bias": True},
    "depthwise-stride-dilation": {"kernel_size": 3, "stride": 2, "dilation": 2, "groups": 4},
}


@pytest.mark.parametrize("portable", [False, True], ids=["mixed", "portable"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_way_to_compute_it(geometry, batch, layout, dtype, portable):
    torch.manual_seed(0)
    shape = {"in_channels": 4, "out_channels": 8, "num_experts": 3}
    compare(shape | GEOMETRIES[geometry], batch, layout, dtype, portable)


@pytest.mark.parametrize("portable", [False, True], ids=["mixed", "portable"])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_folded_norm_is_scale_and_shift(geometry, layout, batch, portable):
    torch.manual_seed(0)
    layer = CondConv2d(4, 8, **GEOMETRIES[geometry])
    layer.portable = portable
    x, alpha = torch.randn(batch, 4, 11, 13).to(memory_format=LAYOUTS[layout]), torch.rand(batch, 4)
    scale, shift = torch.rand(8) - 0.5, torch.randn(8)
    for _ in range(2):  # a second one finds the shift of the first
        expected = layer(x, alpha) * scale[:, None, None] + shift[:, None, None]
        layer.fold_affine(scale, shift)
        torch.testing.assert_close(layer(x, alpha), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("how", ["autocast", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_kernels_are_mixed_in_float32(geometry, batch, layout, how):
    """Experts that all but cancel out: in bfloat16, which takes 0.501 for 0.5, nothing would be left of them."""
    layer = CondConv2d(4, 8, **GEOMETRIES[geometry], num_experts=2)
    alpha = torch.tensor([0.5 + 2**-10, 0.5]).expand(batch, -1)
    x = torch.ones(batch, 4, 11, 13).to(memory_format=LAYOUTS[layout])
    with torch.no_grad():
        for bank in layer.parameters():
            bank.copy_(torch.tensor([[256.0], [-256.0]]))
        expected = layer(x, alpha)
        if how == "bfloat16":
            layer, x = layer.bfloat16(), x.bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            y = layer(x, alpha)
    assert expected.max() >= 0.25 and y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, atol=1e-3, rtol=0.01)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("geometry", ["pointwise", "pointwise-bias", "dense", "dense-stride-bias"])
def test_channels_that_are_last_stay_last(geometry, batch):
    layer = CondConv2d(4, 8, **GEOMETRIES[geometry])
    x = torch.randn(batch, 4, 6, 6).to(memory_format=torch.channels_last)
    assert layer(x, torch.rand(batch, 4)).is_contiguous(memory_format=torch.channels_last)
    assert layer(x.contiguous(), torch.rand(batch, 4)).is_contiguous()


def test_a_traced_portable_layer_takes_any_batch():
    layer = CondConv2d(4, 8, 3)
    layer.portable = True
    traced = torch.jit.trace(layer, (torch.randn(2, 4, 6, 6), torch.rand(2, 4)))
    layer.portable = False
    x, alpha = torch.randn(7, 4, 6, 6), torch.rand(7, 4)
    torch.testing.assert_close(traced(x, alpha), layer(x, alpha), atol=1e-5, rtol=1e-5)


def test_a_bank_that_is_expanded_after_a_norm_was_folded_in():
    static, layer = nn.Conv2d(4, 8, 3, padding=1, bias=False), CondConv2d(4, 8, 3)
    layer.fold_affine(torch.rand(8), torch.rand(8))
    layer.fill_experts(static.weight / 4, None, noise=0)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(layer(x, torch.ones(2, 4)), static(x), atol=1e-5, rtol=1e-5)
