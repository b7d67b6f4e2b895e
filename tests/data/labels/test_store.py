"""Packed labels come out as they went in, and other processes do not copy them."""

import multiprocessing
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from ultralytics.data.labels.rows import ParsedRows
from ultralytics.data.labels.store import LabelStore

FILES = ["/data/images/a.jpg", "/data/images/ä 图.png", "/data/images/c.jpg"]
TRIANGLE = np.float32([[0.1, 0.1], [0.3, 0.1], [0.2, 0.4]])


def parsed(k: int, **more) -> ParsedRows:
    values = np.arange(k, dtype=np.float32)
    return ParsedRows(values, np.float32([[0.5, 0.5, 0.2, 0.1]] * k).reshape(-1, 4) + values[:, None] / 100, **more)


@pytest.fixture
def store() -> LabelStore:
    rows = [
        parsed(2),
        parsed(0),
        parsed(3, polygons=[TRIANGLE, np.empty((0, 2), np.float32), TRIANGLE[::-1]], duplicates=4),
    ]
    return LabelStore.pack(FILES, [(10, 20), (30, 40), (50, 60)], rows, skipped=[("/data/images/x.jpg", "empty")])


def test_what_goes_in_comes_out(store):
    assert len(store) == 3
    assert [store.file(i) for i in range(3)] == FILES
    assert store.shapes.tolist() == [[10, 20], [30, 40], [50, 60]]
    assert store.counts.tolist() == [2, 0, 3]
    assert store.duplicates == 4
    assert store.skipped == [("/data/images/x.jpg", "empty")]
    np.testing.assert_array_equal(store.cls, [0, 1, 0, 1, 2])
    np.testing.assert_array_equal(store.boxes, np.concatenate([parsed(2).boxes, parsed(3).boxes]))


def test_objects_of_an_image(store):
    cls, boxes, polygons, _ = store.labels_of(0)
    np.testing.assert_array_equal(cls, [0, 1])
    np.testing.assert_array_equal(boxes, parsed(2).boxes)
    assert polygons is None
    cls, boxes, polygons, _ = store.labels_of(1)
    assert (cls.shape, boxes.shape, polygons) == ((0,), (0, 4), None)


def test_polygons_that_reach_out(store):
    assert not len(store.out_of_bounds)
    far = [TRIANGLE, TRIANGLE - 0.105, TRIANGLE + 0.605]  # 0.005 beyond the border are no fault
    rows = [parsed(0), parsed(3, polygons=far), parsed(2), parsed(1, polygons=[TRIANGLE + 0.62])]
    store = LabelStore.pack([*FILES, "d.jpg"], [(10, 20)] * 4, rows)
    assert store.out_of_bounds.tolist() == [3]


def test_a_box_among_polygons_gets_its_corners(store):
    _, boxes, polygons, _ = store.labels_of(2)
    np.testing.assert_array_equal(polygons[0], TRIANGLE)
    np.testing.assert_array_equal(polygons[2], TRIANGLE[::-1])
    x, y, w, h = boxes[1]
    expected = [[x - w / 2, y - h / 2], [x + w / 2, y - h / 2], [x + w / 2, y + h / 2], [x - w / 2, y + h / 2]]
    np.testing.assert_allclose(polygons[1], expected, rtol=1e-6)


def test_objects_are_copies_and_the_arrays_cannot_be_written_to(store):
    found = store.labels_of(2)
    for array in (found.cls, found.boxes, *found.polygons):
        array[:] = 7
    np.testing.assert_array_equal(store.labels_of(2).cls, [0, 1, 2])
    np.testing.assert_array_equal(store.labels_of(2).polygons[0], TRIANGLE)
    with pytest.raises(ValueError, match="read-only"):
        store.boxes[0] = 1


@pytest.mark.parametrize("index", [-1, 3])
def test_index_out_of_range(store, index):
    for read in (store.file, store.labels_of):
        with pytest.raises(IndexError):
            read(index)


@pytest.mark.parametrize("indices", [[2, 0], [1], [], [0, 0, 2]])
def test_select(store, indices):
    chosen = store.select(indices)
    assert [chosen.file(i) for i in range(len(chosen))] == [FILES[i] for i in indices]
    assert chosen.shapes.tolist() == [store.shapes[i].tolist() for i in indices]
    assert chosen.skipped == store.skipped
    for new, old in enumerate(indices):
        for a, b in zip(chosen.labels_of(new), store.labels_of(old), strict=True):
            assert (a is None and b is None) or all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_further_numbers_travel_with_their_objects():
    """What a parser for keypoints would return."""
    points = np.arange(10, dtype=np.float32).reshape(2, 5)
    store = LabelStore.pack(FILES, [(9, 9)] * 3, [parsed(1, extra=points[:1]), parsed(0), parsed(1, extra=points[1:])])
    np.testing.assert_array_equal(store.labels_of(2).extra, points[1:])
    assert store.labels_of(1).extra.shape == (0, 5)
    np.testing.assert_array_equal(store.select([2, 0]).labels_of(1).extra, points[:1])


def test_arrays_make_the_same_store_again(store):
    again = LabelStore(store.arrays, store.skipped, store.duplicates)
    assert [again.file(i) for i in range(3)] == FILES
    np.testing.assert_array_equal(again.labels_of(2).polygons[2], TRIANGLE[::-1])


def test_names_that_are_no_utf8_survive():
    name = b"/data/\xff.jpg".decode("utf-8", "surrogateescape")
    assert LabelStore.pack([name], [(9, 9)], [parsed(0)]).file(0) == name


def _write_in_child(store: LabelStore, index: int) -> None:
    store._tensors["cls"][index] = 99


def test_processes_share_the_labels_and_do_not_copy_them():
    rows = [parsed(100)] * 200
    store = LabelStore.pack([f"{i}.jpg" for i in range(200)], [(9, 9)] * 200, rows)
    assert sum(array.nbytes for array in store.arrays.values()) > 400_000
    assert len(ForkingPickler.dumps(store)) < 4_000
    child = multiprocessing.get_context("spawn").Process(target=_write_in_child, args=(store, 5))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert store.cls[5] == 99


def test_views_stay_valid_when_the_store_is_sent_away(store):
    view, place = store.boxes, store.boxes.ctypes.data
    ForkingPickler.dumps(store)
    assert store.boxes.ctypes.data == place
    np.testing.assert_array_equal(view[:2], parsed(2).boxes)


def test_without_shared_memory_there_is_ordinary_memory(monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    store = LabelStore.pack(FILES, [(9, 9)] * 3, [parsed(2)] * 3)
    np.testing.assert_array_equal(store.labels_of(1).boxes, parsed(2).boxes)
