"""Several images become one."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ultralytics.data.instances import Instances, Sample, Size
from ultralytics.data.polygons import fill
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.letterbox import PADDING_VALUE, padding

MIXUP_BETA = 32.0  # both images stay visible
CUT_TRIES = 3
CUT_MIN_VISIBLE, CUT_MIN_VISIBLE_OUTLINE = 0.1, 0.01  # share of an object's box that the cut has to show


def mosaic4(samples: Sequence[Sample], size: int, rng: np.random.Generator) -> Sample:
    """Four images of at most `size` a side, meeting at a random point of a canvas of twice `size` a side.

    The point lies in the canvas' middle half. YOLOv4 (arXiv 2004.10934).
    """
    center_x, center_y = rng.uniform(size / 2, 3 * size / 2, 2).astype(int).tolist()
    side = 2 * size
    canvas = np.full((side, side, samples[0].img.shape[2]), PADDING_VALUE, np.uint8)
    parts = []
    for i, sample in enumerate(samples):
        (h, w), right, low = sample.size, i % 2, i // 2
        left, top = center_x - w * (1 - right), center_y - h * (1 - low)
        x, y = max(left, 0), max(top, 0)
        seen = sample.img[y - top : side - top, x - left : side - left]
        canvas[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        parts.append(sample.instances.translate(left, top))
    objects = type(parts[0]).concat(parts).clip((side, side))
    return replace(samples[0], img=canvas, instances=objects.select(objects.areas > 0), ratio_pad=None)


def mixup(first: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """Both images, of one size, in a weighted average, and the objects of both. mixup (arXiv 1710.09412)."""
    weight = rng.beta(MIXUP_BETA, MIXUP_BETA)
    img = cv2.addWeighted(first.img, weight, second.img, 1 - weight, 0).reshape(first.img.shape)
    return replace(first, img=img, instances=type(first.instances).concat((first.instances, second.instances)))


def cutmix(first: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """`first` with a rectangle of `second`, a image of the same size, where `first` has no objects.

    The rectangle covers a uniform share of the image before it is cut at the border. The first of three that is
    free of objects is taken; if there is none, or it shows no object of `second`, `first` stays as it is. CutMix
    (arXiv 1905.04899).
    """
    cut = next((c for c in _rectangles(first.size, rng) if not _covered(first.instances, c).any()), None)
    if cut is None:
        return first
    needed = np.where(second.instances.has_polygon, CUT_MIN_VISIBLE_OUTLINE, CUT_MIN_VISIBLE)
    objects = second.instances.select(_covered(second.instances, cut) >= needed)
    if not len(objects):
        return first
    x1, y1, x2, y2 = cut
    img = first.img.copy()
    img[y1:y2, x1:x2] = second.img[y1:y2, x1:x2]
    inside = objects.translate(-x1, -y1).clip((y2 - y1, x2 - x1))
    inside = inside.select(inside.areas > 0).translate(x1, y1)  # an outline may miss what its box meets
    return replace(first, img=img, instances=type(first.instances).concat((first.instances, inside)))


def _rectangles(size: tuple[int, int], rng: np.random.Generator) -> list[list[int]]:
    """Random rectangles x1, y1, x2, y2 of the image's own proportions, cut at its border."""
    sides = np.array((size[1], size[0]))
    half = np.sqrt(rng.random((CUT_TRIES, 1))) * sides / 2
    center = rng.random((CUT_TRIES, 2)) * sides
    corners = np.concatenate((center - half, center + half), axis=1)
    return np.clip(corners, 0, np.tile(sides, 2)).round().astype(int).tolist()


def _covered(objects: Instances, cut: Sequence[int]) -> np.ndarray:
    """(k,) share of each box that lies in the rectangle `cut`."""
    low, high = np.maximum(objects.boxes[:, :2], cut[:2]), np.minimum(objects.boxes[:, 2:], cut[2:])
    return (high - low).clip(min=0).prod(1) / objects.areas.clip(min=1e-9)


MAX_COVERED = 0.3  # share of an object already there that a pasted one's box may cover


def paste_mirrored(sample: Sample, share: float) -> Sample:
    """The sample with a share of its mirror image's objects, where these lie in the mirror image."""
    width = sample.size[1]
    mirrored = replace(sample, img=sample.img[:, ::-1], instances=sample.instances.flip_lr(width))
    return paste(sample, mirrored, share)


