"""Keypoints from label rows to targets."""

import numpy as np
import pytest
import torch

from ultralytics.cfg import get_options
from ultralytics.data.augment import (
    AugmentSettings,
    MixProbs,
    augment,
    cutmix,
    flip,
    mixup,
    mosaic4,
    random_perspective,
)
from ultralytics.data.instances import Instances, Sample
from ultralytics.data.labels.rows import RowError
from ultralytics.models.yolo.pose.data import attach_keypoints, check_keypoints, keypoint_targets, parse_keypoint_rows
from ultralytics.utils.errors import DatasetError

SIZE = (100, 200)
FLIP = (0, 2, 1)
ROW = [1, 0.5, 0.5, 0.4, 0.4, 0.5, 0.35, 2, 0.35, 0.65, 1, 0.65, 0.65, 0]


def sample(rows=(ROW,), size=SIZE, shape=(3, 3), flip_idx=FLIP, seed=0):
    """An image with red, green and blue marks of 5 x 5 pixels at its points."""
    parsed = parse_keypoint_rows(rows, None, shape)
    objects = Instances.from_normalized(parsed.cls, parsed.boxes, None, size)
    objects = attach_keypoints(objects, parsed.extra, size, shape, flip_idx)
    img = np.full((*size, 3), 30, np.uint8)
    for points in objects.keypoints:
        for channel, (x, y, _) in enumerate(points.round().astype(int)):
            img[max(y - 3, 0) : y + 3, max(x - 3, 0) : x + 3, channel] = 255
    return Sample(img, objects, f"{seed}.jpg", size)


def marks(img):
    """Centers of the blue, green and red mark, (3, 2)."""
    return np.array([np.argwhere(img[..., c] > 200).mean(0)[::-1] + 0.5 for c in range(3)])


def test_rows():
    parsed = parse_keypoint_rows([ROW, ROW, [0, *ROW[1:]]], 2, (3, 3))
    assert parsed.duplicates == 1 and parsed.cls.tolist() == [0, 1] and parsed.polygons is None
    np.testing.assert_allclose(parsed.extra[0], ROW[5:], atol=1e-7)
    same_box = parse_keypoint_rows([ROW, [*ROW[:-1], 2]], 2, (3, 3))
    assert len(same_box.cls) == 2 and same_box.duplicates == 0
    assert parse_keypoint_rows([], 1, (3, 3)).extra.shape == (0, 9)
    assert parse_keypoint_rows([[*ROW[:-1], 3]], 2, (3, 3)).extra[0, -1] == 3  # all but 0 is visible


