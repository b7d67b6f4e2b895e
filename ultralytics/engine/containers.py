"""Rows of predictions of one image, on a device or as arrays."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch

from ultralytics.utils.masks import outline
from ultralytics.utils.ops import letterbox_geometry, xywhr2xyxyxyxy, xyxy2xywh

Array = torch.Tensor | np.ndarray
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
        """The same on the CPU."""
        return self if isinstance(self.data, np.ndarray) else self._with(self.data.cpu())

    def numpy(self: Rows) -> Rows:
        """The same as an array."""
        return self if isinstance(self.data, np.ndarray) else self._with(self.data.detach().cpu().numpy())

    def cuda(self: Rows) -> Rows:
        """The same on the current CUDA device."""
        return self.to("cuda")

    def to(self: Rows, *args: Any, **kwargs: Any) -> Rows:
        """The same on another device or in another float type, as `torch.Tensor.to`."""
        return self._with(torch.as_tensor(self.data).to(*args, **kwargs))

    def _with(self: Rows, data: Array) -> Rows:
        return type(self)(data, self.orig_shape)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self: Rows, index: Any) -> Rows:
        return self._with(self.data[index])

    def __iter__(self: Rows) -> Iterator[Rows]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.shape)}, orig_shape={self.orig_shape}, data=\n{self.data})"


class Probs(Predictions):
    """How likely each class is for the whole image: (nc,)."""

    @property
    def top1(self) -> int:
        """The likeliest class."""
        return int(self.data.argmax())

    @property
    def top5(self) -> list[int]:
        """The five likeliest classes, or all if there are fewer, best first."""
        values = torch.as_tensor(self.data)
        return values.argsort(dim=-1, descending=True, stable=True)[:5].tolist()

    @property
    def top1conf(self) -> Array:
        """Probability of the likeliest class."""
        return self.data[self.top1]

    @property
    def top5conf(self) -> Array:
        """Probabilities of `top5`."""
        return self.data[self.top5]


class Keypoints(Predictions):
    """Points of each object: x, y in pixels of the original image (n, K, 2), or also how likely seen (n, K, 3)."""

    def __init__(self, data: Array, orig_shape: tuple[int, int]) -> None:
        """Points of a single object (K, D) become (1, K, D)."""
        super().__init__(data[None] if data.ndim == 2 else data, orig_shape)

    @property
    def xy(self) -> Array:
        """Places (n, K, 2), pixels."""
        return self.data[..., :2]

    @property
    def xyn(self) -> Array:
        """Places (n, K, 2), 0..1."""
        height, width = self.orig_shape
        tensor = isinstance(self.data, torch.Tensor)
        size = self.data.new_tensor((width, height)) if tensor else np.array((width, height), self.data.dtype)
        return self.xy / size

    @property
    def has_visible(self) -> bool:
        """Whether it is known how likely points are seen."""
        return self.data.shape[-1] == 3

    @property
    def conf(self) -> Array | None:
        """How likely each point is seen (n, K), or None."""
        return self.data[..., 2] if self.has_visible else None


class RowsWithConf(Predictions):
    """Rows that end in an optional track number, confidence and class, after `size` numbers of their own."""

    size: int

    def __init__(self, data: Array, orig_shape: tuple[int, int]) -> None:
        """A single row (m,) becomes (1, m)."""
        data = data[None] if data.ndim == 1 else data
        if data.ndim != 2 or data.shape[1] - self.size not in (2, 3):
            expected = f"(n, {self.size + 2}) or, with track numbers, (n, {self.size + 3})"
            raise ValueError(f"{type(self).__name__.lower()} have shape {tuple(data.shape)}: expected {expected}")
        super().__init__(data, orig_shape)

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
        """Whether objects have track numbers."""
        return self.data.shape[1] == self.size + 3

    @property
    def id(self) -> Array | None:
        """Track numbers (n,), float, or None."""
        return self.data[:, -3] if self.is_track else None

    def _like(self, values: tuple[int, ...]) -> Array:
        """The values in the type of `data`."""
        tensor = isinstance(self.data, torch.Tensor)
        return self.data.new_tensor(values) if tensor else np.array(values, self.data.dtype)


class Boxes(RowsWithConf):
    """Boxes (n, 6): x1, y1, x2, y2 in pixels of the original image, confidence, class.

    (n, 7) has the number of a track before the confidence. A single row (6,) or (7,) becomes (1, 6) or (1, 7).
    """

    size = 4

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
        return self._normalized(self.xyxy)

    @property
    def xywhn(self) -> Array:
        """Center, width and height (n, 4), 0..1."""
        return self._normalized(self.xywh)

    def corners(self, normalize: bool = False) -> Array:
        """Left top and right bottom (n, 2, 2), pixels or 0..1."""
        return (self.xyxyn if normalize else self.xyxy).reshape(-1, 2, 2)

    @property
    def text(self) -> Array:
        """What stands between class and confidence in a label file, (n, 4)."""
        return self.xywhn

    def _normalized(self, boxes: Array) -> Array:
        height, width = self.orig_shape
        return boxes / self._like((width, height, width, height))


class OBB(RowsWithConf):
    """Rotated boxes (n, 7): center, width and height in pixels of the original image, theta, confidence, class.

    Theta turns the width's direction from x towards y, in radians. (n, 8) has a track number before the confidence.
    """

    size = 5

    @property
    def xywhr(self) -> Array:
        """Center, width, height, pixels, and theta (n, 5)."""
        return self.data[:, :5]

    @property
    def xyxyxyxy(self) -> Array:
        """Corners (n, 4, 2), pixels, which may lie outside the image."""
        return self._typed(xywhr2xyxyxyxy(torch.as_tensor(self.xywhr)))

    @property
    def xyxyxyxyn(self) -> Array:
        """Corners (n, 4, 2), 0..1 in the image."""
        height, width = self.orig_shape
        return self.xyxyxyxy / self._like((width, height))

    @property
    def xyxy(self) -> Array:
        """Bounds (n, 4) of the corners, pixels."""
        corners = torch.as_tensor(self.xyxyxyxy)
        return self._typed(torch.cat((corners.amin(1), corners.amax(1)), 1))

    def corners(self, normalize: bool = False) -> Array:
        """The four corners (n, 4, 2), pixels or 0..1."""
        return self.xyxyxyxyn if normalize else self.xyxyxyxy

    @property
    def text(self) -> Array:
        """What stands between class and confidence in a label file, (n, 8)."""
        return self.xyxyxyxyn.reshape(-1, 8)

    def _typed(self, values: torch.Tensor) -> Array:
        """A tensor, or an array of it where `data` is one."""
        return values if isinstance(self.data, torch.Tensor) else values.numpy()


class Masks(Predictions):
    """Masks (n, h, w) of 0 and 1: of the network's input, padding included, or with `retina_masks` of the image.

    A single mask (h, w) becomes (1, h, w).
    """

    def __init__(self, data: Array, orig_shape: tuple[int, int]) -> None:
        super().__init__(data[None] if data.ndim == 2 else data, orig_shape)

    @cached_property
    def xy(self) -> list[np.ndarray]:
        """The outer contour of each mask, (k, 2) float32 x, y in pixels of the original image; parts are joined."""
        height, width = self.orig_shape
        (gain_h, gain_w), (left, top) = letterbox_geometry(self.shape[1:], self.orig_shape)
        contours = [outline(mask) for mask in np.asarray(self.cpu().data, np.uint8)]
        gains, corner = np.array((gain_w, gain_h), np.float32), np.array((left, top), np.float32)
        return [((points - corner) / gains).clip(0, np.array((width, height), np.float32)) for points in contours]

    @cached_property
    def xyn(self) -> list[np.ndarray]:
        """The same, 0..1."""
        height, width = self.orig_shape
        return [points / np.array((width, height), np.float32) for points in self.xy]

    def on_image(self) -> list[np.ndarray]:
        """The part of each mask (h, w) uint8 that shows the image, at the masks' own size."""
        (gain_h, gain_w), (left, top) = letterbox_geometry(self.shape[1:], self.orig_shape)
        height, width = round(self.orig_shape[0] * gain_h), round(self.orig_shape[1] * gain_w)
        return list(np.asarray(self.cpu().data, np.uint8)[:, top : top + height, left : left + width])