def paste(sample: Sample, source: Sample, share: float) -> Sample:
    """The sample with a share of those objects of `source`, a image of the same size, that there is room for.

    The share is of the objects with an outline whose box covers less than 0.3 of each object already there, those that
    cover least first. They hide what is below them, and the objects there keep their outlines.
    """
    covered = most_covered(source.instances, sample.instances)
    fitting = np.flatnonzero((covered < MAX_COVERED) & source.instances.has_polygon)
    chosen = fitting[np.argsort(covered[fitting], kind="stable")][: round(share * len(fitting))]
    if not len(chosen):
        return sample
    img = sample.img.copy()
    shapes = source.instances.polygons.split()
    for i in chosen:
        inside = fill(shapes[i], sample.size) > 0
        img[inside] = source.img[inside]
    parts = [sample.instances, *(source.instances.select(np.arange(len(covered)) == i) for i in chosen)]
    return replace(sample, img=img, instances=type(sample.instances).concat(parts))


def most_covered(new: Instances, old: Instances) -> np.ndarray:
    """(n,) the largest share of an old object's box that each new one's box covers, 0 where there is none."""
    low = np.maximum(new.boxes[:, None, :2], old.boxes[None, :, :2])
    high = np.minimum(new.boxes[:, None, 2:], old.boxes[None, :, 2:])
    shared = (high - low).clip(min=0).prod(2)
    return (shared / (old.areas + 1e-7)).max(1, initial=0.0)


# transform(image=..., bboxes=..., cls=...) -> {"image": ..., "bboxes": ..., "cls": ...}
# image (H, W, 3) uint8 RGB, bboxes (k, 4) xyxy in pixels, cls (k,). An `albumentations.Compose` with
# BboxParams(format="pascal_voc", label_fields=["cls"]) is one as it stands. A function that also takes `rng` gets the
# sample's numpy Generator: drawing from it, not from a global state, keeps samples the same for any number of workers.
Transform = Callable[..., dict[str, Any]]


