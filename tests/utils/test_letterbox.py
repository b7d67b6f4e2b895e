"""Letterbox geometry against published sizes, and its properties on any shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.utils.letterbox import (
    letterbox,
    letterbox_batch,
    letterbox_geometry,
    pad,
    padding,
    rect_shapes,
    resize,
    resize_shape,
)

SIDE = st.integers(10, 3000)
IMGSZ = st.sampled_from([64, 224, 320, 640, 1280])


def checker(h: int, w: int) -> np.ndarray:
    """A smooth color gradient: bilinear scaling keeps it, so that its position can be read off."""
    y, x = np.mgrid[:h, :w]
    return np.stack([255 * x // max(w - 1, 1), 255 * y // max(h - 1, 1), np.full_like(x, 200)], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("h", "w", "imgsz", "ceil", "expected"),
    [
        (480, 640, 224, True, (168, 224)),
        (240, 320, 640, True, (480, 640)),  # up
        (427, 640, 320, True, (214, 320)),  # 213.5
        (427, 640, 320, False, (214, 320)),  # 213.5 to even
        (425, 640, 320, False, (212, 320)),  # 212.5 to even
        (425, 640, 320, True, (213, 320)),
        (1, 3000, 320, False, (1, 320)),
        (1, 3000, 320, True, (1, 320)),
        (480, 640, (320, 640), False, (320, 427)),
    ],
)
def test_resize_shape(h, w, imgsz, ceil, expected):
    assert resize_shape(h, w, imgsz, ceil) == expected


@pytest.mark.parametrize(
    ("shape", "canvas", "expected"),
    [
        ((640, 640), (672, 672), (16, 16, 16, 16)),
        ((10, 10), (13, 11), (0, 1, 1, 2)),  # the odd pixel at the right and bottom
        ((10, 10), (10, 10), (0, 0, 0, 0)),
        ((168, 224), (192, 256), (16, 12, 16, 12)),
    ],
)
def test_padding(shape, canvas, expected):
    assert padding(shape, canvas) == expected


@pytest.mark.parametrize(
    ("h", "w", "imgsz", "expected"),
    [
        (1080, 1920, 640, (384, 640)),
        (480, 640, 640, (480, 640)),
        (1920, 1080, 640, (640, 384)),
        (512, 512, 640, (640, 640)),
    ],
)
def test_images_of_one_shape_get_their_smallest_canvas(h, w, imgsz, expected):
    assert letterbox_batch([np.zeros((h, w, 3), np.uint8)], imgsz, 32).shape == (1, 3, *expected)


@given(SIDE, SIDE, SIDE, SIDE)
def test_padding_fills_the_canvas(h, w, more_h, more_w):
    left, top, right, bottom = padding((h, w), (h + more_h, w + more_w))
    assert (left + right, top + bottom) == (more_w, more_h)
    assert 0 <= right - left <= 1
    assert 0 <= bottom - top <= 1


@given(SIDE, SIDE, IMGSZ, st.booleans())
def test_resized_image_fits_and_touches(h, w, imgsz, ceil):
    shape = resize_shape(h, w, imgsz, ceil)
    assert max(shape) == imgsz
    assert min(shape) >= 1
    exact = min(h, w) * imgsz / max(h, w)
    assert -1e-9 <= min(shape) - exact < 1 + 1e-9 if ceil else abs(min(shape) - exact) <= 0.5 or min(shape) == 1


@given(SIDE, SIDE, IMGSZ, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_return_to_the_pixel(h, w, imgsz, corners):
    """What lies at relative place p of the image lies at p of its letterboxed copy, and returns there."""
    canvas = letterbox_batch([np.zeros((h, w, 1), np.uint8)], imgsz, 32).shape[2:]
    shape = resize_shape(h, w, imgsz, ceil=False)
    left, top, _, _ = padding(shape, canvas)
    gain_h, gain_w = shape[0] / h, shape[1] / w
    box = np.array(corners) * [w, h, w, h]
    inside = box * [gain_w, gain_h, gain_w, gain_h] + [left, top, left, top]
    assert (inside >= 0).all()
    assert (inside <= np.array([canvas[1], canvas[0]] * 2) + 1e-9).all()
    np.testing.assert_allclose((inside - [left, top, left, top]) / [gain_w, gain_h, gain_w, gain_h], box, atol=1e-6)


def test_letterbox_centers_the_image_on_114():
    image = checker(240, 320)
    out, gain, (left, top) = letterbox(image, 320, (320, 320))
    assert gain == (1, 1)
    assert (left, top) == (0, 40)
    np.testing.assert_array_equal(out[40:280], image)
    assert (out[:40] == 114).all()
    assert (out[280:] == 114).all()


@pytest.mark.parametrize("shape", [(240, 320), (375, 500), (853, 1281), (7, 3000), (1, 3000)])
def test_the_geometry_follows_from_the_shapes(shape):
    _, gain, corner = letterbox(np.zeros(shape, np.uint8), 320, (320, 320))
    assert letterbox_geometry((320, 320), (*shape, 3)) == (gain, corner)


def test_letterbox_scales_by_the_gains_it_returns():
    image = checker(375, 500)
    out, (gain_h, gain_w), (left, top) = letterbox(image, 224, ceil=True)
    assert out.shape == (224, 224, 3)
    assert (gain_h, gain_w) == (168 / 375, 224 / 500)
    y, x = 300, 125
    seen = out[round((y + 0.5) * gain_h + top - 0.5), round((x + 0.5) * gain_w + left - 0.5)]
    assert abs(seen.astype(int) - image[y, x]).max() <= 2


def test_letterbox_keeps_one_channel():
    out, _, _ = letterbox(checker(100, 50)[..., :1], 64)
    assert out.shape == (64, 64, 1)


def test_resize_leaves_a_fitting_image_alone():
    image = checker(64, 32)
    assert resize(image, (64, 32)) is image
    assert pad(image, (64, 32))[0] is not image


def test_a_batch_has_the_smallest_canvas_that_holds_all_of_it():
    wide, wider, tall = checker(90, 160), checker(60, 160), checker(160, 90)
    assert letterbox_batch([wide, wide], 320, 32).shape == (2, 3, 192, 320)
    assert letterbox_batch([wider, wide, wider], 320, 32).shape == (3, 3, 192, 320)
    assert letterbox_batch([wide, wide], 320, 32, rect=False).shape == (2, 3, 320, 320)
    assert letterbox_batch([wide, tall], 320, 32).shape == (2, 3, 320, 320)


@given(
    shapes=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=4),
    imgsz=st.tuples(st.sampled_from([32, 64, 96]), st.sampled_from([32, 64, 96])),
    rect=st.booleans(),
    channels=st.sampled_from([1, 3]),
)
def test_planes_of_a_batch_are_those_of_each_image_by_itself(shapes, imgsz, rect, channels):
    """In RGB, and boxes come back to where they were."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, channels), np.uint8) for shape in shapes]
    batch = letterbox_batch(images, imgsz, 32, rect)
    canvas = batch.shape[2:]
    assert all(side <= full and side % 32 == 0 for side, full in zip(canvas, imgsz, strict=True))
    for image, planes in zip(images, batch, strict=True):
        alone, gain, corner = letterbox(image, imgsz, canvas)
        np.testing.assert_array_equal(planes, alone[..., ::-1].transpose(2, 0, 1))
        assert letterbox_geometry(canvas, image.shape) == (gain, corner)


