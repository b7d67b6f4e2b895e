"""The kept scan: taken while it is true, made anew without a word when it is not, never fatal."""

import logging
import os
import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ultralytics.data.labels import cache as label_cache
from ultralytics.data.labels import scan as labels
from ultralytics.data.labels.files import labels_cache, list_images
from ultralytics.data.labels.rows import parse_box_rows
from ultralytics.data.labels.scan import scan

GOOD = "0 0.5 0.5 0.25 0.25\n"


@pytest.fixture
def root(tmp_path) -> Path:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b", "ä"):
        Image.new("RGB", (30, 20)).save(tmp_path / "images" / f"{name}.jpg")
        (tmp_path / "labels" / f"{name}.txt").write_text(GOOD + "0 0.1 0.1 0.4 0.1 0.4 0.4\n", encoding="utf-8")
    (tmp_path / "images" / "broken.jpg").touch()
    return tmp_path


@pytest.fixture
def examined(monkeypatch) -> list[str]:
    """Images that were looked at, as opposed to taken from the cache."""
    seen = []
    examine = labels.scan_image
    monkeypatch.setattr(labels, "scan_image", lambda file, **kw: seen.append(Path(file).name) or examine(file, **kw))
    return seen


def rescan(root: Path, nc: int = 2, **options):
    files = list_images(root / "images")
    return scan(files, nc, cache_path=labels_cache(files), **options)


def assert_equal(one, other) -> None:
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)
        assert array.dtype == other.arrays[name].dtype
    assert (one.skipped, one.duplicates) == (other.skipped, other.duplicates)


def test_a_second_scan_is_taken_from_the_cache(root, examined, caplog):
    (root / "labels" / "a.txt").write_text(GOOD * 2, encoding="utf-8")
    first = rescan(root)
    assert (root / "labels.cache").is_file()
    examined.clear()
    caplog.clear()
    assert_equal(rescan(root), first)
    assert examined == []
    assert [message for message in caplog.messages if "broken.jpg" in message]  # still said


def change_label(root):
    (root / "labels" / "a.txt").write_text("1 0.5 0.5 0.25 0.25\n", encoding="utf-8")


def change_time_only(root):
    stat = (root / "labels" / "a.txt").stat()
    os.utime(root / "labels" / "a.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def change_size_only(root):
    label = root / "labels" / "a.txt"
    stat = label.stat()
    label.write_text(GOOD, encoding="utf-8")
    os.utime(label, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def change_image(root):
    Image.new("RGB", (50, 20)).save(root / "images" / "a.jpg")


def add_image(root):
    Image.new("RGB", (50, 20)).save(root / "images" / "c.jpg")


def remove_label(root):
    (root / "labels" / "a.txt").unlink()


def remove_image(root):
    (root / "images" / "a.jpg").unlink()


def mend_image(root):
    Image.new("RGB", (50, 20)).save(root / "images" / "broken.jpg")


@pytest.mark.parametrize(
    "change",
    [change_label, change_time_only, change_size_only, change_image, add_image, remove_label, remove_image, mend_image],
)
def test_any_change_makes_it_stale(root, examined, change):
    rescan(root)
    change(root)
    examined.clear()
    store = rescan(root)
    assert sorted(examined) == sorted(path.name for path in (root / "images").iterdir())
    assert_equal(store, scan(list_images(root / "images"), 2))
    examined.clear()
    rescan(root)
    assert examined == []


@pytest.mark.parametrize(
    "options", [{"nc": 3}, {"single_cls": True}, {"parse": partial(parse_box_rows, keypoint_numbers=6)}]
)
def test_other_options_make_it_stale(root, examined, options):
    rescan(root)
    examined.clear()
    rescan(root, **options)
    assert examined
    examined.clear()
    rescan(root, **options)
    assert examined == []


def test_an_edited_parser_makes_it_stale(root, tmp_path):
    """Whoever changes what a row means gets labels of the new meaning, without a cache to delete by hand."""
    code = tmp_path / "my_rows.py"
    found = []
    for cls in (1, 2):
        code.write_text(
            "from ultralytics.data.labels.rows import ParsedRows, parse_box_rows\n\n\n"
            "def parse(rows, nc):\n"
            "    parsed = parse_box_rows(rows, nc)\n"
            f"    parsed.cls[:] = {cls}\n"
            "    return parsed\n",
            encoding="utf-8",
        )
        parse = runpy.run_path(str(code), run_name="my_rows")["parse"]
        found.append(set(rescan(root, nc=3, parse=parse).cls.tolist()))
    assert found == [{1}, {2}]


def test_a_new_version_makes_it_stale(root, examined, monkeypatch):
    rescan(root)
    examined.clear()
    monkeypatch.setattr(label_cache, "VERSION", label_cache.VERSION + 1)
    rescan(root)
    assert examined


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    data = bytearray(path.read_bytes())
    data[data.index(np.float32([0.5, 0.5, 0.25, 0.25]).tobytes())] ^= 0xFF
    path.write_bytes(data)


def other_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def pickled(path):
    with path.open("wb") as file:
        np.save(file, np.array({"version": "1.0.3"}, dtype=object), allow_pickle=True)


def other_archive(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        other_array,
        pickled,
        other_archive,
        folder,
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"x"),
    ],
)
def test_an_unreadable_cache_is_made_anew(root, examined, caplog, damage):
    first = rescan(root)
    damage(root / "labels.cache")
    examined.clear()
    caplog.clear()
    assert_equal(rescan(root), first)
    assert examined
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING and "broken.jpg" not in r.getMessage()]


def test_the_cache_holds_no_pickled_objects(root):
    rescan(root)
    with np.load(root / "labels.cache", allow_pickle=False) as saved:
        assert all(saved[name].dtype != object for name in saved.files)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")])
def test_a_folder_that_cannot_be_written_to_costs_one_line(root, examined, monkeypatch, caplog, error):
    caplog.set_level(logging.INFO, "ultralytics")

    def refuse(*args):
        raise error

    monkeypatch.setattr(os, "replace", refuse)
    store = rescan(root)
    assert len(store) == 3
    lines = [record for record in caplog.records if "labels.cache" in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.INFO]
    assert error.strerror in lines[0].getMessage()
    assert sorted(path.name for path in root.iterdir()) == ["images", "labels"]


def test_no_folder_is_made_for_a_cache(tmp_path):
    (tmp_path / "images" / "train").mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(tmp_path / "images" / "train" / "a.jpg")
    assert len(rescan(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