def apply_transform(transform: Transform, sample: Sample, rng: np.random.Generator) -> Sample:
    """`sample` as the user's `transform` returns it: boxes clipped, empty ones dropped.

    Where it moves no box, as those that change colors do, objects stay as they are; else outlines are forgotten.

    Raises DatasetError if the transform returns something else than images of the same size and boxes with classes.
    """
    image = cv2.cvtColor(sample.img, cv2.COLOR_BGR2RGB)
    extra = {"rng": rng} if _takes_rng(transform) else {}
    result = transform(image=image, bboxes=sample.instances.boxes, cls=sample.instances.cls, **extra)
    try:
        image = np.asarray(result["image"])
        boxes = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
        cls = np.asarray(result["cls"], np.float32).reshape(-1)
    except (TypeError, KeyError, ValueError) as exc:
        raise DatasetError(
            f"{_name(transform)} has to return {{'image': (H, W, 3), 'bboxes': (k, 4), 'cls': (k,)}}: {exc!r}"
        ) from exc
    if image.shape != sample.img.shape or image.dtype != np.uint8 or len(boxes) != len(cls):
        raise DatasetError(
            f"{_name(transform)} returned an image {image.shape} {image.dtype} with {len(boxes)} boxes and {len(cls)} "
            f"classes: the image has to stay {sample.img.shape} uint8, and each box needs one class"
        )
    changed = replace(sample, img=cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    before = sample.instances
    same = np.array_equal(cls, before.cls) and np.allclose(boxes, before.boxes, atol=0.01)
    if same and len(before):
        return changed
    objects = type(sample.instances)(cls, boxes).clip(sample.size)
    return replace(changed, instances=objects.select(objects.areas > 0))


def _takes_rng(transform: Transform) -> bool:
    try:
        return "rng" in inspect.signature(transform).parameters
    except (TypeError, ValueError):  # builtins have no signature
        return False


def _name(transform: Transform) -> str:
    return f"transform {getattr(transform, '__name__', type(transform).__name__)}"


MIN_SIDE = 2  # pixels
MIN_VISIBLE, MIN_VISIBLE_OUTLINE = 0.1, 0.01  # share of an object's area that has to stay in the image
MAX_ASPECT = 100


@dataclass(frozen=True)
class MixProbs:
    """Probabilities of what joins several images."""

    mosaic: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    copy_paste: float = 0.0

    @classmethod
    def at(cls, options: Any, epoch: int) -> "MixProbs":
        """As in `options`, and nothing in the last `close_mosaic` of its `epochs`. `epoch` counts from 0."""
        if epoch >= options.epochs - options.close_mosaic:
            return cls()
        return cls(options.mosaic, options.mixup, options.cutmix, options.copy_paste)

    def __bool__(self) -> bool:
        return bool(self.mosaic or self.mixup or self.cutmix or self.copy_paste)


@dataclass(frozen=True)
class AugmentSettings:
    """How samples are made: their `size`, the options of the single steps, and the user's own steps."""

    options: Any
    size: Size
    mixing: MixProbs = MixProbs()
    transforms: Sequence[Transform] = ()


def augment(main: Sample, partner: Callable[[], Sample], settings: AugmentSettings, rng: np.random.Generator) -> Sample:
    """A training sample from the loaded image `main` and as many partners as it takes.

    In this order: mosaic, copy_paste of the mirrored image, affine, copy_paste of another, mixup, cutmix, the user's
    transforms, HSV, flips up-down and left-right, bgr.
    """
    options, mixing = settings.options, settings.mixing
    sample = mosaic_and_warp(main, partner, settings, rng)
    if mixing.copy_paste and options.copy_paste_mode == "mixup" and rng.random() < mixing.copy_paste:
        sample = paste(sample, mosaic_and_warp(partner(), partner, settings, rng), mixing.copy_paste)
    for probability, mix in ((mixing.mixup, mixup), (mixing.cutmix, cutmix)):
        if rng.random() < probability:
            sample = mix(sample, mosaic_and_warp(partner(), partner, settings, rng), rng)
    for transform in settings.transforms:
        sample = apply_transform(transform, sample, rng)
    sample = hsv(sample, options, rng)
    mirror = sample.instances.can_be_mirrored
    for probability, change in ((options.flipud, flip_ud), (options.fliplr, flip_lr), (options.bgr, swap_channels)):
        if rng.random() < probability and (mirror or change is swap_channels):
            sample = change(sample)
    return sample


def mosaic_and_warp(
    main: Sample, partner: Callable[[], Sample], settings: AugmentSettings, rng: np.random.Generator
) -> Sample:
    """Perhaps a mosaic, objects of its mirror image where asked for, then the affine."""
    if rng.random() < settings.mixing.mosaic:
        main = mosaic4((main, partner(), partner(), partner()), settings.size[0], rng)
    if settings.mixing.copy_paste and settings.options.copy_paste_mode == "flip":
        main = paste_mirrored(main, settings.mixing.copy_paste)
    return random_perspective(main, settings.size, settings.options, rng)


def random_perspective(sample: Sample, size: Size, options: Any, rng: np.random.Generator) -> Sample:
    """The image scaled, turned, sheared, moved and tilted at random about its middle, in a image of `size`."""
    scale = rng.uniform(1 - options.scale, 1 + options.scale)
    matrix = random_matrix(sample.size, size, scale, options, rng)
    moved = sample.instances.affine(matrix, size)
    objects = moved.select(keep_mask(sample.instances, moved, scale))
    return replace(sample, img=warp(sample.img, matrix, size), instances=objects, ratio_pad=None)


def random_matrix(source: Size, size: Size, scale: float, options: Any, rng: np.random.Generator) -> np.ndarray:
    """Matrix (3, 3) from a image of size `source` to one of `size`, both (height, width), in pixels.

    Where nothing is random, it puts the image where a letterbox would, which is its middle but for half a pixel.
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
    """`img` (H, W, C) moved by `matrix` (3, 3), bilinear, gray where there is nothing.

    Pixel i covers i to i + 1, as boxes have it; OpenCV puts its center at i.
    """
    to_edges, to_centers = np.eye(3), np.eye(3)
    to_edges[:2, 2], to_centers[:2, 2] = 0.5, -0.5
    matrix = to_centers @ matrix @ to_edges
    how = {"dsize": size[::-1], "flags": cv2.INTER_LINEAR, "borderValue": (PADDING_VALUE,) * 4}
    if matrix[2, 0] or matrix[2, 1]:
        out = cv2.warpPerspective(img, matrix, **how)
    else:
        out = cv2.warpAffine(img, matrix[:2], **how)
    return out.reshape(*size, img.shape[2])


def keep_mask(before: Instances, after: Instances, scale: float) -> np.ndarray:
    """(k,) bool: objects of which enough is left after a warp that made everything `scale` times as large."""
    sides = after.boxes[:, 2:] - after.boxes[:, :2]
    short, long = sides.min(1), sides.max(1)
    needed = np.where(before.has_polygon, MIN_VISIBLE_OUTLINE, MIN_VISIBLE)
    return (short > MIN_SIDE) & (long < MAX_ASPECT * short) & (after.areas > needed * before.areas * scale**2)


def hsv(sample: Sample, options: Any, rng: np.random.Generator) -> Sample:
    """Colors of the whole image, padding included: hue turned, saturation and value multiplied, rounded down."""
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
    return replace(sample, img=img, instances=sample.instances.flip_lr(img.shape[1]))


def flip_ud(sample: Sample) -> Sample:
    """Mirrored top to bottom."""
    img = cv2.flip(sample.img, 0).reshape(sample.img.shape)
    return replace(sample, img=img, instances=sample.instances.flip_ud(img.shape[0]))


def swap_channels(sample: Sample) -> Sample:
    """Red and blue exchanged."""
    return replace(sample, img=np.ascontiguousarray(sample.img[..., ::-1]))