@pytest.mark.parametrize(
    ("visibility", "taken"), [(-1, False), (-0.02, False), (-0.01, True), (-0.009, True), (5, True)]
)
@pytest.mark.parametrize(("x", "inside"), [(-0.02, False), (-0.005, True), (1.005, True), (1.02, False)])
def test_points_and_visibilities_that_the_public_package_takes(visibility, taken, x, inside):
    """What its check of label files said of these rows: a value under -0.01 or a place beyond 1.01 spoils the row."""
    for point, good in (((0.3, 0.3, visibility), taken), ((x, 0.3, 2), inside)):
        row = [*ROW[:-3], *point]
        if good:
            np.testing.assert_allclose(parse_keypoint_rows([row], 2, (3, 3)).extra[0, -3:], point, atol=1e-7)
        else:
            with pytest.raises(RowError, match="visibility must not be negative"):
                parse_keypoint_rows([row], 2, (3, 3))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW[:-1], r"13 numbers, but by kpt_shape \[3, 3\] a row is `class x y w h` and `x y v` of 3 points, 14"),
        ([*ROW[:5], 1.1, *ROW[6:]], r"point 0 is 1.1 0.35 2: x and y must lie in 0..1"),
        ([*ROW[:8], float("nan"), *ROW[9:]], r"point 1 is nan 0.65 1"),
        ([*ROW[:-1], -1], r"point 2 is 0.65 0.65 -1: .* visibility must not be negative"),
        ([2, *ROW[1:]], "class 2, but the classes are 0 to 1"),
        ([1, 0.5, 0.5, 1.2, 0.4, *ROW[5:]], "box"),
    ],
)
def test_rows_that_cannot_be_used(row, reason):
    with pytest.raises(RowError, match=reason) as caught:
        parse_keypoint_rows([ROW, row], 2, (3, 3))
    assert caught.value.row == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kpt_shape": None}, "pose needs `kpt_shape:"),
        ({"kpt_shape": [3, 4]}, r"found \[3, 4\]"),
        ({"kpt_shape": [0, 3]}, r"found \[0, 3\]"),
        ({"flip_idx": [0, 1]}, r"`flip_idx: \[0, 1\]` must name each point from 0 to 2 once"),
        ({"flip_idx": [0, 1, 1]}, "flip_idx"),
        (
            {"kpt_names": ["a", "b"]},
            r"`kpt_names: \['a', 'b'\]` must be 3 names, one a point, or such a list for every",
        ),
        ({"kpt_names": {0: ["a", "b", "c"], 1: ["a"]}}, "kpt_names"),
        ({"kpt_names": "abc"}, "kpt_names"),
        ({"kpt_oks_sigmas": [0.1, 0.1, 0]}, "must be 3 numbers above 0, one a point"),
        ({"kpt_oks_sigmas": [0.1, 0.1]}, "kpt_oks_sigmas"),
    ],
)
def test_keys_that_a_data_yaml_must_have(change, reason):
    right = {"yaml_file": "a.yaml", "kpt_shape": [3, 3], "flip_idx": [0, 2, 1], "kpt_oks_sigmas": [0.1, 0.2, 1]}
    check_keypoints(right)
    with pytest.raises(DatasetError, match=reason):
        check_keypoints(right | change)


def test_partners_that_do_not_name_each_other(caplog):
    data = {"yaml_file": "a.yaml", "kpt_shape": [3, 3], "kpt_names": {0: ["a", "b", "c"]}}
    check_keypoints(data | {"flip_idx": [0, 2, 1]})
    assert not caplog.text
    check_keypoints(data | {"flip_idx": [1, 2, 0]})
    assert "by `flip_idx: [1, 2, 0]` a mirror exchanges point 0 for 1 and 1 for 2; pairs" in caplog.text


def test_two_numbers_a_point():
    """Visible unless a coordinate is below 0."""
    row = [0, 0.5, 0.5, 0.4, 0.4, 0.5, 0.35, -0.005, 0.65, 0.65, -0.01]
    points = sample([row], shape=(3, 2)).instances.keypoints
    assert points[0, :, 2].tolist() == [1, 0, 0]
    np.testing.assert_allclose(points[0, 0, :2], (100, 35), atol=1e-4)


@pytest.mark.parametrize("horizontal", [True, False])
def test_mirror_images_exchange_partners(horizontal):
    before, after = sample(), flip(sample(), horizontal)
    found = after.instances.keypoints[0]
    np.testing.assert_allclose(found[[0, 2, 1], :2], marks(after.img), atol=0.6)  # the green mark is now the third
    assert found[:, 2].tolist() == [2, 0, 1]
    np.testing.assert_allclose(flip(after, horizontal).instances.keypoints, before.instances.keypoints, atol=1e-4)


def test_the_affine_moves_points_with_the_image():
    options = get_options({"degrees": 30, "shear": 10, "translate": 0.05, "scale": 0.1, "perspective": 0.0005})
    for seed in range(10):
        moved = random_perspective(sample(), (160, 220), options, np.random.default_rng(seed))
        np.testing.assert_allclose(moved.instances.keypoints[0, :, :2], marks(moved.img), atol=1.2)
        assert moved.instances.keypoints[0, :, 2].tolist() == [2, 1, 0]


def test_points_off_the_canvas_are_on_its_border_and_not_visible():
    objects = sample().instances.translate(-100.5, 40)
    clipped = objects.clip(SIZE)
    assert clipped.keypoints[0].tolist() == [[0, 75, 0], [0, 100, 0], [29.5, 100, 0]]
    assert objects.keypoints[0, 0, 2] == 2 and objects.translate(1, 0).clip(SIZE).keypoints[0, 0, 2] == 2


def test_images_that_are_joined():
    parts = [sample(seed=seed) for seed in range(4)]
    joined = mosaic4(parts, 200, np.random.default_rng(3)).draw()
    assert len(joined.instances) == 4 and joined.instances.keypoints.shape == (4, 3, 3)
    assert joined.instances.flip_idx == FLIP
    for points in joined.instances.keypoints:
        for channel, (x, y, visible) in enumerate(points):
            assert not visible or joined.img[int(y), int(x), channel] == 255
    mixed = mixup(parts[0], parts[1], np.random.default_rng(0))
    assert len(mixed.instances) == len(mixed.instances.keypoints) == 2
    empty = sample(())
    assert len(mixup(empty, parts[0], np.random.default_rng(0)).instances.keypoints) == 1
    cut = [cutmix(empty, parts[0], np.random.default_rng(seed)) for seed in range(20)]
    for one in cut:
        assert len(one.instances.keypoints) == len(one.instances)
        for points in one.instances.keypoints:
            for x, y, _ in points[points[:, 2] > 0].astype(int):
                assert one.img[y - 1 : y + 1, x - 1 : x + 1].max() == 255  # it may lie on the edge of the cut
    assert {len(one.instances) for one in cut} == {0, 1}


def test_without_flip_idx_nothing_is_mirrored():
    options = get_options(
        {"fliplr": 1.0, "flipud": 1.0, "scale": 0, "translate": 0, "hsv_h": 0, "hsv_s": 0, "hsv_v": 0}
    )
    for flip_idx in ((), FLIP):
        made = augment(
            sample(flip_idx=flip_idx), sample, AugmentSettings(options, SIZE, MixProbs()), np.random.default_rng(0)
        )
        assert np.array_equal(made.img, sample().img) == (not flip_idx)


def test_targets():
    targets = keypoint_targets([sample(), sample(())], 3)
    expected = torch.tensor(ROW[5:]).reshape(1, 3, 3)
    torch.testing.assert_close(targets["keypoints"], expected)
    assert targets["batch_idx"].tolist() == [0]
    assert keypoint_targets([sample(())], 3)["keypoints"].shape == (0, 3, 3)
    lost = sample()
    lost = Sample(lost.img, type(lost.instances)(lost.instances.cls, lost.instances.boxes), lost.im_file, SIZE)
    with pytest.raises(DatasetError, match=r"0\.jpg: objects have lost their keypoints"):
        keypoint_targets([lost], 3)
