"""Anchor points and the task-aligned assignment of objects to them.

Legend: B images, M objects (padded), A anchor points over all levels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def make_anchors(
    feats: Sequence[Tensor], strides: Tensor | Sequence[float], offset: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Cell centres of every level, (A, 2) xy in units of the level's stride, and the strides themselves, (A, 1) pixels.

    `feats` are the levels' maps (..., H, W), of which only shape, device and dtype are read. Never below float32: a
    bfloat16 has no 128.5, so anchor points would slip by half a cell.
    """
    like = {"device": feats[0].device, "dtype": torch.promote_types(feats[0].dtype, torch.float32)}
    points, sizes = [], []
    for feat, stride in zip(feats, strides, strict=True):
        h, w = feat.shape[-2:]
        y, x = torch.meshgrid(torch.arange(h, **like) + offset, torch.arange(w, **like) + offset, indexing="ij")
        points.append(torch.stack((x, y), -1).view(-1, 2))
        sizes.append(torch.ones((h * w, 1), **like) * stride)
    return torch.cat(points), torch.cat(sizes)


def dist2bbox(distance: Tensor, anchor_points: Tensor, xywh: bool = True, dim: int = -1) -> Tensor:
    """Boxes, xywh or xyxy along `dim`, from the distances left, top, right, bottom of their anchor points."""
    left_top, right_bottom = distance.chunk(2, dim)
    top_left, bottom_right = anchor_points - left_top, anchor_points + right_bottom
    if xywh:
        return torch.cat(((top_left + bottom_right) / 2, bottom_right - top_left), dim)
    return torch.cat((top_left, bottom_right), dim)


def bbox2dist(anchor_points: Tensor, bbox: Tensor, reg_max: float) -> Tensor:
    """Distances left, top, right, bottom (..., 4) from anchor points (..., 2) to the sides of xyxy boxes.

    Clamped to [0, reg_max - 0.01], where `reg_max` is the last bin, so that a bin above always exists.
    """
    top_left, bottom_right = bbox.chunk(2, -1)
    return torch.cat((anchor_points - top_left, bottom_right - anchor_points), -1).clamp(0, reg_max - 0.01)
