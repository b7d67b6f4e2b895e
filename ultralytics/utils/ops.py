"""Geometry of boxes, points and polygons, on tensors and arrays alike.

Legend: xyxy two corners; xywh center, width, height; ltwh left top corner, width, height; xywhr center, width, height
and theta, the angle in radians by which the width's direction is rotated from x towards y. Functions return new
objects: unlike the public package's they never write into what they are given.
"""

import math
import re
import time
from collections.abc import Sequence
from contextlib import ContextDecorator
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils import refused
from ultralytics.utils.letterbox import RatioPad, letterbox_geometry

Array = TypeVar("Array", torch.Tensor, np.ndarray)


def _copy(x: Array, width: int | None = None) -> Array:
    """A copy to write into, integers as float32: half a pixel must not be lost. Checks the last dimension."""
    if width is not None and x.shape[-1] != width:
        raise ValueError(f"Boxes have shape {tuple(x.shape)}, but their last dimension must be {width}.")
    if isinstance(x, Tensor):
        return x.clone() if x.is_floating_point() else x.float()
    return x.copy() if np.issubdtype(x.dtype, np.floating) else x.astype(np.float32)


# Notations of boxes --------------------------------------------------------------------------------------------------


def xywh2xyxy(x: Array) -> Array:
    """Center, width, height to the two corners, (..., 4)."""
    y = _copy(x, 4)
    half = y[..., 2:] / 2
    y[..., :2], y[..., 2:] = y[..., :2] - half, y[..., :2] + half
    return y


def xyxy2xywh(x: Array) -> Array:
    """Two corners to center, width, height, (..., 4)."""
    y = _copy(x, 4)
    y[..., :2], y[..., 2:] = (y[..., :2] + y[..., 2:]) / 2, y[..., 2:] - y[..., :2]
    return y


def xywhn2xyxy(x: Array, w: float = 640, h: float = 640, padw: float = 0, padh: float = 0) -> Array:
    """Normalized center, width, height to corners in pixels of a `w` x `h` image that lies at (`padw`, `padh`)."""
    y = xywh2xyxy(x)
    y[..., 0::2] = y[..., 0::2] * w + padw
    y[..., 1::2] = y[..., 1::2] * h + padh
    return y


def xyxy2xywhn(x: Array, w: float = 640, h: float = 640, clip: bool = False, eps: float = 0.0) -> Array:
    """Corners in pixels of a `w` x `h` image to normalized center, width, height.

    `clip` first moves the corners into the image, at least `eps` pixels short of its right and lower edge.
    """
    y = xyxy2xywh(clip_boxes(x, (h - eps, w - eps)) if clip else x)
    y[..., 0::2] /= w
    y[..., 1::2] /= h
    return y


def xywh2ltwh(x: Array) -> Array:
    """Center, width, height to left top corner, width, height, (..., 4)."""
    y = _copy(x, 4)
    y[..., :2] -= y[..., 2:] / 2
    return y


def xyxy2ltwh(x: Array) -> Array:
    """Two corners to left top corner, width, height, (..., 4)."""
    y = _copy(x, 4)
    y[..., 2:] -= y[..., :2]
    return y


def ltwh2xywh(x: Array) -> Array:
    """Left top corner, width, height to center, width, height, (..., 4)."""
    y = _copy(x, 4)
    y[..., :2] += y[..., 2:] / 2
    return y


def ltwh2xyxy(x: Array) -> Array:
    """Left top corner, width, height to the two corners, (..., 4)."""
    y = _copy(x, 4)
    y[..., 2:] += y[..., :2]
    return y


# From the network's input to the original image ----------------------------------------------------------------------


def clip_boxes(boxes: Array, shape: tuple[float, ...]) -> Array:
    """Corners (..., 4) moved into an image of `shape` (height, width, ...); further columns stay as they are."""
    height, width = shape[:2]
    clipped = _copy(boxes)
    # A box that lies outside remains, without area, on the border.
    clipped[..., 0:4:2] = clipped[..., 0:4:2].clip(0, width)
    clipped[..., 1:4:2] = clipped[..., 1:4:2].clip(0, height)
    return clipped


