"""Boxes from one notation to another, on tensors and arrays alike. Every function returns a new object."""

import math
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Boxes = TypeVar("Boxes", torch.Tensor, np.ndarray)
RatioPad = tuple[tuple[float, float], tuple[int, int]]  # ((gain_h, gain_w), (left, top)) of a letterbox


def make_divisible(x: float, divisor: int) -> int:
    """The smallest multiple of `divisor` that is not below `x`."""
    return math.ceil(x / divisor) * divisor


def xywh2xyxy(x: Boxes) -> Boxes:
    """Center, width, height to the two corners, (..., 4)."""
    cx, cy, w, h = _columns(x)
    half_w, half_h = w / 2, h / 2
    return _join(cx - half_w, cy - half_h, cx + half_w, cy + half_h)


def xyxy2xywh(x: Boxes) -> Boxes:
    """Two corners to center, width, height, (..., 4)."""
    x1, y1, x2, y2 = _columns(x)
    return _join((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)


def xywhn2xyxy(x: Boxes, w: float = 640, h: float = 640, padw: float = 0, padh: float = 0) -> Boxes:
    """Normalized center, width, height to corners in pixels of a `w` x `h` image that lies at (`padw`, `padh`)."""
    x1, y1, x2, y2 = _columns(xywh2xyxy(x))
    return _join(x1 * w + padw, y1 * h + padh, x2 * w + padw, y2 * h + padh)


def xyxy2xywhn(x: Boxes, w: float = 640, h: float = 640, clip: bool = False, eps: float = 0.0) -> Boxes:
    """Corners in pixels of a `w` x `h` image to normalized center, width, height.

    `clip` first moves the corners into the image, at least `eps` pixels short of its right and lower edge.
    """
    boxes = clip_boxes(x, (h - eps, w - eps)) if clip else x
    cx, cy, bw, bh = _columns(xyxy2xywh(boxes))
    return _join(cx / w, cy / h, bw / w, bh / h)


def clip_boxes(boxes: Boxes, shape: tuple[float, ...]) -> Boxes:
    """Corners (..., 4) moved into an image of `shape` (height, width, ...); further columns stay as they are."""
    height, width = shape[:2]
    clipped = _copy(boxes)
    clipped[..., 0:4:2] = clipped[..., 0:4:2].clip(0, width)
    clipped[..., 1:4:2] = clipped[..., 1:4:2].clip(0, height)
    return clipped


def scale_boxes(
    img1_shape: tuple[int, ...],
    boxes: Boxes,
    img0_shape: tuple[int, ...],
    ratio_pad: RatioPad | None = None,
    padding: bool = True,
    xywh: bool = False,
) -> Boxes:
    """Boxes (..., 4) in pixels of a letterboxed image back to pixels of the original one.

    `ratio_pad` is ((gain_h, gain_w), (left, top)) as the loader made it; without it both follow from the shapes
    (height, width, ...), rounded as the letterbox rounds them. `padding=False`: the image was resized to one corner.
    Corners are clipped to the original; `xywh` boxes are not. Further columns stay as they are.
    """
    (gain_h, gain_w), (left, top) = ratio_pad or letterbox_geometry(img1_shape, img0_shape)
    scaled = _copy(boxes)
    if padding:
        moved = 2 if xywh else 4
        scaled[..., 0:moved:2] -= left
        scaled[..., 1:moved:2] -= top
    scaled[..., 0:4:2] /= gain_w
    scaled[..., 1:4:2] /= gain_h
    return scaled if xywh else clip_boxes(scaled, img0_shape)


def scale_points(
    img1_shape: tuple[int, ...], points: Boxes, img0_shape: tuple[int, ...], ratio_pad: RatioPad | None = None
) -> Boxes:
    """Points (..., 2 or more), x and y in front, as `scale_boxes` does corners: clipped to the original."""
    (gain_h, gain_w), (left, top) = ratio_pad or letterbox_geometry(img1_shape, img0_shape)
    scaled = _copy(points)
    scaled[..., 0] = ((scaled[..., 0] - left) / gain_w).clip(0, img0_shape[1])
    scaled[..., 1] = ((scaled[..., 1] - top) / gain_h).clip(0, img0_shape[0])
    return scaled


def letterbox_geometry(img1_shape: tuple[int, ...], img0_shape: tuple[int, ...]) -> RatioPad:
    """((gain_h, gain_w), (left, top)) of an image of `img0_shape` centerd in one of `img1_shape`."""
    (h1, w1), (h0, w0) = img1_shape[:2], img0_shape[:2]
    gain = min(h1 / h0, w1 / w0)
    h, w = round(h0 * gain), round(w0 * gain)
    return (h / h0, w / w0), (round((w1 - w) / 2 - 0.1), round((h1 - h) / 2 - 0.1))


def _columns(x: Boxes) -> tuple[Boxes, Boxes, Boxes, Boxes]:
    """The four columns of (..., 4) boxes, floating."""
    if x.shape[-1] != 4:
        raise ValueError(f"Boxes have shape {tuple(x.shape)}, but their last dimension must be 4.")
    x = _floating(x)
    return x[..., 0], x[..., 1], x[..., 2], x[..., 3]


def _join(*columns: Boxes) -> Boxes:
    return torch.stack(columns, -1) if isinstance(columns[0], torch.Tensor) else np.stack(columns, -1)


def _floating(x: Boxes) -> Boxes:
    """`x`, integers as float32: half a pixel must not be lost."""
    if isinstance(x, torch.Tensor):
        return x if x.is_floating_point() else x.float()
    return x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float32)


def _copy(x: Boxes) -> Boxes:
    x = _floating(x)
    return x.clone() if isinstance(x, torch.Tensor) else x.copy()


def to_frame(points: Tensor, boxes: Tensor) -> Tensor:
    """Points (..., 2) seen from the boxes (..., 5) that they broadcast with: from their center, along their axes."""
    x, y = (points - boxes[..., :2]).unbind(-1)
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    return torch.stack((x * cos + y * sin, y * cos - x * sin), -1)


def xywhr2xyxyxyxy(boxes: Tensor) -> Tensor:
    """Corners (..., 4, 2) of boxes (..., 5): (+w, +h) / 2 along the box's axes, then (+, -), (-, -), (-, +)."""
    cos, sin = boxes[..., 4:].cos(), boxes[..., 4:].sin()
    along = torch.cat((cos, sin), -1) * boxes[..., 2:3] / 2
    across = torch.cat((-sin, cos), -1) * boxes[..., 3:4] / 2
    center = boxes[..., :2]
    corners = (center + along + across, center + along - across, center - along - across, center - along + across)
    return torch.stack(corners, -2)


def is_kpt_shape(value: object) -> bool:
    """Whether it is [K, D]: a number of points, and 2 or 3, the numbers of each."""
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int for v in value)
    return pair and value[0] >= 1 and value[1] in (2, 3)
