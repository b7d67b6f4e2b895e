"""Predictions of one image as rows, tensors on any device or arrays: boxes, masks, keypoints, class probabilities."""

from collections.abc import Iterator
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch

from ultralytics.utils.letterbox import letterbox_geometry
from ultralytics.utils.masks import masks2segments
from ultralytics.utils.ops import xywhr2xyxyxyxy, xyxy2xywh

Array = torch.Tensor | np.ndarray
Index = int | slice | list[int] | Array  # objects by number, slice, list of numbers or mask
Rows = TypeVar("Rows", bound="Predictions")


class Predictions:
    """One row per object: `data` (n, …), a tensor or an array; `orig_shape` (height, width) of the image."""

    def __init__(self, data: Array, orig_shape: tuple[int, int]) -> None:
        self.data = data
        self.orig_shape = orig_shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        return self.data.shape

    def cpu(self: Rows) -> Rows:
        """Return the rows on the CPU; arrays are there already."""
        return self if isinstance(self.data, np.ndarray) else type(self)(self.data.cpu(), self.orig_shape)

    def numpy(self: Rows) -> Rows:
        """Return the rows as an array."""
        if isinstance(self.data, np.ndarray):
            return self
        return type(self)(self.data.detach().cpu().numpy(), self.orig_shape)

    def cuda(self: Rows) -> Rows:
        """Return the rows on the current CUDA device."""
        return self.to("cuda")

    def to(self: Rows, *args: object, **kwargs: object) -> Rows:
        """Return the rows on another device or in another float type, as `torch.Tensor.to`; arrays become tensors."""
        return type(self)(torch.as_tensor(self.data).to(*args, **kwargs), self.orig_shape)

    def _normalize(self, values: Array) -> Array:
        """Pixels x, y, … (..., 2 or 4) as fractions of the image's width and height, in the type of `data`."""
        height, width = self.orig_shape
        size = (width, height) * (values.shape[-1] // 2)  # one divisor a column
        tensor = isinstance(self.data, torch.Tensor)
        return values / (self.data.new_tensor(size) if tensor else np.array(size, self.data.dtype))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self: Rows, index: Index) -> Rows:
        # A single row loses its first dimension here, which the constructors of the subclasses give back.
        return type(self)(self.data[index], self.orig_shape)

    def __iter__(self: Rows) -> Iterator[Rows]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.shape)}, orig_shape={self.orig_shape}, data=\n{self.data})"


class Probs(Predictions):
    """Probabilities of the classes for the whole image, (nc,)."""

    def __init__(self, probs: Array, orig_shape: tuple[int, int] | None = None) -> None:
        super().__init__(probs, orig_shape)

    @property
    def top1(self) -> int:
        """The most probable class."""
        return int(self.data.argmax())

    @property
    def top5(self) -> list[int]:
        """The five most probable classes, or all if there are fewer, in descending order of probability."""
        values = torch.as_tensor(self.data)
        # Stable: of equal probabilities the smaller class comes first, on every device.
        return values.argsort(dim=-1, descending=True, stable=True)[:5].tolist()

    @property
    def top1conf(self) -> Array:
        """Probability of `top1`."""
        return self.data[self.top1]

    @property
    def top5conf(self) -> Array:
        """Probabilities of `top5`."""
        return self.data[self.top5]


class Keypoints(Predictions):
    """Keypoints of each object: x, y in pixels of the original image (n, K, 2), or with visibility (n, K, 3).

    Visibility is the probability that the point can be seen. Points of a single object (K, D) become (1, K, D).
    """

    def __init__(self, keypoints: Array, orig_shape: tuple[int, int]) -> None:
        super().__init__(keypoints[None] if keypoints.ndim == 2 else keypoints, orig_shape)  # (K, D) -> (1, K, D)

    @property
    def xy(self) -> Array:
        """Coordinates (n, K, 2), pixels."""
        return self.data[..., :2]

    @property
    def xyn(self) -> Array:
        """Coordinates (n, K, 2), 0..1."""
        return self._normalize(self.xy)

    @property
    def has_visible(self) -> bool:
        """Whether points have a visibility."""
        return self.data.shape[-1] == 3

    @property
    def conf(self) -> Array | None:
        """Visibility (n, K), or None."""
        return self.data[..., 2] if self.has_visible else None


