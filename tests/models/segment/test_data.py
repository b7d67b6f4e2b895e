"""Targets of segmentation, against an independent rasterizer and by hand."""

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline

from ultralytics.data.instances import Instances, Sample
from ultralytics.models.yolo.segment.data import mask_targets, masks_of
from ultralytics.utils.errors import DatasetError

SIZE = (64, 96)
SHAPES = [  # in pixels, on whole ones
    [(8, 8), (60, 8), (60, 50), (8, 50)],
    [(20, 20), (40, 24), (30, 40)],
    [(70, 30), (94, 30), (82, 62)],
    [(2, 2), (9, 2), (9, 9), (2, 9)],
]


def sample_of(shapes, classes, has_polygon=True):
    polygons = [np.array(shape, np.float32) / SIZE[::-1] for shape in shapes]
    boxes = [np.concatenate(((p.max(0) + p.min(0)) / 2, np.ptp(p, axis=0))) for p in polygons]
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    objects = Instances.from_normalized(np.array(classes, np.float32), boxes, polygons if has_polygon else None, SIZE)
    return Sample(np.zeros((*SIZE, 3), np.uint8), objects, "a.jpg", SIZE)


def cells(shape, ratio):
    """Cells (h, w) whose center lies in the polygon, and those where it lies close to its edge."""
    rows, columns = (np.arange(side // ratio) * ratio + (ratio - 1) / 2 for side in SIZE)
    grid = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    corners = np.array([*shape, shape[0]], float)
    inside = Outline(corners).contains_points(grid)
    edges = np.diff(corners, axis=0)
    along = ((grid[:, None] - corners[:-1]) * edges).sum(2) / (edges**2).sum(1)
    nearest = corners[:-1] + along.clip(0, 1)[..., None] * edges
    distance = np.linalg.norm(grid[:, None] - nearest, axis=2).min(1)
    size = (len(rows), len(columns))
    return inside.reshape(size), (distance < ratio / 2 + 1).reshape(size)


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_one_mask_an_object(ratio):
    samples = [sample_of(SHAPES, [3, 1, 0, 2]), sample_of([], []), sample_of(SHAPES[2:3], [5])]
    batch = mask_targets(samples, ratio, overlap=False)
    assert batch["cls"].flatten().tolist() == [3, 1, 0, 2, 5]  # in the order of the file
    assert batch["masks"].dtype == torch.uint8 and batch["masks"].shape == (5, SIZE[0] // ratio, SIZE[1] // ratio)
    for mask, shape in zip(batch["masks"].numpy(), [*SHAPES, SHAPES[2]], strict=True):
        expected, near = cells(shape, ratio)
        assert (mask == expected)[~near].all() and mask.sum() > 0
    assert torch.equal(masks_of(batch, 2), batch["masks"][4:] > 0) and not len(masks_of(batch, 1))


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_a_map_of_the_smallest_on_top(ratio):
    samples = [sample_of(SHAPES[::-1], [2, 0, 1, 3]), sample_of([], [])]
    batch, alone = (mask_targets(samples, ratio, overlap=overlap) for overlap in (True, False))
    order = (-alone["masks"].flatten(1).long().sum(1)).argsort()
    assert batch["cls"].flatten().tolist() == [3, 0, 1, 2]
    assert torch.equal(batch["bboxes"], alone["bboxes"][order])
    expected = np.zeros(batch["masks"].shape[1:], int)
    for number, i in enumerate(order.tolist(), 1):
        expected[alone["masks"][i] > 0] = number
    assert np.array_equal(batch["masks"][0], expected) and not batch["masks"][1].any()
    shown = masks_of(batch, 0)
    assert shown.shape[0] == 4 and (shown.sum(0) <= 1).all()
    hidden = alone["masks"][order[0]].bool() & ~shown[0]
    assert hidden.any() and (shown[1:].any(0) | ~hidden).all()  # where a smaller one lies, the largest is not


def test_objects_without_a_polygon_are_refused():
    with pytest.raises(DatasetError, match=r"a\.jpg: objects without a polygon cannot be learned as masks"):
        mask_targets([sample_of(SHAPES, [0, 0, 0, 0], has_polygon=False)])
