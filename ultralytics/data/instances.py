"""Instances (objects) of an image, and how they move when the image does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ultralytics.data.polygons import Polygons, resample
from ultralytics.utils.ops import min_area_rect, xywh2xyxy

Size = tuple[int, int]  # (height, width)


def apply_matrix(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 2) moved by a homogeneous `matrix` (3, 3), float32; points behind the horizon end up very far away."""
    moved = matrix[:2, :2] @ points.T + matrix[:2, 2:]
    if matrix[2, 0] or matrix[2, 1]:
        moved /= np.maximum(matrix[2, :2] @ points.T + matrix[2, 2], 1e-3)
    return moved.astype(np.float32).T


def box_corners(boxes: np.ndarray) -> np.ndarray:
    """Corners (k, 4, 2) of boxes (k, 4) xyxy, clockwise from the top left."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


@dataclass(frozen=True)
class Instances:
    """Instances of one image: `cls` (k,) and `boxes` (k, 4) xyxy in pixels, both float32, and perhaps polygons.

    Methods return new instances, and each moves all that an instance has. Sizes are (height, width). A task whose
    instances have more, such as keypoints, subclasses this.
    """

    cls: np.ndarray
    boxes: np.ndarray
    polygons: Polygons | None = None
    polygon_points: ClassVar[int] = 1000  # each polygon is resampled to that many
    can_be_mirrored: ClassVar[bool] = True  # False: labels would be wrong in a mirror image, so there are no flips

    def __len__(self) -> int:
        return len(self.cls)

    @classmethod
    def from_normalized(
        cls, classes: np.ndarray, xywh: np.ndarray, polygons: Sequence[np.ndarray] | None, size: Size
    ) -> "Instances":
        """Rows of a label file, in fractions of width and height, as instances of an image of `size`."""
        packed = resample(polygons, cls.polygon_points) if polygons else None
        factor = np.array((size[1], size[0]), np.float32)
        return cls(classes, xywh2xyxy(xywh), packed)._map(lambda points: points * factor)

    @classmethod
    def concat(cls, parts: Sequence["Instances"]) -> "Instances":
        """Instances of several images as those of one."""
        joined = cls(np.concatenate([p.cls for p in parts]), np.concatenate([p.boxes for p in parts]))
        if all(p.polygons is None for p in parts):
            return joined
        packed = [p.polygons or Polygons(np.zeros((0, 2), np.float32), np.zeros(len(p), np.int64)) for p in parts]
        points = np.concatenate([p.points.T for p in packed], axis=1).T  # by way of (2, P), the order in memory
        return replace(joined, polygons=Polygons(points, np.concatenate([p.counts for p in packed])))

    @property
    def has_polygon(self) -> np.ndarray:
        """(k,) bool: instances with a polygon, not just a box."""
        return np.zeros(len(self), bool) if self.polygons is None else self.polygons.counts > 0

    @property
    def areas(self) -> np.ndarray:
        """(k,) areas of the boxes, square pixels."""
        return (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])

    def select(self, mask: np.ndarray) -> "Instances":
        """The instances that `mask` (k,) bool keeps."""
        polygons = None if self.polygons is None else self.polygons.select(mask)
        return replace(self, cls=self.cls[mask], boxes=self.boxes[mask], polygons=polygons)

    def translate(self, x: float, y: float) -> "Instances":
        """Coordinates plus `x` and `y`."""
        offset = np.array((x, y), np.float32)
        return self._map(lambda points: points + offset)

    def clip(self, size: Size) -> "Instances":
        """Points outside an image of `size` moved to its border."""
        limit = np.array((size[1], size[0]), np.float32)
        return self._map(lambda points: np.clip(points, 0, limit))

    def flip(self, size: Size, horizontal: bool) -> "Instances":
        """Mirrored left to right (`horizontal`) or top to bottom in an image of `size`."""
        height, width = size
        sign, offset = ((-1, 1), (width, 0)) if horizontal else ((1, -1), (0, height))
        flipped = self._map(lambda points: points * sign + offset)
        # The upper left corner comes first again.
        return replace(flipped, boxes=flipped.boxes[:, [2, 1, 0, 3] if horizontal else [0, 3, 2, 1]])

    def affine(self, matrix: np.ndarray, size: Size) -> "Instances":
        """Moved by `matrix` (3, 3) into an image of `size` and clipped to it; an instance outside has an area of 0.

        A box becomes the bounds of its moved corners or, where there is a polygon, of the visible part of that, which
        is tighter.
        """
        moved = self._map(lambda points: apply_matrix(points, matrix))  # but a box has four corners, not two
        corners = apply_matrix(box_corners(self.boxes).reshape(-1, 2), matrix).reshape(-1, 4, 2)
        boxes = np.concatenate((corners.min(1), corners.max(1)), axis=1)  # (k, 4)
        if moved.polygons is not None:
            boxes = np.where(self.has_polygon[:, None], moved.polygons.visible_bounds(size[1], size[0]), boxes)
        return replace(moved, boxes=boxes).clip(size)

    def normalized(self, size: Size) -> np.ndarray:
        """Boxes (k, 4) xywh in fractions of the width and height of an image of `size`."""
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        scale = np.array((size[1], size[0]), np.float32)
        return np.concatenate(((low + high) / (2 * scale), (high - low) / scale), axis=1)

    def _map(self, move: Callable[[np.ndarray], np.ndarray]) -> "Instances":
        """`move` (n, 2) -> (n, 2) applied to all points of all instances; subclasses with more points extend it."""
        boxes = move(self.boxes.reshape(-1, 2)).reshape(-1, 4).astype(np.float32, copy=False)
        polygons = self.polygons
        if polygons is not None:
            polygons = replace(polygons, points=move(polygons.points).astype(np.float32, copy=False))
        return replace(self, boxes=boxes, polygons=polygons)


NO_INSTANCES = Instances(np.empty(0, np.float32), np.empty((0, 4), np.float32))


def normalized_xywhr(instances: Instances, size: Size) -> np.ndarray:
    """Smallest rotated boxes (k, 5) around the polygons, or the upright ones of instances without, float32.

    Center x and width are fractions of the width of an image of `size` (height, width), center y and height of its
    height; theta is in radians.
    """
    shapes = list(box_corners(instances.boxes))  # k of (4, 2)
    if instances.polygons is not None:
        # A transform may have lost some of the polygons: those are empty here.
        shapes = [part if len(part) else box for part, box in zip(instances.polygons.split(), shapes, strict=True)]
    height, width = size
    rows = np.array([min_area_rect(points) for points in shapes], np.float32).reshape(-1, 5)
    return rows / np.array((width, height, width, height, 1), np.float32)


@dataclass(frozen=True)
class Sample:
    """An image and its instances.

    `img` (H, W, C) uint8, BGR. `ori_shape` is the size of the image in its file. `ratio_pad`, ((gain_h, gain_w), (left,
    top)), leads back to that; None once the image has been augmented.
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