def clip_coords(coords: Array, shape: tuple[float, ...]) -> Array:
    """Points (..., 2 or more), x and y in front, moved into an image of `shape` (height, width, ...)."""
    height, width = shape[:2]
    clipped = _copy(coords)
    clipped[..., 0] = clipped[..., 0].clip(0, width)
    clipped[..., 1] = clipped[..., 1].clip(0, height)
    return clipped


def scale_boxes(
    img1_shape: tuple[int, ...],
    boxes: Array,
    img0_shape: tuple[int, ...],
    ratio_pad: RatioPad | None = None,
    padding: bool = True,
    xywh: bool = False,
) -> Array:
    """Boxes (..., 4) in pixels of a letterboxed image back to pixels of the original one.

    `ratio_pad` is ((gain_h, gain_w), (left, top)) as the loader made it; without it both follow from the shapes
    (height, width, ...), rounded as the letterbox rounds them. `padding=False`: the image was resized to one corner.
    Corners are clipped to the original; `xywh` boxes are not. Further columns stay as they are.
    """
    (gain_h, gain_w), (left, top) = ratio_pad or letterbox_geometry(img1_shape, img0_shape)
    scaled = _copy(boxes)
    if padding:
        moved = 2 if xywh else 4  # a width is the same wherever the box lies
        scaled[..., 0:moved:2] -= left
        scaled[..., 1:moved:2] -= top
    scaled[..., 0:4:2] /= gain_w
    scaled[..., 1:4:2] /= gain_h
    return scaled if xywh else clip_boxes(scaled, img0_shape)


def scale_coords(
    img1_shape: tuple[int, ...],
    coords: Array,
    img0_shape: tuple[int, ...],
    ratio_pad: RatioPad | None = None,
    normalize: bool = False,
    padding: bool = True,
) -> Array:
    """Points (..., 2 or more), x and y in front, as `scale_boxes` does corners: clipped to the original.

    `normalize` gives x and y in 0..1 of the original instead of pixels. Further columns stay as they are.
    """
    (gain_h, gain_w), (left, top) = ratio_pad or letterbox_geometry(img1_shape, img0_shape)
    scaled = _copy(coords)
    if padding:
        scaled[..., 0] -= left
        scaled[..., 1] -= top
    scaled[..., 0] /= gain_w
    scaled[..., 1] /= gain_h
    scaled = clip_coords(scaled, img0_shape)
    if normalize:
        scaled[..., 0] /= img0_shape[1]
        scaled[..., 1] /= img0_shape[0]
    return scaled


# Rotated boxes -------------------------------------------------------------------------------------------------------


def xywhr2xyxyxyxy(x: Array) -> Array:
    """Corners (..., 4, 2) of boxes (..., 5): (+w, +h) / 2 along the box's axes, then (+, -), (-, -), (-, +)."""
    lib = torch if isinstance(x, Tensor) else np
    center, width, height, cos, sin = x[..., :2], x[..., 2:3], x[..., 3:4], lib.cos(x[..., 4:]), lib.sin(x[..., 4:])
    along = lib.concatenate((cos, sin), -1) * width / 2
    across = lib.concatenate((-sin, cos), -1) * height / 2
    corners = (center + along + across, center + along - across, center - along - across, center - along + across)
    return lib.stack(corners, -2)


def xyxyxyxy2xywhr(x: Array) -> Array:
    """Smallest rotated boxes (n, 5) around corners (n, 8) or any k points each, (n, 2 * k) or (n, k, 2).

    Width, height and theta as `min_area_rect` gives them. An array gives float64, a tensor its own floating dtype.
    """
    points = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    boxes = np.array([min_area_rect(corners.reshape(-1, 2)) for corners in points]).reshape(-1, 5)
    if isinstance(x, Tensor):
        return torch.as_tensor(boxes, dtype=x.dtype if x.is_floating_point() else torch.float32, device=x.device)
    return boxes


def regularize_rboxes(rboxes: Tensor) -> Tensor:
    """Rotated boxes (..., 5) xywhr whose angle is in 0..pi / 2; where it is not, width and height change places."""
    x, y, w, h, theta = rboxes.unbind(-1)
    theta = theta % math.pi
    swapped = theta >= math.pi / 2
    sides = torch.where(swapped, h, w), torch.where(swapped, w, h)
    return torch.stack((x, y, *sides, theta % (math.pi / 2)), -1)


