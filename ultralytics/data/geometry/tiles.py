"""Images on a canvas, drawn straight into a sample as far as they are seen."""

import math
from collections.abc import Iterable

import cv2
import numpy as np

from ultralytics.data.instances import Size
from ultralytics.utils.letterbox import PADDING_VALUE

CUT_SLACK = 48  # pixels further out that an image may be cut, to be cut between pixels

Tile = tuple[np.ndarray, int, int]  # an image (h, w, C), and its left and top on a canvas


def is_upright(matrix: np.ndarray) -> bool:
    """Whether a matrix (3, 3) only scales, to more than nothing, and shifts."""
    return matrix[0, 0] > 0 and matrix[1, 1] > 0 and not (matrix[0, 1] or matrix[1, 0] or matrix[2, 0] or matrix[2, 1])


def on_whole_pixels(matrix: np.ndarray, fixed: tuple[int, int], sides: tuple[int, int]) -> np.ndarray:
    """An upright `matrix`, changed by less than a pixel: `fixed` (x, y) goes to whole pixels, and so do `sides` (w, h).

    So the edges of images that reach from `fixed` as far as `sides` lie between pixels, where resizing puts them.
    """
    matrix = matrix.copy()
    for axis in (0, 1):
        scale = max(round(matrix[axis, axis] * sides[axis]), 1) / sides[axis]
        matrix[axis, 2] = round(matrix[axis, axis] * fixed[axis] + matrix[axis, 2]) - scale * fixed[axis]
        matrix[axis, axis] = scale
    return matrix


def draw(tiles: Iterable[Tile], canvas: Size, matrix: np.ndarray, size: Size) -> np.ndarray:
    """Images on a canvas that cuts them, moved by `matrix` (3, 3) into an image of `size`, gray where there is nothing.

    Each image is read only as far as it is seen, and the canvas is never made.
    """
    tiles = list(tiles)
    out = np.full((*size, tiles[0][0].shape[2]), PADDING_VALUE, np.uint8)
    if is_upright(matrix):
        scale, shift = matrix.diagonal()[:2], matrix[:2, 2]
        x0, y0 = np.rint(shift).astype(int).clip(0)
        x1, y1 = np.rint(shift + scale * canvas[::-1]).astype(int).clip((x0, y0))
        for img, left, top in tiles:
            resize_into(out[y0:y1, x0:x1], img, scale.tolist(), (shift + scale * (left, top) - (x0, y0)).tolist())
        return out
    for img, left, top in tiles:
        x, y = max(-left, 0), max(-top, 0)
        seen = img[y : max(canvas[0] - top, y), x : max(canvas[1] - left, x)]
        if seen.size:
            to_canvas = np.array(((1, 0, left + x), (0, 1, top + y), (0, 0, 1)))
            warp_into(out, seen, matrix @ to_canvas)
    return out


def resize_into(out: np.ndarray, img: np.ndarray, scale: tuple[float, float], shift: tuple[float, float]) -> None:
    """Draw `img` (h, w, C), scaled and shifted by x, y, into `out` (H, W, C), its edges at the nearest pixels.

    For what neither turns nor tilts it is several times faster than a warp.
    """
    (x0, x1, left, right), (y0, y1, top, bottom) = (
        visible_span(img.shape[1 - axis], scale[axis], shift[axis], out.shape[1 - axis]) for axis in (0, 1)
    )
    if right <= max(left, 0) or bottom <= max(top, 0):
        return
    resized = cv2.resize(img[y0:y1, x0:x1], (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    resized = resized.reshape(bottom - top, right - left, -1)[max(-top, 0) :, max(-left, 0) :]  # OpenCV drops 1 channel
    seen = out[max(top, 0) : bottom, max(left, 0) : right]
    seen[:] = resized[: seen.shape[0], : seen.shape[1]]


def visible_span(length: int, scale: float, shift: float, limit: int) -> tuple[int, int, int, int]:
    """Of a line of `length` pixels, moved to i * scale + shift, those seen in 0..limit: first, end, and where they go.

    Where the border would cut a pixel, resizing whole pixels to whole pixels would move the image a little. So the cut
    is made a few pixels further out, where it falls between pixels both before and after.
    """
    first = min(max(math.floor(-shift / scale), 0), length)
    end = max(min(math.ceil((limit - shift) / scale), length), first)
    left, right = round(shift), round(length * scale + shift)
    if first > 0:
        first, left = best_cut(max(first - CUT_SLACK, 0), first, scale, shift)
    if end < length:
        end, right = best_cut(end, min(end + CUT_SLACK, length), scale, shift)
    return first, end, left, right


def best_cut(low: int, high: int, scale: float, shift: float) -> tuple[int, int]:
    """The border between pixels in `low`..`high` that comes to lie closest to one, and which one that is."""
    goes_to = np.arange(low, high + 1) * scale + shift
    best = int(np.abs(goes_to - np.rint(goes_to)).argmin())
    return low + best, round(goes_to.item(best))


def warp_into(out: np.ndarray, img: np.ndarray, matrix: np.ndarray) -> None:
    """Draw `img` (h, w, C) into `out` (H, W, C) moved by `matrix` (3, 3), bilinear.

    Pixel i covers i to i + 1, as boxes have it; OpenCV puts its center at i.
    """
    (height, width), (h, w) = out.shape[:2], img.shape[:2]
    x0, y0, x1, y1 = 0, 0, width, height
    corners = matrix @ np.array(((0, w, 0, w), (0, 0, h, h), (1, 1, 1, 1)))
    if (corners[2] > 0).all():  # else a part of it is behind the horizon, and may be anywhere
        x, y = corners[:2] / corners[2]
        x0, y0 = max(math.floor(x.min()), 0), max(math.floor(y.min()), 0)
        x1, y1 = min(math.ceil(x.max()), width), min(math.ceil(y.max()), height)
    if x1 <= x0 or y1 <= y0:
        return
    to_edges, to_centers = np.eye(3), np.eye(3)
    to_edges[:2, 2], to_centers[:2, 2] = 0.5, (-0.5 - x0, -0.5 - y0)
    matrix = to_centers @ matrix @ to_edges
    seen = np.ascontiguousarray(out[y0:y1, x0:x1])
    how = {"dsize": (x1 - x0, y1 - y0), "flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_TRANSPARENT}
    if matrix[2, 0] or matrix[2, 1]:
        seen = cv2.warpPerspective(img, matrix, dst=seen, **how)
    else:  # without perspective the faster function will do
        seen = cv2.warpAffine(img, matrix[:2], dst=seen, **how)
    out[y0:y1, x0:x1] = seen.reshape(y1 - y0, x1 - x0, -1)
