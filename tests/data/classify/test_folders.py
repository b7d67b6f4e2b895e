"""Class folders: splits, classes, what is skipped and the log lines about it."""

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from ultralytics.data.classify.folders import load_class_folders, part_of_classes, scan_classes
from ultralytics.utils.errors import DatasetError


@pytest.fixture
def make(tmp_path):
    """`make("train/cat/1.png", …)`: a dataset of these gray images of 12 x 14 pixels."""

    def draw(*files: str) -> Path:
        for file in files:
            path = tmp_path / "pets" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", np.full((12, 14, 3), 90, np.uint8))[1].tobytes())
        return tmp_path / "pets"

    return draw


TRAIN = ("train/dog/b.png", "train/cat/a.png", "train/dog/deeper/c.png", "train/.hidden/d.png")


@pytest.mark.public("python::classification_split_class_alignment")
@pytest.mark.parametrize("validation", ["val", "validation", "valid", "test"])
def test_splits_by_their_names(make, validation):
    root = make(*TRAIN, f"{validation}/cat/e.png")
    data = load_class_folders(root)
    assert (data["names"], data["nc"]) == ({0: "cat", 1: "dog"}, 2)
    assert (data["train"], data["val"]) == (root / "train", root / validation)
    assert data["test"] == (root / "test" if validation == "test" else None)
    store = scan_classes(data["train"], data["names"], "train")
    assert [Path(store.file(i)).name for i in range(3)] == ["a.png", "b.png", "c.png"]
    assert store.cls.tolist() == [0, 1, 1] and store.shapes.tolist() == [[12, 14]] * 3


def test_a_relative_folder_is_searched_in_datasets_too(make, tmp_path, monkeypatch):
    root = make(*TRAIN, "val/cat/e.png")
    (tmp_path / "home" / "datasets").mkdir(parents=True)
    root.rename(tmp_path / "home" / "datasets" / "pets")
    monkeypatch.chdir(tmp_path / "home")
    assert load_class_folders("pets")["path"] == tmp_path / "home" / "datasets" / "pets"


def test_a_yaml_may_name_the_folders(make, tmp_path):
    root = make("learn/cat/a.png", "learn/dog/b.png", "check/cat/c.png")
    file = tmp_path / "pets.yaml"
    file.write_text(f"path: {root}\ntrain: learn\nval: check\nnames: [cat, dog]\n", encoding="utf-8")
    data = load_class_folders(file)
    assert (data["train"], data["val"], data["nc"]) == (root / "learn", root / "check", 2)
    file.write_text(f"path: {root}\ntrain: learn\nval: check\nnames: [dog, cat]\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"`names:` must be the folders of .*learn, sorted: cat, dog"):
        load_class_folders(file)


def test_folders_that_are_no_classes_are_skipped_and_logged(make, caplog):
    root = make(*TRAIN, "val/cat/e.png", "val/cow/f.png", "val/cow/g.png", "val/hen/h.png")
    names = load_class_folders(root)["names"]
    store = scan_classes(root / "val", names, "val")
    assert len(store) == 1
    line = "2 folders with 3 images skipped, as they are no classes of the training images: cow, hen"
    assert line in caplog.text


def test_a_class_without_images(make, caplog):
    root = make(*TRAIN, "val/cat/e.png")
    (root / "train" / "cow").mkdir()
    names = load_class_folders(root)["names"]
    assert names == {0: "cat", 1: "cow", 2: "dog"}
    assert scan_classes(root / "train", names, "train").cls.tolist() == [0, 2, 2]
    assert "the classes cow have no images to learn from" in caplog.text
    scan_classes(root / "val", names, "val")
    assert "the classes cow, dog have no images to measure them by" in caplog.text


def test_broken_and_tiny_images_are_skipped_by_name(make, caplog):
    root = make(*TRAIN)
    (root / "train" / "cat" / "broken.jpg").write_bytes(b"no image")
    (root / "train" / "cat" / "tiny.png").write_bytes(cv2.imencode(".png", np.zeros((9, 20, 3), np.uint8))[1].tobytes())
    (root / "train" / "cat" / "notes.txt").write_text("not meant to be one")
    with caplog.at_level(logging.INFO, "ultralytics"):
        store = scan_classes(root / "train", {0: "cat", 1: "dog"}, "train")
    assert len(store) == 3 and len(store.skipped) == 2
    assert "broken.jpg skipped: not an image" in caplog.text
    assert "tiny.png skipped: 20 x 9 pixels, but no side may be under 10" in caplog.text
    assert "train: 3 images, 2 skipped, 2 classes" in caplog.text


def test_a_scan_is_kept_until_a_file_changes(make, monkeypatch):
    root, names = make(*TRAIN), {0: "cat", 1: "dog"}
    scan_classes(root / "train", names)
    assert (root / "train.cache").is_file()
    looked = []
    monkeypatch.setattr("ultralytics.data.classify.folders.check_image", lambda file: looked.append(file) or (12, 14))
    assert scan_classes(root / "train", names).cls.tolist() == [0, 1, 1] and not looked
    shutil.copyfile(root / "train/cat/a.png", root / "train/cat/z.png")
    assert scan_classes(root / "train", names).cls.tolist() == [0, 0, 1, 1] and len(looked) == 4
    scan_classes(root / "train", {0: "ant", 1: "cat", 2: "dog"})
    assert len(looked) == 8


@pytest.mark.parametrize(
    ("files", "need", "message"),
    [
        ((), ("train", "val"), "is neither a folder nor a dataset YAML, tried "),
        (
            ("val/cat/a.png",),
            ("train", "val"),
            "has no train/; a dataset for classification has train/ and val/",
        ),
        (("train/cat/a.png",), ("train", "val"), "has no val/ nor validation/ nor valid/ nor test/; a dataset for"),
        (("train/a.png", "val/cat/a.png"), ("train", "val"), "has no folders, which would be the classes"),
        (("train/cat/a.png",), ("test",), "has no test/; a dataset for"),
    ],
)
def test_what_is_missing(make, tmp_path, files, need, message):
    make(*files)
    with pytest.raises(DatasetError) as caught:
        load_class_folders(tmp_path / "pets", need)
    assert message in str(caught.value)


def test_no_image_at_all(make):
    root = make("train/cat/a.txt")
    with pytest.raises(DatasetError, match=r"train: there are no images in the folders of the classes, cat$"):
        scan_classes(root / "train", {0: "cat"}, "train")
    (root / "train" / "cat" / "b.png").write_bytes(b"no image")
    with pytest.raises(
        DatasetError, match=r"none of its 1 images can be used, the first, .*b\.png, because: not an image"
    ):
        scan_classes(root / "train", {0: "cat"}, "train")


def test_the_first_of_each_class_class():
    cls = np.repeat((0.0, 1.0, 2.0), (10, 4, 1))
    assert part_of_classes(cls, 0.5).tolist() == [0, 1, 2, 3, 4, 10, 11, 14]
    assert part_of_classes(cls, 1e-3).tolist() == [0, 10, 14]
