"""Cache of a scan: an .npz without pickled objects, valid while no file it came from has changed."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from ultralytics.data.labels.rows import RowParser
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import YOLOError
from ultralytics.utils.files import atomic_write

VERSION = 2  # to be raised whenever a scan of the same files would give another result, but for a parser's code


def scan_key(files: Sequence[str], labels: Sequence[Path], parse: RowParser, nc: int, single_cls: bool) -> str:
    """Digest of all that a scan depends on: paths, sizes and times of its files, the parser, its options and its code.

    The code is that of the parser's file and of this folder, so that who edits them is not given earlier results.
    """
    function, bound = parse, ""
    if isinstance(parse, partial):
        function, bound = parse.func, f" {parse.args} {sorted(parse.keywords.items())}"
    parser = f"{function.__module__}.{function.__qualname__}{bound}"
    digest = hashlib.sha256(repr((VERSION, parser, nc, single_cls)).encode())
    for source in (function.__code__.co_filename, *sorted(Path(__file__).parent.glob("*.py"))):
        with suppress(OSError):  # typed in at a prompt, or packed into an archive
            digest.update(Path(source).read_bytes())
    for pair in zip(files, labels, strict=True):
        known: list[tuple[int, int] | None] = [None, None]  # size and time of image and label file
        for i, path in enumerate(pair):
            with suppress(OSError):  # an image may well have no label file; once it has one, the cache is stale
                found = os.stat(path)  # noqa: PTH116 (a Path for each of a million files takes its time)
                known[i] = found.st_size, found.st_mtime_ns
        digest.update(os.fsencode(pair[0]) + repr(known).encode())
    return digest.hexdigest()


def load_cache(path: Path, key: str) -> LabelStore | None:
    """The store saved under this key; None if there is none, or none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            if str(saved["key"]) != key:
                return None
            arrays = {name: saved[name] for name in saved.files}
        digest = arrays.pop("digest")
        if str(digest) != content_digest(arrays):
            return None
        del arrays["key"]
        skipped = [(str(file), str(reason)) for file, reason in arrays.pop("skipped").reshape(-1, 2)]
        return LabelStore(arrays, skipped, int(arrays.pop("duplicates")))
    except Exception:  # cut, damaged or another program's, numpy raises anything: the scan is made anew
        return None


def save_cache(path: Path, key: str, store: LabelStore) -> None:
    """Keep the store, if the folder exists; where it cannot be written, that is logged and the run goes on."""
    if not path.parent.is_dir():
        return
    about = {"key": np.array(key), "skipped": np.array(store.skipped, str), "duplicates": np.array(store.duplicates)}
    arrays = about | store.arrays
    try:
        atomic_write(path, lambda file: np.savez(file, **arrays, digest=np.array(content_digest(arrays))))
    except YOLOError as exc:
        LOGGER.info(f"The scan of the labels is not cached: {exc}")


def content_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Digest of names, types, shapes and contents: offsets of a damaged cache would lead anywhere."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(repr((name, array.dtype.str, array.shape)).encode() + array.tobytes())
    return digest.hexdigest()
