"""Boxes, points and polygons: against torchvision, OpenCV and themselves, and fixed numbers."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_convert, clip_boxes_to_image

from ultralytics.data.polygons import resample
from ultralytics.utils import masks, nms, ops
from ultralytics.utils.ops import (
    Profile,
    clean_str,
    clip_boxes,
    clip_coords,
    convert_torch2numpy_batch,
    ltwh2xywh,
    ltwh2xyxy,
    make_divisible,
    min_area_rect,
    resample_segments,
    scale_boxes,
    scale_coords,
    segment2box,
    segments2boxes,
    xywh2ltwh,
    xywh2xyxy,
    xywhn2xyxy,
    xywhr2xyxyxyxy,
    xyxy2ltwh,
    xyxy2xywh,
    xyxy2xywhn,
    xyxyxyxy2xywhr,
)

SIDE = st.integers(10, 3000)
NOTATIONS = {"xyxy": "xyxy", "xywh": "cxcywh", "ltwh": "xywh"}  # ours: torchvision's
CONVERSIONS = [xywh2xyxy, xyxy2xywh, xywh2ltwh, xyxy2ltwh, ltwh2xywh, ltwh2xyxy]


def random_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    """(*shape, 4) xyxy, some of them reaching out of a 100 x 100 image."""
    corner, size = torch.rand(2, *shape, 2, generator=torch.Generator().manual_seed(seed)) * 100 - 10
    return torch.cat((corner, corner + size.abs()), -1)


@pytest.mark.public("python::utils_ops")
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3)])
@pytest.mark.parametrize("function", CONVERSIONS)
def test_conversions_agree_with_torchvision(function, shape):
    source, target = (NOTATIONS[name] for name in function.__name__.split("2"))
    boxes = box_convert(random_boxes(*shape), "xyxy", source)
    torch.testing.assert_close(function(boxes), box_convert(boxes, source, target))


@pytest.mark.parametrize("function", [*CONVERSIONS, xywhn2xyxy, xyxy2xywhn])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_tensors_and_arrays_give_the_same(function, dtype):
    boxes = random_boxes(5).to(dtype)
    before = boxes.clone()
    on_array = function(boxes.numpy())
    assert isinstance(on_array, np.ndarray)
    torch.testing.assert_close(function(boxes), torch.from_numpy(on_array), rtol=1e-6, atol=1e-4)
    assert torch.equal(boxes, before)


def test_integers_keep_the_half_pixel():
    assert xyxy2xywh(torch.tensor([0, 0, 3, 5])).tolist() == [1.5, 2.5, 3, 5]


@pytest.mark.public("python::utils_ops")
@given(corner=st.tuples(*[st.floats(-1000, 1000)] * 2), size=st.tuples(*[st.floats(0, 3000)] * 2), w=SIDE, h=SIDE)
def test_round_trips(corner, size, w, h):
    xyxy = np.concatenate((corner, np.add(corner, size)))
    np.testing.assert_allclose(xywh2xyxy(xyxy2xywh(xyxy)), xyxy, atol=1e-9)
    np.testing.assert_allclose(xywhn2xyxy(xyxy2xywhn(xyxy, w, h), w, h), xyxy, atol=1e-9)


def test_normalized_boxes_are_moved_into_the_padded_image():
    assert xywhn2xyxy(np.array([0.5, 0.5, 0.5, 0.25]), 200, 100, padw=3, padh=7).tolist() == [53, 44.5, 153, 69.5]


def test_wrong_width_is_an_error():
    with pytest.raises(ValueError, match=r"\(3, 5\).*must be 4"):
        xywh2xyxy(torch.zeros(3, 5))


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


def test_a_side_that_is_resized_to_one_pixel():
    """1 x 3000 becomes 1 x 320, as the letterbox makes it, although 1 x 320 / 3000 rounds to 0."""
    assert scale_boxes((320, 320), np.array([[32.0, 159, 64, 160]]), (1, 3000)).tolist() == [[300, 0, 600, 1]]


@pytest.mark.public("python::scale_coords_nonuniform_letterbox")
@pytest.mark.parametrize("kind", [torch.tensor, np.array])
@pytest.mark.parametrize("padding", [True, False])
def test_points_are_scaled_as_corners_are(kind, padding):
    corners = [[100.0, 100.0], [200.0, 70.0], [-50.0, 900.0]]
    points = kind([[(*xy, 0.5) for xy in corners]])
    scaled = scale_coords((224, 224), points, (331, 501), padding=padding)
    boxes = scale_boxes((224, 224), np.array([(*xy, *xy) for xy in corners]), (331, 501), padding=padding)
    np.testing.assert_allclose(scaled[0, :, :2], boxes[:, :2], rtol=1e-6)
    assert scaled[0, :, 2].tolist() == [0.5] * 3 and points[0, 0].tolist() == [100, 100, 0.5]
    normalized = scale_coords((224, 224), points, (331, 501), normalize=True, padding=padding)
    np.testing.assert_allclose(normalized[0, :, :2], boxes[:, :2] / (501, 331), rtol=1e-6)
    given_geometry = scale_coords((9, 9), points, (331, 501), ratio_pad=((0.5, 2.0), (10, 20)))
    assert given_geometry[0].tolist() == [[45, 160, 0.5], [95, 100, 0.5], [0, 331, 0.5]]


def test_clipped_points():
    assert clip_coords(torch.tensor([[-1.0, 60.0, 7.0], [5, 5, -7]]), (20, 30)).tolist() == [[0, 20, 7], [5, 5, -7]]


angles = st.floats(-math.pi, math.pi)
rotated_boxes = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(2, 60), st.floats(2, 60), angles)


@settings(deadline=None)
@given(rotated_boxes)
def test_corners_are_opencvs(box):
    x, y, w, h, t = box
    corners = xywhr2xyxyxyxy(torch.tensor(box, dtype=torch.float64)).numpy()
    theirs = cv2.boxPoints(((x, y), (w, h), math.degrees(t)))
    for corner in theirs:
        assert np.abs(corners - corner).sum(1).min() < 0.01
    along = np.array((math.cos(t), math.sin(t)))
    across = np.array((-math.sin(t), math.cos(t)))
    signs = [(round(float((c - (x, y)) @ along * 2 / w)), round(float((c - (x, y)) @ across * 2 / h))) for c in corners]
    assert signs == [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    np.testing.assert_allclose(xywhr2xyxyxyxy(np.array(box)), corners)


@pytest.mark.public("python::utils_ops")
@settings(deadline=None)
@given(rotated_boxes)
def test_rotated_boxes_come_back_from_their_corners(box):
    corners = xywhr2xyxyxyxy(np.array([box]))
    rows = xyxyxyxy2xywhr(corners.reshape(1, 8))
    _, _, w, h, theta = rows[0]
    assert w >= h and -math.pi / 4 <= theta < 3 * math.pi / 4
    again = xywhr2xyxyxyxy(rows)[0]
    assert all(np.abs(again - corner).sum(1).min() < 0.02 for corner in corners[0])
    assert tuple(rows[0]) == min_area_rect(corners[0])


def test_smallest_boxes_of_tensors_of_more_points_and_of_none():
    hexagon = [[0, 0], [4, 0], [10, 0], [10, 4], [5, 4], [0, 4]]
    rows = xyxyxyxy2xywhr(torch.tensor([hexagon, hexagon]).flatten(1))
    assert rows.dtype is torch.float32 and rows.shape == (2, 5)
    torch.testing.assert_close(rows[1], torch.tensor([5.0, 2, 10, 4, 0]))
    assert xyxyxyxy2xywhr(torch.zeros(0, 8)).shape == xyxyxyxy2xywhr(np.zeros((0, 8))).shape == (0, 5)


def test_boxes_around_polygons():
    polygons = [np.array([[1.0, 2], [5, 9], [3, 1]]), np.array([[0.0, 0], [2, 2]])]
    assert segments2boxes(polygons).tolist() == [[3, 5, 4, 8], [1, 1, 2, 2]]
    assert segments2boxes([]).shape == (0, 4)


def test_boxes_around_the_visible_parts_of_polygons():
    """Convex ones against OpenCV's intersections, others against data/polygons.py."""
    rng = np.random.default_rng(0)
    image = np.array([[0, 0], [60, 0], [60, 40], [0, 40]], np.float32)
    seen = 0
    for _ in range(100):
        polygon = rng.uniform(-40, 90, (rng.integers(3, 9), 2)).astype(np.float32)
        bounds = resample([polygon], 1).visible_bounds(60, 40)[0]
        np.testing.assert_allclose(segment2box(polygon, 60, 40), bounds, atol=1e-3)
        hull = cv2.convexHull(polygon)[:, 0]
        area, points = cv2.intersectConvexConvex(hull, image)
        expected = np.concatenate((points.min((0, 1)), points.max((0, 1)))) if area else np.zeros(4)
        np.testing.assert_allclose(segment2box(hull, 60, 40), expected, atol=1e-3)
        seen += area > 0
    assert 60 < seen < 100


