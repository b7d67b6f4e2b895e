"""Masks: mixed from prototypes, scaled to an image, traced as polygons.

Legend: n masks, K prototypes of h x w pixels. A pixel in column c belongs to a box (x1, y1, x2, y2) if x1 <= c < x2,
likewise its row.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ultralytics.utils.letterbox import RatioPad, letterbox_geometry

MASK_CHUNK = 32  # masks that are mixed at a time: in float they take much memory
PROTO_STRIDE = 4  # pixels of the network's input in one of its prototypes'
Size = tuple[int, int]  # (height, width)


def crop_mask(masks: Tensor, boxes: Tensor) -> Tensor:
    """Masks (n, h, w) of any dtype, 0 outside their box (n, 4) xyxy in pixels of the masks."""
    x1, y1, x2, y2 = boxes[:, :4, None].unbind(1)  # (n, 1) each
    rows, columns = (torch.arange(side, device=boxes.device, dtype=boxes.dtype) for side in masks.shape[1:])
    inside = ((rows >= y1) & (rows < y2))[:, :, None] & ((columns >= x1) & (columns < x2))[:, None]
    return masks * inside


def scale_masks(
    masks: Tensor, shape: Size, ratio_pad: RatioPad | None = None, padding: bool = True, mode: str = "bilinear"
) -> Tensor:
    """Masks (N, C, h, w), float, of a letterboxed image, without its padding, at the `shape` of the original one.

    `ratio_pad` is ((gain_h, gain_w), (left, top)) in pixels of the masks; without it both follow from the shapes.
    `padding=False`: the image was resized to one corner.
    """
    (gain_h, gain_w), (left, top) = ratio_pad or letterbox_geometry(masks.shape[2:], shape)
    height, width = round(shape[0] * gain_h), round(shape[1] * gain_w)
    left, top = (round(left), round(top)) if padding else (0, 0)
    return _resized(masks[:, :, top : top + height, left : left + width], shape[:2], mode)


def process_mask(protos: Tensor, masks_in: Tensor, bboxes: Tensor, shape: Size, upsample: bool = False) -> Tensor:
    """Masks (n, h, w) uint8 of the network's input, at the size of the prototypes or, with `upsample`, of the input.

    The coefficients `masks_in` (n, K) mix the prototypes `protos` (K, h, w); `bboxes` (n, 4) xyxy in pixels of the
    input, which is of `shape`, cut the masks. The logits are enlarged first and cut then.
    """
    size = tuple(shape) if upsample else tuple(protos.shape[1:])
    y, x = size[0] / shape[0], size[1] / shape[1]
    boxes = bboxes * bboxes.new_tensor((x, y, x, y))
    return _mixed(protos, masks_in, boxes, lambda logits: _resized(logits, size))


def process_mask_native(
    protos: Tensor,
    masks_in: Tensor,
    bboxes: Tensor,
    shape: Size,
    input_shape: Size | None = None,
    ratio_pad: RatioPad | None = None,
) -> Tensor:
    """Masks (n, H, W) uint8 in every pixel of the original image of `shape`, cut by `bboxes` (n, 4) xyxy on it.

    `protos` and `masks_in` as in `process_mask`. The logits lose the padding of the letterbox of `input_shape` (without
    it, four times that of the prototypes) and are resized once. They are first enlarged, two or four times, where the
    padding is no whole number of the prototypes' pixels. `ratio_pad` as for `scale_boxes`.
    """
    input_shape = input_shape or tuple(PROTO_STRIDE * side for side in protos.shape[1:])
    (gain_h, gain_w), (left, top) = ratio_pad or letterbox_geometry(input_shape, shape)
    missing = input_shape[0] - round(shape[0] * gain_h), input_shape[1] - round(shape[1] * gain_w)
    step = input_shape[0] // protos.shape[1]  # pixels of the input in a pixel of the logits
    while step > 1 and any(pad % (2 * step) for pad in missing):
        step //= 2
    fine = input_shape[0] // step, input_shape[1] // step
    geometry = (gain_h / step, gain_w / step), (left // step, top // step)
    return _mixed(protos, masks_in, bboxes, lambda x: scale_masks(_resized(x, fine)[None], shape, geometry)[0])


def _mixed(protos: Tensor, masks_in: Tensor, boxes: Tensor, place: Callable[[Tensor], Tensor]) -> Tensor:
    """Masks uint8 cut by `boxes`, in pixels of what `place` makes of the logits (m, h, w) of a few masks."""
    flat = protos.float().flatten(1)
    parts = []
    for coefficients, box in zip(masks_in.float().split(MASK_CHUNK), boxes.split(MASK_CHUNK), strict=True):
        logits = (coefficients @ flat).unflatten(1, protos.shape[1:])
        parts.append(crop_mask((place(logits) > 0).byte(), box))
    return torch.cat(parts)


def _resized(maps: Tensor, size: Size, mode: str = "bilinear") -> Tensor:
    """Maps ([N,] n, h, w) interpolated to `size`."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if not maps.numel():  # F.interpolate refuses to resize nothing
        return maps.new_zeros((*maps.shape[:-2], *size))
    corners = None if mode == "nearest" else False  # which nearest does not have
    resized = F.interpolate(maps if maps.ndim == 4 else maps[None], tuple(size), mode=mode, align_corners=corners)
    return resized if maps.ndim == 4 else resized[0]


def resize_masks(masks: Tensor, size: Size) -> Tensor:
    """Masks (n, h, w) of 0 and 1 at another `size`: bilinear, more than half."""
    return masks if tuple(masks.shape[1:]) == tuple(size) else (_resized(masks.float(), size) > 0.5).to(masks.dtype)


def masks2segments(masks: Tensor | np.ndarray, strategy: str = "all") -> list[np.ndarray]:
    """The outer contour (k, 2) float32 x, y of each mask (n, h, w) of 0 and 1; (0, 2) of an empty one.

    Of a mask in several parts, "all" joins them where they are closest (the bridges may run elsewhere than the public
    package's), "largest" takes the one with most points.
    """
    if strategy not in ("all", "largest"):
        raise ValueError(f"strategy={strategy!r}: expected 'all' or 'largest'")
    arrays = masks.cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    segments = []
    for mask in arrays.astype(np.uint8):
        parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        parts = sorted((part.reshape(-1, 2).astype(np.float32) for part in parts), key=len, reverse=True)
        if not parts:
            parts = [np.zeros((0, 2), np.float32)]
        segments.append(parts[0] if strategy == "largest" else _joined(parts))
    return segments


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Contours (k, 2), the longest first, as one that makes a detour to each of the others and back the same way."""
    whole, *rest = parts
    while rest:
        ways = []  # to each part: square distance of the closest points, and where these are
        for part in rest:
            squares = ((whole[:, None] - part[None]) ** 2).sum(2)
            ways.append((squares.min(), *np.unravel_index(squares.argmin(), squares.shape)))
        nearest = min(range(len(rest)), key=lambda i: ways[i][0])
        _, here, there = ways[nearest]
        part = rest.pop(nearest)
        detour = np.concatenate((part[there:], part[: there + 1]))
        whole = np.concatenate((whole[: here + 1], detour, whole[here:]))
    return whole
