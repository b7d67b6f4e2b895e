"""C2f with FasterNet's partial convolutions."""

import torch
from torch import nn

from ultralytics.nn.Addmodules.FasterBlock import C2f_FasterBlock


def test_block_by_hand():
    torch.manual_seed(0)
    outer = C2f_FasterBlock(16, 20, n=2).eval()
    block = outer.m[0]
    three, expand, project = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    norm = next(m for m in block.modules() if isinstance(m, nn.BatchNorm2d))
    assert [tuple(m.weight.shape) for m in (three, expand, project)] == [(2, 2, 3, 3), (20, 10, 1, 1), (10, 20, 1, 1)]
    assert all(m.bias is None for m in (three, expand, project))

    x = torch.randn(2, 10, 6, 5)
    touched = nn.functional.conv2d(x[:, :2], three.weight, padding=1)
    inner = nn.functional.silu(norm(nn.functional.conv2d(torch.cat((touched, x[:, 2:]), 1), expand.weight)))
    torch.testing.assert_close(block(x), x + nn.functional.conv2d(inner, project.weight))
    assert outer(torch.randn(2, 16, 6, 5)).shape == (2, 20, 6, 5)


def test_shortcut_and_groups_change_nothing():
    plain, other = C2f_FasterBlock(8, 8, 1, False), C2f_FasterBlock(8, 8, 1, True, 2)
    other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(plain(x), other(x))
