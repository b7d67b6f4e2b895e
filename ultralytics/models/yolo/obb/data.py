"""Instances whose polygons stand for rotated boxes, and the targets made of them."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ultralytics.data.dataset import box_targets
from ultralytics.data.instances import Instances, Sample, Size, normalized_xywhr
from ultralytics.utils.ops import min_area_rect, visible_points


class RotatedInstances(Instances):
    """Instances whose polygons stay rectangles where the border of an image cuts them."""

    polygon_points = 100  # a tenth of what masks get: the sides of a rectangle are straight

    def clip(self, size: Size) -> "RotatedInstances":
        """Cut boxes at the border of an image of `size` (height, width) and polygons to rotated rectangles.

        A polygon that crosses the border becomes the smallest rectangle around its visible part that has the direction
        of the whole; its corners may lie outside. Its box becomes the bounds of the visible part.
        """
        if self.polygons is None:
            return super().clip(size)
        height, width = size
        boxes = replace(self, polygons=None).clip(size).boxes
        boxes = np.where(self.has_polygon[:, None], self.polygons.visible_bounds(width, height), boxes)
        polygons = replace(self.polygons, points=self.polygons.points.copy())
        for points, count in zip(polygons.split(), polygons.counts, strict=True):  # views (count, 2)
            if not count or ((points >= 0) & (points <= (width, height))).all():
                continue
            visible = visible_points(points, width, height)  # (m, 2), not of the same number
            if len(visible):
                theta = min_area_rect(points)[4]
                axes = np.array(((math.cos(theta), math.sin(theta)), (-math.sin(theta), math.cos(theta))))
                along = visible @ axes.T  # (m, 2), coordinates along width and height of the whole
                (left, top), (right, bottom) = along.min(0), along.max(0)
                corners = np.array(((left, top), (right, top), (right, bottom), (left, bottom))) @ axes
                # The polygon keeps its number of points: each corner several times, in order, closed by the first.
                points[:] = corners[np.arange(count) * 5 // count % 4]
        return replace(self, boxes=boxes, polygons=polygons)


def rotated_targets(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """Targets of `box_targets`, but `bboxes` (N, 5) xywhr as `normalized_xywhr` gives them."""
    boxes = [normalized_xywhr(sample.instances, sample.size) for sample in samples]
    return box_targets(samples) | {"bboxes": torch.from_numpy(np.concatenate(boxes))}
