"""What a row of a label file may hold, and what is wrong with one that cannot be used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data.labels.rows import RowError, parse_box_rows, read_rows
from ultralytics.utils.errors import DatasetError

BOX = [1, 0.5, 0.4, 0.2, 0.1]
TRIANGLE = [0, 0.1, 0.2, 0.5, 0.2, 0.3, 0.6]


def read(tmp_path, content: str | bytes):
    (tmp_path / "a.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(tmp_path / "a.txt")


def test_rows_and_their_lines(tmp_path):
    rows, lines = read(tmp_path, "0 .5 0.5 1e-1 +.2\n\n  \t\n1.0\t0 0 0 0\n")
    assert rows == [[0, 0.5, 0.5, 0.1, 0.2], [1, 0, 0, 0, 0]]
    assert lines == [1, 4]


@pytest.mark.public("python::yolo_dataset_label_encoding")
def test_byte_order_mark_and_windows_line_ends(tmp_path):
    rows, lines = read(tmp_path, b"\xef\xbb\xbf0 .5 .5 .1 .1\r\n1 .5 .5 .1 .1\r\n")
    assert [row[0] for row in rows] == [0, 1]
    assert lines == [1, 2]


def test_empty_and_missing_files_have_no_rows(tmp_path):
    assert read(tmp_path, "") == read(tmp_path, "\n \n") == read_rows(tmp_path / "gone.txt") == ([], [])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("0 .5 .5 .1 .1\ncat .5 .5 .1 .1", r"a\.txt:2: 'cat' is not a number"),
        ("0, .5, .5, .1, .1", r"a\.txt:1: '0,' is not a number"),
        ("0 .5 .5 .1 .1".encode("utf-16"), r"a\.txt: UTF-16 text"),
        ("0 .5 .5 .1 .1".encode("utf-16-le"), r"a\.txt:1: .* is not a number"),
        (b"0 .5 .5 .1 .1\n\xfc", r"a\.txt:2: not UTF-8"),
    ],
)
def test_files_that_are_no_label_files(tmp_path, content, sentence):
    with pytest.raises(DatasetError, match=sentence):
        read(tmp_path, content)


def test_unreadable_label_files(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(DatasetError, match=r"a\.txt: cannot be read"):
        read_rows(tmp_path / "a.txt")
    try:
        (tmp_path / "b.txt").symlink_to(tmp_path / "gone.txt")
    except OSError:
        pytest.skip("this system makes no links")
    with pytest.raises(DatasetError, match=r"b\.txt: a link to a file that does not exist"):
        read_rows(tmp_path / "b.txt")


def test_box_rows():
    found = parse_box_rows([BOX, [0, 0, 0, 0, 0]], 2)
    assert found.cls.tolist() == [1, 0]
    np.testing.assert_array_equal(found.boxes, np.array([BOX[1:], [0, 0, 0, 0]], np.float32))
    assert (found.cls.dtype, found.boxes.dtype) == (np.float32, np.float32)
    assert found.polygons is None
    assert found.duplicates == 0


def test_polygons_become_their_bounds_and_are_kept():
    found = parse_box_rows([TRIANGLE], 1)
    np.testing.assert_allclose(found.boxes, [[0.3, 0.4, 0.4, 0.4]], rtol=1e-6)
    np.testing.assert_array_equal(found.polygons[0], np.float32([[0.1, 0.2], [0.5, 0.2], [0.3, 0.6]]))


def test_polygons_and_boxes_may_be_mixed():
    found = parse_box_rows([BOX, TRIANGLE], 2)
    np.testing.assert_allclose(found.boxes, [BOX[1:], [0.3, 0.4, 0.4, 0.4]], rtol=1e-6)
    assert [len(polygon) for polygon in found.polygons] == [0, 3]


def test_no_rows():
    found = parse_box_rows([], 2)
    assert found.cls.shape == (0,)
    assert found.boxes.shape == (0, 4)


def test_rows_with_keypoints_are_boxes_where_the_dataset_has_such():
    pose = [*BOX, *[0.5] * 6]
    with_points = parse_box_rows([pose, BOX], 2, keypoint_numbers=6)
    np.testing.assert_array_equal(with_points.boxes, np.float32([BOX[1:], BOX[1:]]))
    assert with_points.polygons is None
    assert len(parse_box_rows([pose], 2).polygons[0]) == 5


def test_repeated_rows_are_dropped_and_the_rest_sorted():
    low, high = [0, 0.5, 0.5, 0.1, 0.1], [1, 0.5, 0.5, 0.1, 0.1]
    assert parse_box_rows([high, low], 2).cls.tolist() == [1, 0]
    found = parse_box_rows([high, low, high, high], 2)
    assert found.cls.tolist() == [0, 1]
    assert found.duplicates == 2


def test_equal_bounds_are_no_repetition():
    other = [0, 0.1, 0.2, 0.5, 0.2, 0.5, 0.6]
    assert parse_box_rows([TRIANGLE, other], 1).duplicates == 0
    found = parse_box_rows([TRIANGLE, other, TRIANGLE], 1)
    assert found.duplicates == 1
    np.testing.assert_array_equal(found.polygons[0].ravel(), np.float32(TRIANGLE[1:]))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([0, 0.5, 0.5, 0.1], "4 numbers, but a row is"),
        ([0, 0.5, 0.5, 0.1, 0.1, 0.9], "6 numbers"),
        ([0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4], "8 numbers"),
        ([0], "1 numbers"),
        ([2, 0.5, 0.5, 0.1, 0.1], "class 2, but the classes are 0 to 1"),
        ([1.5, 0.5, 0.5, 0.1, 0.1], "class 1.5"),
        ([-1, 0.5, 0.5, 0.1, 0.1], "class -1"),
        ([np.nan, 0.5, 0.5, 0.1, 0.1], "class nan"),
        ([np.inf, 0.5, 0.5, 0.1, 0.1], "class inf"),
        ([0, np.nan, 0.5, 0.1, 0.1], "box nan 0.5 0.1 0.1"),
        ([0, np.inf, 0.5, 0.1, 0.1], "box inf 0.5 0.1 0.1"),
        ([0, -0.02, 0.5, 0.1, 0.1], "box -0.02 0.5 0.1 0.1"),
        ([0, 0.5, 1.2, 0.1, 0.1], "box 0.5 1.2 0.1 0.1"),
        ([0, 0.5, 0.5, 1.02, 0.1], "box 0.5 0.5 1.02 0.1"),
        ([0, 0.5, 0.5, -0.005, 0.1], "box 0.5 0.5 -0.005 0.1"),
        ([0, 240, 100, 30, 40], "box 240 100 30 40"),
        ([0, -0.2, 0.1, 0.1, 0.1, 0.1, 0.3], "polygon from x -0.2, y 0.1 to x 0.1, y 0.3 does not"),
        ([0, 0.1, np.nan, 0.1, 0.1, 0.1, 0.3], "polygon from x 0.1, y nan"),
    ],
)
def test_rows_that_cannot_be_used(row, sentence):
    with pytest.raises(RowError, match=sentence) as caught:
        parse_box_rows([BOX, row, BOX], 2)
    assert caught.value.row == 1


@pytest.mark.parametrize(
    "row",
    [
        [0, -0.01, 0.5, 0.1, 0.1],
        [0, 1.01, 0.5, 0.1, 0.1],
        [0, 0.5, 0.5, 1.01, 1.0],
        [0, 0.5, 0.5, 0, 0],
        [0, 0.9, 0.1, 1.1, 0.1, 1.1, 0.3],  # a vertex may pass the border as long as the bounds do not
        [0, -0.1, 0.1, 0.3, 0.1, 0.3, 0.3],
    ],
)
def test_rows_at_the_border_are_used_as_they_are(row):
    found = parse_box_rows([row], 1)
    if len(row) == 5:
        np.testing.assert_array_equal(found.boxes[0], np.float32(row[1:]))


def test_any_class_where_classes_do_not_count():
    assert parse_box_rows([[70, *BOX[1:]]], None).cls.tolist() == [70]
    for bad in (-1, 1.5, np.nan):
        with pytest.raises(RowError, match="whole numbers"):
            parse_box_rows([[bad, *BOX[1:]]], None)


UNIT = st.floats(0, 1, width=32)


@given(st.lists(st.tuples(st.integers(0, 5), UNIT, UNIT, UNIT, UNIT), min_size=1, max_size=10))
def test_nothing_is_lost_but_repetitions(rows):
    found = parse_box_rows([list(row) for row in rows], 6)
    kept = {tuple(map(float, (c, *b))) for c, b in zip(found.cls, found.boxes, strict=True)}
    assert kept == {tuple(map(float, np.float32(row))) for row in rows}
    assert found.duplicates == len(rows) - len(found.cls) == len(rows) - len(set(rows))
