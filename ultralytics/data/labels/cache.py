"""Cache of a scan: an .npz without pickled objects, valid while no file it came from has changed."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ultralytics.data.labels.rows import RowParser
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import YOLOError
from ultralytics.utils.files import atomic_write

VERSION = 1  # to be raised whenever a scan of the same files would give another result


def scan_key(files: Sequence[str], labels: Sequence[Path], parse: RowParser, nc: int, single_cls: bool) -> str:
    """Digest of all that a scan depends on: paths, sizes and times of its files, the parser and its options."""
    function, bound = parse, ""
    if isinstance(parse, partial):
        function, bound = parse.func, f" {parse.args} {sorted(parse.keywords.items())}"
    parser = f"{function.__module__}.{function.__qualname__}{bound}"
    digest = hashlib.sha256(repr((VERSION, parser, nc, single_cls)).encode())
    for image, label in zip(files, labels, strict=True):
        digest.update(os.fsencode(image) + repr((_stamp(image), _stamp(label))).encode())
    return digest.hexdigest()


def _stamp(path: str | Path) -> tuple[int, int] | None:
    """Size and time of a file, None if there is none."""
    try:
        stat = os.stat(path)  # noqa: PTH116 (a Path for each of a million files takes its time)
    except OSError:  # an image may well have no label file; once it has one, the cache is stale
        return None
    return stat.st_size, stat.st_mtime_ns


def load_cache(path: Path, key: str) -> LabelStore | None:
    """The store saved under this key; None if there is none, or none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            if str(saved["key"]) != key:
                return None
            arrays = {name: saved[name] for name in saved.files if name not in ("key", "skipped", "duplicates")}
            skipped = [(str(file), str(reason)) for file, reason in saved["skipped"].reshape(-1, 2)]
            return LabelStore(arrays, skipped, int(saved["duplicates"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None  # cut, damaged or another program's: the scan is made anew


def save_cache(path: Path, key: str, store: LabelStore) -> None:
    """Keep the store, if the folder exists; where it cannot be written, that is logged and the run goes on."""
    if not path.parent.is_dir():
        return
    about = {"key": np.array(key), "skipped": np.array(store.skipped, str), "duplicates": np.array(store.duplicates)}
    try:
        atomic_write(path, lambda file: np.savez(file, **about, **store.arrays))
    except YOLOError as exc:
        LOGGER.info(f"The scan of the labels is not cached: {exc}")
