"""Augmentation: pure functions of samples, options and a generator; nothing here draws from a global state."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ultralytics.data.copy_paste import paste, paste_mirrored
from ultralytics.data.instances import Objects, Sample, Size
from ultralytics.data.mosaic import cutmix, mixup, mosaic4
from ultralytics.data.transforms import Transform, apply_transform
from ultralytics.utils.letterbox import PADDING_VALUE, padding

MIN_SIDE = 2  # pixels
MIN_VISIBLE, MIN_VISIBLE_OUTLINE = 0.1, 0.01  # share of an object's area that has to stay in the picture
MAX_ASPECT = 100


@dataclass(frozen=True)
class Mixing:
    """Probabilities of what joins several pictures."""

    mosaic: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    copy_paste: float = 0.0

    @classmethod
    def at(cls, options: Any, epoch: int) -> "Mixing":
        """As in `options`, and nothing in the last `close_mosaic` of its `epochs`. `epoch` counts from 0."""
        if epoch >= options.epochs - options.close_mosaic:
            return cls()
        return cls(options.mosaic, options.mixup, options.cutmix, options.copy_paste)

    def __bool__(self) -> bool:
        return bool(self.mosaic or self.mixup or self.cutmix or self.copy_paste)


@dataclass(frozen=True)
class Recipe:
    """How samples are made: their `size`, the options of the single steps, and the user's own steps."""

    options: Any
    size: Size
    mixing: Mixing = Mixing()
    transforms: Sequence[Transform] = ()


def augment(main: Sample, partner: Callable[[], Sample], recipe: Recipe, rng: np.random.Generator) -> Sample:
    """A training sample from the loaded picture `main` and as many partners as it takes.

    In this order: mosaic, copy_paste of the mirrored picture, affine, copy_paste of another, mixup, cutmix, the user's
    transforms, HSV, flips up-down and left-right, bgr.
    """
    options, mixing = recipe.options, recipe.mixing
    sample = _composed(main, partner, recipe, rng)
    if mixing.copy_paste and options.copy_paste_mode == "mixup" and rng.random() < mixing.copy_paste:
        sample = paste(sample, _composed(partner(), partner, recipe, rng), mixing.copy_paste)
    for probability, mix in ((mixing.mixup, mixup), (mixing.cutmix, cutmix)):
        if rng.random() < probability:
            sample = mix(sample, _composed(partner(), partner, recipe, rng), rng)
    for transform in recipe.transforms:
        sample = apply_transform(transform, sample, rng)
    sample = hsv(sample, options, rng)
    mirror = sample.objects.can_be_mirrored
    for probability, change in ((options.flipud, flip_ud), (options.fliplr, flip_lr), (options.bgr, swap_channels)):
        if rng.random() < probability and (mirror or change is swap_channels):
            sample = change(sample)
    return sample


def _composed(main: Sample, partner: Callable[[], Sample], recipe: Recipe, rng: np.random.Generator) -> Sample:
    """Perhaps a mosaic, objects of its mirror image where asked for, then the affine."""
    if rng.random() < recipe.mixing.mosaic:
        main = mosaic4((main, partner(), partner(), partner()), recipe.size[0], rng)
    if recipe.mixing.copy_paste and recipe.options.copy_paste_mode == "flip":
        main = paste_mirrored(main, recipe.mixing.copy_paste)
    return random_affine(main, recipe.size, recipe.options, rng)


def random_affine(sample: Sample, size: Size, options: Any, rng: np.random.Generator) -> Sample:
    """The picture scaled, turned, sheared, moved and tilted at random about its middle, in a picture of `size`."""
    scale = rng.uniform(1 - options.scale, 1 + options.scale)
    matrix = random_matrix(sample.size, size, scale, options, rng)
    moved = sample.objects.affine(matrix, size)
    objects = moved.select(still_visible(sample.objects, moved, scale))
    return replace(sample, img=warp(sample.img, matrix, size), objects=objects, ratio_pad=None)


