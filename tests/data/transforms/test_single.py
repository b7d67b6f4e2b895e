"""Transforms of one image; boxes and numbers of pixels are what the public package makes of the same labels."""

import random

import numpy as np
import pytest
import torch

from ultralytics.data import augment
from ultralytics.utils.errors import ConfigError, DatasetError


@pytest.mark.parametrize(
    ("direction", "boxes"),
    [
        ("horizontal", [[30, 5, 50, 25], [2, 20, 20, 38]]),
        ("vertical", [[10, 15, 30, 35], [40, 2, 58, 20]]),
    ],
)
def test_flips(labels, direction, boxes):
    before, found = labels()["img"], augment.RandomFlip(1.0, direction)(labels())
    assert (found["img"] == (before[:, ::-1] if direction == "horizontal" else before[::-1])).all()
    assert found["instances"].boxes.tolist() == boxes and found["cls"].tolist() == [[1], [2]]
    assert (augment.RandomFlip(0.0, direction)(labels())["img"] == before).all()


def test_flips_of_keypoints(labels):
    found = augment.RandomFlip(1.0, flip_idx=[1, 0])(labels(keypoints=True))
    assert found["instances"].keypoints.tolist() == [[[31, 24, 1], [48, 6, 2]], [[3, 37, 0], [19, 21, 2]]]
    unknown = labels(keypoints=True)
    assert (augment.RandomFlip(1.0)(unknown)["img"] == labels()["img"]).all()  # left and right would be confused


def test_colors(labels):
    steps = augment.RandomHSV(0.1, 0.5, 0.5)
    random.seed(1)
    first = steps(labels())
    random.seed(1)
    assert (steps(labels())["img"] == first["img"]).all() and (first["img"] != labels()["img"]).mean() > 0.5
    assert list(steps({"img": labels()["img"]})) == ["img"]
    assert (augment.RandomHSV(0, 0, 0)(labels())["img"] == labels()["img"]).all()


@pytest.mark.parametrize(
    ("options", "shape", "boxes"),
    [
        ({"scale": 0.0, "size": (64, 64)}, (64, 64), [[12, 17, 32, 37], [42, 32, 60, 50]]),
        ({"scale": 0.0}, (40, 60), [[10, 5, 30, 25], [40, 20, 58, 38]]),
        ({"scale": (0.5, 0.5), "size": (40, 60)}, (60, 40), [[10, 22.5, 20, 32.5], [25, 30, 34, 39]]),
    ],
)
def test_perspectives_without_chance(labels, options, shape, boxes):
    found = augment.RandomPerspective(translate=0, **options)(labels())
    assert found["img"].shape == (*shape, 3) and found["resized_shape"] == shape
    assert found["instances"].boxes.tolist() == boxes


def test_perspectives_drop_what_is_out_of_sight(labels):
    found = augment.RandomPerspective(translate=0, scale=0.0, size=(16, 40))(labels())
    assert found["cls"].tolist() == [[1]] and len(found["instances"]) == 1


BOXES = [[1 / 3, 0.375, 1 / 3, 0.5], [0.8166667, 0.725, 0.3, 0.45]]


@pytest.mark.parametrize(
    ("options", "boxes"),
    [
        ({}, BOXES),
        ({"return_obb": True}, [[*box, np.pi / 2] for box in BOXES]),
        ({"bbox_format": "xyxy", "normalize": False}, [[10, 5, 30, 25], [40, 20, 58, 38]]),
    ],
)
def test_tensors_of_boxes(labels, options, boxes):
    found = augment.Format(**options)(labels())
    torch.testing.assert_close(found["bboxes"], torch.tensor(boxes, dtype=torch.float32))
    assert found["cls"].tolist() == [[1], [2]] and found["batch_idx"].tolist() == [0, 0]
    assert (found["img"].numpy().transpose(1, 2, 0)[..., ::-1] == labels()["img"]).all()
    assert (augment.Format(bgr=1.0)(labels())["img"].numpy().transpose(1, 2, 0) == labels()["img"]).all()
    assert "batch_idx" not in augment.Format(batch_idx=False)(labels())


def test_tensors_of_masks_and_keypoints(labels):
    found = augment.Format(return_mask=True, mask_ratio=1)(labels())
    assert found["masks"].shape == (1, 40, 60) and found["masks"].sum() == 1163 and found["masks"].max() == 2
    found = augment.Format(return_mask=True, mask_overlap=False)(labels())
    assert found["masks"].sum((1, 2)).tolist() == [35, 25]
    empty = labels()
    empty["instances"] = empty["instances"].select(np.zeros(2, bool))
    found = augment.Format(return_mask=True)(empty)
    assert (found["masks"].shape, found["bboxes"].shape, found["cls"].shape) == ((1, 10, 15), (0, 4), (0, 1))
    points = augment.Format(return_keypoint=True)(labels(keypoints=True))["keypoints"]
    torch.testing.assert_close(points[0], torch.tensor([[0.2, 0.15, 2], [0.4833333, 0.6, 1]]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: augment.RandomFlip(2.0), "p=2.0: a probability is a number from 0 to 1"),
        (lambda: augment.RandomFlip(direction="x"), "direction='x': expected 'horizontal' or 'vertical'"),
        (lambda: augment.RandomPerspective(scale=-1.0), "scale"),
        (lambda: augment.RandomPerspective(preserve_obb=True), "stay rectangles by themselves"),
        (lambda: augment.Format(bbox_format="x"), "bbox_format='x': expected one of xywh, xyxy, ltwh"),
    ],
)
def test_arguments_that_fit_nothing(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


def test_labels_that_lack_what_is_asked_for(labels):
    with pytest.raises(DatasetError, match="no keypoints"):
        augment.Format(return_keypoint=True)(labels())
