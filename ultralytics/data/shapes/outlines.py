"""Outlines of the shapes that are drawn into the built-in scenes, and the plane geometry they need.

Coordinates are continuous: pixel column i covers [i, i + 1), so a polygon along the image's right edge has x = width.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

CORNER_NAMES = ("head", "upper right", "lower right", "lower left", "upper left")
CORNER_FLIP = (0, 4, 3, 2, 1)  # the corner that takes each one's place in a mirror image


@dataclass(frozen=True)
class Outline:
    """A shape, upright, head towards -y, the mirror image of itself.

    `points` (n, 2) run clockwise, longest side 1; `corners` (5, 2) lie on the outline, NaN where the shape has none of
    that name; rotated by 360 / `fold` degrees it looks the same, so a larger angle would only confuse its corners.
    """

    points: np.ndarray
    corners: np.ndarray
    fold: float


def _outline(points: np.ndarray, corners: dict[int, np.ndarray], fold: float = 1) -> Outline:
    named = np.full((len(CORNER_NAMES), 2), np.nan)
    for slot, corner in corners.items():
        named[slot] = corner
    side = np.ptp(points, axis=0).max()
    return Outline(points / side, named / side, fold)


def _arc(start: float, stop: float, points: int, radius: float = 0.5) -> np.ndarray:
    """Points (points, 2) of a circle about the origin, both ends included, degrees clockwise from the top."""
    angle = np.radians(np.linspace(start, stop, points))
    return radius * np.stack((np.sin(angle), -np.cos(angle)), 1)


def turn(angle: float) -> np.ndarray:
    """Matrix (2, 2) that rotates columns clockwise on the screen, radians."""
    return np.array(((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))))


def _outlines() -> dict[str, Outline]:
    """Every shape by its name."""
    shapes = {}
    circle = _arc(0, 354, 60)
    shapes["disc"] = _outline(circle, dict(enumerate(circle[::12])), math.inf)

    # Rim and hole in one polygon, joined at the head by a seam without width.
    rim, hole = _arc(0, 360, 61), _arc(360, 0, 61, 0.27)
    shapes["ring"] = _outline(np.concatenate((rim, hole)), dict(enumerate(rim[:60:12])), math.inf)

    points = np.array(((0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)))
    shapes["square"] = _outline(points, dict(enumerate(points, 1)), 4)

    # Isosceles, because three equal sides would leave open which corner is the head.
    points = np.array(((0, -0.5), (0.38, 0.5), (-0.38, 0.5)))
    shapes["triangle"] = _outline(points, dict(zip((0, 2, 3), points, strict=True)))

    tips, notches = _arc(0, 288, 5), _arc(36, 324, 5, 0.23)
    shapes["star"] = _outline(np.stack((tips, notches), 1).reshape(-1, 2), dict(enumerate(tips)), 5)

    # Stands like the letter X; its corners are the middles of the arms' ends.
    arm = np.array(((0, -0.5), (0.17, -0.5), (0.17, -0.17), (0.5, -0.17)))
    arms = [arm @ turn(angle).T for angle in np.radians((45, 135, 225, 315))]
    points = np.concatenate([a[1:] for a in arms])
    shapes["cross"] = _outline(points, {slot: a[0] for slot, a in enumerate(arms, 1)}, 4)

    right = np.array(((0.42, 0), (0.15, 0), (0.15, 0.5)))
    points = np.concatenate((((0, -0.5),), right, right[::-1] * (-1, 1)))
    shapes["arrow"] = _outline(points, {0: points[0], 1: points[1], 2: points[3], 3: points[4], 4: points[6]})

    # Horns up, like a bowl; the head is the lowest point of the bowl's inside.
    rim = _arc(60, 300, 41)
    horn, low = rim[0], 0.15
    depth = low - horn[1]
    radius = (horn[0] ** 2 + depth**2) / (2 * depth)
    half = math.degrees(math.atan2(horn[0], depth - radius))
    inside = np.add(_arc(360 - half, half, 25, radius), (0, low - radius))
    points = np.concatenate((rim, inside[1:-1]))
    shapes["crescent"] = _outline(points, {0: inside[12], 1: rim[0], 2: rim[12], 3: rim[28], 4: rim[40]})
    return shapes


OUTLINES = _outlines()


def polygon_area(points: np.ndarray) -> float:
    """Area inside a polygon (n, 2)."""
    x, y = points.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def clip_polygon(points: np.ndarray, width: float, height: float) -> np.ndarray:
    """The part (m, 2) of a polygon (n, 2) inside the image; no rows where there is none.

    Sutherland and Hodgman, 1974. Pieces of a concave polygon stay joined along the border, which changes neither their
    bounds nor their area.
    """
    for axis, limit, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        inside = sign * (points[:, axis] - limit)
        kept = []
        for a, b, da, db in zip(points, np.roll(points, -1, 0), inside, np.roll(inside, -1), strict=True):
            if da >= 0:
                kept.append(a)
            if da * db < 0:  # the edge crosses this border
                crossing = a + (b - a) * (da / (da - db))
                crossing[axis] = limit
                kept.append(crossing)
        points = np.array(kept).reshape(-1, 2)
    return points


def fill_polygon(points: np.ndarray, width: int, height: int, scale: int = 1) -> np.ndarray:
    """Mask (height, width) uint8, 1 inside the polygon (n, 2) enlarged by `scale`, pixels on its edge included."""
    fixed_point = np.round((points * scale - 0.5) * 256).astype(np.int32)
    return cv2.fillPoly(np.zeros((height, width), np.uint8), [fixed_point], 1, cv2.LINE_8, 8)


def rotated_box(points: np.ndarray) -> tuple[float, float, float, float, float]:
    """Smallest rectangle around points (n, 2): center x, y, long side, short side, angle of the long one, radians.

    The angle is measured clockwise from the x axis and lies in [-pi/4, 3pi/4).
    """
    (x, y), (w, h), degrees = cv2.minAreaRect(points.astype(np.float32))
    angle = math.radians(degrees + (0 if w >= h else 90))
    return x, y, max(w, h), min(w, h), (angle + math.pi / 4) % math.pi - math.pi / 4
