"""Masks in pixels of the original image: COCO's rasterizer, whole masks that are scaled, and IoU of whole masks."""

import numpy as np
import pytest
import torch

from ultralytics.utils.letterbox import letterbox_geometry
from ultralytics.utils.masks import crop_mask, scale_masks
from ultralytics.utils.metrics import mask_iou
from ultralytics.utils.ops import scale_boxes
from ultralytics.utils.paper.masks import MaskPart, fill_polygon, part_iou, parts_on_original


def whole(part: MaskPart, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    height, width = part.pixels.shape
    mask[part.y : part.y + height, part.x : part.x + width] = part.pixels
    return mask


def test_polygons_have_the_pixels_that_coco_gives_them():
    library = pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(0)
    size, differing, total = (90, 130), 0, 0
    for i in range(40):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 20)))
        radius = rng.uniform(3, 40, len(angles))  # concave ones, too
        center = rng.uniform(0, 1, 2) * size[::-1] if i % 2 else np.array((65.0, 45.0))
        points = (center + radius[:, None] * np.stack((np.cos(angles), np.sin(angles)), 1)).clip(0, size[::-1])
        (code,) = library.mask.frPyObjects([points.ravel().tolist()], *size)
        theirs = library.mask.decode(code).astype(bool).reshape(size)
        ours = whole(fill_polygon(points, size), size)
        differing, total = differing + (ours != theirs).sum(), total + theirs.sum()
    assert total > 20_000 and differing < 0.02 * total  # COCO rounds corners to fifths of a pixel


@pytest.mark.parametrize("shape", [(48, 100), (230, 120), (64, 64)])
def test_parts_on_the_original_are_those_of_whole_masks(shape):
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 40, (12, 2))
    boxes = torch.from_numpy(np.concatenate((low, low + rng.uniform(3, 24, (12, 2))), 1))
    ratio_pad = letterbox_geometry((64, 64), shape)
    blobs = torch.nn.functional.avg_pool2d(torch.from_numpy(rng.random((12, 64, 64))), 5, 1, 2) > 0.47
    masks = crop_mask(blobs.byte(), boxes)
    expected = scale_masks(masks[None].float(), shape, ratio_pad)[0].byte().numpy()
    on_original = scale_boxes((64, 64), boxes, shape).numpy()
    found = parts_on_original(masks.numpy(), on_original, shape, ratio_pad)
    assert (np.stack([whole(part, shape) for part in found]) == expected).all() and expected.any((1, 2)).sum() > 6
    iou = part_iou(found[:5], found)
    tensor = torch.from_numpy(expected)
    np.testing.assert_allclose(iou, mask_iou(tensor[:5], tensor).numpy(), atol=1e-6)
    assert part_iou([], found).shape == (0, 12) and part_iou(found, []).shape == (12, 0)
