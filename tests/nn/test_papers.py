"""Each block of Addmodules against the formula of its paper, written out slowly."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.nn.blocks import CASES, Case, build
from ultralytics.nn.Addmodules import CARAFE, EMA, LSKA, MLCA, DCNv2, DySample, SimAM, WeightedSum
from ultralytics.utils.torch_utils import get_flops


@torch.no_grad()
def test_simam_in_plain_numpy():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    expected = np.empty_like(x)
    for b, c in itertools.product(range(2), range(3)):
        values = x[b, c]
        mean, variance = values.mean(), values.var(ddof=1)
        energy = 4 * (variance + 1e-4) / ((values - mean) ** 2 + 2 * variance + 2e-4)
        expected[b, c] = values / (1 + np.exp(-1 / energy))
    np.testing.assert_allclose(SimAM()(torch.from_numpy(x)).numpy(), expected, rtol=1e-9)
    one = SimAM()(torch.ones(1, 2, 1, 1))  # a neuron without others does not stand out
    torch.testing.assert_close(one, torch.full((1, 2, 1, 1), 0.5).sigmoid())


@torch.no_grad()
def test_ema_group_by_group():
    block, x = build(Case(EMA, (16, 4))).eval(), torch.randn(2, 16, 6, 5)
    for b, group in itertools.product(range(2), range(4)):
        part = x[b : b + 1, 4 * group : 4 * group + 4]
        rows, columns = block.conv1x1(part.mean(3, keepdim=True)), block.conv1x1(part.mean(2, keepdim=True))
        first = F.instance_norm(
            part * rows.sigmoid() * columns.sigmoid(), weight=block.norm.weight, bias=block.norm.bias
        )
        second = block.conv3x3(part)
        places = torch.zeros(6, 5)
        for asking, answering in ((first, second), (second, first)):
            weights = asking.mean((2, 3))[0].softmax(0)
            places += sum(weights[c] * answering[0, c] for c in range(4))
        torch.testing.assert_close(block(x)[b : b + 1, 4 * group : 4 * group + 4], part * places.sigmoid())


@torch.no_grad()
def test_triplet_attention_on_turned_maps():
    """The paper turns the map, so that channels are rows or columns, gates its places, and turns it back."""
    block, x = build(CASES["TripletAttention"]).eval(), torch.randn(2, 16, 6, 5)
    expected = torch.zeros_like(x)
    turns = {"rows_columns": (0, 1, 2, 3), "channels_columns": (0, 2, 1, 3), "channels_rows": (0, 3, 1, 2)}
    for name, order in turns.items():
        turned = x.permute(order)
        pooled = torch.cat((turned.max(1, keepdim=True)[0], turned.mean(1, keepdim=True)), 1)
        gated = turned * getattr(block, name)(pooled).sigmoid()
        expected += gated.permute([order.index(dim) for dim in range(4)]) / 3
    torch.testing.assert_close(block(x), expected)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(10, 15), (7, 12), (3, 2)])
def test_mlca_place_by_place(height, width):
    block, x = build(Case(MLCA, (16,), {"local_weight": 0.25})).eval(), torch.randn(2, 16, height, width)
    k = block.conv.kernel_size[0]
    assert k == 3  # log2(16) + 1 = 5, half of it 2, made odd
    places = F.adaptive_avg_pool2d(x, 5)
    whole = block.conv(places.mean((2, 3))[:, None])[:, 0].sigmoid()
    for row, column in itertools.product(range(height), range(width)):
        seen = places[:, :, row * 5 // height, column * 5 // width]
        weight = 0.75 * whole + 0.25 * block.conv_local(seen[:, None])[:, 0].sigmoid()
        torch.testing.assert_close(block(x)[:, :, row, column], x[:, :, row, column] * weight)


@pytest.mark.parametrize(("k", "near", "far", "gap"), [(7, 3, 3, 2), (11, 3, 5, 2), (23, 5, 7, 3), (53, 5, 17, 3)])
def test_lska_sees_a_neighborhood_of_k(k, near, far, gap):
    """Kernels and gaps of the paper's table, and the gradient reaches as far as they do."""
    block = build(Case(LSKA, (2, k))).eval()
    kernels = [tuple(m.kernel_size) for m in block.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(1, near), (near, 1), (1, far), (far, 1), (1, 1)]
    x = torch.randn(1, 2, 121, 121, requires_grad=True)
    gate = block(x)[0, 0, 60, 60]
    (gradient,) = torch.autograd.grad(gate, x)
    reach = (near - 1) // 2 + gap * (far - 1) // 2
    touched = gradient[0].abs().sum(0).nonzero()
    assert touched.min().item() == 60 - reach and touched.max().item() == 60 + reach
    with pytest.raises(ValueError, match="k must be such as 7, 11, 23"):
        LSKA(16, 9)


