"""Paint for scenes of shapes: cluttered backgrounds, textured fills, light and shadow.

Until the last step images are (3, height, width) BGR in 0..1, in float64, so that the last digits in which
processors, thread counts and memory layouts differ are lost in the rounding to 8 bits. All randomness is the generator
passed in.
"""

import colorsys
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from ultralytics.data.shapes.outlines import fill_polygon
from ultralytics.data.shapes.scenes import Scene

SUPERSAMPLING = 4
CONTRAST = 0.4
FILLS = ("plain", "striped", "checked", "dotted", "marbled", "speckled")


@dataclass(frozen=True)
class _Light:
    """One lamp for the whole scene: where it stands (unit vector towards it), how dark its shadows are."""

    towards: tuple[float, float]
    shadow: float


def paint_scene(scene: Scene, rng: Generator, clutter: float = 1.0) -> np.ndarray:
    """Image (height, width, 3) uint8 BGR of a scene."""
    angle = rng.uniform(0.9, 1.6) * math.pi
    light = _Light((math.cos(angle), math.sin(angle)), rng.uniform(0.25, 0.55))
    picture = _background(rng, scene.width, scene.height, clutter)
    for item in scene.objects:
        fill = item.name.split()[0] if " " in item.name else FILLS[rng.integers(len(FILLS))]
        _paint_object(picture, item.whole, fill, light, rng)
    return _photograph(picture, rng)


def _color(
    rng: Generator, saturation: tuple[float, float], value: tuple[float, float], hue: float | None = None
) -> np.ndarray:
    """A color (3, 1, 1) BGR of the given range, of any hue unless one is given."""
    hue = rng.random() if hue is None else hue
    return np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(*saturation), rng.uniform(*value))[::-1]).reshape(3, 1, 1)


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Color or image between a and b, at `share` (h, w) in 0..1 of the way."""
    return a + (b - a) * share


def _noise(rng: Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise (height, width) in about 0..1, whose spots are `cell` pixels wide."""
    grid = rng.random((math.ceil(height / cell) + 3, math.ceil(width / cell) + 3))
    size = round(grid.shape[1] * cell), round(grid.shape[0] * cell)
    top, left = (rng.random(2) * cell).astype(int)
    return cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[top : top + height, left : left + width]


