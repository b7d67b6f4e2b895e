"""Box conversions, against torchvision and against themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_convert, clip_boxes_to_image

from ultralytics.utils.ops import clip_boxes, make_divisible, scale_boxes, xywh2xyxy, xywhn2xyxy, xyxy2xywh, xyxy2xywhn

SIDE = st.integers(10, 3000)


def random_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    """(*shape, 4) xyxy, some of them reaching out of a 100 x 100 image."""
    corner, size = torch.rand(2, *shape, 2, generator=torch.Generator().manual_seed(seed)) * 100 - 10
    return torch.cat((corner, corner + size.abs()), -1)


@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3)])
def test_conversions_agree_with_torchvision(shape):
    xyxy = random_boxes(*shape)
    xywh = box_convert(xyxy, "xyxy", "cxcywh")
    torch.testing.assert_close(xyxy2xywh(xyxy), xywh)
    torch.testing.assert_close(xywh2xyxy(xywh), xyxy)


@pytest.mark.parametrize("function", [xywh2xyxy, xyxy2xywh, xywhn2xyxy, xyxy2xywhn])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_tensors_and_arrays_give_the_same(function, dtype):
    boxes = random_boxes(5).to(dtype)
    on_array = function(boxes.numpy())
    assert isinstance(on_array, np.ndarray)
    torch.testing.assert_close(function(boxes), torch.from_numpy(on_array), rtol=1e-6, atol=1e-4)


def test_integers_keep_the_half_pixel():
    assert xyxy2xywh(torch.tensor([0, 0, 3, 5])).tolist() == [1.5, 2.5, 3, 5]


@given(corner=st.tuples(*[st.floats(-1000, 1000)] * 2), size=st.tuples(*[st.floats(0, 3000)] * 2), w=SIDE, h=SIDE)
def test_round_trips(corner, size, w, h):
    xyxy = np.concatenate((corner, np.add(corner, size)))
    np.testing.assert_allclose(xywh2xyxy(xyxy2xywh(xyxy)), xyxy, atol=1e-9)
    np.testing.assert_allclose(xywhn2xyxy(xyxy2xywhn(xyxy, w, h), w, h), xyxy, atol=1e-9)


def test_normalized_boxes_are_moved_into_the_padded_image():
    assert xywhn2xyxy(np.array([0.5, 0.5, 0.5, 0.25]), 200, 100, padw=3, padh=7).tolist() == [53, 44.5, 153, 69.5]


def test_clipping_agrees_with_torchvision():
    boxes = random_boxes(20)
    torch.testing.assert_close(clip_boxes(boxes, (60, 80)), clip_boxes_to_image(boxes, (60, 80)))
    np.testing.assert_array_equal(clip_boxes(boxes.numpy(), (60, 80, 3)), clip_boxes_to_image(boxes, (60, 80)))


def test_normalizing_can_clip_short_of_the_edge():
    boxes = xyxy2xywhn(np.array([[-10.0, 20.0, 150.0, 90.0]]), w=100, h=80, clip=True, eps=1)
    np.testing.assert_allclose(boxes, [[0.495, 49.5 / 80, 0.99, 59 / 80]])


@given(h0=SIDE, w0=SIDE, h1=SIDE, w1=SIDE, xywh=st.booleans())
def test_boxes_come_back_from_the_letterbox(h0, w0, h1, w1, xywh):
    ratio = min(h1 / h0, w1 / w0)
    h, w = round(h0 * ratio), round(w0 * ratio)  # the resized image
    if min(h, w) == 0:
        return
    left, top = round((w1 - w) / 2 - 0.1), round((h1 - h) / 2 - 0.1)
    original = np.array([[0.1, 0.2, 0.7, 0.9]]) * [w0, h0, w0, h0]
    boxes = original / [w0, h0, w0, h0] * [w, h, w, h] + [left, top, left, top]
    to_own = xyxy2xywh if xywh else np.copy
    np.testing.assert_allclose(scale_boxes((h1, w1), to_own(boxes), (h0, w0), xywh=xywh), to_own(original), rtol=1e-6)
    given_geometry = scale_boxes((h1, w1), boxes, (h0, w0), ratio_pad=((h / h0, w / w0), (left, top)))
    np.testing.assert_allclose(given_geometry, original, rtol=1e-6)


def test_scale_boxes_reference_numbers():
    """331 x 501 becomes 148 x 224, 38 rows below the top of a 224 x 224 square."""
    boxes = torch.tensor([[100.0, 100.0, 200.0, 200.0], [-50.0, -60.0, 700.0, 900.0]], dtype=torch.float64)
    expected = [[223.66071428571428, 138.66216216216216, 447.32142857142856, 331.0], [0.0, 0.0, 501.0, 331.0]]
    torch.testing.assert_close(scale_boxes((224, 224), boxes, (331, 501)), torch.tensor(expected, dtype=torch.float64))
    corner = scale_boxes((224, 224), boxes[:1], (331, 501), padding=False)
    assert corner[0, 1].item() == pytest.approx(223.64864864864865)


def test_scaling_leaves_its_input_and_further_columns_alone():
    boxes = torch.tensor([[10.0, 10.0, 50.0, 50.0, 999.0, -5.0]])
    before = boxes.clone()
    scaled = scale_boxes((64, 64), boxes, (32, 32))
    assert torch.equal(boxes, before)
    assert scaled.tolist() == [[5, 5, 25, 25, 999, -5]]


def test_wrong_width_is_an_error():
    with pytest.raises(ValueError, match=r"\(3, 5\).*must be 4"):
        xywh2xyxy(torch.zeros(3, 5))


@pytest.mark.parametrize(("x", "expected"), [(1, 8), (8, 8), (9, 16), (7.9, 8), (33, 40)])
def test_make_divisible(x, expected):
    assert make_divisible(x, 8) == expected
