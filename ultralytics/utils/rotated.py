"""Rotated boxes: centre x, centre y, width, height, theta.

Theta is in radians and turns the x axis, along which the width lies, towards the y axis: clockwise on the screen.
"""

import torch
from torch import Tensor


def dist2rbox(distance: Tensor, angle: Tensor, anchor_points: Tensor, dim: int = -1) -> Tensor:
    """Centre, width and height along `dim` from the distances left, top, right, bottom of their anchor points.

    The distances are measured along the axes of the box, which `angle` (size 1 along `dim`) turns.
    """
    left_top, right_bottom = distance.chunk(2, dim)
    x, y = ((right_bottom - left_top) / 2).chunk(2, dim)
    cos, sin = angle.cos(), angle.sin()
    centre = anchor_points + torch.cat((x * cos - y * sin, x * sin + y * cos), dim)
    return torch.cat((centre, left_top + right_bottom), dim)


def to_frame(points: Tensor, boxes: Tensor) -> Tensor:
    """Points (..., 2) seen from the boxes (..., 5) that they broadcast with: from their centre, along their axes."""
    x, y = (points - boxes[..., :2]).unbind(-1)
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    return torch.stack((x * cos + y * sin, y * cos - x * sin), -1)


def xywhr2xyxyxyxy(boxes: Tensor) -> Tensor:
    """Corners (..., 4, 2) of boxes (..., 5): (+w, +h) / 2 along the box's axes, then (+, -), (-, -), (-, +)."""
    cos, sin = boxes[..., 4:].cos(), boxes[..., 4:].sin()
    along = torch.cat((cos, sin), -1) * boxes[..., 2:3] / 2
    across = torch.cat((-sin, cos), -1) * boxes[..., 3:4] / 2
    centre = boxes[..., :2]
    corners = (centre + along + across, centre + along - across, centre - along - across, centre - along + across)
    return torch.stack(corners, -2)


def probiou(box1: Tensor, box2: Tensor, spread: float = 0.0, eps: float = 1e-7) -> Tensor:
    """Overlap 0..1 of boxes (..., 5) that broadcast against each other, (...).

    A box is taken for the normal distribution of equal mean and variance, `spread` added to the variances along its
    axes, and the overlap is 1 minus the Hellinger distance of the two: arXiv 2106.06072.
    """
    a1, b1, c1 = _covariance(box1, spread)
    a2, b2, c2 = _covariance(box2, spread)
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    det, det1, det2 = a * b - c.square(), a1 * b1 - c1.square(), a2 * b2 - c2.square()
    dx, dy = box2[..., 0] - box1[..., 0], box1[..., 1] - box2[..., 1]
    apart = (a * dy.square() + b * dx.square()) / (4 * (det + eps)) + c * dx * dy / (2 * (det + eps))
    unlike = (det / (4 * (det1.clamp(min=0) * det2.clamp(min=0)).sqrt() + eps) + eps).log() / 2
    bhattacharyya = (apart + unlike).clamp(eps, 100)
    return 1 - (1 - (-bhattacharyya).exp() + eps).sqrt()


def _covariance(boxes: Tensor, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    """Variance of x, that of y, and covariance, each (...), of a uniform distribution over the boxes (..., 5)."""
    along, across = boxes[..., 2].square() / 12 + spread, boxes[..., 3].square() / 12 + spread
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    x = along * cos.square() + across * sin.square()
    y = along * sin.square() + across * cos.square()
    return x, y, (along - across) * cos * sin
