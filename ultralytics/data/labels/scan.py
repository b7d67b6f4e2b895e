"""Scan of a dataset into a LabelStore: every image and label file is checked once, and the result is kept.

A row of `labels/a.txt` belongs to `images/a.jpg`; its meaning is for the task's row parser to know.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ultralytics.data.images import check_image
from ultralytics.data.labels.cache import load_cache, save_cache, scan_key
from ultralytics.data.labels.files import label_path
from ultralytics.data.labels.rows import ParsedRows, RowError, RowParser, parse_box_rows, read_rows
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError

CHUNK = 32  # files that a thread takes at a time


def scan(
    files: Sequence[str],
    nc: int,
    parse: RowParser = parse_box_rows,
    *,
    single_cls: bool = False,
    workers: int | None = None,
    cache_path: Path | None = None,
    desc: str = "",
) -> LabelStore:
    """Check all images, parse all labels, and skip, naming file and reason, each image with a fault in either.

    `single_cls` accepts any class and makes it 0. With `cache_path` the result is kept there, and taken from there
    while no file has changed. Raises DatasetError if no image is left.
    """
    key = scan_key(files, [label_path(file) for file in files], parse, nc, single_cls) if cache_path else ""
    store = load_cache(cache_path, key) if cache_path else None
    if store is None:
        store = scan_files(files, partial(scan_image, parse=parse, nc=nc, single_cls=single_cls), workers, desc)
        if cache_path:
            save_cache(cache_path, key, store)
    # Reported from the store, so that a cached scan names the skipped files again.
    empty = int((store.counts == 0).sum())
    report_scan(store, desc, f"{empty} without objects, {store.duplicates} duplicate rows dropped")
    if len(outside := store.out_of_bounds):
        LOGGER.warning(
            f"{desc or 'dataset'}: polygons in {len(outside)} images, such as {label_path(store.file(outside[0]))}, "
            "have points outside of the image, which training moves to its border and validation leaves as they are"
        )
    if empty == len(store):
        LOGGER.warning(f"No image has labels; those of {store.file(0)} would be in {label_path(store.file(0))}")
    return store


@dataclass(frozen=True)
class ScanResult:
    """Shape (height, width) and labels of one image, or the reason why it is skipped."""

    shape: tuple[int, int] = (0, 0)
    rows: ParsedRows | None = None
    fault: str = ""


def scan_files(
    files: Sequence[str], examine: Callable[[str], ScanResult], workers: int | None = None, desc: str = ""
) -> LabelStore:
    """Results of `examine` for each file, by several threads, in a store that skips the files with a fault."""
    results: list[ScanResult] = []
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    with (
        ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=len(files), desc=f"{desc} scanning".strip(), unit="image", disable=None) as bar,
    ):
        for part in pool.map(lambda chunk: [examine(file) for file in chunk], chunks):  # in the order of the files
            results += part
            bar.update(len(part))
    kept = [(file, result) for file, result in zip(files, results, strict=True) if result.rows is not None]
    return LabelStore.pack(
        [file for file, _ in kept],
        [result.shape for _, result in kept],
        [result.rows for _, result in kept],
        [(file, result.fault) for file, result in zip(files, results, strict=True) if result.rows is None],
    )


def scan_image(file: str, parse: RowParser, nc: int, single_cls: bool) -> ScanResult:
    """Check an image, read its label file and parse the rows; label files of other kinds than .txt are read here."""
    labels = label_path(file)
    try:
        shape = check_image(file)
        rows, lines = read_rows(labels)
        parsed = parse(rows, None if single_cls else nc)
    except RowError as exc:
        return ScanResult(fault=f"{labels}:{lines[exc.row]}: {exc}")
    except DatasetError as exc:
        return ScanResult(fault=str(exc).removeprefix(f"{file}: "))
    if single_cls:
        parsed.cls[:] = 0
    return ScanResult(shape, parsed)


def report_scan(store: LabelStore, desc: str, facts: str) -> None:
    """Log the reason for each skipped file, then one line of counts, to which `facts` adds those of the task.

    Raises DatasetError if all files were skipped.
    """
    for file, reason in store.skipped:
        LOGGER.warning(f"{file} skipped: {reason}")
    if not len(store):
        file, reason = store.skipped[0]
        none = f"{desc or 'dataset'}: none of its {len(store.skipped)} images can be used"
        raise DatasetError(f"{none}, the first, {file}, because: {reason}")
    LOGGER.info(f"{desc or 'dataset'}: {len(store)} images, {len(store.skipped)} skipped, {facts}")
