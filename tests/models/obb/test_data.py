"""Rotated boxes from label rows to targets."""

import math

import cv2
import numpy as np
import pytest
import torch

from ultralytics.cfg import get_options
from ultralytics.data.augment import flip, mosaic4, paste
from ultralytics.data.instances import Sample
from ultralytics.data.labels.rows import RowError, parse_polygon_rows
from ultralytics.data.utils import load_data_yaml
from ultralytics.models.yolo.obb.data import RotatedInstances, normalized_xywhr, rotated_targets
from ultralytics.models.yolo.obb.task import OBBTask
from ultralytics.utils.ops import min_area_rect

SIZE = (200, 300)


def rectangle(x, y, w, h, theta):
    """Corners (4, 2)."""
    along, across = np.array(((math.cos(theta), math.sin(theta)), (-math.sin(theta), math.cos(theta))))
    return np.array([(x, y) + a * w / 2 * along + b * h / 2 * across for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))])


def objects_of(polygons, size=SIZE):
    """Instances of class 0, 1, … with these polygons in pixels."""
    rows = [[i, *(polygon / size[::-1]).ravel()] for i, polygon in enumerate(polygons)]
    parsed = parse_polygon_rows(rows, None)
    return RotatedInstances.from_normalized(parsed.cls, parsed.boxes, parsed.polygons, size)


def rotation(theta, x=0.0, y=0.0):
    """Matrix of a rotation by `theta` about the center of the image and a translation."""
    height, width = SIZE
    center = np.array(((1, 0, width / 2 + x), (0, 1, height / 2 + y), (0, 0, 1)))
    turn = np.array(((math.cos(theta), -math.sin(theta), 0), (math.sin(theta), math.cos(theta), 0), (0, 0, 1)))
    return center @ turn @ np.array(((1, 0, -width / 2), (0, 1, -height / 2), (0, 0, 1)))


def pixels(objects, size=SIZE):
    return normalized_xywhr(objects, size) * (size[1], size[0], size[1], size[0], 1)


def test_targets_of_the_reference(golden, dataset):
    """Angles of exact squares depend on the version of OpenCV, by a quarter turn."""
    expected = np.load(golden / "obb.npz")
    data = load_data_yaml(dataset("nuclei_obb") / "data.yaml")
    images = OBBTask(get_options({"imgsz": 192}), data).dataset("val", augment=False, batch=4)
    batch = images.collate([images[i] for i in range(4)])
    assert (batch["cls"].numpy() == expected["batch.cls"]).all()
    assert (batch["batch_idx"].numpy() == expected["batch.batch_idx"]).all()
    found, boxes = batch["bboxes"].numpy(), expected["batch.bboxes"]
    np.testing.assert_allclose(found[:, :4], boxes[:, :4], atol=1e-6)
    square = np.isclose(boxes[:, 2], boxes[:, 3], atol=1e-5)
    np.testing.assert_allclose(found[~square, 4], boxes[~square, 4], atol=1e-5)
    assert square.sum() < 10
    np.testing.assert_allclose(np.sin(2 * (found[square, 4] - boxes[square, 4])), 0, atol=1e-5)


@pytest.mark.parametrize("theta", np.linspace(-math.pi, math.pi, 23))
@pytest.mark.parametrize("sides", [(50, 20), (20, 50)])
def test_the_width_is_the_longer_side(theta, sides):
    x, y, w, h, found = min_area_rect(rectangle(100, 80, *sides, theta))
    np.testing.assert_allclose((x, y, w, h), (100, 80, 50, 20), atol=1e-3)
    assert -math.pi / 4 <= found < 3 * math.pi / 4
    along = theta if sides[0] > sides[1] else theta + math.pi / 2
    assert abs(math.sin(found - along)) < 1e-4


def test_an_upright_square():
    assert min_area_rect(rectangle(50, 50, 20, 20, 0))[4] == pytest.approx(math.pi / 2)


