"""Objects move as their image does."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ultralytics.data.instances import Instances, apply_matrix

SIZE = (48, 64)
SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
xywh = st.integers(0, 6).flatmap(lambda k: arrays(np.float32, (k, 4), elements=st.floats(0, 1, width=32)))
matrices = arrays(np.float64, (3, 3), elements=st.floats(-2, 2)).map(lambda m: np.diag((1, 1, 1)) + m * 0.3)


def objects(rows: np.ndarray, has_polygon: bool = False) -> Instances:
    corners = [row[:2] + (SQUARE - 0.5) * row[2:] for row in rows] if has_polygon else None
    return Instances.from_normalized(np.arange(len(rows), dtype=np.float32), rows, corners, SIZE)


@given(xywh)
def test_normalized_undoes_from_normalized(rows: np.ndarray) -> None:
    np.testing.assert_allclose(objects(rows).normalized(SIZE), rows, atol=1e-6)


@pytest.mark.parametrize("has_polygon", [False, True])
@given(rows=xywh, matrix=matrices)
def test_affine_keeps_boxes_in_the_image_and_counts_consistent(
    has_polygon: bool, rows: np.ndarray, matrix: np.ndarray
) -> None:
    moved = objects(rows, has_polygon).affine(matrix, SIZE)
    assert len(moved) == len(moved.boxes) == len(rows)
    assert (moved.boxes >= 0).all() and (moved.boxes <= (64, 48, 64, 48)).all()
    assert (moved.boxes[:, 2:] >= moved.boxes[:, :2]).all()
    if has_polygon and len(rows):
        assert moved.polygons.counts.sum() == len(moved.polygons.points)
        assert (moved.polygons.points >= 0).all() and (moved.polygons.points <= (64, 48)).all()


@given(xywh, matrices)
def test_the_polygon_of_a_box_gives_the_visible_part_of_what_its_corners_give(
    rows: np.ndarray, matrix: np.ndarray
) -> None:
    matrix[2] = (0, 0, 1)
    by_corners, by_polygon = (objects(rows, has_polygon).affine(matrix, SIZE).boxes for has_polygon in (False, True))
    empty = (by_polygon == 0).all(1)
    assert (by_polygon[~empty, :2] >= by_corners[~empty, :2] - 1e-3).all()
    assert (by_polygon[~empty, 2:] <= by_corners[~empty, 2:] + 1e-3).all()


@given(arrays(np.float32, (5, 2), elements=st.floats(0, 64, width=32)), st.floats(-0.003, 0.003))
def test_apply_matrix_is_opencvs_perspective_transform(points: np.ndarray, tilt: float) -> None:
    matrix = np.array(((0.9, 0.2, 3), (-0.1, 1.2, -4), (tilt, -tilt / 2, 1)))
    expected = cv2.perspectiveTransform(points[None], matrix)[0]
    np.testing.assert_allclose(apply_matrix(points, matrix), expected, atol=1e-3)


def test_what_lies_behind_the_horizon_is_not_seen() -> None:
    matrix = np.array(((1, 0, 0), (0, 1, 0), (-0.05, 0, 1)))  # x = 20 is infinitely far away
    behind = Instances(np.zeros(1, np.float32), np.array([(30, 10, 40, 20)], np.float32))
    assert behind.affine(matrix, SIZE).areas.tolist() == [0]


@pytest.mark.parametrize("has_polygon", [False, True])
def test_flips_move_boxes_and_polygons_and_undo_themselves(has_polygon: bool) -> None:
    before = objects(np.array([(0.25, 0.25, 0.5, 0.25)], np.float32), has_polygon)
    assert before.boxes.tolist() == [[0, 6, 32, 18]]
    assert before.flip(SIZE, horizontal=True).boxes.tolist() == [[32, 6, 64, 18]]
    assert before.flip(SIZE, horizontal=False).boxes.tolist() == [[0, 30, 32, 42]]
    twice = before
    for horizontal in (True, False, True, False):
        twice = twice.flip(SIZE, horizontal)
    np.testing.assert_array_equal(twice.boxes, before.boxes)
    if has_polygon:
        polygons = before.flip(SIZE, horizontal=True).polygons
        np.testing.assert_array_equal(polygons.visible_bounds(64, 48), [[32, 6, 64, 18]])
        np.testing.assert_allclose(twice.polygons.points, before.polygons.points, atol=1e-5)


def test_translate_and_clip() -> None:
    rows = np.array([(0.5, 0.5, 1, 0.5)], np.float32)
    moved = objects(rows, has_polygon=True).translate(-8, 20)
    assert moved.boxes.tolist() == [[-8, 32, 56, 56]]
    clipped = moved.clip(SIZE)
    assert clipped.boxes.tolist() == [[0, 32, 56, 48]]
    assert clipped.polygons.points.min(0).tolist() == [0, 32] and clipped.polygons.points.max(0).tolist() == [56, 48]


def test_concat_remembers_which_objects_have_a_polygon() -> None:
    row = np.array([(0.5, 0.5, 0.5, 0.5)], np.float32)
    assert Instances.concat([objects(row), objects(row)]).polygons is None
    mixed = Instances.concat([objects(row), objects(row, has_polygon=True), objects(row[:0])])
    assert mixed.has_polygon.tolist() == [False, True]
    turned = mixed.affine(np.array(((0.8, -0.6, 20), (0.6, 0.8, -10), (0, 0, 1))), SIZE)
    np.testing.assert_allclose(turned.boxes[0], turned.boxes[1], atol=1e-4)
    assert turned.select(np.array([False, True])).has_polygon.tolist() == [True]
