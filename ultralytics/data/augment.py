"""Augmentation: all that a training image passes, in the order of `augment`.

Mosaic, copy-paste, a random perspective, mixup and cutmix, the user's own transforms, colors, flips. All randomness
comes from the sample's own generator, so a sample is the same whichever process makes it.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from ultralytics.cfg import Options
from ultralytics.data.images import swap_colors
from ultralytics.data.instances import Instances, Sample, Size
from ultralytics.data.polygons import fill
from ultralytics.utils import refused
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.letterbox import PADDING_VALUE, padding
from ultralytics.utils.metrics import bbox_ioa

MIN_SIDE = 2  # pixels
MAX_ASPECT = 100
MIN_VISIBLE, MIN_VISIBLE_POLYGON = 0.1, 0.01  # fraction of an instance that has to stay in sight; polygons fit better
MAX_COVERED = 0.3  # fraction of an instance that the box of a pasted one may cover
MIXUP_BETA = 32.0  # weights near a half: both images stay visible
CUT_TRIES = 3
CUT_SLACK = 48  # pixels further out that an image may be cut, to be cut between pixels
LEVELS = np.arange(256)
ABOVE = 1e-4  # far more than what single precision rounds away of a product up to 255
BAND_PIXELS = 1 << 16  # of which all that `hsv` makes, 12 bytes each, fits into the L2 cache of a core

Tile = tuple[np.ndarray, int, int]  # an image (h, w, C), and its left and top on a canvas

# transform(image=..., bboxes=..., cls=...) -> {"image": ..., "bboxes": ..., "cls": ...}
# image (H, W, 3) uint8 RGB or (H, W, 1) gray, bboxes (k, 4) xyxy in pixels, cls (k,). An `albumentations.Compose` with
# BboxParams(format="pascal_voc", label_fields=["cls"]) is one as it stands. A function that also takes `rng` gets the
# sample's numpy Generator: drawing from it, not from a global state, keeps samples the same for any number of workers.
Transform = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class MixProbs:
    """Probabilities of the steps that join several images."""

    mosaic: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    copy_paste: float = 0.0  # also the fraction of the instances that are then pasted

    @classmethod
    def at(cls, options: Options, epoch: int) -> "MixProbs":
        """Probabilities of `options`, but 0 in the last `close_mosaic` of its `epochs`. `epoch` counts from 0."""
        if epoch >= options.epochs - options.close_mosaic:
            return cls()
        return cls(options.mosaic, options.mixup, options.cutmix, options.copy_paste)

    def __bool__(self) -> bool:
        return bool(self.mosaic or self.mixup or self.cutmix or self.copy_paste)


@dataclass(frozen=True)
class AugmentSettings:
    """Settings of `augment`: options of the single steps, size of the sample, the user's own steps."""

    options: Options
    size: Size
    probs: MixProbs = MixProbs()
    transforms: Sequence[Transform] = ()


