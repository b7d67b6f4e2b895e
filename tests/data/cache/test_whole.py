"""Whole datasets in memory or on disk."""

import os
import pickle
import shutil
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ultralytics.data.cache import whole as C
from ultralytics.utils import files


@pytest.fixture
def varied(write_data) -> dict:
    """Five images of noise, of different shapes."""
    rng = np.random.default_rng(0)
    shapes = [(40, 30), (20, 60), (32, 32), (50, 20), (25, 31)]
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    return write_data(images, [[(0, 0.5, 0.5, 0.5, 0.5)]] * 5)


@pytest.mark.parametrize("kind", [True, "ram", "disk"])
def test_images_are_the_same_from_a_cache(varied: dict, build, kind) -> None:
    plain, cached = (build(varied, cache=c, augment=False) for c in (False, kind))
    assert type(cached.images.cache) is (C.DiskCache if kind == "disk" else C.RamCache)
    for i in range(5):
        np.testing.assert_array_equal(cached[i].img, plain[i].img)


def test_images_in_memory_need_no_file(varied: dict, build) -> None:
    dataset = build(varied, cache="ram")
    shutil.rmtree(varied["train"][0])
    assert len({dataset[0, i].im_file for i in range(5)}) == 5


@pytest.mark.public("python::image_cache_shared_with_spawned_workers")
def test_images_in_memory_are_shared_with_spawned_workers(numbered, build) -> None:
    """A spawned worker gets the dataset by the pickle of multiprocessing, which hands on memory by its name."""
    dataset = build(numbered(8, side=64), imgsz=64, cache="ram")
    pickled = ForkingPickler.dumps(dataset)
    pixels, filled = dataset.images.cache.pixels, dataset.images.cache.filled
    assert len(pickled) < pixels.numel() / 4 and filled.all()
    twin = pickle.loads(pickled)
    pixels[0] = 99
    assert twin.images.cache.pixels[0] == 99


def test_files_beside_the_images_are_used_until_they_do_not_fit(varied: dict, build) -> None:
    image = varied["train"][0] / "0000.png"
    file = image.with_name("0000.png.npy")
    build(varied, cache="disk", imgsz=64)
    assert np.load(file).shape == (64, 48, 3)
    dataset = build(varied, cache="disk", augment=False)
    assert np.load(file).shape == (32, 24, 3)
    expected = dataset[0].img
    np.save(file, np.full((32, 24, 3), 9, np.uint8))
    assert (dataset[0].img[:, 10] == 9).all()
    np.save(file, np.zeros((32, 24, 3)))
    np.testing.assert_array_equal(dataset[0].img, expected)
    file.write_bytes(b"\x93NUMPY")
    np.testing.assert_array_equal(dataset[0].img, expected)


def test_an_image_that_has_changed_is_read_again(varied: dict, build) -> None:
    dataset = build(varied, cache="disk", augment=False)
    image = varied["train"][0] / "0000.png"
    cv2.imwrite(str(image), np.full((40, 30, 3), 77, np.uint8))
    os.utime(image, ns=(2**62, 2**62))
    assert (dataset[0].img[:, 10] == 77).all()


def test_too_little_memory_is_said_and_done_without(varied: dict, build, monkeypatch, caplog) -> None:
    monkeypatch.setattr(C, "available_memory", lambda: 10_000)
    assert build(varied, cache="ram").images.cache is None
    assert "cache=ram" in caplog.text and "too little" in caplog.text
    monkeypatch.setattr(C, "available_memory", lambda: None)
    assert build(varied, cache="ram").images.cache is not None


def test_too_little_disk_is_said_and_done_without(varied: dict, build, monkeypatch, caplog) -> None:
    monkeypatch.setattr(C.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    assert build(varied, cache="disk").images.cache is None
    assert "cache=disk" in caplog.text and not list(varied["train"][0].glob("*.npy"))


def test_a_read_only_folder_is_said_and_done_without(varied: dict, build, monkeypatch, caplog) -> None:
    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files.os, "replace", read_only)
    dataset = build(varied, cache="disk")
    assert dataset.images.cache is None and "Read-only file system" in caplog.text
    assert not [path for path in varied["train"][0].iterdir() if path.suffix != ".png"]
    assert dataset[0, 0].img.shape == (32, 32, 3)