def empty_like(x: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Uninitialized values in the shape, type and place of `x`."""
    return torch.empty_like(x) if isinstance(x, Tensor) else np.empty_like(x)


def min_area_rect(points: np.ndarray) -> tuple[float, float, float, float, float]:
    """Center, width, height and theta of the smallest rectangle around points (n, 2).

    Width >= height, theta in [-pi / 4, 3 pi / 4).
    """
    import cv2  # not above: building a network needs this module, but no OpenCV

    (x, y), (width, height), degrees = cv2.minAreaRect(np.ascontiguousarray(points, np.float32))
    theta = math.radians(degrees)
    if width < height:
        width, height, theta = height, width, theta + math.pi / 2
    return x, y, width, height, (theta + math.pi / 4) % math.pi - math.pi / 4


def to_box_frame(points: Tensor, boxes: Tensor) -> Tensor:
    """Points (..., 2) seen from the boxes (..., 5) that they broadcast with: from their center, along their axes.

    A point lies in its box where neither coordinate is larger, in absolute value, than half the width or height.
    """
    x, y = (points - boxes[..., :2]).unbind(-1)
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    return torch.stack((x * cos + y * sin, y * cos - x * sin), -1)


# Polygons ------------------------------------------------------------------------------------------------------------


def segments2boxes(segments: Sequence[np.ndarray]) -> np.ndarray:
    """Boxes (n, 4) xywh around polygons [(k, 2)], in their unit."""
    bounds = [np.concatenate((s.min(0), s.max(0))) for s in segments]
    return xyxy2xywh(np.array(bounds).reshape(-1, 4))


def segment2box(segment: np.ndarray, width: int = 640, height: int = 640) -> np.ndarray:
    """Bounds (4,) xyxy of the part of a polygon (k, 2), in pixels, that lies in the image; zeros if none does."""
    points = visible_points(np.concatenate((segment, segment[:1])), width, height)
    bounds = np.concatenate((points.min(0), points.max(0))) if len(points) else np.zeros(4)
    return bounds.astype(segment.dtype)


def visible_points(polygon: np.ndarray, width: float, height: float) -> np.ndarray:
    """Points (m, 2) float64 with the hull of the part of a closed polygon (n, 2) inside the image; nothing: no rows."""
    p = polygon.astype(np.float64)
    p, q = p[:-1], p[1:]
    enter, leave = clip_segments(p, q, width, height)
    seen = enter <= leave
    ends = [(p + (q - p) * at[:, None])[seen] for at in (enter, leave)]
    corners = ((0.0, 0.0), (width, 0.0), (0.0, height), (width, height))
    inside = [corner for corner in corners if ray_crossings(corner, p, q).sum() % 2]
    return np.concatenate((*ends, np.array(inside).reshape(-1, 2)))


def clip_segments(p: np.ndarray, q: np.ndarray, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Fractions (n,) of the segments p -> q (n, 2) where they enter and leave the image; enter > leave: they miss it.

    Liang and Barsky, "A New Concept and Method for Line Clipping", ACM TOG 1984.
    """
    d = q - p
    parallel = d == 0  # to that pair of borders, which such a segment never crosses
    safe = np.where(parallel, 1.0, d)
    a, b = (0 - p) / safe, ((width, height) - p) / safe
    within = (p >= 0) & (p <= (width, height))
    first = np.where(parallel, np.where(within, 0.0, np.inf), np.minimum(a, b))
    last = np.where(parallel, np.where(within, 1.0, -np.inf), np.maximum(a, b))
    enter, leave = first.max(1).clip(min=0), last.min(1).clip(max=1)
    missed = enter > leave
    return np.where(missed, 1.0, enter), np.where(missed, 0.0, leave)  # finite, so that points can be made of them


def ray_crossings(point: tuple[float, float], p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(n,) bool: the segments p -> q (n, 2) that a ray from `point` to the right crosses.

    Of the sides of a polygon an odd number is crossed where the point lies inside (even-odd rule).
    """
    x, y = point
    spans = (p[:, 1] > y) != (q[:, 1] > y)
    rise = np.where(spans, q[:, 1] - p[:, 1], 1.0)
    return spans & (x < p[:, 0] + (y - p[:, 1]) / rise * (q[:, 0] - p[:, 0]))


def resample_segments(segments: Sequence[np.ndarray], n: int = 1000) -> list[np.ndarray]:
    """Polygons [(k, 2)] closed and brought to `n` points each, (n, 2) float32.

    Fewer points are kept and others put between them, evenly spaced in index space; of more, `n` evenly spaced ones are
    taken. A polygon of `n` points stays as it is. data/polygons.py does the first for many polygons at once.
    """
    resampled = []
    for segment in segments:
        if len(segment) == n:
            resampled.append(segment)
            continue
        closed = np.concatenate((segment, segment[:1]))
        index = np.arange(len(closed))
        few = len(closed) < n
        at = np.linspace(0, len(closed) - 1, n - len(closed) if few else n)
        at = np.sort(np.concatenate((at, index))) if few else at
        resampled.append(np.stack([np.interp(at, index, axis) for axis in closed.T], 1).astype(np.float32))
    return resampled


# Smaller things ------------------------------------------------------------------------------------------------------


def make_divisible(x: float, divisor: int | Tensor) -> int:
    """The smallest multiple of `divisor`, of the largest if there are several, that is not below `x`."""
    divisor = int(divisor.max()) if isinstance(divisor, Tensor) else divisor
    return math.ceil(x / divisor) * divisor


def is_kpt_shape(value: object) -> bool:
    """Whether it is [K, D]: a number of points, and 2 or 3, the numbers of each."""
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int for v in value)
    return pair and value[0] >= 1 and value[1] in (2, 3)


def upload(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; from the CPU to a GPU by pinned memory, for which nobody waits."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)  # on MPS a copy without waiting may read memory that is free again


def true_places(mask: Tensor, most: int | None = None) -> tuple[Tensor, ...]:
    """Indices of the true elements of a mask, a vector a dimension, in the order of `nonzero`.

    A GPU would be waited for, to know how many they are. With `most`, which they are known not to exceed, it is not:
    there the vectors are as long as that, and -1 behind the last element.
    """
    if most is None or mask.device.type != "cuda":
        return mask.nonzero(as_tuple=True)
    if not mask.numel():  # which some versions of torch cannot take
        return tuple(torch.empty(0, dtype=torch.long, device=mask.device) for _ in mask.shape)
    return mask.nonzero_static(size=most).unbind(1)


def normalized(images: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Images (B, C, H, W) on a device in 0..1; bytes are sent as such, and from pinned memory."""
    on_device = upload(images, device).to(dtype)
    return on_device.div_(255) if images.dtype == torch.uint8 else on_device  # in place, as these floats are a copy


def convert_torch2numpy_batch(batch: Tensor) -> np.ndarray:
    """Images (B, C, H, W) 0..1 as (B, H, W, C) uint8, rounded down; values beyond 0..1 are clipped."""
    return (batch.permute(0, 2, 3, 1).contiguous() * 255).clamp(0, 255).byte().cpu().numpy()


def clean_str(s: str) -> str:
    """`s` with an underscore for every character that file names and addresses of streams may stumble over."""
    return re.sub(r"[!#$%&()*+,:;<=>?@^`|¡¨·¿€]", "_", s)


class Profile(ContextDecorator):
    """Stopwatch for `with` and as a decorator: `dt` are the seconds of the last use, `t` those of all.

    On a CUDA `device` it waits for the work that was queued there.
    """

    def __init__(self, t: float = 0.0, device: torch.device | None = None) -> None:
        self.t = t
        self.dt = 0.0
        self.device = device

    def __enter__(self) -> "Profile":
        self.start = self.time()
        return self

    def __exit__(self, *exc: object) -> None:
        self.dt = self.time() - self.start
        self.t += self.dt

    def __str__(self) -> str:
        return f"Elapsed time is {self.t} s"

    def time(self) -> float:
        """Seconds of a clock that only runs forward, once the device is done."""
        if self.device is not None and torch.device(self.device).type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


# Published here by the public package, too, but built on this module: imported when asked for.
_ELSEWHERE = {"non_max_suppression": "nms"} | dict.fromkeys(
    ("crop_mask", "scale_masks", "process_mask", "process_mask_native", "masks2segments"), "masks"
)


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(import_module(f"ultralytics.utils.{_ELSEWHERE[name]}"), name)
    return refused.getter(__name__)(name)