def seeded_rng(seed: int, *key: int) -> np.random.Generator:
    """Generator of an epoch, or of one sample of it: `key` is (epoch,) or (epoch, position)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def augment(
    main: Sample, other_sample: Callable[[], Sample], settings: AugmentSettings, rng: np.random.Generator
) -> Sample:
    """A training sample of `settings.size` from the loaded image `main`; `other_sample()` loads a random other one.

    In this order: mosaic, copy-paste of the mirrored image, random perspective, copy-paste of another image, mixup,
    cutmix, the user's transforms, HSV, flips up-down and left-right, bgr.
    """
    options, probs = settings.options, settings.probs
    sample = mosaic_and_warp(main, other_sample, settings, rng)
    if probs.copy_paste and options.copy_paste_mode == "mixup" and rng.random() < probs.copy_paste:
        sample = paste(sample, mosaic_and_warp(other_sample(), other_sample, settings, rng), probs.copy_paste)
    for probability, mix in ((probs.mixup, mixup), (probs.cutmix, cutmix)):
        if rng.random() < probability:
            sample = mix(sample, mosaic_and_warp(other_sample(), other_sample, settings, rng), rng)
    for transform in settings.transforms:
        sample = apply_transform(transform, sample, rng)
    sample = hsv(sample, options, rng)
    # The number is drawn first, whether the instances can be mirrored or not: the draws after it stay the same.
    for probability, horizontal in ((options.flipud, False), (options.fliplr, True)):
        if rng.random() < probability and sample.instances.can_be_mirrored:
            sample = flip(sample, horizontal)
    if rng.random() < options.bgr:
        sample = replace(sample, img=swap_colors(sample.img))
    return sample


def mosaic_and_warp(
    main: Sample, other_sample: Callable[[], Sample], settings: AugmentSettings, rng: np.random.Generator
) -> Sample:
    """The geometric part, also of an image about to be mixed in: perhaps a mosaic, then the random perspective."""
    options, probs = settings.options, settings.probs
    source: Sample | MosaicLayout = main
    if rng.random() < probs.mosaic:
        source = mosaic4((main, other_sample(), other_sample(), other_sample()), settings.size[0], rng)
    if probs.copy_paste and options.copy_paste_mode == "flip":
        drawn = source.draw() if isinstance(source, MosaicLayout) else source
        source = paste(drawn, flip(drawn, horizontal=True), probs.copy_paste)
    return random_perspective(source, settings.size, options, rng)


@dataclass(frozen=True)
class MosaicLayout:
    """Images that meet at `center` (x, y) of a canvas of `size`, which cuts them; drawn where they are seen at last.

    `tiles` are these images with their left and top on the canvas, perhaps negative; `instances` are in its pixels.
    What else a sample has is that of `main`, the first of them.
    """

    main: Sample
    tiles: tuple[Tile, ...]
    center: tuple[int, int]
    size: Size
    instances: Instances

    def draw(self) -> Sample:
        """The whole canvas, gray where no image is."""
        img = draw(self.tiles, self.size, np.eye(3), self.size)
        return replace(self.main, img=img, instances=self.instances, ratio_pad=None)


def mosaic4(samples: Sequence[Sample], size: int, rng: np.random.Generator) -> MosaicLayout:
    """Four images of at most `size` a side, meeting at a random point of a canvas of twice `size` a side.

    The point lies in the middle half of the canvas. YOLOv4 (arXiv 2004.10934).
    """
    x, y = rng.uniform(size / 2, 3 * size / 2, 2).astype(int).tolist()
    corners = tuple(  # top left, top right, bottom left, bottom right
        (x - sample.size[1] * (i % 2 == 0), y - sample.size[0] * (i < 2)) for i, sample in enumerate(samples)
    )
    parts = [sample.instances.translate(*corner) for sample, corner in zip(samples, corners, strict=True)]
    canvas = (2 * size, 2 * size)
    instances = type(parts[0]).concat(parts).clip(canvas)
    tiles = tuple((sample.img, *corner) for sample, corner in zip(samples, corners, strict=True))
    return MosaicLayout(samples[0], tiles, (x, y), canvas, instances.select(instances.areas > 0))


def paste(sample: Sample, source: Sample, fraction: float) -> Sample:
    """The sample with a fraction of those instances of `source`, an image of the same size, that there is room for.

    The fraction is of the instances with a polygon whose box covers less than 0.3 of each instance already there, those
    that cover least first. They hide what is below them, and the instances there keep their polygons. Copy-paste (arXiv
    2012.07177).
    """
    new, old = source.instances, sample.instances
    # (n,) the largest fraction of an instance already there that each new one's box covers
    covered = bbox_ioa(new.boxes, old.boxes).max(1, initial=0.0)
    fitting = np.flatnonzero((covered < MAX_COVERED) & new.has_polygon)
    chosen = fitting[np.argsort(covered[fitting], kind="stable")][: round(fraction * len(fitting))]
    if not len(chosen):
        return sample
    img = sample.img.copy()
    polygons = new.polygons.split()
    for i in chosen:
        inside = fill([polygons[i]], sample.size) > 0  # (H, W)
        img[inside] = source.img[inside]
    parts = [old, *(new.select(np.arange(len(new)) == i) for i in chosen)]
    return replace(sample, img=img, instances=type(old).concat(parts))


def random_perspective(source: Sample | MosaicLayout, size: Size, options: Options, rng: np.random.Generator) -> Sample:
    """The image scaled, rotated, sheared, moved and tilted at random about its center, in an image of `size`."""
    low, high = sorted(options.scale) if isinstance(options.scale, list) else (1 - options.scale, 1 + options.scale)
    scale = rng.uniform(low, high)
    matrix = random_matrix(source.size, size, scale, options, rng)
    if isinstance(source, MosaicLayout):
        # The images of a mosaic reach at most so far from its center.
        main, tiles, fixed, sides = source.main, source.tiles, source.center, (max(size), max(size))
    else:
        main, tiles, fixed, sides = source, ((source.img, 0, 0),), (0, 0), source.size[::-1]
    if is_upright(matrix):
        matrix = on_whole_pixels(matrix, fixed, sides)
    moved = source.instances.affine(matrix, size)
    extent = moved.boxes[:, 2:] - moved.boxes[:, :2]
    short, long = extent.min(1), extent.max(1)
    needed = np.where(source.instances.has_polygon, MIN_VISIBLE_POLYGON, MIN_VISIBLE)
    visible = moved.areas > needed * source.instances.areas * scale**2  # (k,) bool: enough of it is left
    instances = moved.select(visible & (short > MIN_SIDE) & (long < MAX_ASPECT * short))
    return replace(main, img=draw(tiles, source.size, matrix, size), instances=instances, ratio_pad=None)


def random_matrix(source: Size, size: Size, scale: float, options: Options, rng: np.random.Generator) -> np.ndarray:
    """Matrix (3, 3) from an image of size `source` to one of `size`, both (height, width), in pixels.

    Where nothing is random, it puts the image where a letterbox would, which is its center but for half a pixel.
    """
    left, top, _, _ = padding(source, size)
    height, width = size
    angle, shear_x, shear_y = np.deg2rad(rng.uniform(-1, 1, 3) * (options.degrees, options.shear, options.shear))
    tilt = rng.uniform(-1, 1, 2) * options.perspective
    shift = (rng.uniform(-1, 1, 2) * options.translate + 0.5) * (width, height)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    to_center = np.array(((1, 0, left - width / 2), (0, 1, top - height / 2), (0, 0, 1)))
    tilted = np.array(((1, 0, 0), (0, 1, 0), (*tilt, 1)))
    rotated = np.array(((cos, sin, 0), (-sin, cos, 0), (0, 0, 1)))
    sheared = np.array(((1, math.tan(shear_x), 0), (math.tan(shear_y), 1, 0), (0, 0, 1)))
    shifted = np.array(((1, 0, shift[0]), (0, 1, shift[1]), (0, 0, 1)))
    return shifted @ sheared @ rotated @ tilted @ to_center  # read from the right, as the points pass them


def is_upright(matrix: np.ndarray) -> bool:
    """Whether a matrix (3, 3) only scales, by positive factors, and shifts."""
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


def draw(tiles: Sequence[Tile], canvas: Size, matrix: np.ndarray, size: Size) -> np.ndarray:
    """Images on a canvas that cuts them, moved by `matrix` (3, 3) into an image of `size`, gray where there is nothing.

    Each image is read only as far as it is seen, and the canvas is never made.
    """
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
    part, seen = img[y0:y1, x0:x1], out[max(top, 0) : bottom, max(left, 0) : right]
    size, how = (right - left, bottom - top), {"interpolation": cv2.INTER_LINEAR}
    if size == (seen.shape[1], seen.shape[0]):  # the border cuts nothing
        cv2.resize(part, size, dst=seen, **how)
        return
    resized = cv2.resize(part, size, **how).reshape(*size[::-1], -1)  # OpenCV drops 1 channel
    seen[:] = resized[max(-top, 0) :, max(-left, 0) :][: seen.shape[0], : seen.shape[1]]


def visible_span(length: int, scale: float, shift: float, limit: int) -> tuple[int, int, int, int]:
    """First and end of those pixels of a line of `length` that are seen in 0..limit at i * scale + shift, and where.

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


