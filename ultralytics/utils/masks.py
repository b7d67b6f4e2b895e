"""Masks: mixed from prototypes, brought to a image, turned into outlines, compared.

A mask's pixel in column c belongs to a box (x1, y1, x2, y2) if x1 <= c < x2, likewise its row.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ultralytics.utils.ops import RatioPad, letterbox_geometry

TOGETHER = 32  # masks that are mixed at a time: in float they take much memory
Size = tuple[int, int]


def within(boxes: Tensor, size: Size) -> Tensor:
    """(n, h, w) bool: pixels of masks of `size` (h, w) that belong to their box (n, 4) xyxy, in such pixels."""
    x1, y1, x2, y2 = boxes[:, :4, None].unbind(1)  # (n, 1) each
    rows, columns = (torch.arange(side, device=boxes.device, dtype=boxes.dtype) for side in size)
    return ((rows >= y1) & (rows < y2))[:, :, None] & ((columns >= x1) & (columns < x2))[:, None]


def decode_masks(coefficients: Tensor, proto: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Masks (n, h, w) uint8 at `size` (h, w): coefficients (n, K) mix `proto` (K, h', w'), boxes (n, 4) cut them.

    Boxes are xyxy in pixels of `size`.
    """
    return _cut(_logits(coefficients, proto), boxes, size)


def decode_masks_native(
    coefficients: Tensor,
    proto: Tensor,
    boxes: Tensor,
    input_shape: Size,
    shape: Size,
    ratio_pad: RatioPad | None = None,
) -> Tensor:
    """Masks (n, h, w) uint8 in every pixel of the original image of `shape`, cut by boxes (n, 4) on it.

    The logits lose the padding of the letterbox of `input_shape` and are resized once. They are first enlarged, two or
    four times, where the padding is no whole number of the prototypes' pixels. `ratio_pad` as for `scale_boxes`.
    """
    (gain_h, gain_w), (left, top) = ratio_pad or letterbox_geometry(input_shape, shape)
    height, width = round(shape[0] * gain_h), round(shape[1] * gain_w)
    missing = (input_shape[0] - height, input_shape[1] - width)
    step = input_shape[0] // proto.shape[1]  # pixels of the input, 4 but for networks with other strides
    while step > 1 and any(pad % (2 * step) for pad in missing):
        step //= 2
    fine = (input_shape[0] // step, input_shape[1] // step)
    image = slice(top // step, (top + height) // step), slice(left // step, (left + width) // step)
    logits = (_resized(part, fine)[:, image[0], image[1]] for part in _logits(coefficients, proto))
    return _cut(logits, boxes, shape)


def _logits(coefficients: Tensor, proto: Tensor) -> Iterator[Tensor]:
    """(m, h, w) of a few objects at a time, at least once."""
    flat = proto.float().flatten(1)
    for part in coefficients.float().split(TOGETHER):
        yield (part @ flat).unflatten(1, proto.shape[1:])


def _cut(logits: Iterator[Tensor], boxes: Tensor, size: Size) -> Tensor:
    parts = zip(logits, boxes.split(TOGETHER), strict=True)
    return torch.cat([((_resized(part, size) > 0) & within(box, size)).byte() for part, box in parts])


def _resized(maps: Tensor, size: Size) -> Tensor:
    """(n, h, w) bilinear to `size`."""
    if tuple(maps.shape[1:]) == tuple(size):
        return maps
    if not len(maps):
        return maps.new_zeros((0, *size))
    return F.interpolate(maps[None], tuple(size), mode="bilinear", align_corners=False)[0]


def resize_masks(masks: Tensor, size: Size) -> Tensor:
    """Masks (n, h, w) of 0 and 1 at another `size`: bilinear, more than half."""
    return masks if tuple(masks.shape[1:]) == tuple(size) else (_resized(masks.float(), size) > 0.5).to(masks.dtype)


def mask_iou(masks1: Tensor, masks2: Tensor, eps: float = 1e-7) -> Tensor:
    """IoU of every mask of (n, h, w) with every one of (m, h, w): (n, m)."""
    one, two = masks1.flatten(1).float(), masks2.flatten(1).float()
    shared = one @ two.T
    return shared / (one.sum(1)[:, None] + two.sum(1) - shared + eps)


def outline(mask: np.ndarray) -> np.ndarray:
    """The outer contour (k, 2) float32 x, y of a mask (h, w) uint8; parts are joined where they are closest."""
    parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not parts:
        return np.zeros((0, 2), np.float32)
    return _joined([part.reshape(-1, 2).astype(np.float32) for part in parts])


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Contours (k, 2) as one, that goes to the closest of the others and comes back the same way."""
    whole, *rest = sorted(parts, key=len, reverse=True)
    while rest:
        ways = [_closest(whole, part) for part in rest]
        nearest = min(range(len(rest)), key=lambda i: ways[i][0])
        _, here, there = ways[nearest]
        part = rest.pop(nearest)
        detour = np.concatenate((part[there:], part[: there + 1]))
        whole = np.concatenate((whole[: here + 1], detour, whole[here:]))
    return whole


def _closest(a: np.ndarray, b: np.ndarray) -> tuple[float, int, int]:
    """Square distance of the closest points of two contours, and where these are."""
    squares = ((a[:, None] - b[None]) ** 2).sum(2)
    here, there = np.unravel_index(squares.argmin(), squares.shape)
    return float(squares[here, there]), int(here), int(there)