class RowsWithConf(Predictions):
    """Rows that end in an optional track id, confidence and class, after `size` numbers of their own."""

    size: int

    def __init__(self, boxes: Array, orig_shape: tuple[int, int]) -> None:
        data = boxes[None] if boxes.ndim == 1 else boxes  # a single row (m,) -> (1, m)
        if data.ndim != 2 or data.shape[1] - self.size not in (2, 3):
            expected = f"(n, {self.size + 2}) or, with track ids, (n, {self.size + 3})"
            raise ValueError(f"{type(self).__name__.lower()} have shape {tuple(data.shape)}: expected {expected}")
        super().__init__(data, orig_shape)

    # Columns are counted from the end, so that they are the same with and without track ids.

    @property
    def conf(self) -> Array:
        """Confidence (n,)."""
        return self.data[:, -2]

    @property
    def cls(self) -> Array:
        """Class (n,), float."""
        return self.data[:, -1]

    @property
    def is_track(self) -> bool:
        """Whether objects have track ids."""
        return self.data.shape[1] == self.size + 3

    @property
    def id(self) -> Array | None:
        """Track ids (n,), float, or None."""
        return self.data[:, -3] if self.is_track else None


class Boxes(RowsWithConf):
    """Boxes (n, 6): x1, y1, x2, y2 in pixels of the original image, confidence, class.

    (n, 7) has a track id before the confidence. A single row (6,) or (7,) becomes (1, 6) or (1, 7).
    """

    size = 4  # x1, y1, x2, y2

    @property
    def xyxy(self) -> Array:
        """Corners (n, 4), pixels."""
        return self.data[:, :4]

    @property
    def xywh(self) -> Array:
        """Center, width and height (n, 4), pixels."""
        return xyxy2xywh(self.xyxy)

    @property
    def xyxyn(self) -> Array:
        """Corners (n, 4), 0..1."""
        return self._normalize(self.xyxy)

    @property
    def xywhn(self) -> Array:
        """Center, width and height (n, 4), 0..1."""
        return self._normalize(self.xywh)

    def corners(self, normalize: bool = False) -> Array:
        """Left top and right bottom (n, 2, 2), pixels or 0..1."""
        return (self.xyxyn if normalize else self.xyxy).reshape(-1, 2, 2)


class OBB(RowsWithConf):
    """Rotated boxes (n, 7): center, width and height in pixels of the original image, theta, confidence, class.

    Theta, in radians, is the direction of the width, from x towards y. (n, 8) has a track id before the confidence.
    """

    size = 5  # x, y, width, height, theta

    @property
    def xywhr(self) -> Array:
        """Center, width, height, pixels, and theta (n, 5)."""
        return self.data[:, :5]

    @property
    def xyxyxyxy(self) -> Array:
        """Corners (n, 4, 2), pixels, which may lie outside the image."""
        corners = xywhr2xyxyxyxy(torch.as_tensor(self.xywhr))
        return corners if isinstance(self.data, torch.Tensor) else corners.numpy()

    @property
    def xyxyxyxyn(self) -> Array:
        """Corners (n, 4, 2), 0..1 in the image."""
        return self._normalize(self.xyxyxyxy)

    @property
    def xyxy(self) -> Array:
        """Bounds (n, 4) of the corners, pixels."""
        corners = torch.as_tensor(self.xyxyxyxy)
        bounds = torch.cat((corners.amin(1), corners.amax(1)), 1)
        return bounds if isinstance(self.data, torch.Tensor) else bounds.numpy()

    def corners(self, normalize: bool = False) -> Array:
        """The four corners (n, 4, 2), pixels or 0..1."""
        return self.xyxyxyxyn if normalize else self.xyxyxyxy


class Masks(Predictions):
    """Masks (n, h, w) of 0 and 1: of the network's input, padding included, or with `retina_masks` of the image.

    A single mask (h, w) becomes (1, h, w).
    """

    def __init__(self, masks: Array, orig_shape: tuple[int, int]) -> None:
        super().__init__(masks[None] if masks.ndim == 2 else masks, orig_shape)  # (h, w) -> (1, h, w)

    @cached_property
    def xy(self) -> list[np.ndarray]:
        """The outer contour of each mask, (k, 2) float32 x, y in pixels of the original image; parts are joined."""
        height, width = self.orig_shape
        # The letterbox of the masks: without padding and with gains of 1 where they are those of the image.
        (gain_h, gain_w), (left, top) = letterbox_geometry(self.shape[1:], self.orig_shape)
        gains, corner = np.array((gain_w, gain_h), np.float32), np.array((left, top), np.float32)
        limit = np.array((width, height), np.float32)
        contours = masks2segments(self.data)  # (k, 2) each, mask pixels
        return [((points - corner) / gains).clip(0, limit) for points in contours]

    @cached_property
    def xyn(self) -> list[np.ndarray]:
        """The contours of `xy`, 0..1."""
        height, width = self.orig_shape
        return [points / np.array((width, height), np.float32) for points in self.xy]

    def on_image(self) -> list[np.ndarray]:
        """The part of each mask (h, w) uint8 that covers the image, without the padding, at the masks' own scale."""
        (gain_h, gain_w), (left, top) = letterbox_geometry(self.shape[1:], self.orig_shape)
        height, width = round(self.orig_shape[0] * gain_h), round(self.orig_shape[1] * gain_w)
        return list(np.asarray(self.cpu().data, np.uint8)[:, top : top + height, left : left + width])
