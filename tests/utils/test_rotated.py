"""Geometry of rotated boxes against OpenCV and against integrals."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils.metrics import probiou
from ultralytics.utils.ops import to_frame, xywhr2xyxyxyxy
from ultralytics.utils.tal import dist2rbox

sides = st.floats(2, 60)
boxes = st.tuples(st.floats(-50, 50), st.floats(-50, 50), sides, sides, st.floats(-math.pi, math.pi))


def random_boxes(n, seed, spread=20.0):
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        (rng.uniform(0, spread, (n, 2)), rng.uniform(5, 40, (n, 2)), rng.uniform(-0.8, 2.4, (n, 1))), 1
    )
    return torch.from_numpy(rows)


def exact_iou(a, b):
    """Intersection over union of two rotated boxes as polygons."""
    first, second = (((x, y), (w, h), math.degrees(t)) for x, y, w, h, t in (a.tolist(), b.tolist()))
    kind, points = cv2.rotatedRectangleIntersection(first, second)
    shared = 0.0 if kind == cv2.INTERSECT_NONE else cv2.contourArea(cv2.convexHull(points))
    return shared / (float(a[2] * a[3] + b[2] * b[3]) - shared)


def test_a_value_of_the_reference():
    found = probiou(torch.tensor([50, 50, 40, 10, 0.3]), torch.tensor([54, 49, 36, 14, 0.7]))
    assert found.item() == pytest.approx(0.551948, abs=1e-6)


@settings(deadline=None)
@given(boxes, boxes)
def test_probiou_is_the_overlap_of_two_normal_distributions(a, b):
    """1 - Hellinger distance, from determinants and an inverse instead of written-out formulas."""

    def gaussian(box):
        x, y, w, h, t = box
        turn = np.array(((math.cos(t), -math.sin(t)), (math.sin(t), math.cos(t))))
        return np.array((x, y)), turn @ np.diag((w**2 / 12, h**2 / 12)) @ turn.T

    (m1, s1), (m2, s2) = gaussian(a), gaussian(b)
    s = (s1 + s2) / 2
    distance = (m1 - m2) @ np.linalg.inv(s) @ (m1 - m2) / 8
    distance += 0.5 * math.log(np.linalg.det(s) / math.sqrt(np.linalg.det(s1) * np.linalg.det(s2)))
    expected = 1 - math.sqrt(1 - math.exp(-min(max(distance, 0), 100)))
    found = probiou(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)).item()
    assert found == pytest.approx(expected, abs=1e-3)  # eps of the formula under a square root: 3e-4


@settings(deadline=None)
@given(boxes, boxes)
def test_probiou_knows_no_order_and_no_side_called_width(a, b):
    first, second = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    x, y, w, h, t = a
    swapped = torch.tensor((x, y, h, w, t + math.pi / 2), dtype=torch.float64)
    found = probiou(first, second)
    torch.testing.assert_close(found, probiou(second, first), atol=1e-6, rtol=0)
    torch.testing.assert_close(found, probiou(swapped, second), atol=1e-6, rtol=0)


def test_probiou_orders_boxes_as_their_polygons_overlap():
    """Of pairs whose exact IoU differs by 0.2 the one that overlaps more has the higher probiou, nearly always."""
    a, b = random_boxes(300, seed=0), random_boxes(300, seed=1)
    exact = np.array([exact_iou(x, y) for x, y in zip(a, b, strict=True)])
    found = probiou(a, b).numpy()
    apart = exact[:, None] - exact[None, :] > 0.2
    assert apart.sum() > 10000
    assert ((found[:, None] - found[None, :])[apart] > 0).mean() > 0.97
    assert np.corrcoef(exact.argsort().argsort(), found.argsort().argsort())[0, 1] > 0.95  # Spearman


def test_probiou_has_gradients_for_equal_boxes():
    box = torch.tensor([[10.0, 10, 8, 4, 0.2]], requires_grad=True)
    probiou(box, box.detach(), spread=0.01).sum().backward()
    assert box.grad.isfinite().all()


@settings(deadline=None)
@given(boxes)
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


def test_a_box_around_its_anchor_point():
    """From distances measured along the axes of a box to the box, and back."""
    generator = torch.Generator().manual_seed(0)
    distances, angle = torch.rand(20, 4, generator=generator) * 9, torch.rand(20, 1, generator=generator) * 3 - 0.7
    points = torch.rand(20, 2, generator=generator) * 50
    rows = torch.cat((dist2rbox(distances, angle, points), angle), 1)
    place = to_frame(points, rows)
    half = rows[:, 2:4] / 2
    torch.testing.assert_close(torch.cat((half + place, half - place), 1), distances, atol=1e-4, rtol=0)
    by_columns = dist2rbox(distances.T, angle.T, points.T, dim=0)
    torch.testing.assert_close(by_columns.T, rows[:, :4])