def test_any_polygon_is_a_box():
    """The box of an ellipse has its axes as sides."""
    angles = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    ellipse = np.stack((60 * np.cos(angles), 20 * np.sin(angles)), 1)
    turn = np.array(((math.cos(0.5), math.sin(0.5)), (-math.sin(0.5), math.cos(0.5))))
    found = pixels(objects_of([ellipse @ turn + (150, 100)]))
    np.testing.assert_allclose(found[0], (150, 100, 120, 40, 0.5), atol=0.2)


def test_polygons_are_resampled_to_a_hundred_points():
    """Or one more than the longest has, closed: for all of an image."""
    few = objects_of([rectangle(150, 100, 60, 20, 0.4), rectangle(120, 90, 30, 25, 1.4)])
    assert few.polygons.counts.tolist() == [100, 100]
    many = np.stack((np.linspace(10, 200, 120), 50 + 20 * np.sin(np.arange(120))), 1)
    assert objects_of([many, rectangle(150, 100, 60, 20, 0.4)]).polygons.counts.tolist() == [121, 121]


def test_boxes_move_as_the_image_does():
    whole = objects_of([rectangle(150, 100, 60, 20, 0.4), rectangle(120, 90, 30, 25, 1.4)])
    moved = pixels(whole.affine(rotation(0.7, x=10, y=-5), SIZE))
    np.testing.assert_allclose(moved[0], (160, 95, 60, 20, 1.1), atol=1e-3)
    np.testing.assert_allclose(moved[1, 2:], (30, 25, 2.1), atol=1e-3)
    mirrored = pixels(whole.flip((200, 300), horizontal=True))
    np.testing.assert_allclose(mirrored[0], (150, 100, 60, 20, -0.4), atol=1e-3)
    upside_down = pixels(whole.flip((200, 300), horizontal=False))
    np.testing.assert_allclose(upside_down[1], (120, 110, 30, 25, math.pi - 1.4), atol=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_what_the_border_cuts_stays_a_box_of_its_direction(seed):
    """The box holds all pixels of the part in sight, touches it on all sides, and is rotated as the whole."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(-0.7, 0.7)
    whole = rectangle(150, 100, rng.uniform(80, 150), rng.uniform(20, 50), theta)
    x, y = rng.choice((-1, 1), 2) * rng.uniform((60, 40), (150, 100))
    moved = objects_of([whole]).affine(rotation(0, x, y), SIZE)
    mask = np.zeros(SIZE, np.uint8)
    scaled = np.round((whole + np.array((x, y)) - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(mask, [scaled], 1, shift=8)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        assert moved.areas[0] < 1
        return
    seen = np.stack((columns, rows), 1) + 0.5
    cx, cy, w, h, angle = pixels(moved)[0]
    assert abs(math.sin(2 * (angle - theta))) < 1e-3
    frame = (seen - (cx, cy)) @ np.array(((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))))
    np.testing.assert_allclose(np.abs([frame.min(0), frame.max(0)]), [(w / 2, h / 2)] * 2, atol=1.5)
    low, high = seen.min(0) - 0.5, seen.max(0) + 0.5
    np.testing.assert_allclose(moved.boxes[0], (*low, *high), atol=1.5)


def test_corners_of_a_cut_box_may_lie_outside():
    moved = objects_of([rectangle(150, 100, 160, 60, 0.5)]).affine(rotation(0, x=120), SIZE)
    points = moved.polygons.points
    assert points[:, 0].max() > 301 and moved.boxes[0, 2] == 300
    assert (points[0] == points[-1]).all()


def test_a_mosaic_cuts_boxes_to_boxes():
    """At the border of its canvas, where a clipped polygon would be a box of another direction."""
    polygon = rectangle(40, 40, 70, 20, math.pi / 4)
    sample = Sample(np.zeros((80, 80, 3), np.uint8), objects_of([polygon], (80, 80)), "a.png", (80, 80))
    cut = 0
    for seed in range(20):
        found = mosaic4([sample] * 4, 64, np.random.default_rng(seed))
        boxes = pixels(found.instances, found.size)
        np.testing.assert_allclose(np.cos(4 * boxes[:, 4]), -1, atol=1e-3)  # all at 45 degrees
        assert (found.instances.boxes >= 0).all() and (found.instances.boxes <= 128).all()
        cut += (boxes[:, 2] < 69).sum()
    assert cut > 5


def test_objects_pasted_from_the_mirror():
    objects = objects_of([rectangle(60, 60, 60, 20, 0.4), rectangle(80, 150, 40, 30, 1.2)])
    img = np.zeros((*SIZE, 3), np.uint8)
    for polygon in objects.polygons.split():
        cv2.fillPoly(img, [polygon.astype(np.int32)], (255, 255, 255))
    sample = Sample(img, objects, "a.png", SIZE)
    found = paste(sample, flip(sample, horizontal=True), 1.0)
    assert len(found.instances) == 4 and isinstance(found.instances, RotatedInstances)
    boxes = pixels(found.instances)
    order = boxes[2:, 1].argsort()
    np.testing.assert_allclose(boxes[2:][order, :2], [(240, 60), (220, 150)], atol=0.01)
    np.testing.assert_allclose(boxes[2:][order, 4], [-0.4, math.pi - 1.2], atol=1e-3)
    for x, y in boxes[:, :2].astype(int):
        assert found.img[y, x].min() == 255


def test_targets_of_a_batch():
    """Fractions of the image, theta as it is; an image without objects; objects whose polygons a transform lost."""
    objects = objects_of([rectangle(150, 100, 60, 20, 0.4), rectangle(60, 50, 30, 24, 2.0)])
    nothing = RotatedInstances(np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
    plain = RotatedInstances(np.array([2], np.float32), np.array([[10, 20, 30, 60]], np.float32))
    samples = [Sample(np.zeros((*SIZE, 3), np.uint8), o, "a.png", SIZE) for o in (objects, nothing, plain)]
    found = rotated_targets(samples)
    assert found["batch_idx"].tolist() == [0, 0, 2] and found["cls"].flatten().tolist() == [0, 1, 2]
    expected = [(0.5, 0.5, 0.2, 0.1, 0.4), (0.2, 0.25, 0.1, 0.12, 2.0), (20 / 300, 0.2, 40 / 300, 0.1, math.pi / 2)]
    torch.testing.assert_close(found["bboxes"], torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, 0.5, 0.5, 0.2, 0.2), "5 numbers, as of a box, but a row is `class x1 y1 x2 y2 x3 y3"),
        ((0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4), "8 numbers"),
        ((0, 0.9, 0.5, 1.3, 0.5, 1.3, 0.9, 0.9, 0.9), "polygon from x 0.9, y 0.5 to x 1.3, y 0.9 does not lie in 0..1"),
        ((0, -0.5, 0.5, 0.3, 0.5, 0.3, 0.9, -0.5, 0.9), "does not lie in 0..1"),
        ((7, 0.1, 0.1, 0.2, 0.1, 0.2, 0.2, 0.1, 0.2), "class 7, but the classes are 0 to 2"),
    ],
)
def test_broken_rows(row, message):
    good = (1, 0.1, 0.1, 0.2, 0.1, 0.2, 0.2, 0.1, 0.2)
    with pytest.raises(RowError, match=message) as caught:
        parse_polygon_rows([good, row], 3)
    assert caught.value.row == 1


def test_a_corner_a_little_outside_passes():
    parsed = parse_polygon_rows([(0, 0.9, 0.1, 1.1, 0.1, 1.1, 0.2, 0.9, 0.2)], 1)
    np.testing.assert_allclose(parsed.polygons[0][1], (1.1, 0.1))
