"""Polygons of objects, packed: one array of points for all of them, so that moving them is one operation."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ultralytics.utils.ops import clip_segments, ray_crossings


@dataclass(frozen=True)
class Polygons:
    """`points` (P, 2) float32 x, y of all polygons one after the other; `counts` (k,) points of each.

    A count of 0 is an object of which only the box is known. Polygons are closed: the first point comes last again.
    In memory all x come before all y, which makes numpy several times faster here.
    """

    points: np.ndarray
    counts: np.ndarray

    def select(self, mask: np.ndarray) -> "Polygons":
        """The polygons of the objects that `mask` (k,) bool keeps."""
        kept = np.compress(np.repeat(mask, self.counts), self.points.T, axis=1)
        return Polygons(kept.T, self.counts[mask])

    def split(self) -> list[np.ndarray]:
        """The points (p, 2) of each polygon, as views."""
        return np.split(self.points, np.cumsum(self.counts))[:-1]  # the last piece is what follows them all: nothing

    def visible_bounds(self, width: float, height: float) -> np.ndarray:
        """Bounds (k, 4) xyxy of the part of each polygon inside the image; zeros where nothing is, or none is known.

        Taken from the vertices inside, the points where edges cross the border, and the image's corners that lie in
        the polygon.
        """
        bounds = np.zeros((len(self.counts), 4), np.float32)
        if not len(self.points):
            return bounds
        known = self.counts > 0
        starts = (np.cumsum(self.counts) - self.counts)[known]
        whole = bounds.copy()
        whole[known, :2] = np.minimum.reduceat(self.points, starts)
        whole[known, 2:] = np.maximum.reduceat(self.points, starts)
        low, high, limit = whole[:, :2], whole[:, 2:], (width, height)
        inside = (low >= 0).all(1) & (high <= limit).all(1)
        bounds[inside] = whole[inside]
        cut = (low <= limit).all(1) & (high >= 0).all(1) & ~inside
        if not cut.any():  # edges count only where they may cross the border
            return bounds

        part = self.select(cut)
        starts = np.cumsum(part.counts) - part.counts
        p = part.points.astype(np.float64)
        q = np.roll(p, -1, axis=0)
        is_edge = np.ones(len(p), bool)
        is_edge[starts - 1] = False  # it leads from the end of one polygon to the start of the next
        enter, leave = clip_segments(p, q, width, height)
        seen = (is_edge & (enter <= leave))[:, None]
        ends = np.stack((p + (q - p) * enter[:, None], p + (q - p) * leave[:, None]))  # (2, P, 2)
        low = np.minimum.reduceat(np.where(seen, ends.min(0), np.inf), starts)
        high = np.maximum.reduceat(np.where(seen, ends.max(0), -np.inf), starts)
        for corner in ((0.0, 0.0), (width, 0.0), (0.0, height), (width, height)):
            # Even-odd rule: a ray from a point inside crosses the polygon an odd number of times.
            encloses = np.add.reduceat(is_edge & ray_crossings(corner, p, q), starts) % 2 == 1
            low[encloses], high[encloses] = np.minimum(low[encloses], corner), np.maximum(high[encloses], corner)
        found = np.concatenate((low, high), axis=1)
        found[~np.isfinite(found).all(1)] = 0  # no edge and no corner of the image: the two do not meet
        bounds[cut] = found
        return bounds


def resample(polygons: Sequence[np.ndarray], n: int = 1000) -> Polygons:
    """Close polygons [(p, 2)], at least one, and add points evenly spaced in index space until each has `n`.

    If one has `n` vertices or more, all get one more than that. Clipping dense polygons point by point keeps their
    shape, clipping vertices alone would not.
    """
    closed = [np.concatenate((polygon, polygon[:1])) for polygon in polygons]
    sizes = np.array([len(polygon) for polygon in closed])
    n = max(n, int(sizes.max()))
    # Positions (k, n) in index space: the vertices themselves and, evenly between first and last, the added points.
    index, count, last = np.arange(n)[None], sizes[:, None], sizes[:, None] - 1
    between = (index - count) * last / np.maximum(n - count - 1, 1)
    at = np.sort(np.where(index < count, index, between), axis=1)
    below = np.minimum(at.astype(np.int64), last - 1)
    part = at - below
    below += (np.cumsum(sizes) - sizes)[:, None]
    vertices = np.concatenate(closed).T.astype(np.float64, order="C")  # (2, V)
    start = vertices.take(below.ravel(), axis=1)
    points = start + part.ravel() * (vertices.take(below.ravel() + 1, axis=1) - start)  # (2, k * n)
    return Polygons(points.astype(np.float32).T, np.full(len(sizes), n))


def fill(polygons: Sequence[np.ndarray], size: tuple[int, int], value: int = 1) -> np.ndarray:
    """Mask (height, width) uint8, `value` in the pixels in the polygons (p, 2), those on their edges included."""
    points = [np.asarray(polygon).astype(np.int32).reshape(-1, 2) for polygon in polygons]
    return cv2.fillPoly(np.zeros(size, np.uint8), points, value)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon (n, 2) of several (k, 2), by bridges of no width between the nearest points of one and the next.

    Each part is gone round from its bridge back to it, so that the even-odd area is that of all parts.
    """
    whole, *others = (np.asarray(part, float) for part in parts)
    for part in others:
        distances = ((whole[:, None] - part[None]) ** 2).sum(-1)  # (n, k)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        round_trip = np.roll(part, -there, axis=0)
        whole = np.concatenate((whole[: here + 1], round_trip, round_trip[:1], whole[here:]))
    return whole
