"""Masks against plain loops and numpy, contours against OpenCV's drawing."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ultralytics.utils.letterbox import padding, resize_shape
from ultralytics.utils.masks import (
    crop_mask,
    masks2segments,
    process_mask,
    process_mask_native,
    resize_masks,
    scale_masks,
)


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


def assert_same_but_for_rounding(masks, logits, boxes):
    """A pixel may differ where its logit is 0 but for the rounding of interpolated places, up to 5e-5."""
    for mask, logit, box in zip(masks.numpy(), logits, boxes.numpy(), strict=True):
        expected = (logit > 0) & in_box(box, logit.shape)
        assert ((mask > 0) == expected)[np.abs(logit) > 2e-4].all()
    assert masks.dtype == torch.uint8 and 0 < masks.float().mean() < 0.5


@pytest.mark.parametrize("upsample", [False, True])
def test_masks_of_the_input(mixture, upsample):
    coefficients, proto = mixture
    size = (96, 160) if upsample else (24, 40)
    boxes = random_boxes(len(coefficients), (96, 160))
    logits = np.einsum("nk,khw->nhw", coefficients.double(), proto.double())
    masks = process_mask(proto, coefficients, boxes, (96, 160), upsample=upsample)
    assert masks.shape[1:] == size
    assert_same_but_for_rounding(masks, [bilinear(one, size) for one in logits], boxes * (size[0] / 96))


SHAPES = [(96, 160), (48, 80), (37, 160), (96, 101), (96, 140), (200, 300), (61, 90), (130, 160)]


@pytest.mark.public("python::process_mask_native_chunked")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_masks_of_the_original_image(mixture, shape):
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
    masks = process_mask_native(proto, coefficients, boxes, shape)
    assert_same_but_for_rounding(masks, expected, boxes)
    given_geometry = ((height / shape[0], width / shape[1]), (left, top))
    assert torch.equal(process_mask_native(proto, coefficients, boxes, shape, (96, 160), given_geometry), masks)


def test_the_shapes_above_are_of_every_kind():
    kinds = set()
    for shape in SHAPES:
        height, width = resize_shape(*shape, (96, 160), ceil=False)
        kinds.add(min((8 if p % 8 == 0 else 4 if p % 4 == 0 else 1) for p in (96 - height, 160 - width)))
    assert kinds == {8, 4, 1}


def test_prototypes_of_another_stride():
    """Of a network whose prototypes have stride 2, which their shape does not tell."""
    generator = torch.Generator().manual_seed(0)
    coefficients, proto = torch.randn(5, 4, generator=generator), torch.randn(4, 48, 80, generator=generator)
    boxes = torch.tensor([[0.0, 0, 150, 192]]).repeat(5, 1)
    masks = process_mask_native(proto, coefficients, boxes, (192, 320), input_shape=(96, 160))
    logits = np.einsum("nk,khw->nhw", coefficients.double(), proto.double())
    assert_same_but_for_rounding(masks, [bilinear(one, (192, 320)) for one in logits], boxes)


@pytest.mark.public("python::process_mask_empty")
def test_no_objects(mixture):
    _, proto = mixture
    none = torch.zeros(0, 4)
    assert process_mask(proto, none, none, (96, 160), upsample=True).shape == (0, 96, 160)
    assert process_mask_native(proto, none, none, (50, 60)).shape == (0, 50, 60)


@pytest.mark.public("python::scale_masks_odd_letterbox_pad")
@pytest.mark.parametrize("kind", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", [True, False])
def test_scaled_masks_lose_the_padding(kind, padding):
    """An image of 60 x 100 in a square of 50 x 50: 30 rows of it, 10 below the top or at the top."""
    image = torch.rand(2, 3, 30, 50, generator=torch.Generator().manual_seed(0))
    top = 10 if padding else 0
    square = F.pad(image, (0, 0, top, 20 - top), value=7)
    expected = F.interpolate(image, (60, 100), mode=kind)
    scaled = scale_masks(square, (60, 100), padding=padding, mode=kind)
    assert torch.equal(scaled, expected)
    assert torch.equal(scale_masks(square, (60, 100), ((0.5, 0.5), (0, top)), padding, kind), expected)
    assert torch.equal(scale_masks(square, (50, 50)), square)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_edges_of_a_box(dtype):
    masks = crop_mask(torch.full((2, 4, 5), 3).to(dtype), torch.tensor([[1.0, 0.5, 3.0, 2.5], [-1, -0.5, 3.5, 2.4]]))
    assert masks.dtype is dtype
    assert masks[0].tolist() == [[0, 0, 0, 0, 0], [0, 3, 3, 0, 0], [0, 3, 3, 0, 0], [0, 0, 0, 0, 0]]
    assert masks[1].tolist() == [[3, 3, 3, 3, 0], [3, 3, 3, 3, 0], [3, 3, 3, 3, 0], [0, 0, 0, 0, 0]]


def test_resized_masks():
    masks = torch.zeros(1, 2, 2, dtype=torch.uint8)
    masks[0, 0] = 1
    large = resize_masks(masks, (8, 8))
    assert large.dtype == torch.uint8 and large[0].float().mean(1).tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert resize_masks(masks, (2, 2)) is masks


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_a_contour_fills_to_its_mask(kind):
    mask = np.zeros((60, 80), np.uint8)
    cv2.circle(mask, (30, 30), 17, 1, -1)
    points, empty = masks2segments(kind(np.stack((mask, np.zeros_like(mask)))))
    assert points.dtype == np.float32 and points.shape[1] == 2
    assert np.array_equal(cv2.fillPoly(np.zeros_like(mask), [points.astype(np.int32)], 1), mask)
    assert empty.shape == (0, 2)


def test_parts_are_joined_where_they_are_closest():
    """Filling the contour of three squares in a row shows them and little more: two bridges a pixel wide."""
    mask = np.zeros((30, 100), np.uint8)
    for x in (70, 5, 40):
        mask[10:20, x : x + 10] = 1
    filled = cv2.fillPoly(np.zeros_like(mask), [masks2segments(mask[None])[0].astype(np.int32)], 1)
    assert (filled[mask > 0] == 1).all()
    assert 40 <= (filled > mask).sum() <= 60


def test_the_largest_part_alone():
    mask = np.zeros((30, 100), np.uint8)
    mask[10:20, 5:15] = 1
    cv2.circle(mask, (60, 15), 9, 1, -1)
    (points,) = masks2segments(mask[None], strategy="largest")
    assert points.min(0).tolist() == [51, 6] and points.max(0).tolist() == [69, 24]
    with pytest.raises(ValueError, match="expected 'all' or 'largest'"):
        masks2segments(mask[None], strategy="some")