def mixup(first: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """Weighted average of both images, of one size, with the instances of both. mixup (arXiv 1710.09412)."""
    weight = rng.beta(MIXUP_BETA, MIXUP_BETA)
    img = cv2.addWeighted(first.img, weight, second.img, 1 - weight, 0).reshape(first.img.shape)
    return replace(first, img=img, instances=type(first.instances).concat((first.instances, second.instances)))


def cutmix(first: Sample, second: Sample, rng: np.random.Generator, tries: int = CUT_TRIES) -> Sample:
    """`first` with a rectangle of `second`, an image of the same size, where `first` has no instances.

    The rectangle has the image's own proportions and covers a uniform fraction of it before it is cut at the border.
    The first of `tries` that is free of instances is taken; if there is none, or it shows no instance of `second`,
    `first` stays as it is. CutMix (arXiv 1905.04899).
    """
    sides = np.array((first.size[1], first.size[0]))
    half = np.sqrt(rng.random((tries, 1))) * sides / 2
    center = rng.random((tries, 2)) * sides
    cuts = np.concatenate((center - half, center + half), axis=1)  # (tries, 4) xyxy
    cuts = np.clip(cuts, 0, np.tile(sides, 2)).round().astype(int)
    free = ~bbox_ioa(cuts, first.instances.boxes).any(1)
    if not free.any():
        return first
    cut = cuts[free.argmax()]
    visible = bbox_ioa(cut[None], second.instances.boxes)[0]
    needed = np.where(second.instances.has_polygon, MIN_VISIBLE_POLYGON, MIN_VISIBLE)
    inside = second.instances.select(visible >= needed)
    if not len(inside):
        return first
    x1, y1, x2, y2 = cut.tolist()
    img = first.img.copy()
    img[y1:y2, x1:x2] = second.img[y1:y2, x1:x2]
    inside = inside.translate(-x1, -y1).clip((y2 - y1, x2 - x1))
    inside = inside.select(inside.areas > 0).translate(x1, y1)  # a polygon may miss what its box meets
    return replace(first, img=img, instances=type(first.instances).concat((first.instances, inside)))


def apply_transform(transform: Transform, sample: Sample, rng: np.random.Generator) -> Sample:
    """`sample` as the user's `transform` returns it: boxes clipped, empty ones dropped.

    Where it moves no box, as those that change colors do, instances stay as they are; otherwise polygons are lost.

    Raises DatasetError if the transform returns something else than images of the same size and boxes with classes.
    """
    name = f"transform {getattr(transform, '__name__', type(transform).__name__)}"
    try:
        takes_rng = "rng" in inspect.signature(transform).parameters
    except (TypeError, ValueError):  # builtins have no signature
        takes_rng = False
    before = sample.instances
    # Copies, as it may write into what it gets; swap_colors gives a gray image back as it is.
    given = {"image": swap_colors(sample.img).copy(), "bboxes": before.boxes.copy(), "cls": before.cls.copy()}
    result = transform(**given, **({"rng": rng} if takes_rng else {}))
    try:
        image = np.asarray(result["image"])
        boxes = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
        cls = np.asarray(result["cls"], np.float32).reshape(-1)
    except (TypeError, KeyError, ValueError) as exc:
        raise DatasetError(
            f"{name} has to return {{'image': (H, W, C), 'bboxes': (k, 4), 'cls': (k,)}}: {exc!r}"
        ) from exc
    if image.shape != sample.img.shape or image.dtype != np.uint8 or len(boxes) != len(cls):
        raise DatasetError(
            f"{name} returned an image {image.shape} {image.dtype} with {len(boxes)} boxes and {len(cls)} classes: the "
            f"image has to stay {sample.img.shape} uint8, and each box needs one class"
        )
    changed = replace(sample, img=swap_colors(image))
    if len(before) and np.array_equal(cls, before.cls) and np.allclose(boxes, before.boxes, atol=0.01):
        return changed
    instances = type(before)(cls, boxes).clip(sample.size)
    return replace(changed, instances=instances.select(instances.areas > 0))


def hsv(sample: Sample, options: Options, rng: np.random.Generator) -> Sample:
    """Colors of the whole image, padding included: hue shifted, saturation and value multiplied, rounded down.

    It goes from top to bottom in bands that stay in the processor's cache from the first step to the last.
    """
    gains = np.array((options.hsv_h, options.hsv_s, options.hsv_v))
    if not gains.any() or sample.img.shape[2] != 3:
        return sample
    shift, *factors = rng.uniform(-1, 1, 3) * gains
    hue = ((LEVELS + shift * 180) % 180).astype(np.uint8)  # OpenCV counts hue from 0 to 179
    changes = [partial(cv2.LUT, lut=hue), *(multiplication(1 + factor) for factor in factors)]
    out, width = np.empty(sample.img.shape, np.uint8), sample.size[1]
    rows = max(BAND_PIXELS // width, 1)
    colors, planes = np.empty((rows, width, 3), np.uint8), list(np.empty((3, rows, width), np.uint8))
    for y in range(0, len(out), rows):
        band = sample.img[y : y + rows]
        colors, planes = colors[: len(band)], [plane[: len(band)] for plane in planes]
        cv2.split(cv2.cvtColor(band, cv2.COLOR_BGR2HSV, dst=colors), planes)
        for plane, change in zip(planes, changes, strict=True):
            change(plane, dst=plane)
        cv2.cvtColor(cv2.merge(planes, dst=colors), cv2.COLOR_HSV2BGR, dst=out[y : y + rows])
    return replace(sample, img=out)


def multiplication(factor: float) -> Callable[..., np.ndarray]:
    """Function of a plane, and `dst`: times `factor`, rounded down, from 0 to 255."""
    products = LEVELS * factor
    # OpenCV multiplies three times as fast as it looks up, but rounds to the nearest. With nearly a half less that is
    # down, unless a product is only just below a whole number.
    if factor >= 0 and (products % 1).max() < 1 - 2 * ABOVE:
        return partial(cv2.convertScaleAbs, alpha=factor, beta=ABOVE - 0.5)
    return partial(cv2.LUT, lut=np.clip(products, 0, 255).astype(np.uint8))


def flip(sample: Sample, horizontal: bool) -> Sample:
    """The sample mirrored left to right (`horizontal`) or top to bottom."""
    img = cv2.flip(sample.img, int(horizontal)).reshape(sample.img.shape)  # OpenCV drops a single channel
    return replace(sample, img=img, instances=sample.instances.flip(sample.size, horizontal))


# Published names, which lie in rooms of their own -----------------------------------------------------------------


def __getattr__(name: str) -> Any:
    """Callables that scripts look for here, imported when they are asked for; of other names what to use instead."""
    if name in ("classify_augmentations", "classify_transforms"):
        return getattr(import_module("ultralytics.data.classify.samples"), name)
    if home := import_module("ultralytics.data.transforms").HOMES.get(name):
        return getattr(import_module(f"ultralytics.data.transforms.{home}"), name)
    return refused.getter(__name__)(name)
