"""The same batches from any number of workers."""

import random
import shutil
import signal
import sys
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data import dataset as D
from ultralytics.data.build import build_loader, prefetched
from ultralytics.data.cache import loading as pictures
from ultralytics.data.cache.whole import RamCache
from ultralytics.utils.errors import DatasetError, SourceError, TrainingError

MIXED = {"mosaic": 0.7, "mixup": 0.3, "cutmix": 0.3, "scale": 0.4, "hsv_v": 0.4, "fliplr": 0.5, "epochs": 3}


def epochs(loader, which: tuple[int, ...] = (0, 1, 2)) -> list[list[dict]]:
    """The batches of some epochs."""
    found = []
    for epoch in which:
        loader.set_epoch(epoch)
        found.append(list(loader))
    return found


def equal(first: list[list[dict]], second: list[list[dict]]) -> bool:
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.keys() == y.keys()
            if not all(torch.equal(x[k], y[k]) if torch.is_tensor(x[k]) else x[k] == y[k] for k in x):
                return False
    return True


@pytest.fixture
def many_cores(monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)


@pytest.mark.usefixtures("many_cores")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("kept", [True, False])
def test_batches_are_the_same_for_any_number_of_workers(numbered, build, request, kept: bool) -> None:
    data = numbered(18)
    if not kept:
        request.getfixturevalue("nothing_kept")
    alone = build_loader(build(data, **MIXED, close_mosaic=1))
    expected = epochs(alone)
    assert alone.num_workers == 0 and [len(b["img"]) for b in expected[0]] == [4, 4, 4, 4, 2] and len(alone) == 5
    assert not equal(expected[:1], expected[1:2])
    for workers in (1, 2, 3):
        loader = build_loader(build(data, **MIXED, close_mosaic=1), workers)
        assert loader.num_workers == workers and (loader.dataset.buffer is None) == kept
        assert equal(epochs(loader), expected)
        assert equal(epochs(loader, (1, 0)), [expected[1], expected[0]])  # an epoch is named, not counted


def test_batches_are_the_same_from_a_spawned_worker(numbered, build) -> None:
    data = numbered(10)
    expected = epochs(build_loader(build(data, **MIXED, close_mosaic=1)))
    assert equal(epochs(build_loader(build(data, **MIXED, close_mosaic=1), 1, start_method="spawn")), expected)


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize("workers", [0, 2])
def test_persistent_workers_see_epochs_and_close_mosaic(numbered, build, workers: int) -> None:
    loader = build_loader(build(numbered(16), mosaic=1.0, epochs=4, close_mosaic=2), workers)
    assert loader.persistent_workers == bool(workers)
    colors = [
        max(len(image.unique()) for batch in epoch for image in batch["img"]) for epoch in epochs(loader, (0, 1, 2, 3))
    ]
    assert colors[0] > 1 and colors[1] > 1 and colors[2:] == [1, 1]
    first, again, other = (tuple(f for b in e for f in b["im_file"]) for e in epochs(loader, (2, 2, 3)))
    assert first == again != other


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize("kept", [True, False])
def test_workers_decode_each_picture_about_once_between_them(numbered, build, monkeypatch, request, kept: bool) -> None:
    if not kept:
        request.getfixturevalue("nothing_kept")
    count, read = torch.zeros(200, dtype=torch.int64).share_memory_(), pictures.read_image

    def counting(path, *size, **how):
        count[int(str(path)[-8:-4])] += 1
        return read(path, *size, **how)

    monkeypatch.setattr(pictures, "read_image", counting)
    loader = build_loader(build(numbered(120), mosaic=1.0, batch=4), 2)
    epochs(loader, (0, 1))
    assert count.sum() < 1.25 * (120 if kept else 240)  # without sharing about 1.8 times


@pytest.mark.public("python::dataloader_caps_workers_to_batches")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_no_more_workers_than_batches_or_processors(numbered, build, monkeypatch) -> None:
    dataset = build(numbered(10))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert [build_loader(dataset, workers).num_workers for workers in (0, 1, 64)] == [0, 1, 2]
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert build_loader(dataset, 64).num_workers == 3


def test_random_states_and_threads_of_the_process_stay_as_they_are(numbered, build) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), cv2.getNumThreads()
    data = numbered(8)
    for workers in (0, 2):
        epochs(build_loader(build(data, **MIXED), workers))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), cv2.getNumThreads()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2]) and before[3] == after[3]


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_that_is_gone_is_one_sentence_from_workers_too(numbered, build, workers: int) -> None:
    data = numbered(12)
    loader = build_loader(build(data, mosaic=1.0, batch=1), workers)
    epochs(loader, (0,))
    shutil.rmtree(data["train"][0])
    with pytest.raises(DatasetError, match=r"^[^\n]*0\d\d\d\.png cannot be read any more[^\n]*$"):
        epochs(loader, (1,))


