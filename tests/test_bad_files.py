"""Damaged caches, and files and folders of odd names: read, made anew, or refused in one sentence."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_mutations import mutate
from ultralytics.data.cache.whole import DiskCache
from ultralytics.data.images import check_image, read_image
from ultralytics.data.labels.cache import load_cache, save_cache
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils.errors import ConfigError, DatasetError, SourceError, YOLOError
from ultralytics.utils.files import expand_user, why_no_path

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


# Caches --------------------------------------------------------------------------------------------------------------


def small_store() -> LabelStore:
    from ultralytics.data.labels.rows import ParsedRows

    rows = ParsedRows(np.zeros(2, np.float32), np.full((2, 4), 0.5, np.float32))
    return LabelStore.pack(
        ["a.jpg", "b.jpg"],
        [(20, 30)] * 2,
        [rows, rows],
        [("c.jpg", "broken")],
    )


def test_a_changed_label_cache_with_the_right_key_is_made_anew(tmp_path):
    path = tmp_path / "labels.cache"
    save_cache(path, "key", small_store())
    whole = load_cache(path, "key")
    assert whole is not None and whole.skipped == [("c.jpg", "broken")] and len(whole) == 2
    with np.load(path) as saved:
        arrays = {name: saved[name] for name in saved.files}
    for name, array in arrays.items():
        if name == "key":
            continue
        changes = [array[..., None], array.astype("S9"), np.zeros(0)]
        changes += [array + 1] if array.dtype.kind in "if" and array.size else []
        for change in changes:
            with path.open("wb") as file:
                np.savez(file, **arrays | {name: change})
            assert load_cache(path, "key") is None
        with path.open("wb") as file:
            np.savez(file, **{other: value for other, value in arrays.items() if other != name})
        assert load_cache(path, "key") is None


@QUICK
@given(st.randoms(use_true_random=False))
def test_any_damage_to_a_label_cache_makes_it_anew(tmp_path_factory, rng):
    path = tmp_path_factory.mktemp("cache") / "labels.cache"
    save_cache(path, "key", small_store())
    data = path.read_bytes()
    path.write_bytes(mutate(data, rng))
    store = load_cache(path, "key")
    assert store is None or store.arrays.keys() == small_store().arrays.keys()


@QUICK
@given(st.randoms(use_true_random=False))
def test_any_damage_to_a_cached_image_decodes_it_anew(tmp_path_factory, rng):
    folder = tmp_path_factory.mktemp("images")
    image = np.full((20, 30, 3), 7, np.uint8)
    cv2.imwrite(str(folder / "a.jpg"), image)
    cache = DiskCache(LabelStore.pack([str(folder / "a.jpg")], [(20, 30)], [], []), np.array([(20, 30)]), 3)
    cache.put(0, image)
    path = folder / "a.jpg.npy"
    path.write_bytes(mutate(path.read_bytes(), rng))
    found = cache.get(0)
    assert found is None or (found.shape == (20, 30, 3) and found.dtype == np.uint8)


# Names of files ------------------------------------------------------------------------------------------------------


def test_pictures_whose_names_are_not_utf8(tmp_path, detector, picture):
    """OpenCV ends the process that gives it half a character."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    options = {"imgsz": 160, "save": True, "save_txt": True, "save_crop": True, "project": tmp_path / "runs"}
    (result,) = detector.predict(path, **options)
    assert len(result) and {file.name for file in (tmp_path / "runs" / "exp").iterdir()} >= {path.name, "labels"}
    json.loads(result.to_json())
    with pytest.raises(YOLOError, match="no image format is called"):
        result.save(Path(os.fsdecode(os.fsencode(tmp_path) + b"/a.\xff")))


def test_videos_whose_names_are_not_utf8(tmp_path, detector):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.avi"))
    path.write_bytes(b"RIFF")
    with pytest.raises(SourceError, match=r"\\udcff.avi: its name is not UTF-8 text"):
        detector.predict(path)


def test_messages_are_one_line_that_can_be_printed(caplog):
    error = DatasetError("a\nb\udcff\x07.jpg: broken")
    assert str(error) == "a\\nb\\udcff\\x07.jpg: broken"
    from ultralytics.utils import LOGGER

    LOGGER.info("%s.jpg", "\udcff")
    assert caplog.messages == ["\\udcff.jpg"]


@pytest.mark.parametrize(
    ("text", "reason"), [("a\0b.jpg", "null byte"), ("ä" * 128, "255 bytes"), ("a/" * 2001, "path")]
)
def test_texts_that_no_path_can_be(detector, text, reason):
    assert reason in why_no_path(text)
    with pytest.raises(SourceError, match=reason):
        detector.predict(text)
    with pytest.raises(ConfigError, match="expected a path"):
        detector.val(data=text)


def test_the_home_of_nobody(detector):
    assert expand_user("~nosuchuser/a") == Path("~nosuchuser/a")
    with pytest.raises(SourceError, match="no such file"):
        detector.predict("~nosuchuser/a.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    for read in (check_image, read_image):
        with pytest.raises(DatasetError, match="cannot be read: it is not a regular file"):
            read(tmp_path / "a.jpg")
    from ultralytics.data.labels.rows import read_rows

    with pytest.raises(DatasetError, match="not a regular file"):
        read_rows(tmp_path / "a.jpg")


OFFLINE = """
import sys
def hook(event, args):
    remote = event == "socket.connect" and args[0].family != socket.AF_UNIX  # which processes of one machine use
    if remote or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        raise SystemExit(f"{event} {args}")
import socket
sys.addaudithook(hook)
import numpy as np
from pathlib import Path
from benchmarks.fuzz_options import task_run
from ultralytics import YOLO
options = task_run(Path(sys.argv[1]), "detect")
model = YOLO(options.pop("model"))
model.train(**options)
model.val(data=options["data"], plots=False)
model.predict(np.zeros((64, 64, 3), np.uint8))
YOLO(model.export(format="torchscript", imgsz=64)).predict(np.zeros((64, 64, 3), np.uint8))
"""


@pytest.mark.long
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="processes of this system talk to each other by the network")
def test_nothing_asks_for_a_connection(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