def _clouds(rng: Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Noise of four octaves (height, width) in 0..1."""
    total = sum(_noise(rng, height, width, max(cell / 2**i, 1.5)) / 2**i for i in range(4))
    return np.clip((total / 1.875 - 0.2) / 0.6, 0, 1)


def _waves(rng: Generator, height: int, width: int, period: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates u, v (height, width) each, in periods, along two perpendicular axes at a random angle."""
    y, x = np.mgrid[:height, :width]
    angle, shift = rng.uniform(0, math.pi), rng.random(2)
    u = (x * math.cos(angle) + y * math.sin(angle)) / period
    v = (y * math.cos(angle) - x * math.sin(angle)) / period
    return u + shift[0], v + shift[1]


def _edge(field: np.ndarray, period: float) -> np.ndarray:
    """0 where a field is negative, 1 where positive, with an edge about a pixel soft."""
    return np.clip(0.5 + field * period / 5, 0, 1)


def _pattern(fill: str, rng: Generator, height: int, width: int, period: float) -> np.ndarray:
    """Fraction of a fill's second color, (height, width) in 0..1, in a pattern of about `period` pixels."""
    if fill == "plain":
        return 0.4 * _clouds(rng, height, width, 3 * period)
    if fill == "speckled":
        return _edge(_noise(rng, height, width, max(period / 3, 2)) - 0.62, 2 * period)
    if fill == "striped":
        u, _ = _waves(rng, height, width, period)
        return _edge(np.sin(2 * math.pi * u) - rng.uniform(-0.5, 0.5), period)
    if fill == "checked":
        u, v = _waves(rng, height, width, 1.5 * period)
        return _edge(np.sin(2 * math.pi * u) * np.sin(2 * math.pi * v), 1.5 * period)
    if fill == "dotted":
        u, v = _waves(rng, height, width, period)
        return _edge(rng.uniform(0.28, 0.4) - np.hypot(u % 1 - 0.5, v % 1 - 0.5), 5 * period)
    u, _ = _waves(rng, height, width, 2 * period)  # marbled
    return 0.5 + 0.5 * np.sin(2 * math.pi * (u + 1.5 * _clouds(rng, height, width, 4 * period)))


def _background(rng: Generator, width: int, height: int, clutter: float) -> np.ndarray:
    """A gradient between two muted colors, a faint pattern, clouds, then blobs and strokes that are no shape."""
    hue = rng.random()
    value = rng.uniform(0.2, 0.8)
    a = _color(rng, (0.05, 0.5), (value, value + 0.2), hue)
    b = _color(rng, (0.05, 0.5), (value - 0.1, value + 0.1), hue + rng.uniform(-0.15, 0.15))
    u, _ = _waves(rng, height, width, width + height)
    picture = _mix(a, b, 0.5 + 0.5 * np.sin(2 * math.pi * u))
    fill = FILLS[rng.integers(len(FILLS))]
    pattern = _pattern(fill, rng, height, width, rng.uniform(8, 24))
    for field in (pattern, _clouds(rng, height, width, rng.uniform(20, 120))):
        picture = picture * (1 + clutter * rng.uniform(0.05, 0.3) * (field - 0.5))
    for _ in range(round(clutter * rng.integers(2, 9))):
        _paint_blob(picture, rng)
    for _ in range(round(clutter * rng.integers(0, 9))):
        _paint_stroke(picture, rng)
    return picture


def _window(points: np.ndarray, margin: float, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image (a view) around points (n, 2), and the points in its coordinates."""
    low = np.maximum(np.floor(points.min(0) - margin), 0).astype(int)
    high = np.maximum(np.ceil(points.max(0) + margin), 0).astype(int)
    return picture[:, low[1] : high[1], low[0] : high[0]], points - low


def _paint_blob(picture: np.ndarray, rng: Generator) -> None:
    """A lumpy, half transparent patch of no class: a circle whose radius varies widely and irregularly."""
    angle = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    lumps = sum(rng.uniform(0.1, 0.3) * np.sin(k * angle + rng.uniform(0, 2 * math.pi)) for k in (2, 3, 5))
    radius, softness = rng.uniform(8, 60), rng.uniform(0.6, 6)
    points = np.stack((np.cos(angle), np.sin(angle)), 1) * (radius * (1 + lumps))[:, None]
    patch, points = _window(points + rng.random(2) * picture.shape[:0:-1], 3 * softness, picture)
    mask = fill_polygon(points, *patch.shape[:0:-1]) * rng.uniform(0.2, 0.7)
    patch[:] = _mix(patch, _color(rng, (0.1, 0.7), (0.2, 0.9)), cv2.GaussianBlur(mask, (0, 0), softness))


def _paint_stroke(picture: np.ndarray, rng: Generator) -> None:
    """A curved line, a cubic Bezier, from one place to another."""
    knots = rng.random((4, 2)) * picture.shape[:0:-1]
    t = np.linspace(0, 1, 30)[:, None]
    points = np.hstack(((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)) @ knots
    patch, points = _window(points, 4, picture)
    mask = np.zeros(patch.shape[1:], np.uint8)
    cv2.polylines(mask, [np.round(points * 16).astype(np.int32)], False, 255, int(rng.integers(1, 5)), cv2.LINE_AA, 4)
    patch[:] = _mix(patch, _color(rng, (0, 0.7), (0.1, 0.95)), mask * (rng.uniform(0.3, 0.9) / 255))


def _paint_object(picture: np.ndarray, whole: np.ndarray, fill: str, light: _Light, rng: Generator) -> None:
    """Shadow, then the fill under the scene's light, inside the outline (n, 2)."""
    side = float(np.ptp(whole, axis=0).max())
    patch, points = _window(whole, 0.25 * side + 4, picture)
    alpha = coverage(points, *patch.shape[:0:-1])
    under = (patch * alpha).sum((1, 2), keepdims=True) / alpha.sum()
    reach = 0.08 * side
    moved = coverage(points - reach * np.array(light.towards), *patch.shape[:0:-1])
    patch *= 1 - light.shadow * cv2.GaussianBlur(moved, (0, 0), 0.5 * reach + 0.5)
    first, second = _contrasting(rng, under)
    share = _pattern(fill, rng, *alpha.shape, max(side * rng.uniform(0.12, 0.22), 5))
    surface = _mix(first, second, share) * _shading(alpha, light, side, rng)
    patch[:] = _mix(patch, np.clip(surface, 0, 1), alpha)


def coverage(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Fraction (height, width) of each pixel inside a polygon."""
    fine = fill_polygon(points, width * SUPERSAMPLING, height * SUPERSAMPLING, SUPERSAMPLING).astype(float)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def _contrasting(rng: Generator, under: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fill's two colors, both unlike the background's mean color under it."""
    while True:
        hue = rng.random()
        first = _color(rng, (0.3, 0.95), (0.25, 1), hue)
        other = _color(rng, (0.05, 0.9), (0.1, 1), hue + rng.uniform(-0.15, 0.15))
        second = first + (other - first) * rng.uniform(0.3, 0.8)
        if min(np.linalg.norm(first - under), np.linalg.norm(second - under)) > CONTRAST:
            return first, second


def _shading(alpha: np.ndarray, light: _Light, side: float, rng: Generator) -> np.ndarray:
    """Brightness (h, w) around 1 of a surface that bulges: a narrow bevel along the outline up to a whole dome."""
    depth = side * rng.uniform(0.06, 0.4)
    inward = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inward = np.sqrt(np.round(np.square(inward, dtype=float)))  # squares of distances are integers: exact again
    height = depth * np.sqrt(1 - (1 - np.clip(inward / depth, 0, 1)) ** 2)
    height = cv2.GaussianBlur(height, (0, 0), 0.03 * side + 0.7)
    slope_y, slope_x = np.gradient(height)
    facing = -(slope_x * light.towards[0] + slope_y * light.towards[1]) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return 1 + rng.uniform(0.3, 0.7) * facing


def _photograph(picture: np.ndarray, rng: Generator) -> np.ndarray:
    """The image as a small camera takes it: a little blur, darker corners, grain; (height, width, 3) uint8."""
    _, height, width = picture.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture = picture * (1 - rng.uniform(0, 0.15) * (x * x + y * y))
    picture += rng.uniform(0.005, 0.03) * rng.standard_normal(picture.shape, dtype=np.float32)
    picture = cv2.GaussianBlur(picture.transpose(1, 2, 0), (0, 0), rng.uniform(0.3, 0.8))
    return np.clip(np.round(picture * 255), 0, 255).astype(np.uint8)
