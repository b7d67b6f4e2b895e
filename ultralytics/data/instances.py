"""What is in a image, and how it moves when the image does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ultralytics.data import polygons as outlines
from ultralytics.data.polygons import Polygons

Size = tuple[int, int]


def apply_matrix(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 2) moved by a homogeneous `matrix` (3, 3), float32; behind the horizon means very far away."""
    moved = matrix[:2, :2] @ points.T + matrix[:2, 2:]
    if matrix[2, 0] or matrix[2, 1]:
        moved /= np.maximum(matrix[2, :2] @ points.T + matrix[2, 2], 1e-3)
    return moved.astype(np.float32).T


@dataclass(frozen=True)
class Instances:
    """Objects of one image: `cls` (k,) and `boxes` (k, 4) xyxy in pixels, both float32, and perhaps outlines.

    Methods return new objects, and each moves everything that an object has. Sizes are (height, width).
    """

    cls: np.ndarray
    boxes: np.ndarray
    polygons: Polygons | None = None
    polygon_points: ClassVar[int] = 1000  # into which outlines are cut
    can_be_mirrored: ClassVar[bool] = True  # and still be what they are

    def __len__(self) -> int:
        return len(self.cls)

    @classmethod
    def from_normalized(
        cls, classes: np.ndarray, xywh: np.ndarray, polygons: Sequence[np.ndarray] | None, size: Size
    ) -> "Instances":
        """Rows of a label file, in shares of the image, as objects in a image of `size`."""
        height, width = size
        half = xywh[:, 2:] / 2
        boxes = np.concatenate((xywh[:, :2] - half, xywh[:, :2] + half), axis=1)
        known = outlines.resample(polygons, cls.polygon_points) if polygons else None
        return cls(classes, boxes, known).scale(width, height)

    @classmethod
    def concat(cls, parts: Sequence["Instances"]) -> "Instances":
        """Objects of several images as those of one."""
        known = None
        if any(part.polygons is not None for part in parts):
            known = outlines.concatenate([part.polygons or outlines.unknown(len(part)) for part in parts])
        return cls(np.concatenate([p.cls for p in parts]), np.concatenate([p.boxes for p in parts]), known)

    @property
    def has_polygon(self) -> np.ndarray:
        """(k,) bool: objects whose outline is known."""
        return np.zeros(len(self), bool) if self.polygons is None else self.polygons.known

    @property
    def areas(self) -> np.ndarray:
        """(k,) areas of the boxes, square pixels."""
        return (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])

    def select(self, mask: np.ndarray) -> "Instances":
        """The objects that `mask` (k,) bool keeps."""
        known = None if self.polygons is None else self.polygons.select(mask)
        return replace(self, cls=self.cls[mask], boxes=self.boxes[mask], polygons=known)

    def scale(self, x: float, y: float) -> "Instances":
        """Coordinates times `x` and `y`."""
        factor = np.array((x, y), np.float32)
        return self._map(lambda points: points * factor)

    def translate(self, x: float, y: float) -> "Instances":
        """Coordinates plus `x` and `y`."""
        offset = np.array((x, y), np.float32)
        return self._map(lambda points: points + offset)

    def clip(self, size: Size) -> "Instances":
        """Points outside a image of `size` move to its border."""
        limit = np.array((size[1], size[0]), np.float32)
        return self._map(lambda points: np.clip(points, 0, limit))

    def flip_lr(self, width: int) -> "Instances":
        """Mirrored left to right in a image of `width`."""
        return self._map(lambda points: points * (-1, 1) + (width, 0))._ordered()

    def flip_ud(self, height: int) -> "Instances":
        """Mirrored top to bottom in a image of `height`."""
        return self._map(lambda points: points * (1, -1) + (0, height))._ordered()

    def affine(self, matrix: np.ndarray, size: Size) -> "Instances":
        """Moved by `matrix` (3, 3) into a image of `size` and clipped to it; an object outside has an area of 0.

        A box becomes the bounds of its moved corners, or, where the outline is known, of what of that is visible.
        """
        corners = self.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
        corners = apply_matrix(corners, matrix).reshape(-1, 4, 2)
        boxes = np.concatenate((corners.min(1), corners.max(1)), axis=1)
        known = self.polygons
        if known is not None:
            known = known.map(lambda points: apply_matrix(points, matrix))
            boxes = np.where(known.known[:, None], known.visible_bounds(size[1], size[0]), boxes)
        return replace(self, boxes=boxes, polygons=known).clip(size)

    def normalized(self, size: Size) -> np.ndarray:
        """Boxes (k, 4) xywh as shares of a image of `size`."""
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        scale = np.array((size[1], size[0]), np.float32)
        return np.concatenate(((low + high) / (2 * scale), (high - low) / scale), axis=1)

    def _map(self, move: Callable[[np.ndarray], np.ndarray]) -> "Instances":
        """`move` (n, 2) -> (n, 2) applied to every point of every object."""
        boxes = move(self.boxes.reshape(-1, 2)).reshape(-1, 4).astype(np.float32, copy=False)
        known = None if self.polygons is None else self.polygons.map(lambda p: move(p).astype(np.float32, copy=False))
        return replace(self, boxes=boxes, polygons=known)

    def _ordered(self) -> "Instances":
        """The upper left corner first again, after a mirror."""
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        return replace(self, boxes=np.concatenate((np.minimum(low, high), np.maximum(low, high)), axis=1))


@dataclass(frozen=True)
class Sample:
    """A image and what is in it.

    `img` (H, W, C) uint8, BGR. `ori_shape` is the size of the file's image. `ratio_pad`, ((gain_h, gain_w), (left,
    top)), leads back to it; None once the image has been augmented.
    """

    img: np.ndarray
    instances: Instances
    im_file: str
    ori_shape: Size
    ratio_pad: tuple[tuple[float, float], tuple[int, int]] | None = None

    @property
    def size(self) -> Size:
        """(height, width) of the image as it is now."""
        return self.img.shape[:2]