@pytest.mark.parametrize(
    ("polygon", "expected"),
    [
        ([[10.0, 5], [20, 5], [20, 30]], [10, 5, 20, 30]),
        ([[-10.0, -10], [200, -10], [200, 200], [-10, 200]], [0, 0, 60, 40]),  # around the whole image
        ([[-10.0, 10], [700, 20], [300, 30]], [0, 10 + 100 / 710, 60, 10 + 1400 / 310]),  # crosses it
        ([[70.0, 10], [90, 10], [80, 30]], [0, 0, 0, 0]),
    ],
)
def test_visible_parts_by_hand(polygon, expected):
    np.testing.assert_allclose(segment2box(np.array(polygon), 60, 40), expected, rtol=1e-6)


def test_resampled_polygons():
    few, many = np.array([[0.0, 0], [4, 0], [4, 4]]), np.arange(20.0).reshape(10, 2)
    six, cut, same = resample_segments([few, many, many[:6]], n=6)
    assert six.tolist() == [[0, 0], [0, 0], [4, 0], [4, 4], [0, 0], [0, 0]] and six.dtype == np.float32
    assert cut.tolist() == [[0, 1], [4, 5], [8, 9], [12, 13], [16, 17], [0, 1]]
    assert same.tolist() == many[:6].tolist()
    np.testing.assert_allclose(resample_segments([few], 100)[0], resample([few], 100).points, atol=1e-6)


