"""Several pictures become one."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from ultralytics.data.instances import Objects, Sample
from ultralytics.utils.letterbox import PADDING_VALUE

MIXUP_BETA = 32.0  # both pictures stay visible
CUT_TRIES = 3
CUT_MIN_VISIBLE, CUT_MIN_VISIBLE_OUTLINE = 0.1, 0.01  # share of an object's box that the cut has to show


def mosaic4(samples: Sequence[Sample], size: int, rng: np.random.Generator) -> Sample:
    """Four pictures of at most `size` a side, meeting at a random point of a canvas of twice `size` a side.

    The point lies in the canvas' middle half. YOLOv4 (arXiv 2004.10934).
    """
    centre_x, centre_y = rng.uniform(size / 2, 3 * size / 2, 2).astype(int).tolist()
    side = 2 * size
    canvas = np.full((side, side, samples[0].img.shape[2]), PADDING_VALUE, np.uint8)
    parts = []
    for i, sample in enumerate(samples):
        (h, w), right, low = sample.size, i % 2, i // 2
        left, top = centre_x - w * (1 - right), centre_y - h * (1 - low)
        x, y = max(left, 0), max(top, 0)
        seen = sample.img[y - top : side - top, x - left : side - left]
        canvas[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        parts.append(sample.objects.translate(left, top))
    objects = type(parts[0]).concat(parts).clip((side, side))
    return replace(samples[0], img=canvas, objects=objects.select(objects.areas > 0), ratio_pad=None)


def mixup(first: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """Both pictures, of one size, in a weighted average, and the objects of both. mixup (arXiv 1710.09412)."""
    weight = rng.beta(MIXUP_BETA, MIXUP_BETA)
    img = cv2.addWeighted(first.img, weight, second.img, 1 - weight, 0).reshape(first.img.shape)
    return replace(first, img=img, objects=type(first.objects).concat((first.objects, second.objects)))


def cutmix(first: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """`first` with a rectangle of `second`, a picture of the same size, where `first` has no objects.

    The rectangle covers a uniform share of the picture before it is cut at the border. The first of three that is
    free of objects is taken; if there is none, or it shows no object of `second`, `first` stays as it is. CutMix
    (arXiv 1905.04899).
    """
    cut = next((c for c in _rectangles(first.size, rng) if not _covered(first.objects, c).any()), None)
    if cut is None:
        return first
    needed = np.where(second.objects.outlined, CUT_MIN_VISIBLE_OUTLINE, CUT_MIN_VISIBLE)
    objects = second.objects.select(_covered(second.objects, cut) >= needed)
    if not len(objects):
        return first
    x1, y1, x2, y2 = cut
    img = first.img.copy()
    img[y1:y2, x1:x2] = second.img[y1:y2, x1:x2]
    inside = objects.translate(-x1, -y1).clip((y2 - y1, x2 - x1))
    inside = inside.select(inside.areas > 0).translate(x1, y1)  # an outline may miss what its box meets
    return replace(first, img=img, objects=type(first.objects).concat((first.objects, inside)))


def _rectangles(size: tuple[int, int], rng: np.random.Generator) -> list[list[int]]:
    """Random rectangles x1, y1, x2, y2 of the picture's own proportions, cut at its border."""
    sides = np.array((size[1], size[0]))
    half = np.sqrt(rng.random((CUT_TRIES, 1))) * sides / 2
    centre = rng.random((CUT_TRIES, 2)) * sides
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return np.clip(corners, 0, np.tile(sides, 2)).round().astype(int).tolist()


def _covered(objects: Objects, cut: Sequence[int]) -> np.ndarray:
    """(k,) share of each box that lies in the rectangle `cut`."""
    low, high = np.maximum(objects.boxes[:, :2], cut[:2]), np.minimum(objects.boxes[:, 2:], cut[2:])
    return (high - low).clip(min=0).prod(1) / objects.areas.clip(min=1e-9)
