"""Outlines of objects, packed: one array of points for all of them, so that moving them is one operation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class Polygons:
    """`points` (P, 2) float32 x, y of all outlines one after the other; `counts` (k,) points each.

    A count of 0 is an object of which only the box is known. Outlines are closed: the first point comes last again.
    In memory all x come before all y, which makes numpy several times faster here.
    """

    points: np.ndarray
    counts: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(k,) bool: objects that have an outline."""
        return self.counts > 0

    @property
    def starts(self) -> np.ndarray:
        """(k,) where each outline begins in `points`."""
        return np.cumsum(self.counts) - self.counts

    def map(self, move: Callable[[np.ndarray], np.ndarray]) -> "Polygons":
        """The outlines with `move` applied to their points (P, 2)."""
        return replace(self, points=move(self.points))

    def select(self, mask: np.ndarray) -> "Polygons":
        """The outlines of the objects that `mask` (k,) bool keeps."""
        kept = np.compress(np.repeat(mask, self.counts), self.points.T, axis=1)
        return Polygons(kept.T, self.counts[mask])

    def split(self) -> list[np.ndarray]:
        """The points (p, 2) of each outline."""
        return [self.points[start : start + n] for start, n in zip(self.starts, self.counts, strict=True)]

    def visible_bounds(self, width: float, height: float) -> np.ndarray:
        """Bounds (k, 4) xyxy of what of each outline lies in the image; zeros where nothing does or none is known.

        Taken from the vertices inside, the places where edges cross the border, and the image's corners inside the
        outline.
        """
        bounds = np.zeros((len(self.counts), 4), np.float32)
        if not len(self.points):
            return bounds
        whole = bounds.copy()
        whole[self.known] = _bounds(self.points, self.points, self.starts[self.known])
        low, high, limit = whole[:, :2], whole[:, 2:], (width, height)
        inside = (low >= 0).all(1) & (high <= limit).all(1)
        cut = (low <= limit).all(1) & (high >= 0).all(1) & ~inside
        bounds[inside] = whole[inside]
        if cut.any():
            part = self.select(cut)
            bounds[cut] = _cut_bounds(part.points, part.starts, width, height)
        return bounds


def resample(polygons: Sequence[np.ndarray], n: int = 1000) -> Polygons:
    """Close outlines [(p, 2)], at least one, and add points evenly spaced in index space until each has `n`.

    If one has `n` vertices or more, all get one more than that. Clipping dense outlines point by point keeps their
    shape, clipping vertices alone would not.
    """
    closed = [np.concatenate((polygon, polygon[:1])) for polygon in polygons]
    sizes = np.array([len(polygon) for polygon in closed])
    n = max(n, int(sizes.max()))
    index, count, last = np.arange(n)[None], sizes[:, None], sizes[:, None] - 1
    between = (index - count) * last / np.maximum(n - count - 1, 1)
    at = np.sort(np.where(index < count, index, between), axis=1)
    below = np.minimum(at.astype(np.int64), last - 1)
    part = (at - below).astype(np.float32)
    below += (np.cumsum(sizes) - sizes)[:, None]
    vertices = np.concatenate(closed).T.astype(np.float32, order="C")
    start = vertices.take(below.ravel(), axis=1)
    points = start + part.ravel() * (vertices.take(below.ravel() + 1, axis=1) - start)
    return Polygons(points.T, np.full(len(sizes), n))


def concatenate(parts: Sequence[Polygons]) -> Polygons:
    """Outlines of several images as those of one."""
    points = np.concatenate([p.points.T for p in parts], axis=1)
    return Polygons(points.T, np.concatenate([p.counts for p in parts]))


def fill(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Mask (height, width) uint8 of the pixels in an outline (p, 2), those on it included."""
    return cv2.fillPoly(np.zeros(size, np.uint8), [points.astype(np.int32)], 1)


def unknown(k: int) -> Polygons:
    """`k` objects without an outline."""
    return Polygons(np.zeros((0, 2), np.float32), np.zeros(k, np.int64))


def visible_points(outline: np.ndarray, width: float, height: float) -> np.ndarray:
    """Points (m, 2) float64 with the hull of what of a closed outline (n, 2) lies in the image; nothing: no rows."""
    p = outline.astype(np.float64)
    p, q = p[:-1], p[1:]
    enter, leave = _liang_barsky(p, q, width, height)
    seen = enter <= leave
    ends = [(p + (q - p) * at[:, None])[seen] for at in (enter, leave)]
    corners = ((0.0, 0.0), (width, 0.0), (0.0, height), (width, height))
    inside = [corner for corner in corners if _right_of(corner, p, q).sum() % 2]
    return np.concatenate((*ends, np.array(inside).reshape(-1, 2)))


def _bounds(low: np.ndarray, high: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Smallest `low` and largest `high` of the runs that begin at `starts`, (len(starts), 4)."""
    return np.concatenate((np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)), axis=1)


def _cut_bounds(points: np.ndarray, starts: np.ndarray, width: float, height: float) -> np.ndarray:
    """Bounds (k, 4) of closed outlines intersected with the image; zeros where they do not meet."""
    p = points.astype(np.float64)
    q = np.roll(p, -1, axis=0)
    real = np.ones(len(p), bool)
    real[np.append(starts[1:], len(p)) - 1] = False  # from the end of one outline to the start of the next: no edge
    enter, leave = _liang_barsky(p, q, width, height)
    seen = (real & (enter <= leave))[:, None]
    ends = np.stack((p + (q - p) * enter[:, None], p + (q - p) * leave[:, None]))
    bounds = _bounds(
        np.where(seen, ends.min(0), np.inf),
        np.where(seen, ends.max(0), -np.inf),
        starts,
    )
    for corner in ((0.0, 0.0), (width, 0.0), (0.0, height), (width, height)):
        inside = np.add.reduceat(real & _right_of(corner, p, q), starts) % 2 == 1
        bounds[inside, :2] = np.minimum(bounds[inside, :2], corner)
        bounds[inside, 2:] = np.maximum(bounds[inside, 2:], corner)
    bounds[~np.isfinite(bounds).all(1)] = 0
    return bounds.astype(np.float32)


def _liang_barsky(p: np.ndarray, q: np.ndarray, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Parts of the segments p -> q (n, 2) where they enter and leave the image; enter > leave: they miss it.

    Liang and Barsky, "A New Concept and Method for Line Clipping", ACM TOG 1984.
    """
    d = q - p
    still = d == 0
    safe = np.where(still, 1.0, d)
    a, b = (0 - p) / safe, ((width, height) - p) / safe
    within = (p >= 0) & (p <= (width, height))
    first = np.where(still, np.where(within, 0.0, np.inf), np.minimum(a, b))
    last = np.where(still, np.where(within, 1.0, -np.inf), np.maximum(a, b))
    enter, leave = first.max(1).clip(min=0), last.min(1).clip(max=1)
    missed = enter > leave
    return np.where(missed, 1.0, enter), np.where(missed, 0.0, leave)


def _right_of(point: tuple[float, float], p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(n,) bool: the segments p -> q that a ray from `point` to the right crosses."""
    x, y = point
    spans = (p[:, 1] > y) != (q[:, 1] > y)
    rise = np.where(spans, q[:, 1] - p[:, 1], 1.0)
    return spans & (x < p[:, 0] + (y - p[:, 1]) / rise * (q[:, 0] - p[:, 0]))
