"""Scenes of shapes: the objects, their places, and the part of each that can be seen. No paint."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from ultralytics.data.shapes.outlines import OUTLINES, Outline, clip_polygon, fill_polygon, polygon_area, turn

UNSEEN, COVERED, VISIBLE = 0, 1, 2
PLACES_TRIED = 20


@dataclass(frozen=True)
class Recipe:
    """Ingredients of scenes.

    `classes`: names of outlines, or of fill and outline ("striped disc") where the fill tells classes apart.
    `pictures`: sizes (width, height) to choose from. `objects`: minimum and maximum tried in one scene. `sides`: range
    of a shape's longest side before it is rotated, pixels. `hidden`: fraction of an object that may be out of sight,
    behind others or outside the image. `clutter`: from 0, a plain background, to 1.
    """

    classes: tuple[str, ...] = tuple(OUTLINES)
    pictures: tuple[tuple[int, int], ...] = ((320, 240), (320, 320), (240, 320), (320, 256))
    objects: tuple[int, int] = (2, 7)
    sides: tuple[float, float] = (44, 130)
    hidden: float = 0.4
    clutter: float = 1.0


DEFAULT_RECIPE = Recipe()


@dataclass(frozen=True)
class SceneObject:
    """One object, in pixels.

    `whole` (n, 2): its outline, which may leave the image. `polygon` (m, 2): the outline cut to the image, parts
    behind other objects included. `corners` (5, 3): x, y and VISIBLE, COVERED by another object, or UNSEEN (x = y = 0):
    outside the image or not there in this shape. `shown`: the fraction of the whole in sight.
    """

    name: str
    whole: np.ndarray
    polygon: np.ndarray
    corners: np.ndarray
    shown: float

    @property
    def box(self) -> np.ndarray:
        """Bounds of the polygon, (4,) xyxy."""
        return np.concatenate((self.polygon.min(0), self.polygon.max(0)))


@dataclass(frozen=True)
class Scene:
    """An image's size and its objects in the order of painting: the largest first, so that the smallest is on top."""

    width: int
    height: int
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True)
class _Candidate:
    name: str
    whole: np.ndarray
    corners: np.ndarray
    polygon: np.ndarray
    area: float  # of the polygon
    mask: np.ndarray


def compose_scene(rng: Generator, recipe: Recipe) -> Scene:
    """Place a random number of objects one after the other, each where it hides none of them too much."""
    width, height = recipe.pictures[rng.integers(len(recipe.pictures))]
    placed: list[_Candidate] = []
    for _ in range(rng.integers(recipe.objects[0], recipe.objects[1] + 1)):
        placed = _add_object(placed, rng, recipe, width, height)
    shown = _shares_in_sight(placed)
    objects = [
        SceneObject(c.name, c.whole, c.polygon, _visible_corners(c.corners, placed[i + 1 :], width, height), shown[i])
        for i, c in enumerate(placed)
    ]
    return Scene(width, height, tuple(objects))


def _add_object(placed: list[_Candidate], rng: Generator, recipe: Recipe, width: int, height: int) -> list[_Candidate]:
    """The objects and a new one, sorted for painting; without it where no place was found."""
    name = recipe.classes[rng.integers(len(recipe.classes))]
    outline = OUTLINES[name.split()[-1]]
    low, high = recipe.sides
    side = low * (high / low) ** rng.random()  # uniform on a logarithmic scale
    matrix = side * _pose(outline, rng)
    margin = min(0.3 * side, width / 2, height / 2)
    for _ in range(PLACES_TRIED):
        center = rng.uniform(margin, (width - margin, height - margin))
        whole = np.round(outline.points @ matrix.T + center, 2)
        polygon = np.round(clip_polygon(whole, width, height), 2)
        if len(polygon) == 0 or np.ptp(polygon, axis=0).min() < low / 3:
            continue
        corners = np.round(outline.corners @ matrix.T + center, 2)
        mask = fill_polygon(whole, width, height).astype(bool)
        new = _Candidate(name, whole, corners, polygon, polygon_area(polygon), mask)
        # The new object may hide others or be hidden itself, as sizes decide on the order of painting.
        together = sorted([*placed, new], key=lambda c: -c.area)
        if min(_shares_in_sight(together)) >= 1 - recipe.hidden:
            return together
    return placed


def _pose(outline: Outline, rng: Generator) -> np.ndarray:
    """Matrix (2, 2): rotated, then tilted as if seen a little from the side.

    The tilt is symmetric, so the corners of a tilted disc are where an eye that sees only the ellipse would put them.
    """
    rotation = turn(rng.uniform(-1, 1) * math.pi / outline.fold)
    axis = turn(rng.uniform(0, math.pi))
    return axis @ np.diag((1, rng.uniform(0.75, 1))) @ axis.T @ rotation


def _shares_in_sight(painted: list[_Candidate]) -> list[float]:
    """Fraction of each whole outline that neither later objects nor the image's edge hide."""
    covered = np.False_
    shares = []
    for candidate in reversed(painted):
        uncovered = np.count_nonzero(candidate.mask & ~covered) / np.count_nonzero(candidate.mask)
        inside = min(candidate.area / polygon_area(candidate.whole), 1.0)  # fraction of the outline in the image
        shares.append(float(inside * uncovered))
        covered = covered | candidate.mask
    return shares[::-1]


def _visible_corners(corners: np.ndarray, above: list[_Candidate], width: int, height: int) -> np.ndarray:
    """Corners (5, 3) of an object under others."""
    rows = np.zeros((len(corners), 3))
    for row, (x, y) in zip(rows, corners, strict=True):
        if 0 <= x <= width and 0 <= y <= height:
            hidden = any(cv2.pointPolygonTest(c.whole.astype(np.float32), (x, y), False) > 0 for c in above)
            row[:] = x, y, COVERED if hidden else VISIBLE
    return rows
