"""Transforms that the user brings along: one kind of callable, functions and albumentations alike."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from ultralytics.data.instances import Sample
from ultralytics.utils.errors import DatasetError

# transform(image=..., bboxes=..., cls=...) -> {"image": ..., "bboxes": ..., "cls": ...}
# image (H, W, 3) uint8 RGB, bboxes (k, 4) xyxy in pixels, cls (k,). An `albumentations.Compose` with
# BboxParams(format="pascal_voc", label_fields=["cls"]) is one as it stands. A function that also takes `rng` gets the
# sample's numpy Generator: drawing from it, not from a global state, keeps samples the same for any number of workers.
Transform = Callable[..., dict[str, Any]]


def apply_transform(transform: Transform, sample: Sample, rng: np.random.Generator) -> Sample:
    """`sample` as the user's `transform` returns it: boxes clipped, empty ones dropped.

    Where it moves no box, as those that change colours do, objects stay as they are; else outlines are forgotten.

    Raises DatasetError if the transform returns something else than pictures of the same size and boxes with classes.
    """
    image = cv2.cvtColor(sample.img, cv2.COLOR_BGR2RGB)
    extra = {"rng": rng} if _takes_rng(transform) else {}
    result = transform(image=image, bboxes=sample.objects.boxes, cls=sample.objects.cls, **extra)
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
    before = sample.objects
    same = np.array_equal(cls, before.cls) and np.allclose(boxes, before.boxes, atol=0.01)
    if same and len(before):
        return changed
    objects = type(sample.objects)(cls, boxes).clip(sample.size)
    return replace(changed, objects=objects.select(objects.areas > 0))


def _takes_rng(transform: Transform) -> bool:
    try:
        return "rng" in inspect.signature(transform).parameters
    except (TypeError, ValueError):  # builtins have no signature
        return False


def _name(transform: Transform) -> str:
    return f"transform {getattr(transform, '__name__', type(transform).__name__)}"
