"""Scanning a dataset: what is skipped, each once with its reason, and what is used without a word."""

import logging
import re
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ultralytics.data.images import read_image
from ultralytics.data.labels import scan as labels
from ultralytics.data.labels.files import list_images
from ultralytics.data.labels.rows import ParsedRows, parse_box_rows
from ultralytics.data.labels.scan import scan
from ultralytics.utils.errors import DatasetError

GOOD = "0 0.5 0.5 0.25 0.25\n"
RNG = np.random.default_rng(0)

BROKEN_IMAGES = {
    "zero_bytes": "zero bytes",
    "truncated": "truncated",
    "text": "not an image",
    "folder": "a folder",
    "dangling": "a link to a file that does not exist",
    "one_pixel": "1 x 1 pixels",
    "strip": "4000 x 8 pixels",
}
BROKEN_LABELS = {
    "nan": (GOOD + "0 nan 0.5 0.1 0.1\n", ":2: box nan"),
    "four_columns": (GOOD + "\n\n1 0.5 0.5 0.1\n", ":4: 4 numbers"),
    "class_is_nc": ("2 0.5 0.5 0.1 0.1\n", ":1: class 2, but the classes are 0 to 1"),
    "half_class": ("1.5 0.5 0.5 0.1 0.1\n", ":1: class 1.5"),
    "negative": ("0 -0.2 0.5 0.1 0.1\n", ":1: box -0.2"),
    "beyond": (GOOD + GOOD + "0 0.5 1.2 0.1 0.1\n", ":3: box 0.5 1.2"),
    "word": ("cat 0.5 0.5 0.1 0.1\n", ":1: 'cat' is not a number"),
    "utf16": (GOOD.encode("utf-16"), ": UTF-16 text"),
}
USED_LABELS = {
    "mixed": (GOOD + "1 0.1 0.1 0.4 0.1 0.4 0.4\n", 2),
    "bom_crlf": (b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n1 0.5 0.5 0.1 0.1\r\n", 2),
    "empty_label": ("", 0),
    "blank_label": ("\n \n", 0),
    "missing_label": (None, 0),
    "tolerance": ("0 -0.01 1.01 0.1 0.1\n", 1),
}


def noise(h: int = 40, w: int = 60) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (h, w, 3), np.uint8))