@pytest.mark.parametrize(
    ("shapes", "imgsz", "expected"),
    [
        ([[640, 640]], 640, [[672, 672]]),
        ([[480, 640]], 224, [[192, 256]]),
        ([[640, 480]], 224, [[256, 192]]),
        ([[480, 640], [640, 480]], 224, [[256, 256]]),
        ([[480, 640], [320, 640]], 224, [[192, 256]]),
    ],
)
def test_rect_shapes(shapes, imgsz, expected):
    order, canvases = rect_shapes(np.array(shapes), 8, imgsz, 32)
    assert sorted(order.tolist()) == list(range(len(shapes)))
    assert canvases.tolist() == expected


def test_rect_shapes_sorts_by_ratio_and_keeps_ties():
    order, canvases = rect_shapes(np.array([[40, 20], [10, 20], [20, 20], [20, 40], [5, 20]]), 2, 64, 32)
    assert order.tolist() == [4, 1, 3, 2, 0]
    assert canvases.tolist() == [[64, 96], [96, 96], [96, 64]]


@pytest.mark.parametrize("shape", [(147, 294), (273, 455), (281, 562)])
def test_a_side_rounded_up_by_a_hair_still_fits(shape):
    """147 / 294 x 320 is 160, but 147 x (320 / 294) is a hair more, so the image is loaded with 161 rows."""
    _, canvases = rect_shapes(np.array([shape]), 1, 320, 32, pad=0)
    assert (canvases[0] >= resize_shape(*shape, 320)).all()


@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=20), IMGSZ, st.integers(1, 4), st.sampled_from([0.0, 0.5]))
def test_every_loaded_image_fits_its_canvas(shapes, imgsz, batch, margin):
    order, canvases = rect_shapes(np.array(shapes), batch, imgsz, 32, margin)
    assert (canvases % 32 == 0).all()
    for position, index in enumerate(order):
        assert (np.array(resize_shape(*shapes[index], imgsz)) <= canvases[position // batch]).all()
