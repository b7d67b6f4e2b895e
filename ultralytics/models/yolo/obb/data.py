"""Objects whose outlines stand for rotated boxes, and what is learned from them."""

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from ultralytics.data.dataset import box_targets
from ultralytics.data.instances import Instances, Sample, Size
from ultralytics.data.polygons import Polygons, visible_points


class RotatedInstances(Instances):
    """Objects whose outlines stay rectangles where the border of a image cuts them."""

    polygon_points = 100

    def clip(self, size: Size) -> "RotatedInstances":
        """What lies in a image of `size`.

        The outline of an object that reaches out becomes the smallest rectangle around what is left of it that has the
        direction of the whole, the corners of which may lie outside; the box is what is in sight.
        """
        if self.polygons is None:
            return super().clip(size)
        boxes = replace(self, polygons=None).clip(size).boxes
        height, width = size
        boxes = np.where(self.has_polygon[:, None], self.polygons.visible_bounds(width, height), boxes)
        return replace(self, boxes=boxes, polygons=_cut(self.polygons, size))


def rotated_targets(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """As `box_targets`, but `bboxes` (N, 5): center x and width in shares of W, center y and height of H, theta."""
    boxes = [normalized(sample.instances, sample.size) for sample in samples]
    return box_targets(samples) | {"bboxes": torch.from_numpy(np.concatenate(boxes))}


def normalized(objects: Instances, size: Size) -> np.ndarray:
    """Rotated boxes (k, 5) around the outlines, or the boxes of objects without, in shares of a image of `size`."""
    corners = objects.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    known = objects.polygons
    if known is None:
        outlines = list(corners)
    else:
        outlines = [part if len(part) else box for part, box in zip(known.split(), corners, strict=True)]
    height, width = size
    rows = np.array([min_area_rect(outline) for outline in outlines], np.float32).reshape(-1, 5)
    return rows / np.array((width, height, width, height, 1), np.float32)


def min_area_rect(points: np.ndarray) -> tuple[float, float, float, float, float]:
    """Center, width, height and theta of the smallest rectangle around points (n, 2): width >= height, theta in
    [-pi / 4, 3 pi / 4).
    """
    (x, y), (width, height), degrees = cv2.minAreaRect(np.ascontiguousarray(points, np.float32))
    theta = math.radians(degrees)
    if width < height:
        width, height, theta = height, width, theta + math.pi / 2
    return x, y, width, height, (theta + math.pi / 4) % math.pi - math.pi / 4


def _cut(outlines: Polygons, size: Size) -> Polygons:
    """The outlines, those that cross the border of the image as rectangles around what is left of them."""
    height, width = size
    points = outlines.points.copy()
    for start, count in zip(outlines.starts, outlines.counts, strict=True):
        mine = points[start : start + count]
        if not count or ((mine >= 0) & (mine <= (width, height))).all():
            continue
        visible = visible_points(mine, width, height)
        if len(visible):
            corners = _rectangle(visible, min_area_rect(mine)[4])
            mine[:] = corners[np.arange(count) * 5 // count % 4]  # closed, in order
    return replace(outlines, points=points)


def _rectangle(points: np.ndarray, theta: float) -> np.ndarray:
    """Corners (4, 2) of the smallest rectangle around points (n, 2) whose width lies along `theta`."""
    axes = np.array(((math.cos(theta), math.sin(theta)), (-math.sin(theta), math.cos(theta))))
    place = points @ axes.T
    (left, top), (right, bottom) = place.min(0), place.max(0)
    return np.array(((left, top), (right, top), (right, bottom), (left, bottom))) @ axes
