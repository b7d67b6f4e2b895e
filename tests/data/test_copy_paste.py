"""Pasting objects: which, where, and what becomes of the image."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ultralytics.data.augment import AugmentSettings, MixProbs, augment, flip, paste
from ultralytics.data.instances import Instances, Sample
from ultralytics.utils.metrics import bbox_ioa

SIZE = (60, 100)


def square(x, y, side):
    return np.array(((x, y), (x + side, y), (x + side, y + side), (x, y + side)), np.float32)


def sample_of(*squares, color=50, has_polygon=True):
    """A gray image with brighter squares (x, y, side), the i-th of class i."""
    shapes = [square(*s) for s in squares]
    boxes = np.array([(*s.min(0), *s.max(0)) for s in shapes]).reshape(-1, 4)
    xywh = np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1)
    size = np.array(SIZE[::-1], np.float32)
    polygons = [s / size for s in shapes] if has_polygon else None
    cls = np.arange(len(shapes), dtype=np.float32)
    objects = Instances.from_normalized(cls, (xywh / np.tile(size, 2)).astype(np.float32), polygons, SIZE)
    img = np.full((*SIZE, 3), color, np.uint8)
    for shape in shapes:
        cv2.fillPoly(img, [shape.astype(np.int32)], (color + 100,) * 3)
    return Sample(img, objects, "a.jpg", SIZE)


def paste_mirrored(sample, fraction):
    return paste(sample, flip(sample, horizontal=True), fraction)


def test_the_mirror_image_of_an_object_where_there_is_room():
    """One object at the left comes again at the right; one in the middle would cover itself."""
    once = sample_of((5, 10, 20), (45, 30, 10))
    twice = paste_mirrored(once, 1.0)
    np.testing.assert_allclose(twice.instances.boxes, [(5, 10, 25, 30), (45, 30, 55, 40), (75, 10, 95, 30)], atol=1e-4)
    assert twice.instances.cls.tolist() == [0, 1, 0] and twice.instances.has_polygon.all()
    inside = twice.img[12:28, 77:93]
    assert (inside == 150).all() and (twice.img[:, 97:] == 50).all()
    np.testing.assert_allclose(twice.instances.polygons.split()[2].min(0), (75, 10), atol=1e-4)
    assert len(once.instances) == 2 and (once.img[:, 70:] == 50).all()  # what was given is as it was


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, []), (0.1, []), (0.3, [0]), (0.5, [0, 1]), (1.0, [0, 1, 2])])
def test_those_that_cover_least_come_first(fraction, expected):
    """Of the three that fit, rounded `fraction` of them, those first that cover least; one covers half of another."""
    there = sample_of((0, 0, 20), (0, 30, 20), (40, 30, 10))
    new = sample_of((60, 0, 20), (18, 0, 20), (16, 30, 20), (10, 30, 20), color=80)
    covered = bbox_ioa(new.instances.boxes, there.instances.boxes).max(1)
    np.testing.assert_allclose(covered, [0, 0.1, 0.2, 0.5], atol=1e-4)
    pasted = paste(there, new, fraction)
    assert pasted.instances.cls[3:].tolist() == expected
    for i in expected:
        x1, y1, x2, y2 = new.instances.boxes[i].round().astype(int)
        assert (pasted.img[y1:y2, x1:x2] == 180).all()


def test_only_objects_with_a_polygon_can_be_cut_out():
    without = sample_of((5, 10, 20), has_polygon=False)
    assert paste_mirrored(without, 1.0) is without
    assert len(paste(without, sample_of((60, 10, 20)), 1.0).instances) == 2
    empty = sample_of()
    assert paste_mirrored(empty, 1.0) is empty


def options(**values):
    plain = dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective"), 0.0)
    return SimpleNamespace(**plain, flipud=0.0, fliplr=0.0, bgr=0.0, **values)


@pytest.mark.parametrize("mode", ["flip", "mixup"])
def test_both_modes_in_the_chain(mode):
    main = sample_of((5, 10, 20))
    other = replace(sample_of((40, 5, 15), color=80), im_file="b.jpg")
    settings = AugmentSettings(options(copy_paste_mode=mode), SIZE, MixProbs(copy_paste=1.0))
    result = augment(main, lambda: other, settings, np.random.default_rng(0))
    second = (75, 10, 95, 30) if mode == "flip" else (40, 5, 55, 20)
    np.testing.assert_allclose(result.instances.boxes, [(5, 10, 25, 30), second], atol=0.01)
    x1, y1, x2, y2 = second
    assert (result.img[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] == (150 if mode == "flip" else 180)).all()


def test_mixup_is_drawn_with_its_probability():
    main, other = sample_of((5, 10, 20)), sample_of((40, 5, 15), (70, 5, 15))
    settings = AugmentSettings(options(copy_paste_mode="mixup"), SIZE, MixProbs(copy_paste=0.5))
    found = [len(augment(main, lambda: other, settings, np.random.default_rng(i)).instances) for i in range(200)]
    assert set(found) == {1, 2} and 70 < found.count(2) < 130  # half of the time, half of two


def test_it_ends_with_the_mosaics():
    given = SimpleNamespace(mosaic=1.0, mixup=0.0, cutmix=0.0, copy_paste=0.4, epochs=10, close_mosaic=2)
    assert MixProbs.at(given, 7).copy_paste == 0.4
    assert not MixProbs.at(given, 8)