@pytest.mark.public("python::utils_ops")
@pytest.mark.parametrize(("x", "expected"), [(1, 8), (8, 8), (9, 16), (7.9, 8), (33, 40)])
def test_make_divisible(x, expected):
    assert make_divisible(x, 8) == make_divisible(x, torch.tensor([4, 8, 2])) == expected


def test_images_of_tensors():
    batch = torch.tensor([[0.0, 0.5], [0.999, 1.1], [-0.1, 1]]).view(1, 3, 1, 2)
    images = convert_torch2numpy_batch(batch)
    assert images.dtype == np.uint8 and images.tolist() == [[[[0, 254, 0], [127, 255, 255]]]]


def test_clean_names():
    assert clean_str("rtsp://user:a@b?x=1&y|z.mp4") == "rtsp_//user_a_b_x_1_y_z.mp4"
    assert clean_str("plain-name_1.jpg") == "plain-name_1.jpg"


def test_a_stopwatch(monkeypatch):
    now = iter([1.0, 3.0, 10.0, 15.0])
    monkeypatch.setattr(ops.time, "perf_counter", lambda: next(now))
    watch = Profile()
    with watch:
        pass
    assert (watch.t, watch.dt) == (2, 2)
    watch(lambda: None)()
    assert (watch.t, watch.dt) == (7, 5) and str(watch) == "Elapsed time is 7.0 s"


def test_names_that_live_elsewhere():
    assert ops.non_max_suppression is nms.non_max_suppression
    for name in ("crop_mask", "scale_masks", "process_mask", "process_mask_native", "masks2segments"):
        assert getattr(ops, name) is getattr(masks, name)
    with pytest.raises(AttributeError, match="no attribute 'regularize'"):
        ops.regularize  # noqa: B018
