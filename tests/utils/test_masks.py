"""Masks against plain loops and numpy."""

import cv2
import numpy as np
import pytest
import torch

from ultralytics.utils.letterbox import padding, resize_shape
from ultralytics.utils.masks import decode_masks, decode_masks_native, mask_iou, outline, resize_masks, within


def axis(old, new):
    """Bilinear weights (new, old) of one axis: pixels cover areas, and the border goes on."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    weights = np.zeros((new, old))
    below = np.minimum(at.astype(int), max(old - 2, 0))
    rows = np.arange(new)
    weights[rows, below] = 1 - (at - below)
    if old > 1:
        weights[rows, below + 1] = at - below
    return weights


def bilinear(image, size):
    return axis(image.shape[0], size[0]) @ image @ axis(image.shape[1], size[1]).T


def in_box(box, size):
    mask = np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            mask[y, x] = box[0] <= x < box[2] and box[1] <= y < box[3]
    return mask


@pytest.fixture
def mixture():
    """Coefficients (40, 4) and prototypes (4, 24, 40) of an input of 96 x 160."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 4, generator=generator), torch.randn(4, 24, 40, generator=generator)


def random_boxes(count, size, seed=0):
    corners = np.sort(np.random.default_rng(seed).uniform(-5, 1.05, (count, 2, 2)) % 1.05 * (size[1], size[0]), 1)
    return torch.from_numpy(corners.reshape(-1, 4)).float()


def assert_same_but_for_rounding(found, logits, boxes):
    """A pixel may differ where its logit is 0 but for rounding."""
    for mask, logit, box in zip(found.numpy(), logits, boxes.numpy(), strict=True):
        expected = (logit > 0) & in_box(box, logit.shape)
        assert ((mask > 0) == expected)[np.abs(logit) > 1e-5].all()
    assert found.dtype == torch.uint8 and 0 < found.float().mean() < 0.5


@pytest.mark.parametrize("size", [(24, 40), (96, 160)])
def test_masks_of_the_input(mixture, size):
    coefficients, proto = mixture
    boxes = random_boxes(len(coefficients), size)
    logits = np.einsum("nk,khw->nhw", coefficients.double(), proto.double())
    found = decode_masks(coefficients, proto, boxes, size)
    assert_same_but_for_rounding(found, [bilinear(one, size) for one in logits], boxes)


SHAPES = [(96, 160), (48, 80), (37, 160), (96, 101), (96, 140), (200, 300), (61, 90), (130, 160)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_masks_of_the_picture(mixture, shape):
    """Padding none, even, odd, of either side, of multiples of 8, 4 and 1."""
    coefficients, proto = mixture
    boxes = random_boxes(len(coefficients), shape)
    height, width = resize_shape(*shape, (96, 160), ceil=False)
    left, top, _, _ = padding((height, width), (96, 160))
    missing = {96 - height, 160 - width}
    factor = 1 if all(pad % 8 == 0 for pad in missing) else 2 if all(pad % 4 == 0 for pad in missing) else 4
    logits = np.einsum("nk,khw->nhw", coefficients.double(), proto.double())
    step = 4 // factor
    expected = []
    for one in logits:
        fine = bilinear(one, (24 * factor, 40 * factor))
        seen = fine[top // step : (top + height) // step, left // step : (left + width) // step]
        assert seen.shape == (height // step, width // step) and not height % step and not width % step
        expected.append(bilinear(seen, shape))
    found = decode_masks_native(coefficients, proto, boxes, (96, 160), shape)
    assert_same_but_for_rounding(found, expected, boxes)


def test_the_shapes_above_are_of_every_kind():
    kinds = set()
    for shape in SHAPES:
        height, width = resize_shape(*shape, (96, 160), ceil=False)
        kinds.add(min((8 if p % 8 == 0 else 4 if p % 4 == 0 else 1) for p in (96 - height, 160 - width)))
    assert kinds == {8, 4, 1}


def test_no_objects(mixture):
    _, proto = mixture
    none = torch.zeros(0, 4)
    assert decode_masks(none, proto, none, (96, 160)).shape == (0, 96, 160)
    assert decode_masks_native(none, proto, none, (96, 160), (50, 60)).shape == (0, 50, 60)
    assert mask_iou(torch.zeros(0, 4, 4), torch.ones(3, 4, 4)).shape == (0, 3)


def test_edges_of_a_box():
    mask = within(torch.tensor([[1.0, 0.5, 3.0, 2.5]]), (4, 5))[0].int()
    assert mask.tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]


def test_mask_iou():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (3, 6, 7), np.uint8), rng.integers(0, 2, (4, 6, 7), np.uint8)
    expected = [[(x & y).sum() / (x | y).sum() for y in b] for x in a]
    np.testing.assert_allclose(mask_iou(torch.from_numpy(a), torch.from_numpy(b)), expected, atol=1e-6)


def test_resized_masks():
    masks = torch.zeros(1, 2, 2, dtype=torch.uint8)
    masks[0, 0] = 1
    large = resize_masks(masks, (8, 8))
    assert large.dtype == torch.uint8 and large[0].float().mean(1).tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert resize_masks(masks, (2, 2)) is masks


def test_an_outline_fills_to_its_mask():
    mask = np.zeros((60, 80), np.uint8)
    cv2.circle(mask, (30, 30), 17, 1, -1)
    points = outline(mask)
    assert points.dtype == np.float32 and points.shape[1] == 2
    assert np.array_equal(cv2.fillPoly(np.zeros_like(mask), [points.astype(np.int32)], 1), mask)
    assert outline(np.zeros_like(mask)).shape == (0, 2)


def test_parts_are_joined_where_they_are_closest():
    """Filling the outline of three squares in a row shows them and little more: two bridges a pixel wide."""
    mask = np.zeros((30, 100), np.uint8)
    for x in (70, 5, 40):
        mask[10:20, x : x + 10] = 1
    filled = cv2.fillPoly(np.zeros_like(mask), [outline(mask).astype(np.int32)], 1)
    assert (filled[mask > 0] == 1).all()
    assert 40 <= (filled > mask).sum() <= 60
