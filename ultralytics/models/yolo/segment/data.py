"""Masks that a network learns, made of polygons."""

from collections.abc import Sequence

import numpy as np
import torch

from ultralytics.data.dataset import Batch, box_targets
from ultralytics.data.instances import Sample
from ultralytics.data.utils import polygons2masks, polygons2masks_overlap
from ultralytics.utils.errors import DatasetError


def mask_targets(samples: Sequence[Sample], ratio: int = 4, overlap: bool = True) -> dict[str, torch.Tensor]:
    """Targets of `box_targets`, and `masks` of H // `ratio` x W // `ratio` cells.

    With `overlap` one index map per image (B, h, w) int32: 0, or the number from 1 of the object that is on top, which
    is the smaller one; objects are then sorted by their area in cells, descending. Otherwise one mask per object
    (N, h, w) uint8.
    """
    targets, polygons = box_targets(samples), [polygons_of(sample) for sample in samples]
    if not overlap:
        masks = [polygons2masks(s.size, p, downsample_ratio=ratio) for s, p in zip(samples, polygons, strict=True)]
        return targets | {"masks": torch.from_numpy(np.concatenate(masks))}
    maps, order, start = [], [], 0
    for sample, parts in zip(samples, polygons, strict=True):
        index_map, descending = polygons2masks_overlap(sample.size, parts, ratio)
        maps.append(index_map.astype(np.int32))
        order.append(descending + start)
        start += len(parts)
    order = torch.from_numpy(np.concatenate(order))  # (N,) rows of the targets in the numbering of the maps
    return {name: rows[order] for name, rows in targets.items()} | {"masks": torch.from_numpy(np.stack(maps))}


def polygons_of(sample: Sample) -> list[np.ndarray]:
    """The polygon (p, 2) of each object of a sample; DatasetError if one has none."""
    if not sample.instances.has_polygon.all():
        raise DatasetError(
            f"{sample.im_file}: objects without a polygon cannot be learned as masks; augmentations= that move boxes "
            "lose the polygons, so remove those transforms"
        )
    return [] if sample.instances.polygons is None else sample.instances.polygons.split()


def masks_of(batch: Batch, i: int) -> torch.Tensor:
    """Masks (k, h, w) bool of the objects of the i-th image of a batch; of an index map only the visible parts."""
    masks, own = batch["masks"], batch["batch_idx"] == i
    if masks.dtype == torch.int32:  # index maps: the numbers of an image go from 1 to its objects
        return masks[i] == torch.arange(1, int(own.sum()) + 1)[:, None, None]
    return masks[own] > 0
