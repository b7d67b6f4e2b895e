"""The built-in dataset: exact, the same every time, and never half there."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ultralytics.data.shapes import draw as shapes
from ultralytics.data.shapes.draw import FOLDERS, STAMP, draw_shapes, label_row
from ultralytics.data.shapes.generate import ROWS
from ultralytics.data.shapes.outlines import (
    CORNER_FLIP,
    OUTLINES,
    clip_polygon,
    fill_polygon,
    polygon_area,
    rotated_box,
    turn,
)
from ultralytics.data.shapes.paint import coverage, paint_scene
from ultralytics.data.shapes.scenes import (
    COVERED,
    DEFAULT_RECIPE,
    UNSEEN,
    VISIBLE,
    Recipe,
    Scene,
    SceneObject,
    compose_scene,
)
from ultralytics.utils.errors import DatasetError

FEW = {"train": 4, "val": 2, "test": 1}
ALL_OUTLINES = pytest.mark.parametrize("name", OUTLINES)


def generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def perimeter(points: np.ndarray) -> float:
    return float(np.linalg.norm(points - np.roll(points, 1, 0), axis=1).sum())


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [compose_scene(generator(7, 0, index), DEFAULT_RECIPE) for index in range(250)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("drawn") / "形 shapes", **FEW)


@ALL_OUTLINES
def test_outline_is_its_own_mirror_image_and_so_are_its_corners(name):
    outline = OUTLINES[name]
    mirrored = outline.points * (-1, 1)
    assert np.abs(mirrored[:, None] - outline.points).sum(2).min(1).max() < 1e-9
    np.testing.assert_allclose(outline.corners[list(CORNER_FLIP)] * (-1, 1), outline.corners, atol=1e-9)


@ALL_OUTLINES
def test_outline_looks_the_same_after_a_turn_by_its_fold(name):
    outline = OUTLINES[name]
    step = 2 * math.pi / (60 if math.isinf(outline.fold) else outline.fold)
    turned = outline.points @ turn(step).T
    assert np.abs(turned[:, None] - outline.points).sum(2).min(1).max() < 1e-9


@ALL_OUTLINES
def test_corners_lie_on_the_outline(name):
    outline = OUTLINES[name]
    there = outline.corners[~np.isnan(outline.corners[:, 0])]
    assert len(there) >= 3
    for corner in there:
        assert abs(cv2.pointPolygonTest(outline.points.astype(np.float32), corner.tolist(), True)) < 1e-6


@ALL_OUTLINES
def test_painted_pixels_are_the_outline(name):
    for key in range(20):
        scene = compose_scene(generator(3, key), Recipe(classes=(name,), objects=(1, 1), hidden=0.0))
        (item,) = scene.objects
        alpha = coverage(item.whole, scene.width, scene.height)
        y, x = np.nonzero(alpha > 0)
        np.testing.assert_allclose((x.min(), y.min(), x.max() + 1, y.max() + 1), item.box, atol=1)
        assert abs(alpha.sum() - polygon_area(item.polygon)) < 0.2 * perimeter(item.polygon)


def test_ring_has_a_hole():
    ring = OUTLINES["ring"].points
    assert polygon_area(ring) == pytest.approx(math.pi * (0.5**2 - 0.27**2), rel=0.01)
    assert fill_polygon(ring + 0.5, 100, 100, 100)[50, 50] == 0


def test_clipping_keeps_bounds_and_area_of_the_part_inside(scenes):
    cut = 0
    for scene in scenes[:100]:
        for item in scene.objects:
            cut += item.whole.min() < 0 or (item.whole.max(0) > (scene.width, scene.height)).any()
            inside = fill_polygon(item.whole, 4 * scene.width, 4 * scene.height, 4)
            x, y, w, h = cv2.boundingRect(inside)
            np.testing.assert_allclose((x / 4, y / 4, (x + w) / 4, (y + h) / 4), item.box, atol=0.5)
            assert abs(np.count_nonzero(inside) / 16 - polygon_area(item.polygon)) < 0.2 * perimeter(item.whole)
    assert cut > 50


def test_clipping_a_polygon_that_is_inside_or_outside():
    square = np.array(((1.0, 1), (3, 1), (3, 3), (1, 3)))
    np.testing.assert_array_equal(clip_polygon(square, 4, 4), square)
    assert len(clip_polygon(square + 10, 4, 4)) == 0
    np.testing.assert_array_equal(np.ptp(clip_polygon(square, 2, 2.5), axis=0), (1, 1.5))


def test_rotated_box_is_the_smallest_that_holds_the_polygon(scenes):
    for item in (item for scene in scenes[:80] for item in scene.objects):
        x, y, w, h, angle = rotated_box(item.polygon)
        assert w >= h and -math.pi / 4 <= angle < 3 * math.pi / 4
        offsets = np.abs((item.polygon - (x, y)) @ turn(angle))
        assert (offsets < np.array((w, h)) / 2 + 0.01).all()
        hull = cv2.convexHull(item.polygon.astype(np.float32))[:, 0].astype(float)
        edges = np.roll(hull, -1, 0) - hull
        turned = [hull @ turn(direction) for direction in np.arctan2(edges[:, 1], edges[:, 0])]
        smallest = min(float(np.prod(np.ptp(points, axis=0))) for points in turned)
        assert w * h == pytest.approx(smallest, rel=1e-3)


def test_objects_are_neither_tiny_nor_hidden_nor_outside(scenes):
    for scene in scenes:
        assert 1 <= len(scene.objects) <= 7
        for item in scene.objects:
            assert item.box[:2].min() >= 0 and (item.box[2:] <= (scene.width, scene.height)).all()
            assert (item.box[2:] - item.box[:2]).min() >= 13
            assert 0.6 <= item.shown <= 1


def test_share_in_sight_is_what_the_painting_order_leaves(scenes):
    for scene in scenes[:60]:
        owner = np.full((4 * scene.height, 4 * scene.width), -1, np.int8)
        for number, item in enumerate(scene.objects):
            owner[fill_polygon(item.whole, 4 * scene.width, 4 * scene.height, 4) == 1] = number
        for number, item in enumerate(scene.objects):
            assert item.shown == pytest.approx((owner == number).sum() / 16 / polygon_area(item.whole), abs=0.06)
        areas = [polygon_area(item.polygon) for item in scene.objects]
        assert areas == sorted(areas, reverse=True)


def test_corners_tell_what_hides_them(scenes):
    seen = {UNSEEN: 0, COVERED: 0, VISIBLE: 0}
    for scene in scenes:
        for number, item in enumerate(scene.objects):
            above = np.zeros((scene.height, scene.width), np.uint8)
            for other in scene.objects[number + 1 :]:
                above |= fill_polygon(other.whole, scene.width, scene.height)
            near = cv2.dilate(above, np.ones((5, 5))), cv2.erode(above, np.ones((5, 5)))
            for x, y, visibility in item.corners:
                seen[visibility] += 1
                pixel = min(int(y), scene.height - 1), min(int(x), scene.width - 1)
                assert visibility != COVERED or near[0][pixel]
                assert visibility != VISIBLE or not near[1][pixel]
                assert visibility != UNSEEN or (x, y) == (0, 0)
                assert (
                    visibility == UNSEEN or abs(cv2.pointPolygonTest(item.whole.astype(np.float32), (x, y), True)) < 0.1
                )
    assert min(seen.values()) > 100


def test_classes_are_balanced(scenes):
    names = [item.name for scene in scenes for item in scene.objects]
    counts = np.array([names.count(name) for name in DEFAULT_RECIPE.classes])
    assert counts.sum() > 4 * len(scenes)
    assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()


def test_paint_is_where_the_truth_says_and_contrasts():
    for key in range(12):
        scene = compose_scene(generator(5, key), Recipe(objects=(1, 1)))
        (item,) = scene.objects
        empty = paint_scene(Scene(scene.width, scene.height, ()), generator(6, key)).astype(float)
        change = np.abs(paint_scene(scene, generator(6, key)) - empty).max(2)
        inside = coverage(item.whole, scene.width, scene.height)
        far = (
            cv2.dilate(inside, np.ones((3, 3)), iterations=5 + math.ceil(0.25 * np.ptp(item.whole, axis=0).max())) == 0
        )
        assert np.median(change[inside == 1]) > 30
        assert np.median(change[far]) < 20


def test_pixels_do_not_depend_on_the_number_of_threads():
    scene = compose_scene(generator(0, 0, 53), DEFAULT_RECIPE)
    before = cv2.getNumThreads()
    pictures = []
    try:
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            pictures.append(paint_scene(scene, generator(1)))
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(pictures[0], picture) for picture in pictures[1:])


def test_another_recipe_gives_small_objects_of_many_classes():
    fills = ("striped", "dotted", "plain")
    classes = tuple(f"{fill} {outline}" for fill in fills for outline in ("disc", "star", "cross"))
    recipe = Recipe(classes, pictures=((200, 160),), objects=(8, 12), sides=(10, 24), clutter=0.3)
    scene = compose_scene(generator(1), recipe)
    assert (scene.width, scene.height) == (200, 160) and len(scene.objects) > 7
    assert all(item.name in classes and (item.box[2:] - item.box[:2]).max() < 40 for item in scene.objects)
    assert paint_scene(scene, generator(2), recipe.clutter).shape == (160, 200, 3)


def test_a_scene_may_stay_empty_where_nothing_fits():
    scene = compose_scene(generator(1), Recipe(pictures=((60, 60),), sides=(200, 200), hidden=0.0))
    assert scene.objects == ()
    assert paint_scene(scene, generator(2)).shape == (60, 60, 3)


def test_same_seed_same_bytes_and_a_prefix_of_more(folder, tmp_path):
    again = contents(draw_shapes(tmp_path / "again", **FEW))
    assert again == contents(folder)
    more = contents(draw_shapes(tmp_path / "more", train=5, val=2, test=0))
    assert all(more[name] == again[name] for name in again if name.startswith(("images/train", "labels/train")))
    other = contents(draw_shapes(tmp_path / "other", seed=1, train=1, val=0, test=0))
    assert other["labels/train/0000.txt"] != again["labels/train/0000.txt"]


def test_version_1_is_this(folder):
    assert shapes.VERSION == 1, "draw with the new version and update the rows below"
    assert (folder / "labels/train/0000.txt").read_text(encoding="utf-8") == ROWS_OF_VERSION_1


def test_layout(folder):
    files = contents(folder)
    for split, count in FEW.items():
        truth = json.loads(files[f"truth/{split}.json"])
        assert len(truth["scenes"]) == count
        for scene in truth["scenes"]:
            picture = cv2.imdecode(np.frombuffer(files[scene["image"]], np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape == (scene["height"], scene["width"], 3)
            assert picture.std() > 10


def test_box_rows_are_the_truth(folder):
    for split in FEW:
        truth = json.loads((folder / f"truth/{split}.json").read_text(encoding="utf-8"))
        for scene in truth["scenes"]:
            label = folder / scene["image"].replace("images", "labels").replace(".jpg", ".txt")
            rows = np.loadtxt(label, ndmin=2)
            assert [truth["names"][int(number)] for number in rows[:, 0]] == [item["name"] for item in scene["objects"]]
            low, high = rows[:, 1:3] - rows[:, 3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2
            pixels = np.hstack((low, high)) * ([scene["width"], scene["height"]] * 2)
            np.testing.assert_allclose(pixels, [item["box"] for item in scene["objects"]], atol=1e-3)


def test_rows_of_every_kind_are_valid_and_agree(scenes):
    for scene in scenes[:80]:
        size = np.array((scene.width, scene.height))
        for item in scene.objects:
            box, polygon, corners, rotated = (label_row(item, size, rows) for rows in ROWS if rows != FOLDERS)
            assert (len(box), len(corners)) == (4, 4 + 5 * 3) and min(len(polygon), len(rotated)) >= 6
            assert all(row.min() >= 0 and row.max() <= 1 for row in (box, polygon, rotated))
            assert set(corners[6::3]) <= {UNSEEN, COVERED, VISIBLE}
            points = polygon.reshape(-1, 2)
            np.testing.assert_allclose(
                np.concatenate((points.min(0), points.max(0))), (*(box[:2] - box[2:] / 2), *(box[:2] + box[2:] / 2))
            )
            np.testing.assert_allclose(
                rotated_box(rotated.reshape(-1, 2) * size)[2:4], rotated_box(item.polygon)[2:4], atol=0.05
            )


def test_corners_of_rotated_boxes_run_clockwise():
    for corners in (((3, 4), (7, 4), (7, 6), (3, 6)), ((6, 3), (6, 7), (4, 7), (4, 3))):  # turned by 0 and pi / 2
        points = np.array(corners, float)
        item = SceneObject("square", points, points[::-1], np.zeros((5, 3)), 1.0)
        found = label_row(item, np.array((10, 10)), "rotated").reshape(4, 2)
        np.testing.assert_allclose(found, points / 10, atol=1e-6)


def fail_after(monkeypatch: pytest.MonkeyPatch, scenes: int, error: BaseException) -> None:
    """Make the painter fail once it has painted so many scenes."""
    left = iter(range(scenes))

    def paint(*args):
        if next(left, None) is None:
            raise error
        return paint_scene(*args)

    monkeypatch.setattr(shapes, "paint_scene", paint)


@pytest.mark.parametrize("scenes", [0, 5])
def test_interrupted_leaves_nothing(tmp_path, monkeypatch, scenes):
    fail_after(monkeypatch, scenes, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(tmp_path / "datasets/shapes", **FEW)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    fail_after(monkeypatch, 2, OSError(28, "No space left on device"))
    with pytest.raises(DatasetError, match=r"^The shapes cannot be drawn into .*shapes: No space left on device$"):
        draw_shapes(tmp_path / "shapes", **FEW)
    assert list(tmp_path.iterdir()) == []


def test_drawn_only_once(folder, monkeypatch):
    fail_after(monkeypatch, 0, AssertionError("drawn again"))
    assert draw_shapes(folder, **FEW) == folder


def test_new_version_replaces_the_old_one_and_an_interrupted_one_does_not(tmp_path, monkeypatch):
    folder = draw_shapes(tmp_path / "shapes", train=1, val=1, test=0)
    (folder / "labels/train.cache").write_text("stale")
    before = contents(folder)
    monkeypatch.setattr(shapes, "VERSION", shapes.VERSION + 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fail_after(patch, 1, KeyboardInterrupt())
        draw_shapes(folder, train=1, val=1, test=0)
    assert contents(folder) == before
    draw_shapes(folder, train=1, val=1, test=0)
    after = contents(folder)
    assert after.keys() == before.keys() - {"labels/train.cache"}
    assert {name for name in after if after[name] != before[name]} == {STAMP}
    assert list(tmp_path.iterdir()) == [folder]


def test_another_process_may_be_faster(tmp_path, monkeypatch):
    folder = tmp_path / "shapes"

    def paint(*args):
        monkeypatch.setattr(shapes, "paint_scene", paint_scene)
        draw_shapes(folder, train=1, val=1, test=0)
        return paint_scene(*args)

    monkeypatch.setattr(shapes, "paint_scene", paint)
    draw_shapes(folder, train=1, val=1, test=0)
    assert (folder / STAMP).is_file()
    assert list(tmp_path.iterdir()) == [folder]


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds something else than drawn shapes"):
        draw_shapes(tmp_path, **FEW)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_shapes_yaml_names_the_classes_drawn():
    data = yaml.safe_load((Path(shapes.__file__).parents[2] / "cfg/datasets/shapes.yaml").read_text(encoding="utf-8"))
    assert tuple(data["names"].values()) == DEFAULT_RECIPE.classes
    assert (data["path"], data["generate"]) == ("shapes", "shapes")


ROWS_OF_VERSION_1 = """\
2 0.804281 0.14875 0.326688 0.2975
6 0.18825 0.693281 0.241813 0.261719
5 0.394656 0.916875 0.16025 0.16625
6 0.423453 0.077207 0.115781 0.154414
4 0.596734 0.71334 0.142719 0.168867
"""
