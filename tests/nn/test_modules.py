"""Core modules on their own."""

import copy
import math

import pytest
import torch
from torch import nn

from ultralytics.nn.modules import (
    C2,
    C3,
    DFL,
    SPPF,
    Bottleneck,
    C2f,
    C3Ghost,
    Concat,
    Conv,
    Detect,
    DWConv,
    GhostBottleneck,
    GhostConv,
    autopad,
)


@pytest.mark.parametrize(
    ("k", "p", "d", "expected"),
    [(1, None, 1, 0), (3, None, 1, 1), (5, None, 1, 2), (3, None, 2, 2), (2, None, 1, 1), (3, 0, 1, 0)],
)
def test_autopad(k, p, d, expected):
    assert autopad(k, p, d) == expected


def test_autopad_of_two_sides():
    assert autopad((1, 3)) == [0, 1]


def test_conv_is_convolution_norm_activation():
    conv = Conv(4, 6, 3, 2).eval()
    x = torch.randn(2, 4, 9, 9)
    expected = nn.functional.silu(conv.bn(nn.functional.conv2d(x, conv.conv.weight, stride=2, padding=1)))
    torch.testing.assert_close(conv(x), expected)
    assert list(conv.state_dict())[:2] == ["conv.weight", "bn.weight"]


def test_activation_of_conv():
    assert Conv(1, 1).act is Conv.default_act is DWConv(2, 2).act
    assert isinstance(Conv(1, 1, act=False).act, nn.Identity)
    relu = nn.ReLU()
    assert Conv(1, 1, act=relu).act is relu
    with pytest.raises(TypeError, match="act must be"):
        Conv(1, 1, act=nn.ReLU)


def test_depth_wise_groups():
    assert DWConv(8, 12, 3).conv.groups == math.gcd(8, 12)


@pytest.mark.parametrize(
    ("make", "scale"),
    [
        (lambda: Conv(8, 16, 3, 2), 2),
        (lambda: GhostConv(8, 16, 3, 2), 2),
        (lambda: Bottleneck(8, 16, k=((3, 3), (1, 5))), 1),
        (lambda: GhostBottleneck(8, 16, 3, 2), 2),
        (lambda: C2f(8, 16, 2, True), 1),
        (lambda: C2(8, 16, 2), 1),
        (lambda: C3(8, 16, 2), 1),
        (lambda: C3Ghost(8, 16, 2), 1),
        (lambda: SPPF(8, 16), 1),
    ],
    ids=["Conv", "GhostConv", "Bottleneck", "GhostBottleneck", "C2f", "C2", "C3", "C3Ghost", "SPPF"],
)
def test_shapes_and_gradients(make, scale):
    block = make()
    x = torch.randn(2, 8, 16, 12, requires_grad=True)
    y = block(x)
    assert y.shape == (2, 16, 16 // scale, 12 // scale)
    y.square().mean().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None for p in block.parameters())


def test_bottleneck_adds_its_input_only_where_it_can():
    assert Bottleneck(8, 8).add
    assert not Bottleneck(8, 12).add
    assert not Bottleneck(8, 8, shortcut=False).add


def test_concat():
    x = [torch.ones(1, 2, 3, 3), torch.zeros(1, 4, 3, 3)]
    assert Concat(1)(x).sum((0, 2, 3)).tolist() == [9, 9, 0, 0, 0, 0]


def test_dfl_is_the_expected_bin():
    logits = torch.full((1, 4, 16, 2), -50.0)
    logits[0, :, :, 0] = torch.arange(16) * 0.0  # even: the mean
    logits[0, torch.arange(4), torch.tensor([0, 3, 7, 15]), 1] = 50.0  # certain
    distances = DFL(16)(logits.view(1, 64, 2))
    torch.testing.assert_close(distances[0, :, 0], torch.full((4,), 7.5))
    torch.testing.assert_close(distances[0, :, 1], torch.tensor([0.0, 3.0, 7.0, 15.0]))
    assert not any(p.requires_grad for p in DFL().parameters())


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = Detect(nc=3, ch=(8, 16))
    head.stride = torch.tensor([8.0, 16.0])
    head.bias_init()
    return head


