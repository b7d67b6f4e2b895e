"""Transforms that people subclass, and those of an image alone; numbers are those of the public package."""

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.data import augment


def test_a_subclass_replaces_steps(labels):
    class Gray(augment.BaseTransform):
        def get_params(self, labels):
            return {"value": 7}

        def apply_image(self, labels, params=None):
            labels["img"] = np.full_like(labels["img"], params["value"])
            return labels

        def apply_instances(self, labels, params=None):
            return labels | {"seen": params["value"]}

    found = Gray()(labels())
    assert (found["img"] == 7).all() and found["seen"] == 7 and len(found["instances"]) == 2


def test_a_list_of_transforms(labels):
    flips = [augment.RandomFlip(1.0, direction) for direction in ("horizontal", "vertical")]
    both = augment.Compose(flips)
    before = labels()["img"]
    assert (both(labels())["img"] == before[::-1, ::-1]).all()
    assert both[[0]].tolist() == flips[:1] and isinstance(both[[0]], augment.Compose)
    both[1] = flips[0]
    assert (both(labels())["img"] == before).all()
    assert repr(both) == f"Compose({flips[0]!r}, {flips[0]!r})"


@pytest.mark.parametrize(
    ("size", "options", "shape", "first", "last"),
    [
        (32, {}, (32, 32), (6, 0), (24, 31)),
        ((32, 64), {}, (32, 64), (0, 5), (31, 57)),
        ((64, 32), {}, (64, 32), (22, 0), (40, 31)),
        (20, {"auto": True, "stride": 8}, (16, 24), (2, 2), (13, 21)),
        (64, {"auto": True}, (64, 64), (13, 0), (50, 63)),
    ],
)
def test_where_a_letterbox_puts_the_image(size, options, shape, first, last):
    out = augment.ClassifyLetterBox(size, **options)(np.zeros((30, 50, 3), np.uint8))
    inside = np.argwhere((out != 114).any(2))
    assert out.shape == (*shape, 3)
    assert (tuple(inside.min(0)), tuple(inside.max(0))) == (first, last)


def test_middle_squares():
    image = np.zeros((30, 50, 3), np.uint8)
    image[:, 10:40] = 200
    for given in (image, Image.fromarray(image)):
        out = augment.CenterCrop((20, 10))(given)
        assert out.shape == (20, 10, 3) and (out == 200).all()


def test_tensors_of_images():
    image = np.arange(5 * 9 * 3, dtype=np.uint8).reshape(5, 9, 3)
    tensor = augment.ToTensor()(image)
    assert tensor.shape == (3, 5, 9) and tensor.dtype == torch.float32
    assert (tensor[:, 0, 0] * 255).tolist() == pytest.approx([0, 1, 2])
    assert augment.ToTensor(half=True)(image).dtype == torch.float16