def random_matrix(source: Size, size: Size, scale: float, options: Any, rng: np.random.Generator) -> np.ndarray:
    """Matrix (3, 3) from a picture of size `source` to one of `size`, both (height, width), in pixels.

    Where nothing is random, it puts the picture where a letterbox would, which is its middle but for half a pixel.
    """
    left, top, _, _ = padding(source, size)
    height, width = size
    turn, shear_x, shear_y = np.deg2rad(rng.uniform(-1, 1, 3) * (options.degrees, options.shear, options.shear))
    tilt = rng.uniform(-1, 1, 2) * options.perspective
    shift = (rng.uniform(-1, 1, 2) * options.translate + 0.5) * (width, height)
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    to_middle = np.array(((1, 0, left - width / 2), (0, 1, top - height / 2), (0, 0, 1)))
    tilted = np.array(((1, 0, 0), (0, 1, 0), (*tilt, 1)))
    turned = np.array(((cos, sin, 0), (-sin, cos, 0), (0, 0, 1)))
    sheared = np.array(((1, math.tan(shear_x), 0), (math.tan(shear_y), 1, 0), (0, 0, 1)))
    shifted = np.array(((1, 0, shift[0]), (0, 1, shift[1]), (0, 0, 1)))
    return shifted @ sheared @ turned @ tilted @ to_middle


def warp(img: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
    """`img` (H, W, C) moved by `matrix` (3, 3), bilinear, grey where there is nothing.

    Pixel i covers i to i + 1, as boxes have it; OpenCV puts its centre at i.
    """
    to_edges, to_centres = np.eye(3), np.eye(3)
    to_edges[:2, 2], to_centres[:2, 2] = 0.5, -0.5
    matrix = to_centres @ matrix @ to_edges
    how = {"dsize": size[::-1], "flags": cv2.INTER_LINEAR, "borderValue": (PADDING_VALUE,) * 4}
    if matrix[2, 0] or matrix[2, 1]:
        out = cv2.warpPerspective(img, matrix, **how)
    else:
        out = cv2.warpAffine(img, matrix[:2], **how)
    return out.reshape(*size, img.shape[2])


def still_visible(before: Objects, after: Objects, scale: float) -> np.ndarray:
    """(k,) bool: objects of which enough is left after a warp that made everything `scale` times as large."""
    sides = after.boxes[:, 2:] - after.boxes[:, :2]
    short, long = sides.min(1), sides.max(1)
    needed = np.where(before.outlined, MIN_VISIBLE_OUTLINE, MIN_VISIBLE)
    return (short > MIN_SIDE) & (long < MAX_ASPECT * short) & (after.areas > needed * before.areas * scale**2)


def hsv(sample: Sample, options: Any, rng: np.random.Generator) -> Sample:
    """Colours of the whole picture, padding included: hue turned, saturation and value multiplied, rounded down."""
    gains = np.array((options.hsv_h, options.hsv_s, options.hsv_v))
    if not gains.any() or sample.img.shape[2] != 3:
        return sample
    turn, *factors = rng.uniform(-1, 1, 3) * gains
    levels = np.arange(256)
    hue = (levels + turn * 180) % 180
    saturation, value = (np.clip(levels * (1 + factor), 0, 255) for factor in factors)
    tables = [table.astype(np.uint8) for table in (hue, saturation, value)]
    planes = cv2.split(cv2.cvtColor(sample.img, cv2.COLOR_BGR2HSV))
    img = cv2.merge([cv2.LUT(plane, table) for plane, table in zip(planes, tables, strict=True)])
    return replace(sample, img=cv2.cvtColor(img, cv2.COLOR_HSV2BGR))


def flip_lr(sample: Sample) -> Sample:
    """Mirrored left to right."""
    img = cv2.flip(sample.img, 1).reshape(sample.img.shape)
    return replace(sample, img=img, objects=sample.objects.flip_lr(img.shape[1]))


def flip_ud(sample: Sample) -> Sample:
    """Mirrored top to bottom."""
    img = cv2.flip(sample.img, 0).reshape(sample.img.shape)
    return replace(sample, img=img, objects=sample.objects.flip_ud(img.shape[0]))


def swap_channels(sample: Sample) -> Sample:
    """Red and blue exchanged."""
    return replace(sample, img=np.ascontiguousarray(sample.img[..., ::-1]))