@pytest.fixture
def feats():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 8, 4, 6, generator=generator), torch.randn(2, 16, 2, 3, generator=generator)]


def test_detect_returns_what_its_mode_asks_for(head, feats):
    raw = head(feats)
    assert {k: tuple(v.shape) for k, v in raw.items() if k != "feats"} == {"boxes": (2, 64, 30), "scores": (2, 3, 30)}
    assert all(a is b for a, b in zip(raw["feats"], feats, strict=True))
    decoded, raw = head.eval()(feats)
    assert decoded.shape == (2, 7, 30)
    torch.testing.assert_close(decoded[:, 4:], raw["scores"].sigmoid())
    head.export = True
    torch.testing.assert_close(head(feats), decoded)


@torch.no_grad()
def test_detect_with_channels_last_gives_the_same_and_copies_nothing_for_the_loss(head, feats):
    last = copy.deepcopy(head).to(memory_format=torch.channels_last)
    maps = [feat.to(memory_format=torch.channels_last) for feat in feats]
    expected, found = head(feats), last(maps)
    for name in ("boxes", "scores"):
        torch.testing.assert_close(found[name], expected[name])
        assert found[name].permute(0, 2, 1).is_contiguous()  # a row for each anchor point
    torch.testing.assert_close(last.eval()(maps)[0], head.eval()(feats)[0])


def test_detect_decodes_boxes_around_their_anchor_points(head):
    boxes = torch.full((1, 4, 16, 30), -50.0)
    for side, bins in enumerate((1, 2, 3, 4)):  # left, top, right, bottom, in strides
        boxes[:, side, bins] = 50.0
    maps = [torch.zeros(1, 8, 4, 6), torch.zeros(1, 16, 2, 3)]
    decoded = head.decode({"boxes": boxes.view(1, 64, 30), "scores": torch.zeros(1, 3, 30), "feats": maps})
    fine, coarse = decoded[0, :4, 7], decoded[0, :4, 24 + 4]  # cells (1, 1) of both levels, centered on 1.5 strides
    assert fine.tolist() == pytest.approx([8 * 2.5, 8 * 2.5, 8 * 4, 8 * 6])
    assert coarse.tolist() == pytest.approx([16 * 2.5, 16 * 2.5, 16 * 4, 16 * 6])


def test_detect_starts_near_its_prior(head):
    for level, stride in enumerate((8, 16)):
        assert head.cv2[level][-1].bias.unique().item() == 2.0
        expected = math.log(5 / 3 / (640 / stride) ** 2)
        assert head.cv3[level][-1].bias.unique().item() == pytest.approx(expected)


def test_half_precision_boxes_keep_their_pixels(head, feats):
    exact = head.eval()(feats)[0]
    half = copy.deepcopy(head).to(torch.bfloat16)
    decoded, _ = half([feat.to(torch.bfloat16) for feat in feats])
    assert decoded.dtype == torch.float32
    assert (decoded - exact)[:, :4].abs().max() < 1  # bfloat16 alone cannot tell 96 from 96.5


def test_a_new_head_only_adds_its_own_branch(feats):
    class Angles(Detect):
        task = "angles"
        extra = "angle"

        def __init__(self, nc=3, ch=()):
            super().__init__(nc, ch)
            self.cv4 = nn.ModuleList([nn.Conv2d(c, 1, 1) for c in ch])

        def decode(self, preds):
            return torch.cat((super().decode(preds), preds["angle"]), 1)

    head = Angles(3, (8, 16)).eval()
    assert head(feats)[0].shape == (2, 8, 30)
    assert {k.split(".")[0] for k in head.state_dict()} == {"cv2", "cv3", "cv4", "dfl"}
