"""Images that become one: labels lie where the colors are."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy import stats

from ultralytics.data.augment import (
    MIN_VISIBLE,
    MIN_VISIBLE_POLYGON,
    cutmix,
    draw,
    mixup,
    mosaic4,
    on_whole_pixels,
    random_matrix,
    random_perspective,
)
from ultralytics.data.instances import Instances, Sample
from ultralytics.data.polygons import resample

SIZE = 64
SHAPES = [(64, 64), (48, 64), (64, 40), (20, 64)]


@pytest.fixture
def four(painted) -> list[Sample]:
    """Images of several shapes, each with one object of a class of its own."""
    return [painted(shape, [(8, 4, 32, 18)], [i]) for i, shape in enumerate(SHAPES)]


@pytest.mark.parametrize("seed", range(20))
def test_mosaic_boxes_lie_on_the_colors(four: list[Sample], assert_boxes_on_colors, seed: int) -> None:
    canvas = mosaic4(four, SIZE, np.random.default_rng(seed)).draw()
    assert canvas.size == (128, 128)
    assert_boxes_on_colors(canvas, slack=0)


def test_mosaic_images_meet_at_a_uniform_point_of_the_middle_half() -> None:
    nothing = Instances(np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
    gray = [Sample(np.full((64, 64, 3), i, np.uint8), nothing, "", (64, 64)) for i in range(4)]
    rng = np.random.default_rng(0)
    points = []
    for _ in range(1000):
        img = mosaic4(gray, SIZE, rng).draw().img[..., 0]
        rows, columns = np.nonzero(img == 3)
        x, y = columns.min(), rows.min()
        points.append((x, y))
        assert [img[y - 1, x - 1], img[y - 1, x], img[y, x - 1], img[y, x]] == [0, 1, 2, 3]
        assert (img[y:, x:] == 3)[:64, :64].all() and set(np.unique(img)) <= {0, 1, 2, 3, 114}
    x, y = np.array(points).T + rng.random((2, 1000))  # whole pixels, made continuous
    assert x.min() >= 32 and x.max() <= 96.5 and abs(np.corrcoef(x, y)[0, 1]) < 0.1
    for values in (x, y):
        assert stats.kstest(values, "uniform", (32, 64)).pvalue > 1e-3


def test_mosaic_drops_what_the_canvas_cuts_off(painted) -> None:
    samples = [painted((64, 64), [(0, 0, 4, 4)], [i]) for i in range(4)]
    seen = set()
    for seed in range(60):
        objects = mosaic4(samples, SIZE, np.random.default_rng(seed)).instances
        x, y = objects.boxes[-1, :2]  # where the images meet
        left, above = x > 60, y > 60
        expected = [c for c, kept in enumerate((left and above, above, left, True)) if kept]
        assert objects.cls.tolist() == expected
        assert (objects.areas > 0).all() and objects.boxes.min() >= 0
        seen.add(len(objects))
    assert seen == {1, 2, 4}


def test_mixup_averages_images_and_joins_objects(painted) -> None:
    first, second = painted((64, 64), [(4, 4, 20, 20)], [0]), painted((64, 64), [(30, 30, 60, 50)], [2])
    rng, weights = np.random.default_rng(0), []
    for _ in range(500):
        mixed = mixup(first, second, rng)
        weights.append(mixed.img[10, 10, 0] / 255)
        np.testing.assert_allclose(mixed.img[40, 40, 2] / 255, 1 - weights[-1], atol=1 / 255)
    assert mixed.instances.cls.tolist() == [0, 2]
    np.testing.assert_array_equal(mixed.instances.boxes, [(4, 4, 20, 20), (30, 30, 60, 50)])
    blurred = np.array(weights) + rng.uniform(-0.5, 0.5, 500) / 255  # undoes the rounding to 8 bits
    assert stats.kstest(blurred, stats.beta(32, 32).cdf).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(30))
def test_cutmix_boxes_lie_on_the_colors(painted, assert_boxes_on_colors, seed: int) -> None:
    first = painted((64, 64), [(2, 2, 12, 14)], [0])
    second = painted((64, 64), [(20, 20, 50, 30), (30, 40, 44, 60), (1, 1, 9, 9)], [1, 2, 3])
    mixed = cutmix(first, second, np.random.default_rng(seed))
    assert mixed.instances.cls[0] == 0
    assert_boxes_on_colors(mixed, slack=0.5)
    added = len(mixed.instances) - 1
    changed = (mixed.img != first.img).any()
    assert changed == (added > 0)


def test_cutmix_leaves_an_image_full_of_objects_alone(painted) -> None:
    full, other = painted((64, 64), [(0, 0, 64, 64)], [0]), painted((64, 64), [(0, 0, 64, 64)], [1])
    for seed in range(10):
        assert cutmix(full, other, np.random.default_rng(seed)) is full


def test_cutmix_leaves_an_image_alone_where_the_other_shows_nothing(painted) -> None:
    empty = painted((64, 64), [], [])
    assert cutmix(empty, painted((64, 64), [], []), np.random.default_rng(0)) is empty


@pytest.mark.parametrize("needed", [MIN_VISIBLE, MIN_VISIBLE_POLYGON])
def test_cutmix_keeps_objects_of_which_a_tenth_is_seen(needed, painted) -> None:
    """Or a hundredth, if the polygon is known."""
    empty, other = painted((64, 64), [], []), painted((64, 64), [(0, 0, 64, 64)], [0])
    if needed == MIN_VISIBLE_POLYGON:
        polygon = np.array([(0, 0), (64, 0), (64, 64), (0, 64)], np.float32)
        other = replace(other, instances=replace(other.instances, polygons=resample([polygon])))
    rng, fractions = np.random.default_rng(0), []
    for _ in range(2000):
        mixed = cutmix(empty, other, rng)
        fraction = (mixed.img != 0).any(-1).mean()
        assert len(mixed.instances) == (fraction > 0)
        fractions.append(fraction)
    fractions = np.array(fractions)
    assert needed - 1e-6 <= fractions[fractions > 0].min() < needed + 0.02


@pytest.mark.parametrize(("k", "changed"), [(1, 471), (4, 293)])
def test_cutmix_changes_as_many_images_as_the_reference(k: int, changed: int) -> None:
    """The public package changed that many of 1600: forty images with k boxes each, partners drawn from all."""
    rng, size = np.random.default_rng(0), 320
    images = []
    for i in range(40):
        sides = np.array([[*rng.uniform(0.1, 0.3, 2), *rng.random(2)] for _ in range(k)])
        center = sides[:, :2] / 2 + sides[:, 2:] * (1 - sides[:, :2])
        rows = np.concatenate((center, sides[:, :2]), 1).astype(np.float32)
        objects = Instances.from_normalized(np.zeros(k, np.float32), rows, None, (size, size))
        images.append(Sample(np.full((size, size, 3), i, np.uint8), objects, "", (size, size)))
    ours = sum(len(cutmix(images[i % 40], images[rng.integers(40)], rng).instances) > k for i in range(3200))
    ours *= 39 / 40  # an image cut into itself does not look changed
    expected, spread = changed / 1600, np.sqrt(changed / 1600**2 + changed * 2 / 3200**2)
    assert abs(ours / 3200 - expected) < 3 * spread


@pytest.mark.parametrize("seed", range(30))
def test_boxes_lie_on_the_colors_of_a_mosaic_that_was_scaled_and_moved(
    painted, options, assert_boxes_on_colors, seed: int
) -> None:
    side = 160
    four = [
        painted(size, [(24, 20, 60, 56)], [i]) for i, size in enumerate(((160, 160), (120, 160), (160, 90), (60, 160)))
    ]
    rng = np.random.default_rng(seed)
    found = random_perspective(mosaic4(four, side, rng), (side, side), options(scale=0.5, translate=0.1), rng)
    # Half a pixel for the last one that is half covered, half a pixel where a short side ends between pixels.
    assert_boxes_on_colors(found, slack=1.01)


@pytest.mark.parametrize("seed", range(10))
def test_images_are_drawn_straight_as_a_canvas_would_be_warped(options, seed: int) -> None:
    """In the inside of the images: along their edges a warp mixes them with what lies beside."""
    side, rng = 128, np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    waves = [np.stack([np.sin(x / a) + np.cos(y / b) for a, b in ((9, 14), (17, 8), (12, 30))], -1) for _ in range(4)]
    nothing = Instances(np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
    four = [Sample((wave * 60 + 128).astype(np.uint8), nothing, "", (side, side)) for wave in waves]
    mosaic = mosaic4(four, side, rng)
    matrix = random_matrix(mosaic.size, (side, side), rng.uniform(0.5, 1.5), options(translate=0.2), rng)
    matrix = on_whole_pixels(matrix, mosaic.center, (side, side))
    straight = draw(mosaic.tiles, mosaic.size, matrix, (side, side)).astype(int)
    to_centers = np.array(((1, 0, -0.5), (0, 1, -0.5), (0, 0, 1)))
    warped = cv2.warpAffine(
        mosaic.draw().img, (to_centers @ matrix @ np.linalg.inv(to_centers))[:2], (side, side), borderValue=(114,) * 3
    )
    edges = np.zeros((2 * side, 2 * side), np.uint8)
    for img, left, top in mosaic.tiles:
        edges[max(top + 3, 0) : top + img.shape[0] - 3, max(left + 3, 0) : left + img.shape[1] - 3] = 255
    inside = cv2.warpAffine(edges, matrix[:2], (side, side)) == 255
    assert inside.mean() > 0.2 and np.abs(straight - warped)[inside].max() <= 3