def write(root: Path, name: str, label: str | bytes | None = GOOD, image: Image.Image | None = None, **save) -> None:
    """An image and, unless `label` is None, its label file."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (image or noise()).save(root / "images" / name, **save)
    if label is not None:
        data = label.encode() if isinstance(label, str) else label
        (root / "labels" / name).with_suffix(".txt").write_bytes(data)


def write_broken_images(root: Path) -> None:
    images = root / "images"
    for name in BROKEN_IMAGES:
        size = {"one_pixel": (1, 1), "strip": (8, 4000)}.get(name, (40, 60))
        write(root, f"{name}.jpg", image=noise(*size))
    (images / "zero_bytes.jpg").write_bytes(b"")
    data = (images / "truncated.jpg").read_bytes()
    (images / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (images / "text.jpg").write_text("I am no image", encoding="utf-8")
    for name in ("folder.jpg", "dangling.jpg"):
        (images / name).unlink()
    (images / "folder.jpg").mkdir()
    (images / "dangling.jpg").symlink_to(images / "gone.jpg")


def write_odd_images(root: Path) -> list[str]:
    """Names of images that are odd but fine; all show 40 x 60 pixels."""
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(RNG.integers(0, 65536, (40, 60), np.uint16))
    write(root, "png_named.jpg", format="PNG")
    write(root, "gray.jpg", image=noise().convert("L"))
    write(root, "rgba.png", image=noise().convert("RGBA"))
    write(root, "palette.png", image=noise().convert("P"))
    write(root, "palette_transparent.png", image=noise().convert("P"), transparency=3)
    write(root, "deep.png", image=deep)
    write(root, "deep.tif", image=deep)
    write(root, "cmyk.jpg", image=noise().convert("CMYK"))
    write(root, "turned.jpg", image=noise(60, 40), exif=turned)
    for name in ("moving.gif", "moving.webp"):
        write(root, name, image=noise(), save_all=True, append_images=[noise(), noise()])
    write(root, "ünïcode 图片.jpg")
    write(root, "UPPER.JPG")
    return [path.name for path in (root / "images").iterdir()]


def names(store) -> list[str]:
    return [Path(store.file(i)).name for i in range(len(store))]


@pytest.fixture
def warnings(caplog) -> list[str]:
    """Messages of level warning and above, as they come."""
    caplog.set_level(logging.INFO, "ultralytics")

    class Messages:
        def __iter__(self):
            return iter(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)

    return Messages()


def test_everything_broken_is_skipped_and_named_once(tmp_path, warnings):
    try:
        write_broken_images(tmp_path)
    except OSError:
        pytest.skip("this system makes no links")
    for name, (label, _) in BROKEN_LABELS.items():
        write(tmp_path, f"{name}.jpg", label)
    write(tmp_path, "good.jpg")
    store = scan(list_images(tmp_path / "images"), 2)
    assert names(store) == ["good.jpg"]
    expected = BROKEN_IMAGES | {name: f"{name}.txt{reason}" for name, (_, reason) in BROKEN_LABELS.items()}
    assert {Path(file).stem for file, _ in store.skipped} == set(expected)
    assert len(store.skipped) == len(expected)
    for file, reason in store.skipped:
        assert expected[Path(file).stem] in reason
        assert [message for message in warnings if file in message] == [f"{file} skipped: {reason}"]
    assert len(list(warnings)) == len(expected)


def test_everything_odd_is_used_without_a_word(tmp_path, warnings):
    odd = write_odd_images(tmp_path)
    for name, (label, _) in USED_LABELS.items():
        write(tmp_path, f"{name}.jpg", label)
    store = scan(list_images(tmp_path / "images"), 2)
    assert names(store) == sorted([*odd, *(f"{name}.jpg" for name in USED_LABELS)])
    assert store.skipped == []
    assert list(warnings) == []
    for i, name in enumerate(names(store)):
        assert store.shapes[i].tolist() == list(read_image(store.file(i)).shape[:2]) == [40, 60], name
        assert len(store.labels_of(i).cls) == USED_LABELS.get(Path(name).stem, ("", 1))[1], name
    assert (store.counts == 0).sum() == 3


def test_repeated_rows_are_dropped_and_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO, "ultralytics")
    write(tmp_path, "a.jpg", GOOD * 3 + "1 0.5 0.5 0.25 0.25\n")
    store = scan(list_images(tmp_path), 2, desc="val")
    assert store.labels_of(0).cls.tolist() == [0, 1]
    assert store.duplicates == 2
    assert caplog.messages == ["val: 1 images, 0 skipped, 0 without objects, 2 duplicate rows dropped"]


def test_polygons_are_kept(tmp_path):
    write(tmp_path, "a.jpg", "0 0.1 0.1 0.5 0.1 0.5 0.3\n")
    cls, boxes, polygons, _ = scan(list_images(tmp_path), 1).labels_of(0)
    assert cls.tolist() == [0]
    np.testing.assert_allclose(boxes, [[0.3, 0.2, 0.4, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(polygons[0], [[0.1, 0.1], [0.5, 0.1], [0.5, 0.3]], rtol=1e-6)


def test_single_class(tmp_path):
    write(tmp_path, "a.jpg", "7 0.5 0.5 0.25 0.25\n1 0.5 0.5 0.25 0.25\n")
    assert scan(list_images(tmp_path), 1, single_cls=True).labels_of(0).cls.tolist() == [0, 0]
    with pytest.raises(DatasetError, match="none of its 1 images"):
        scan(list_images(tmp_path), 1)


def test_a_dataset_without_labels_says_where_they_would_be(tmp_path, warnings):
    write(tmp_path, "a.jpg", None)
    assert scan(list_images(tmp_path), 1).counts.tolist() == [0]
    assert [str(tmp_path / "labels" / "a.txt") in message for message in warnings] == [True]


@pytest.mark.parametrize("workers", [1, 3])
def test_order_is_that_of_the_files_whatever_the_workers(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(labels, "CHUNK", 2)
    for i in range(9):
        write(tmp_path, f"{i}.jpg", GOOD * (i % 2), noise(20 + i, 20))
    files = list_images(tmp_path)[::-1]
    store = scan(files, 1, workers=workers)
    assert [store.file(i) for i in range(9)] == files
    assert store.shapes[:, 0].tolist() == [28, 27, 26, 25, 24, 23, 22, 21, 20]
    assert store.counts.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]


def parse_points(rows, nc, *, points) -> ParsedRows:
    """A parser as a task with keypoints brings it."""
    values = np.array(rows, np.float32).reshape(-1, 5 + 2 * points)
    return ParsedRows(values[:, 0].copy(), values[:, 1:5], extra=values[:, 5:])


def test_another_task_brings_its_own_parser(tmp_path):
    write(tmp_path, "a.jpg", "0 0.5 0.5 0.25 0.25 0.1 0.2 0.3 0.4\n")
    write(tmp_path, "b.jpg", None)
    cache = tmp_path / "labels.cache"
    for _ in range(2):
        store = scan(list_images(tmp_path), 1, partial(parse_points, points=2), cache_path=cache)
        np.testing.assert_array_equal(store.labels_of(0).extra, np.float32([[0.1, 0.2, 0.3, 0.4]]))


DATASETS = {"bccd": 4886, "coco_mini": 893, "coco_mini_seg": 894, "nuclei_seg": 3082, "nuclei_obb": 3082}


@pytest.mark.parametrize(("name", "objects"), DATASETS.items())
def test_real_datasets_are_used_whole(reference, name, objects):
    nc = 80 if name.startswith("coco") else 3
    store = scan(list_images(reference / "data" / name / "images"), nc)
    assert store.skipped == []
    assert len(store.cls) + store.duplicates == objects
    has_polygons = store.labels_of(int(store.counts.argmax())).polygons is not None
    assert has_polygons == (name not in ("bccd", "coco_mini"))


@pytest.mark.parametrize(
    ("name", "kpt_shape", "objects"), [("glue_tubes_pose", (2, 3), 226), ("coco_pose_mini", (17, 3), 155)]
)
def test_real_datasets_with_keypoints_have_boxes(reference, name, kpt_shape, objects):
    parse = partial(parse_box_rows, keypoint_numbers=prod(kpt_shape))
    store = scan(list_images(reference / "data" / name / "images"), 1, parse)
    assert store.skipped == []
    assert len(store.cls) == objects
    assert all(store.labels_of(i).polygons is None for i in range(len(store)))


def test_sizes_and_labels_equal_those_in_the_files(reference):
    store = scan(list_images(reference / "data" / "bccd" / "images" / "val"), 3)
    for i in range(0, len(store), 10):
        assert tuple(store.shapes[i]) == read_image(store.file(i)).shape[:2]
        rows = np.loadtxt(store.file(i).replace("images", "labels").replace(".jpg", ".txt"), ndmin=2)
        np.testing.assert_array_equal(store.labels_of(i).boxes, rows[:, 1:].astype(np.float32))
        np.testing.assert_array_equal(store.labels_of(i).cls, rows[:, 0])


def test_polygons_that_reach_out_are_said(tmp_path, caplog):
    write(tmp_path, "a.png", "0 0.5 0.5 1.2 0.5 0.9 0.9\n0 -0.2 0.1 0.3 0.1 0.3 0.2\n")
    write(tmp_path, "b.png", "0 0.5 0.5 1.005 0.5 0.9 0.9\n")
    assert len(scan(list_images(tmp_path / "images"), 1, desc="train")) == 2
    said = "train: polygons in 1 images, such as .*a.txt, have points outside of the image, which training moves"
    assert re.search(said, caplog.text)
