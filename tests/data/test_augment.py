"""Augmentations of one image: what moves, what stays, and how likely."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ultralytics.cfg import get_options
from ultralytics.data import augment as A
from ultralytics.data.instances import Instances, Sample
from ultralytics.utils.letterbox import letterbox

SIZE = (96, 96)
SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32) / 2
GEOMETRY = {"degrees": 60, "shear": 20, "perspective": 0.002, "translate": 0.2, "scale": 0.5}


def single(sample: Sample, options, seed: int = 0) -> Sample:
    """`sample` augmented without partners."""
    return A.augment(sample, lambda: sample, A.AugmentSettings(options, SIZE), np.random.default_rng(seed))


@pytest.mark.parametrize("size", [(96, 96), (96, 61), (48, 96), (33, 96)])
def test_nothing_changes_when_everything_is_0(options, size: tuple[int, int]) -> None:
    img = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    sample = Sample(img, Instances(np.zeros(1, np.float32), np.array([(3, 4, 30, 30)], np.float32)), "", size)
    boxed, _, (left, top) = letterbox(img, SIZE)
    found = single(sample, options())
    np.testing.assert_array_equal(found.img, boxed)
    np.testing.assert_array_equal(found.instances.boxes, [(3 + left, 4 + top, 30 + left, 30 + top)])


@pytest.mark.parametrize(("turns", "angle"), [(1, 90), (2, 180), (3, 270)])
def test_warp_turns_by_right_angles_to_the_pixel(turns: int, angle: float) -> None:
    img = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    cos, sin = np.round((np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))))
    middle, turn = (
        np.array(((1, 0, -48), (0, 1, -48), (0, 0, 1.0))),
        np.array(((cos, sin, 0), (-sin, cos, 0), (0, 0, 1))),
    )
    found = A.draw(((img, 0, 0),), SIZE, np.linalg.inv(middle) @ turn @ middle, SIZE)
    np.testing.assert_array_equal(found, np.rot90(img, turns))


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("names", [("scale", "translate"), ("perspective",), ("perspective", "scale", "translate")])
def test_boxes_follow_the_colors(options, painted, assert_boxes_on_colors, names, seed: int) -> None:
    sample = painted((96, 80), [(30, 30, 44, 50), (50, 34, 62, 46)], [0, 1])
    found = single(sample, options(**{name: GEOMETRY[name] for name in names}), seed)
    assert_boxes_on_colors(found, slack=1.01 if "perspective" in names else 0.51)


@pytest.mark.parametrize("seed", range(15))
def test_boxes_from_polygons_are_tight_however_the_image_turns(
    options, painted, assert_boxes_on_colors, seed: int
) -> None:
    sample = painted((96, 80), [(0, 0, 40, 40), (50, 34, 62, 66)], [0, 1])
    rows = sample.instances.normalized(sample.size)
    polygons = [row[:2] + SQUARE * row[2:] for row in rows]
    objects = Instances.from_normalized(sample.instances.cls, rows, polygons, sample.size)
    found = single(replace(sample, instances=objects), options(**GEOMETRY | {"perspective": 0}), seed)
    assert_boxes_on_colors(found, slack=1.5)  # the last pixel of a sharp corner is pale


@settings(max_examples=60)
@given(
    st.lists(st.tuples(*[st.integers(0, 40)] * 4), max_size=6),
    st.integers(0, 1000),
    st.sampled_from([{}, {"mosaic": 1.0}, {"mosaic": 1.0, "mixup": 1.0}, {"cutmix": 1.0}]),
    st.booleans(),
)
def test_boxes_always_lie_in_the_image(rows: list[tuple[int, ...]], seed: int, mixing: dict, tilt: bool) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32).reshape(-1, 4)
    sample = Sample(
        np.zeros((80, 96, 3), np.uint8), Instances(np.arange(len(boxes), dtype=np.float32), boxes), "", (80, 96)
    )
    options = get_options(GEOMETRY | {"perspective": 0.002 * tilt, "flipud": 0.5, "mosaic": 0.0})
    settings = A.AugmentSettings(options, SIZE, A.MixProbs(**mixing))
    found = A.augment(sample, lambda: sample, settings, np.random.default_rng(seed))
    assert found.img.shape == (*SIZE, 3) and found.img.dtype == np.uint8
    assert len(found.instances.cls) == len(found.instances.boxes)
    sides = found.instances.boxes[:, 2:] - found.instances.boxes[:, :2]
    assert (found.instances.boxes >= 0).all() and (found.instances.boxes <= 96).all() and (sides > 0).all()


@pytest.mark.parametrize(
    ("box", "scale", "kept"),
    [
        ((-10, -10, 10, 10), 1.0, True),
        ((0, 0, 2, 50), 1.0, False),  # a side of 2 pixels
        ((0, 0, 2.1, 50), 1.0, True),
        ((0, 0, 1000, 9.9), 1.0, False),  # more than 100 times as long as wide
        ((-21, -21, 9, 9), 1.0, False),  # 9 x 9 of it, less than a tenth of 30 x 30
        ((-512, -512, -482, -482), 0.5, True),  # 9 x 9 of 15 x 15
    ],
)
def test_objects_stay_while_enough_of_them_is_seen(options, box: tuple[float, ...], scale: float, kept: bool) -> None:
    size = (1000, 1000)
    one = Instances(np.zeros(1, np.float32), np.array([box], np.float32))
    sample = Sample(np.zeros((*size, 3), np.uint8), one, "", size)
    found = A.random_perspective(sample, size, options(scale=[scale, scale]), np.random.default_rng(0))
    assert len(found.instances) == kept


def test_an_object_with_a_polygon_stays_down_to_a_hundredth(options) -> None:
    row, size = np.array([(0.5, 0.5, 1, 1)], np.float32), (100, 100)
    whole = Instances.from_normalized(np.zeros(1), row, [SQUARE + 0.5], size)
    for side, kept in ((9.9, False), (10.1, True)):
        sample = Sample(np.zeros((*size, 3), np.uint8), whole.translate(side - 100, side - 100), "", size)
        found = A.random_perspective(sample, size, options(), np.random.default_rng(0))
        assert len(found.instances) == kept


def matrices(options, n: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([A.random_matrix(SIZE, SIZE, 1.0, options, rng) for _ in range(n)])


def uniform(values: np.ndarray, low: float, high: float) -> bool:
    return stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


def test_degrees_shear_translate_and_perspective_are_uniform(options) -> None:
    turned = matrices(options(degrees=30))
    assert uniform(np.rad2deg(np.arctan2(turned[:, 0, 1], turned[:, 0, 0])), -30, 30)
    sheared = matrices(options(shear=20))
    assert uniform(np.rad2deg(np.arctan(sheared[:, 0, 1])), -20, 20)
    assert uniform(np.rad2deg(np.arctan(sheared[:, 1, 0])), -20, 20)
    moved = matrices(options(translate=0.3))
    assert uniform(moved[:, 0, 2], -0.3 * 96, 0.3 * 96) and uniform(moved[:, 1, 2], -0.3 * 96, 0.3 * 96)
    tilted = matrices(options(perspective=0.001))
    assert uniform(tilted[:, 2, 0], -0.001, 0.001) and uniform(tilted[:, 2, 1], -0.001, 0.001)
    assert (matrices(options(), 3) == np.eye(3)).all()


def test_scale_is_uniform(options, painted) -> None:
    sample, opts, rng = painted(SIZE, [(40, 40, 56, 56)], [0]), options(scale=0.4), np.random.default_rng(0)
    boxes = [A.random_perspective(sample, SIZE, opts, rng).instances.boxes[0] for _ in range(1000)]
    assert uniform(np.array([(b[2] - b[0]) / 16 for b in boxes]), 0.6, 1.4)


def test_turning_shearing_and_tilting_compose_like_the_reference(options) -> None:
    """Statistics of the public package with these options: 4000 images of three points, a tenth of a side apart."""
    rng, opts = np.random.default_rng(1), options(degrees=30, shear=20, scale=0.3)
    linear = np.stack([A.random_matrix(SIZE, SIZE, rng.uniform(0.7, 1.3), opts, rng)[:2, :2] for _ in range(4000)])
    u, v = linear[:, :, 0], linear[:, :, 1]
    found = {
        "det": np.linalg.det(linear),
        "length": np.linalg.norm(u, axis=1),
        "angle": np.arctan2(u[:, 1], u[:, 0]),
        "dot": (u * v).sum(1),
    }
    reference = {
        "det": (1.0309, 0.3494),
        "length": (1.0213, 0.1939),
        "angle": (-0.0019, 0.3504),
        "dot": (-0.0021, 0.2683),
    }
    for name, (mean, std) in reference.items():
        assert abs(found[name].mean() - mean) < 3 * np.hypot(std, found[name].std()) / np.sqrt(4000), name
        assert found[name].std() == pytest.approx(std, rel=0.05), name


def test_hsv_turns_hue_and_scales_saturation_and_value_rounded_down(options) -> None:
    hue, saturation, value = np.meshgrid(np.arange(0, 180, 4), np.arange(60, 256, 30), np.arange(60, 256, 30))
    before = np.stack((hue, saturation, value), -1).reshape(-1, 1, 3).astype(np.uint8)
    sample = Sample(cv2.cvtColor(before, cv2.COLOR_HSV2BGR), Instances(np.zeros(0), np.zeros((0, 4))), "", (1, 1))
    before = cv2.cvtColor(sample.img, cv2.COLOR_BGR2HSV).astype(float)
    draws = np.random.default_rng(5).uniform(-1, 1, 3) * (0.1, 0.3, 0.3)
    expected = np.floor(
        np.stack(
            (
                (before[..., 0] + draws[0] * 180) % 180,
                *(np.minimum(before[..., i] * (1 + draws[i]), 255) for i in (1, 2)),
            ),
            -1,
        )
    )
    found = A.hsv(sample, options(hsv_h=0.1, hsv_s=0.3, hsv_v=0.3), np.random.default_rng(5))
    np.testing.assert_array_equal(found.img, cv2.cvtColor(expected.astype(np.uint8), cv2.COLOR_HSV2BGR))


@pytest.mark.parametrize("name", ["hsv_h", "hsv_s", "hsv_v"])
def test_each_color_option_changes_its_own_channel(options, name: str) -> None:
    sample = Sample(np.full((8, 8, 3), (60, 90, 150), np.uint8), Instances(np.zeros(0), np.zeros((0, 4))), "", (8, 8))
    assert A.hsv(sample, options(), np.random.default_rng(0)) is sample
    before, opts = cv2.cvtColor(sample.img, cv2.COLOR_BGR2HSV)[0, 0].astype(int), options(**{name: 0.3})
    found = [A.hsv(sample, opts, np.random.default_rng(seed)).img for seed in range(9)]
    changes = np.abs([cv2.cvtColor(img, cv2.COLOR_BGR2HSV)[0, 0] - before for img in found]).max(0)
    own = ("hsv_h", "hsv_s", "hsv_v").index(name)
    assert changes[own] > 20 and np.delete(changes, own).max() <= 2


def test_hsv_changes_the_padding_too(options, painted) -> None:
    found = single(painted((40, 96), [], []), options(hsv_v=0.4), seed=3)
    padding = np.unique(found.img[:20].reshape(-1, 3), axis=0)
    assert len(padding) == 1 and padding[0, 0] != 114 and len(set(padding[0])) == 1


@pytest.mark.parametrize("name", ["flipud", "fliplr", "bgr"])
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips_and_bgr_happen_as_often_as_asked(
    options, painted, assert_boxes_on_colors, name: str, probability: float
) -> None:
    sample = painted(SIZE, [(10, 20, 30, 50)], [0])
    turned = {"flipud": sample.img[::-1], "fliplr": sample.img[:, ::-1], "bgr": sample.img[..., ::-1]}[name]
    opts, times = options(**{name: probability}), 0
    for seed in range(300):
        found = single(sample, opts, seed)
        changed = (found.img == turned).all()
        assert changed or (found.img == sample.img).all()
        times += changed
        if name != "bgr":
            assert_boxes_on_colors(found, 0)
    assert stats.binomtest(int(times), 300, probability).pvalue > 1e-3


def test_flips_come_after_colors_and_the_image_is_flipped_whole(options, painted) -> None:
    sample = painted((40, 96), [(10, 20, 30, 40)], [0])
    flipped, straight = (single(sample, options(fliplr=p, flipud=p, hsv_v=0.4)) for p in (1.0, 0.0))
    np.testing.assert_array_equal(flipped.img, straight.img[::-1, ::-1])
    np.testing.assert_array_equal(flipped.instances.boxes, 96 - straight.instances.boxes[:, [2, 3, 0, 1]])


@pytest.mark.parametrize("name", ["mosaic", "mixup", "cutmix"])
def test_images_join_as_often_as_asked(options, painted, name: str) -> None:
    main, other = painted(SIZE, [(2, 2, 12, 12)], [0]), painted(SIZE, [(20, 20, 90, 90)], [1])
    times = {0.0: 0, 0.4: 0, 1.0: 0}
    for probability in times:
        settings = A.AugmentSettings(options(), SIZE, A.MixProbs(**{name: probability}))
        for seed in range(200):
            drawn = []
            A.augment(main, lambda: drawn.append(1) or other, settings, np.random.default_rng(seed))  # noqa: B023
            assert len(drawn) in (0, 3 if name == "mosaic" else 1)
            times[probability] += bool(drawn)
    assert times[0.0] == 0 and times[1.0] == 200 and stats.binomtest(times[0.4], 200, 0.4).pvalue > 1e-3


def test_mixup_partner_has_a_mosaic_of_its_own(options, painted) -> None:
    sample, drawn = painted(SIZE, [(20, 20, 90, 90)], [1]), []
    settings = A.AugmentSettings(options(), SIZE, A.MixProbs(mosaic=1.0, mixup=1.0))
    A.augment(sample, lambda: drawn.append(1) or sample, settings, np.random.default_rng(0))
    assert len(drawn) == 3 + 1 + 3


@pytest.mark.parametrize(("epochs", "close", "first_closed"), [(10, 3, 7), (10, 0, 10), (5, 10, 0), (10, 10, 0)])
def test_close_mosaic_ends_joining_in_the_last_epochs(options, epochs: int, close: int, first_closed: int) -> None:
    opts = options(epochs=epochs, close_mosaic=close, mosaic=0.5, mixup=0.2, cutmix=0.1)
    mixing = [A.MixProbs.at(opts, epoch) for epoch in range(epochs)]
    assert mixing == [A.MixProbs(0.5, 0.2, 0.1)] * first_closed + [A.MixProbs()] * (epochs - first_closed)


def test_gray_images_go_through_everything(options, painted) -> None:
    sample = painted(SIZE, [(20, 20, 60, 60)], [0])
    gray = Sample(sample.img[..., :1], sample.instances, "", SIZE)
    opts = options(hsv_v=0.4, flipud=1.0, fliplr=1.0, bgr=1.0, degrees=10)
    settings = A.AugmentSettings(opts, SIZE, A.MixProbs(1.0, 1.0, 1.0))
    for seed in range(5):
        assert A.augment(gray, lambda: gray, settings, np.random.default_rng(seed)).img.shape == (*SIZE, 1)


@pytest.mark.parametrize(("scale", "ends"), [(0.5, (0.5, 1.5)), ([0.3, 0.4], (0.3, 0.4)), ([1.2, 0.5], (0.5, 1.2))])
def test_scale_is_a_deviation_or_the_two_factors(painted, scale, ends):
    asked = []

    class Draws:
        def uniform(self, low, high, size=()):
            asked.append((low, high))
            return np.full(size, high)

    A.random_perspective(painted(SIZE, [], []), SIZE, get_options({"scale": scale}), Draws())
    assert asked[0] == ends


@given(factor=st.floats(-0.5, 3) | st.sampled_from((0.0, 0.5, 1.0, 1.1, 1.5, 2.0)))
def test_planes_are_multiplied_rounded_down(factor: float) -> None:
    plane = np.resize(np.arange(256, dtype=np.uint8), (7, 301))
    expected = np.clip(plane * factor, 0, 255).astype(np.uint8)
    A.multiplication(factor)(plane, dst=plane)
    np.testing.assert_array_equal(plane, expected)