def test_an_epoch_that_is_left_early_does_not_disturb_the_next(numbered, build) -> None:
    data = numbered(16)
    expected = epochs(build_loader(build(data, **MIXED)), (1,))
    loader = build_loader(build(data, **MIXED), 2)
    next(iter(loader))
    assert equal(epochs(loader, (1,)), expected)


def test_short_memory_is_said_and_batches_stay_the_same(numbered, build, monkeypatch, caplog) -> None:
    data = numbered(16)
    expected = epochs(build_loader(build(data, **MIXED)))
    for module in (D, pictures):
        monkeypatch.setattr(module, "available_memory", lambda: 1000)
    loader = build_loader(build(data, **MIXED), 2)
    assert "shared memory" in caplog.text and loader.dataset.buffer is None and not loader.dataset.images.keeps
    assert equal(epochs(loader), expected)


@pytest.mark.parametrize("told", [True, False])
def test_where_shared_memory_is_smaller_the_latest_images_are_kept(numbered, build, monkeypatch, told: bool) -> None:
    data = numbered(16)
    expected = epochs(build_loader(build(data, **MIXED)))

    def too_small(*_: object) -> None:
        raise RuntimeError("unable to allocate shared memory")

    if told:
        monkeypatch.setattr(pictures.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 16 * 32 * 32 * 3))
    else:
        monkeypatch.setattr(RamCache, "share_memory", too_small)
    loader = build_loader(build(data, **MIXED), 2)
    assert loader.dataset.images.cache is None and loader.dataset.buffer is not None
    assert equal(epochs(loader), expected)


def test_validation_needs_no_buffer(numbered, build) -> None:
    data = numbered(9)
    loader = build_loader(build(data, augment=False, mosaic=1.0), 2)
    assert loader.dataset.buffer is None
    values = [int(v) for batch in loader for v in batch["img"][:, 0, 0, 0]]
    assert values == list(range(9))
    assert len(next(iter(loader))["ratio_pad"]) == 4


def test_a_worker_that_is_killed_ends_in_one_sentence(numbered, build, monkeypatch):
    """Where a batch is waited for, and nowhere else: torch's own handler would raise in whatever comes next."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    loader = build_loader(build(numbered(9), batch=1), 2)
    batches = iter(loader)
    next(batches)
    for worker in loader._iterator._workers:
        worker.kill()
        worker.join()
    reason = r"a process that loads images was ended \(.*\), often for lack of memory"
    with pytest.raises(TrainingError, match=reason):
        list(batches)


class Failing(D.YOLODataset):
    """Its images end in an error of a user's own code."""

    def __getitem__(self, item):
        raise self.error("mine")


@pytest.mark.parametrize("error", [RuntimeError, EOFError])
def test_an_error_of_ones_own_in_a_worker_is_no_ended_process(numbered, build, error):
    dataset = build(numbered(4), batch=2)
    dataset.__class__, dataset.error = Failing, error
    with pytest.raises(error, match="mine"):
        list(build_loader(dataset, 1))


@pytest.mark.public("python::predict_prefetch")
def test_the_next_item_is_made_while_one_is_in_use():
    made = [threading.Event() for _ in range(3)]
    items = prefetched(event.set() or i for i, event in enumerate(made))
    assert next(items) == 0 and made[1].wait(5)
    assert not made[2].is_set() and list(items) == [1, 2]
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())


@given(st.lists(st.integers()))
def test_items_made_ahead_are_the_same(items):
    assert list(prefetched(iter(items))) == items


def test_an_error_of_an_item_made_ahead_comes_in_its_place():
    def source():
        yield "first"
        raise SourceError("broken")

    items = prefetched(source())
    assert next(items) == "first"
    with pytest.raises(SourceError, match="broken"):
        next(items)


def test_a_thread_makes_the_next_batch_unless_it_draws_what_a_network_draws(numbered, build):
    data = numbered(4)
    plain, drawing = build(data), build(data, transforms=[lambda image, bboxes, cls: locals()])
    assert build_loader(plain).prefetches and not build_loader(plain, 1).prefetches
    assert not build_loader(drawing).prefetches and build_loader(drawing, pin_memory=True).prefetches


@pytest.fixture
def ctrl_c():
    """What Ctrl-C does, also where the tests were started in the background, in which a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_ctrl_c_while_the_thread_loads_ends_it(ctrl_c):
    def slow():
        for i in range(100):
            time.sleep(0.05)
            yield i

    items = prefetched(slow())
    with pytest.raises(KeyboardInterrupt):
        for item in items:
            if item == 2:
                ctrl_c()
    items.close()
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())


def test_leaving_early_ends_the_thread():
    items = prefetched(iter(range(10)))
    assert next(items) == 0
    items.close()
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
