"""Transforms that the user brings along."""

from dataclasses import replace

import numpy as np
import pytest

from ultralytics.data.augment import apply_transform
from ultralytics.utils.errors import DatasetError


class Shift:
    """A callable in the manner of albumentations."""

    def __call__(self, image, bboxes, cls):
        return {"image": np.roll(image, 10, axis=1), "bboxes": bboxes + np.array((10, 0, 10, 0)), "cls": cls}


def test_images_come_as_rgb_and_boxes_move_along(painted, assert_boxes_on_colors) -> None:
    sample = painted((40, 60), [(5, 5, 20, 20), (48, 6, 55, 12)], [0, 1])

    def look(image, bboxes, cls):
        assert image[10, 10].tolist() == [0, 0, 255] and bboxes.shape == (2, 4) and cls.tolist() == [0, 1]
        return {"image": image, "bboxes": bboxes, "cls": cls}

    same = apply_transform(look, sample, np.random.default_rng(0))
    np.testing.assert_array_equal(same.img, sample.img)
    moved = apply_transform(Shift(), sample, np.random.default_rng(0))
    assert moved.instances.boxes.tolist() == [[15, 5, 30, 20], [58, 6, 60, 12]]
    assert_boxes_on_colors(replace(moved, instances=moved.instances.select(np.array([True, False]))))


def test_boxes_are_clipped_and_empty_ones_dropped_lists_are_taken(painted) -> None:
    def far(image, bboxes, cls):
        return {"image": image, "bboxes": [(-5, 2, 10, 10), (70, 2, 90, 10)], "cls": [3, 4]}

    found = apply_transform(far, painted((40, 60), [], []), np.random.default_rng(0)).instances
    assert found.boxes.tolist() == [[0, 2, 10, 10]] and found.cls.tolist() == [3]
    nothing = apply_transform(
        lambda image, bboxes, cls: {"image": image, "bboxes": [], "cls": []},
        painted((40, 60), [(1, 1, 9, 9)], [0]),
        None,
    )
    assert nothing.instances.boxes.shape == (0, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transform_may_write_into_what_it_gets(painted, channels: int) -> None:
    def shift(image, bboxes, cls):
        image[:] = 0
        bboxes[:, (0, 2)] += 50
        cls[:] = 5
        return {"image": image, "bboxes": bboxes, "cls": cls}

    sample = painted((40, 60), [(5, 5, 20, 20), (48, 6, 55, 12)], [0, 1])
    sample = replace(sample, img=sample.img[..., :channels])
    found = apply_transform(shift, sample, np.random.default_rng(0))
    assert not found.img.any() and sample.img.any()
    assert found.instances.boxes.tolist() == [[55, 5, 60, 20]] and found.instances.cls.tolist() == [5]
    assert sample.instances.boxes[0].tolist() == [5, 5, 20, 20] and sample.instances.cls.tolist() == [0, 1]


def test_a_transform_that_asks_for_rng_draws_from_the_samples_generator(painted) -> None:
    def brighter(image, bboxes, cls, rng):
        return {"image": image + np.uint8(rng.integers(1, 200)), "bboxes": bboxes, "cls": cls}

    sample = painted((40, 60), [], [])
    first, again, other = (apply_transform(brighter, sample, np.random.default_rng(seed)).img for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (None, "has to return"),
        ({"image": np.zeros((40, 60, 3), np.uint8)}, "'bboxes'"),
        ({"image": np.zeros((20, 60, 3), np.uint8), "bboxes": [], "cls": []}, r"\(20, 60, 3\)"),
        ({"image": np.zeros((40, 60, 3)), "bboxes": [], "cls": []}, "float64"),
        ({"image": np.zeros((40, 60, 3), np.uint8), "bboxes": [(1, 2, 3, 4)], "cls": []}, "1 boxes and 0 classes"),
        ({"image": np.zeros((40, 60, 3), np.uint8), "bboxes": [(1, 2, 3)], "cls": [1]}, "has to return"),
    ],
)
def test_what_a_transform_may_not_return(painted, result, says: str) -> None:
    def wrong(image, bboxes, cls):
        return result

    with pytest.raises(DatasetError, match=f"transform wrong .*{says}"):
        apply_transform(wrong, painted((40, 60), [], []), np.random.default_rng(0))
