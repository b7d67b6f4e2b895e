"""From outlines to the masks that a network learns."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.data.dataset import box_targets
from ultralytics.data.instances import Sample
from ultralytics.data.polygons import fill
from ultralytics.utils.errors import DatasetError


def mask_targets(samples: Sequence[Sample], ratio: int = 4, overlap: bool = True) -> dict[str, torch.Tensor]:
    """What segmentation learns from: that of detection, and `masks` of H // `ratio` x W // `ratio` cells.

    With `overlap` one map an image (B, h, w) int32: 0, or the number from 1 of the object that is on top, which is the
    smaller one; objects are then in the order of their cells, most first. Otherwise a mask an object (N, h, w), uint8.
    """
    drawn = [object_masks(sample, ratio) for sample in samples]
    targets = box_targets(samples)
    if not overlap:
        return targets | {"masks": torch.from_numpy(np.concatenate(drawn))}
    orders = [np.argsort(-masks.sum((1, 2), dtype=np.int64)) for masks in drawn]
    starts = np.cumsum([0, *map(len, orders)])
    order = torch.from_numpy(np.concatenate([o + start for o, start in zip(orders, starts, strict=False)]))
    maps = np.stack([index_map(masks[o]) for masks, o in zip(drawn, orders, strict=True)])
    return {name: rows[order] for name, rows in targets.items()} | {"masks": torch.from_numpy(maps)}


def object_masks(sample: Sample, ratio: int) -> np.ndarray:
    """(k, H // ratio, W // ratio) uint8: cells of each object of a sample.

    An outline is filled in the image's own pixels, its border included, and then made smaller (bilinear, rounded).
    """
    height, width = sample.size
    size = height // ratio, width // ratio
    if not sample.instances.has_polygon.all():
        raise DatasetError(
            f"{sample.im_file}: objects without an outline cannot be learned as masks; augmentations= that move boxes "
            "lose them, so leave these out"
        )
    masks = np.zeros((len(sample.instances), *size), np.uint8)
    if sample.instances.polygons is not None:
        for mask, points in zip(masks, sample.instances.polygons.split(), strict=True):
            mask[:] = cv2.resize(fill(points, (height, width)), size[::-1], interpolation=cv2.INTER_LINEAR)
    return masks


def index_map(masks: np.ndarray) -> np.ndarray:
    """(h, w): which of the masks (k, h, w) is on top, from 1, later ones above earlier ones; 0 where there is none."""
    top = np.zeros(masks.shape[1:], np.int32)
    for number, mask in enumerate(masks, 1):
        top[mask > 0] = number
    return top


def masks_of(batch: dict[str, Any], i: int) -> torch.Tensor:
    """(k, h, w) bool: masks of the objects of the i-th image of a batch; of a map only what it shows of each."""
    masks, mine = batch["masks"], batch["batch_idx"] == i
    if masks.dtype == torch.int32:
        return masks[i] == torch.arange(1, int(mine.sum()) + 1)[:, None, None]
    return masks[mine] > 0
