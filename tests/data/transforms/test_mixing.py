"""Transforms that join images of a dataset; boxes are what the public package makes of the same labels."""

from types import SimpleNamespace

import numpy as np
import pytest

from ultralytics.cfg import get_options
from ultralytics.data import augment
from ultralytics.data.build import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils.errors import ConfigError


def test_mosaics(labels, images):
    found = augment.Mosaic(images, imgsz=64)(labels())
    assert found["img"].shape == (128, 128, 3) and found["resized_shape"] == (128, 128) and images.asked == 3
    boxes = found["instances"].boxes
    whole = boxes[(boxes > 0).all(1) & (boxes < 128).all(1)]
    assert len(boxes) >= 4 and {tuple(b[2:] - b[:2]) for b in whole} <= {(20, 20), (18, 18)}
    assert "mix_labels" not in found and len(found["cls"]) == len(boxes)
    assert len(augment.Mosaic(images, p=0.0)(labels())["instances"]) == 2


def test_averages(labels, images):
    found = augment.MixUp(images, p=1.0)(labels())
    assert np.abs(found["img"].astype(int) - labels()["img"]).max() <= 1  # of an image with itself
    assert found["instances"].boxes.tolist() == 2 * [[10, 5, 30, 25], [40, 20, 58, 38]]


def test_rectangles_of_another_image(labels, images):
    images.get_image_and_label = lambda _: labels() | {"img": np.zeros((40, 60, 3), np.uint8)}
    cut = augment.CutMix(images, p=1.0, num_areas=20)
    for _ in range(40):
        found = cut({**labels(), "instances": labels()["instances"].select(np.zeros(2, bool))})
        blank = (found["img"] == 0).all(2).sum()
        assert (len(found["instances"]) > 0) == (blank > 0)


def test_pasted_instances(labels, images):
    found = augment.CopyPaste(p=1.0)(labels())
    assert found["instances"].boxes[2:].tolist() == [[2, 20, 20, 38], [30, 5, 50, 25]]
    mirrored = labels()["img"][:, ::-1]
    assert (found["img"][22:36, 4:18] == mirrored[22:36, 4:18]).all()
    assert len(augment.CopyPaste(images, p=1.0, mode="mixup")(labels())["instances"]) == 2  # there is no room
    assert len(augment.CopyPaste(p=0.0)(labels())["instances"]) == 2


def test_a_subclass_gets_the_other_images(labels, images):
    class Count(augment.BaseMixTransform):
        def get_indexes(self):
            return [0, 2]

        def apply_image(self, labels, params=None):
            return labels | {"count": len(labels["mix_labels"]), "first": labels["mix_labels"][0]["extra"]}

    found = Count(images, lambda other: other | {"extra": 5}, p=1.0)(labels())
    assert (found["count"], found["first"]) == (2, 5) and "mix_labels" not in found
    assert "count" not in Count(images, p=0.0)(labels())


def test_all_of_training(labels, images):
    steps = augment.v8_transforms(images, 64, SimpleNamespace(mosaic=1.0, hsv_h=0.0))
    found = steps(labels())
    assert found["img"].shape == (64, 64, 3) and images.asked == 3 and found["instances"].boxes.max() <= 64


def test_images_of_a_dataset(dataset):
    data = check_det_dataset(dataset("bccd") / "data.yaml")
    options = get_options({"imgsz": 64})
    images = build_yolo_dataset(options, data["val"], 4, data, mode="val")
    labels = images.get_image_and_label(1)
    assert max(labels["img"].shape[:2]) == 64 and labels["im_file"] == images.labels.file(1)
    assert len(labels["instances"]) == len(labels["cls"]) > 0
    assert augment.Mosaic(images, 64)(labels)["img"].shape == (128, 128, 3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda images: augment.Mosaic(images, n=9), "n=9: a mosaic is made of 4 images"),
        (lambda images: augment.CutMix(images, beta=0.5), "beta=0.5: .* which is beta=1"),
        (lambda images: augment.CopyPaste(images, mode="x"), "mode='x': expected 'flip' or 'mixup'"),
        (lambda images: augment.MixUp(images, p=-1), "p=-1: a probability"),
    ],
)
def test_arguments_that_fit_nothing(images, make, said):
    with pytest.raises(ConfigError, match=said):
        make(images)
