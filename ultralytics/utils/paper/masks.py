"""Masks in pixels of the original image as COCO has them, each kept as the part of it that a box holds.

Whole masks of hundreds of detections would fill the memory where images are large.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ultralytics.utils.letterbox import RatioPad


@dataclass(frozen=True)
class MaskPart:
    """Pixels (h, w) bool of a mask from the pixel x, y of its image on; outside it has none."""

    pixels: np.ndarray
    x: int
    y: int


def fill_polygon(points: np.ndarray, size: tuple[int, int]) -> MaskPart:
    """Pixels of an image of `size` (height, width) whose centers lie inside a polygon (p, 2), by the even-odd rule."""
    low, high = (limit.clip(0, size[::-1]).astype(int) for limit in (np.floor(points.min(0)), np.ceil(points.max(0))))
    p, q = points, np.roll(points, -1, axis=0)
    y = np.arange(low[1], high[1]) + 0.5
    row, edge = ((p[:, 1] > y[:, None]) != (q[:, 1] > y[:, None])).nonzero()  # edges that cross a row of centers
    along = (y[row] - p[edge, 1]) / (q[edge, 1] - p[edge, 1])
    crossing = p[edge, 0] + along * (q[edge, 0] - p[edge, 0])
    first = np.ceil(crossing - 0.5).clip(low[0], high[0]).astype(int) - low[0]  # pixel that begins right of it
    toggles = np.zeros((len(y), high[0] - low[0] + 1), int)
    np.add.at(toggles, (row, first), 1)
    return MaskPart(toggles.cumsum(1)[:, :-1] % 2 == 1, *low.tolist())


def parts_on_original(
    masks: np.ndarray, boxes: np.ndarray, shape: tuple[int, int], ratio_pad: RatioPad
) -> list[MaskPart]:
    """Masks (n, h, w) of a letterboxed image on the original of `shape`, which outside `boxes` (n, 4) xyxy are 0.

    The boxes are in pixels of the original. As `scale_masks` (utils/masks.py) and a cast to integers do, a pixel is of
    a mask only if all those of the letterboxed image are that it is interpolated from.
    """
    (gain_h, gain_w), (left, top) = ratio_pad
    sources = []  # (2, H) and (2, W): the two pixels that each row and each column is interpolated from
    for count, gain, start in ((shape[0], gain_h, top), (shape[1], gain_w, left)):
        source = round(count * gain)
        place = ((np.arange(count, dtype=np.float32) + 0.5) * np.float32(source / count) - 0.5).clip(0)
        lower = np.floor(place).astype(int)
        sources.append(round(start) + np.stack((lower, np.minimum(lower + (place > lower), source - 1))))
    rows, columns = sources
    limits = np.concatenate((np.floor(boxes[:, :2]) - 2, np.ceil(boxes[:, 2:]) + 2), 1)  # a pixel may reach further
    found = []
    for mask, (x1, y1, x2, y2) in zip(masks, limits.clip(0, (*shape[::-1], *shape[::-1])).astype(int), strict=True):
        both = mask[rows[0, y1:y2]] & mask[rows[1, y1:y2]]
        found.append(MaskPart((both[:, columns[0, x1:x2]] & both[:, columns[1, x1:x2]]) > 0, x1, y1))
    return found


def part_iou(one: Sequence[MaskPart], two: Sequence[MaskPart]) -> np.ndarray:
    """IoU of every mask of `one` with every one of `two`, (M, N)."""
    ious = np.zeros((len(one), len(two)))
    if not ious.size:
        return ious
    areas = [np.array([part.pixels.sum() for part in parts]) for parts in (one, two)]
    start, end = (
        [
            np.array([(p.x + far * p.pixels.shape[1], p.y + far * p.pixels.shape[0]) for p in parts])
            for parts in (one, two)
        ]
        for far in (0, 1)
    )
    low, high = np.maximum(start[0][:, None], start[1]), np.minimum(end[0][:, None], end[1])  # (M, N, 2) x, y
    for i, j in zip(*(low < high).all(2).nonzero(), strict=True):
        (x1, y1), (x2, y2) = low[i, j], high[i, j]
        a, b = (part.pixels[y1 - part.y : y2 - part.y, x1 - part.x : x2 - part.x] for part in (one[i], two[j]))
        both = np.count_nonzero(a & b)
        ious[i, j] = both / max(areas[0][i] + areas[1][j] - both, 1)
    return ious
