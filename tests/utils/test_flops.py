"""Counting multiply-adds."""

import pytest
import torch
from torch import nn

from ultralytics.utils.torch_utils import get_flops


def test_convolution_and_linear_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Flatten(), nn.Linear(8 * 16 * 8, 5))
    convolution = 2 * 3 * 9 * 8 * 16 * 8
    assert get_flops(net, (32, 16)) == pytest.approx((convolution + 2 * 8 * 16 * 8 * 5) / 1e9)


def test_channels_of_the_image():
    assert get_flops(nn.Conv2d(1, 4, 1), 10, ch=1) == pytest.approx(2 * 4 * 100 / 1e9)


def test_dynamic_convolutions_count_with_their_mixing():
    from ultralytics.nn.Addmodules.DynamicConv import DynamicConv

    convolution, mixing, routing = 2 * 8 * 9 * 16 * 100, 2 * 4 * 8 * 9 * 16, 2 * 8 * 4
    assert get_flops(DynamicConv(8, 16, 3), 10, ch=8) == pytest.approx((convolution + mixing + routing) / 1e9)


def test_the_network_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    get_flops(net, 32)
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net(torch.rand(2, 3, 8, 8)).requires_grad


def test_a_block_that_needs_real_values():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x) if x.sum().item() >= 0 else x

    assert get_flops(Reads(), 10) == pytest.approx(2 * 3 * 4 * 100 / 1e9)