@torch.no_grad()
def test_gsconv_shuffles_dense_and_cheap_channels():
    block, x = build(CASES["GSConv"]).eval(), torch.randn(2, 16, 9, 9)
    y = block(x)
    torch.testing.assert_close(y[:, ::2], block.cv1(x))
    torch.testing.assert_close(y[:, 1::2], block.cv2(block.cv1(x)))
    assert block.cv2.conv.groups == 6 and block.cv2.conv.kernel_size == (5, 5)


@torch.no_grad()
def test_rfaconv_lays_receptive_fields_side_by_side():
    """As in the paper: a map k times as high and wide, and a convolution with kernel and stride k over it."""
    block, x = build(CASES["RFAConv"]).eval(), torch.randn(2, 16, 9, 12)
    pooled = F.avg_pool2d(x, 3, 2, 1)
    weights = F.conv2d(pooled, block.weights[1].weight, groups=16).view(2, 16, 9, 5, 6).softmax(2)
    weighted = (weights * block.features(x).view(2, 16, 9, 5, 6)).view(2, 144, 5, 6)
    large = F.pixel_shuffle(weighted, 3)  # (2, 16, 15, 18)
    y = F.conv2d(large, block.conv.conv.weight.view(8, 16, 3, 3), stride=3)
    torch.testing.assert_close(block(x), F.silu(block.conv.bn(y)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_scconv_parts_by_part():
    block, x = build(CASES["ScConv"]).eval(), torch.randn(2, 16, 5, 6)
    norm = block.spatial.norm
    weights = (F.group_norm(x, 16, norm.weight, norm.bias) * (norm.weight / norm.weight.sum())[:, None, None]).sigmoid()
    rich, poor = x.clone(), x * weights
    rich[weights <= 0.5] *= weights[weights <= 0.5]
    poor[weights > 0.5] = 0
    y = torch.cat((rich[:, :8] + poor[:, 8:], rich[:, 8:] + poor[:, :8]), 1)
    torch.testing.assert_close(block.spatial(x), y)
    c = block.channel
    up, low = c.squeeze_upper(y[:, :8]), c.squeeze_lower(y[:, 8:])
    assert up.shape[1] == low.shape[1] == 4
    first, second = c.group_wise(up) + c.point_wise(up), torch.cat((c.cheap(low), low), 1)
    share = 1 / (1 + (second.mean((2, 3)) - first.mean((2, 3))).exp())[..., None, None]
    torch.testing.assert_close(block(x), share * first + (1 - share) * second, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_spdconv_is_pixel_unshuffle_and_a_convolution():
    block = build(CASES["SPDConv"]).eval()
    x = torch.randn(2, 16, 8, 10)
    torch.testing.assert_close(block(x), block.conv(nn.PixelUnshuffle(2)(x)))
    assert block.conv.conv.stride == (1, 1)
    odd = F.pad(x[:, :, :7, :9], (0, 1, 0, 1))
    torch.testing.assert_close(block(x[:, :, :7, :9]), block(odd))


@torch.no_grad()
@pytest.mark.parametrize("name", ["DySample", "DySample+"])
def test_dysample_pixel_by_pixel(name):
    block, x = build(CASES[name]).eval(), torch.randn(2, 16, 4, 5)
    s, groups = block.scale, 4
    factor = 0.25 if block.scope is None else block.scope(x).sigmoid() / 2
    offsets = (block.offset(x) * factor).view(2, 2, groups, s, s, 4, 5)  # x or y, group, place in the pixel
    y = block(x)
    for b, group, row, column in itertools.product(range(2), range(groups), range(4 * s), range(5 * s)):
        dx, dy = offsets[b, :, group, row % s, column % s, row // s, column // s].tolist()
        across, down = (column + 0.5) / s - 0.5 + dx, (row + 0.5) / s - 0.5 + dy
        expected = bilinear(x[b, 4 * group : 4 * group + 4], min(max(down, 0), 3), min(max(across, 0), 4))
        torch.testing.assert_close(y[b, 4 * group : 4 * group + 4, row, column], expected, atol=1e-5, rtol=1e-4)


def bilinear(feat: Tensor, row: float, column: float) -> Tensor:
    """Values (C,) of a map (C, H, W) at a place, in pixels counted from the center of the first; 0 outside."""
    top, left = math.floor(row), math.floor(column)
    found = torch.zeros(len(feat))
    for i, j in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= i < feat.shape[1] and 0 <= j < feat.shape[2]:
            found += feat[:, i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return found


@torch.no_grad()
def test_dysample_starts_as_bilinear_upsampling():
    x = torch.randn(2, 16, 6, 5)
    for block in (DySample(16), DySample(16, dyscope=True)):
        torch.testing.assert_close(block(x), F.interpolate(x, scale_factor=2, mode="bilinear"), atol=0.02, rtol=0.02)


@torch.no_grad()
def test_carafe_pixel_by_pixel():
    block, x = build(Case(CARAFE, (4,), {"k_up": 3, "c_mid": 8})).eval(), torch.randn(2, 4, 4, 5)
    kernels = block.encode(block.compress(x)).view(2, 9, 2, 2, 4, 5).softmax(1)
    padded, y = F.pad(x, (1, 1, 1, 1)), block(x)
    for b, row, column in itertools.product(range(2), range(8), range(10)):
        i, j = row // 2, column // 2
        kernel = kernels[b, :, row % 2, column % 2, i, j].view(3, 3)
        expected = (padded[b, :, i : i + 3, j : j + 3] * kernel).sum((1, 2))
        torch.testing.assert_close(y[b, :, row, column], expected, atol=1e-5, rtol=1e-4)


def test_a_weighted_sum_is_a_mean_at_first_and_never_negative():
    block, x = WeightedSum([4, 4]), [torch.randn(2, 4, 3, 3) for _ in range(2)]
    torch.testing.assert_close(block(x), (x[0] + x[1]) / 2, atol=1e-3, rtol=1e-3)
    with torch.no_grad():
        block.weight.copy_(torch.tensor([-1.0, 3.0]))
    torch.testing.assert_close(block(x), x[1], atol=1e-3, rtol=1e-3)
    for channels in ([4, 8], 4):
        with pytest.raises(ValueError, match="adds several maps of equal channels"):
            WeightedSum(channels)


@torch.no_grad()
def test_dcnv2_tap_by_tap():
    block, x = build(Case(DCNv2, (4, 6, 3, 2), {"deform_groups": 2})).eval(), torch.randn(2, 4, 5, 6)
    seen = block.offset(x)
    offsets, mask = seen[:, :36].view(2, 2, 9, 2, 3, 3), seen[:, 36:].view(2, 2, 9, 3, 3).sigmoid()
    y = block.convolve(x)
    for b, row, column in itertools.product(range(2), range(3), range(3)):
        expected = torch.zeros(6)
        for group, tap in itertools.product(range(2), range(9)):
            dy, dx = offsets[b, group, tap, :, row, column].tolist()
            place = 2 * row - 1 + tap // 3 + dy, 2 * column - 1 + tap % 3 + dx
            value = bilinear(x[b, 2 * group : 2 * group + 2], *place) * mask[b, group, tap, row, column]
            expected += block.conv.weight[:, 2 * group : 2 * group + 2, tap // 3, tap % 3] @ value
        torch.testing.assert_close(y[b, :, row, column], expected, atol=1e-5, rtol=1e-4)


def test_dcnv2_starts_as_half_a_convolution_and_is_counted_as_one():
    block, x = DCNv2(4, 6), torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(block.convolve(x), block.conv(x) / 2)
    expected = 2 * 8 * 8 * 4 * 9 * (6 + 27)  # the convolution, and that of offsets and modulations
    assert get_flops(block, 8) == pytest.approx(expected / 1e9)


@torch.no_grad()
def test_repconv_before_and_after():
    block, x = build(CASES["RepConv"]).eval(), torch.randn(2, 16, 7, 9)
    expected = block(x)
    block.reparameterize()
    assert list(block.state_dict()) == ["conv.weight", "conv.bias"]
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)
