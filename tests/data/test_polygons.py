"""Polygons against OpenCV and numpy."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ultralytics.data.instances import Instances
from ultralytics.data.polygons import Polygons, resample

polygons = st.integers(3, 12).flatmap(lambda p: arrays(np.float32, (p, 2), elements=st.floats(0, 1, width=32)))


def parts(packed: Polygons) -> list[np.ndarray]:
    return np.split(packed.points, np.cumsum(packed.counts)[:-1])


@given(st.lists(polygons, min_size=1, max_size=4), st.integers(13, 60))
def test_resample_interpolates_in_index_space(given_polygons: list[np.ndarray], n: int) -> None:
    dense = resample(given_polygons, n)
    assert dense.counts.tolist() == [n] * len(given_polygons)
    for polygon, found in zip(given_polygons, parts(dense), strict=True):
        closed = np.concatenate((polygon, polygon[:1]))
        index = np.arange(len(closed))
        at = np.sort(np.concatenate((index, np.linspace(0, len(polygon), n - len(closed)))))
        expected = np.stack([np.interp(at, index, closed[:, i]) for i in range(2)], axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@given(st.lists(polygons, min_size=1, max_size=4), st.integers(13, 100))
def test_resampled_points_are_rounded_once(given_polygons: list[np.ndarray], n: int) -> None:
    """Float64 until they are done: on a side at 45 degrees a wrong last bit turns a rotated box by 180 degrees."""
    for polygon, found in zip(given_polygons, parts(resample(given_polygons, n)), strict=True):
        closed = np.concatenate((polygon, polygon[:1]))
        index = np.arange(len(closed))
        at = np.sort(np.concatenate((index, np.linspace(0, len(polygon), n - len(closed)))))
        expected = np.stack([np.interp(at, index, closed[:, i]) for i in range(2)], axis=1)
        spacing = np.spacing(np.abs(expected).astype(np.float32))
        assert (np.abs(found - expected) <= 0.5001 * spacing + 1e-12).all()


@pytest.mark.parametrize(("vertices", "expected"), [(5, 10), (9, 10), (10, 11), (30, 31)])
def test_a_polygon_of_n_vertices_or_more_sets_the_count_for_all(vertices: int, expected: int) -> None:
    long = np.random.default_rng(0).random((vertices, 2))
    dense = resample([long, np.eye(3, 2)], n=10)
    assert dense.counts.tolist() == [expected] * 2
    if vertices >= 9:
        np.testing.assert_allclose(parts(dense)[0], np.concatenate((long, long[:1])), atol=1e-6)


def test_select_and_concatenate_keep_objects_without_a_polygon() -> None:
    square = np.array([(0, 0), (2, 0), (2, 2), (0, 2)])
    parts = [resample([square, square + 10], 5), None, resample([square + 20], 6)]
    instances = [
        Instances(np.zeros(k), np.zeros((k, 4), np.float32), part) for k, part in zip((2, 1, 1), parts, strict=True)
    ]
    both = Instances.concat(instances).polygons
    assert both.counts.tolist() == [5, 5, 0, 6] and [len(points) for points in both.split()] == [5, 5, 0, 6]
    kept = both.select(np.array([False, True, True, True]))
    assert kept.counts.tolist() == [5, 0, 6]
    assert kept.points[0].tolist() == [10, 10] and kept.points[5].tolist() == [20, 20]
    np.testing.assert_array_equal(kept.visible_bounds(50, 50), [(10, 10, 12, 12), (0, 0, 0, 0), (20, 20, 22, 22)])


@given(st.lists(polygons, min_size=1, max_size=4))
def test_visible_bounds_of_convex_polygons_are_those_of_the_intersection(given_polygons: list[np.ndarray]) -> None:
    width, height = 64, 48
    hulls = [cv2.convexHull(np.round(p * 200 - 70).astype(np.float32))[:, 0] for p in given_polygons]
    hulls = [hull for hull in hulls if len(hull) > 2]
    if not hulls:
        return
    image = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    found = resample(hulls, 40).visible_bounds(width, height)
    for hull, box in zip(hulls, found, strict=True):
        area, common = cv2.intersectConvexConvex(hull, image)
        if area > 0.1:  # below, OpenCV's own answer depends on rounding
            np.testing.assert_allclose(box, [*common.min((0, 1)), *common.max((0, 1))], atol=1e-2)
        elif (hull.max(0) < 0).any() or (hull.min(0) > (width, height)).any():
            assert not box.any()


def test_visible_bounds_of_a_concave_polygon() -> None:
    """A U that surrounds the image but for a notch from above, and one whose arms alone are seen."""
    u = np.array([(-10, -10), (20, -10), (20, 30), (60, 30), (60, -10), (90, -10), (90, 60), (-10, 60)])
    around, arms = resample([u, u - np.array((0, 40))]).visible_bounds(80, 50)
    assert around.tolist() == [0, 0, 80, 50]
    assert arms.tolist() == [0, 0, 80, 20]
    assert resample([u - 100, u + 200]).visible_bounds(80, 50).tolist() == [[0] * 4] * 2
