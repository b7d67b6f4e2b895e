"""From image files to a LabelStore: every image and label file is looked at once, and what was found is kept.

A row of `labels/a.txt` belongs to `images/a.jpg`; what it says is the task's row parser's to know.
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

CHUNK = 32


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
    """Check all images, parse all labels, and leave out, named with the reason, each image with a fault in either.

    `single_cls` accepts any class and makes it 0. With `cache_path` the result is kept there, and taken from there
    while no file has changed. Raises DatasetError if no image is left.
    """
    key = scan_key(files, [label_path(file) for file in files], parse, nc, single_cls) if cache_path else ""
    store = load_cache(cache_path, key) if cache_path else None
    if store is None:
        store = scan_files(files, partial(_examine, parse=parse, nc=nc, single_cls=single_cls), workers, desc)
        if cache_path:
            save_cache(cache_path, key, store)
    _report(store, desc)
    return store


@dataclass(frozen=True)
class ScanResult:
    """What there is to one image: its shape and labels, or why it is left out."""

    shape: tuple[int, int] = (0, 0)
    rows: ParsedRows | None = None
    fault: str = ""


def scan_files(
    files: Sequence[str], examine: Callable[[str], ScanResult], workers: int | None = None, desc: str = ""
) -> LabelStore:
    """What `examine` finds of each file, by several threads, in a store that leaves out what has a fault."""
    found: list[ScanResult] = []
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    with (
        ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=len(files), desc=f"{desc} scanning".strip(), unit="image", disable=None) as bar,
    ):
        for part in pool.map(lambda chunk: [examine(file) for file in chunk], chunks):
            found += part
            bar.update(len(part))
    kept = [(file, f) for file, f in zip(files, found, strict=True) if f.rows is not None]
    return LabelStore.pack(
        [file for file, _ in kept],
        [f.shape for _, f in kept],
        [f.rows for _, f in kept],
        [(file, f.fault) for file, f in zip(files, found, strict=True) if f.rows is None],
    )


def _examine(file: str, parse: RowParser, nc: int, single_cls: bool) -> ScanResult:
    try:
        shape = check_image(file)
        rows = _parse_labels(label_path(file), parse, None if single_cls else nc)
    except DatasetError as exc:
        return ScanResult(fault=str(exc).removeprefix(f"{file}: "))
    if single_cls:
        rows.cls[:] = 0
    return ScanResult(shape, rows)


def _parse_labels(path: Path, parse: RowParser, nc: int | None) -> ParsedRows:
    """Objects of a label file; none if the file is empty or missing. Raises DatasetError naming file and line."""
    rows, lines = read_rows(path)
    try:
        return parse(rows, nc)
    except RowError as exc:
        raise DatasetError(f"{path}:{lines[exc.row]}: {exc}") from exc


def _report(store: LabelStore, desc: str) -> None:
    for file, reason in store.skipped:
        LOGGER.warning(f"{file} is left out: {reason}")
    if not len(store):
        file, reason = store.skipped[0]
        none = f"{desc or 'The dataset'}: none of its {len(store.skipped)} images can be used"
        raise DatasetError(f"{none}, the first, {file}, because: {reason}")
    LOGGER.info(
        f"{desc or 'labels'}: {len(store)} images, {store.backgrounds} without objects, {len(store.skipped)} left out, "
        f"{store.duplicates} duplicate rows dropped"
    )
    if len(cut := store.out_of_bounds):
        LOGGER.warning(
            f"{desc or 'labels'}: outlines in {len(cut)} images, such as {label_path(store.file(cut[0]))}, have "
            "points outside of the image, which are moved to its border"
        )
    if store.backgrounds == len(store):
        LOGGER.warning(f"No image has labels; those of {store.file(0)} would be in {label_path(store.file(0))}")
