"""From polygons to the masks that a network learns."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from ultralytics.data.dataset import Batch, box_targets
from ultralytics.data.instances import Sample
from ultralytics.data.polygons import fill
from ultralytics.utils.errors import DatasetError


def mask_targets(samples: Sequence[Sample], ratio: int = 4, overlap: bool = True) -> dict[str, torch.Tensor]:
    """Targets of `box_targets`, and `masks` of H // `ratio` x W // `ratio` cells.

    With `overlap` one index map per image (B, h, w) int32: 0, or the number from 1 of the object that is on top, which
    is the smaller one; objects are then sorted by their area in cells, descending. Otherwise one mask per object
    (N, h, w) uint8.
    """
    drawn = [object_masks(sample, ratio) for sample in samples]  # B of (k, h, w), each its own k
    targets = box_targets(samples)
    if not overlap:
        return targets | {"masks": torch.from_numpy(np.concatenate(drawn))}
    maps, order, start = [], [], 0
    for masks in drawn:
        descending = np.argsort(-masks.sum((1, 2), dtype=np.int64))
        index_map = np.zeros(masks.shape[1:], np.int32)
        for number, mask in enumerate(masks[descending], 1):
            index_map[mask > 0] = number  # over the larger ones that came before
        maps.append(index_map)
        order.append(descending + start)
        start += len(masks)
    order = torch.from_numpy(np.concatenate(order))  # (N,) rows of the targets in the numbering of the maps
    return {name: rows[order] for name, rows in targets.items()} | {"masks": torch.from_numpy(np.stack(maps))}


def object_masks(sample: Sample, ratio: int) -> np.ndarray:
    """Mask of each object of a sample, (k, H // ratio, W // ratio) uint8.

    A polygon is filled in the image's own pixels, its edge included, and then reduced (bilinear, rounded).
    """
    height, width = sample.size
    size = height // ratio, width // ratio
    if not sample.instances.has_polygon.all():
        raise DatasetError(
            f"{sample.im_file}: objects without a polygon cannot be learned as masks; augmentations= that move boxes "
            "lose the polygons, so remove those transforms"
        )
    masks = np.zeros((len(sample.instances), *size), np.uint8)
    if sample.instances.polygons is not None:
        for mask, points in zip(masks, sample.instances.polygons.split(), strict=True):
            mask[:] = cv2.resize(fill(points, (height, width)), size[::-1], interpolation=cv2.INTER_LINEAR)
    return masks


def masks_of(batch: Batch, i: int) -> torch.Tensor:
    """Masks (k, h, w) bool of the objects of the i-th image of a batch; of an index map only the visible parts."""
    masks, own = batch["masks"], batch["batch_idx"] == i
    if masks.dtype == torch.int32:  # index maps: the numbers of an image go from 1 to its objects
        return masks[i] == torch.arange(1, int(own.sum()) + 1)[:, None, None]
    return masks[own] > 0
