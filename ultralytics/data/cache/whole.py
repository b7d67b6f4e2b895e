"""Loaded images of a whole dataset, kept in memory or on disk."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError, YOLOError
from ultralytics.utils.files import atomic_write
from ultralytics.utils.memory import available_memory

SPARE = 1.5  # there has to be this many times as much free room as a cache takes
THREADS = 8


class RamCache:
    """Images of known `shapes` (n, 2) in one block of memory, which workers share.

    Call `share_memory` before workers that add images start.
    """

    def __init__(self, shapes: np.ndarray, channels: int) -> None:
        sizes = shapes.prod(1) * channels
        self.channels = channels
        self.shapes = torch.from_numpy(shapes)
        self.ends = torch.from_numpy(np.cumsum(sizes))
        self.pixels = torch.empty(int(sizes.sum()), dtype=torch.uint8)
        self.filled = torch.zeros(len(shapes), dtype=torch.bool)
        self.lock: AbstractContextManager = nullcontext()

    def share_memory(self, lock: AbstractContextManager) -> None:
        """Move into memory that workers write to as well; `lock` guards what is `filled`. RuntimeError without room."""
        self.pixels.share_memory_()
        self.filled.share_memory_()
        self.lock = lock

    def get(self, index: int) -> np.ndarray | None:
        """The image, a view; None if it is not here."""
        with self.lock:
            if not self.filled[index]:
                return None
        height, width = self.shapes[index].tolist()
        end = int(self.ends[index])
        flat = self.pixels[end - height * width * self.channels : end]
        return flat.numpy().reshape(height, width, self.channels)

    def put(self, index: int, img: np.ndarray) -> None:
        """Keep a copy of an image, unless its shape is not the one that was expected."""
        if img.shape == (*self.shapes[index].tolist(), self.channels):  # otherwise its file has changed since the scan
            end = int(self.ends[index])
            np.copyto(self.pixels[end - img.size : end].numpy().reshape(img.shape), img)
            with self.lock:  # after its pixels: no worker may find the one without the other
                self.filled[index] = True


class DiskCache:
    """Images as `.npy` files beside the image files: photo.jpg.npy holds photo.jpg as it was last loaded."""

    def __init__(self, labels: LabelStore, shapes: np.ndarray, channels: int) -> None:
        self.labels = labels
        self.channels = channels
        self.shapes = torch.from_numpy(shapes)

    def get(self, index: int) -> np.ndarray | None:
        """The image; None if it is not here, older than the image file, of another size, or broken."""
        file = self.labels.file(index)
        path = Path(file + ".npy")
        try:
            if path.stat().st_mtime_ns < Path(file).stat().st_mtime_ns:
                return None
            img = np.load(path)
        except Exception:  # numpy raises anything on broken headers: the image is decoded anew
            return None
        expected = (*self.shapes[index].tolist(), self.channels)  # another imgsz has left other sizes
        return img if img.shape == expected and img.dtype == np.uint8 else None

    def put(self, index: int, img: np.ndarray) -> None:
        """Write an image; raises YOLOError where that cannot be done."""
        atomic_write(Path(self.labels.file(index) + ".npy"), lambda file: np.save(file, img))


def build_cache(
    kind: Literal[True, False, "ram", "disk"],
    labels: LabelStore,
    shapes: np.ndarray,
    channels: int,
    read: Callable[[str], np.ndarray],
) -> RamCache | DiskCache | None:
    """All images as `read(file)` gives them, of `shapes` (n, 2), in memory or on disk.

    None, with a warning, where there is no room for them.
    """
    if not kind:
        return None
    needed, free = int(shapes.prod(1).sum()) * channels, None
    if kind != "disk":
        free = available_memory()
    elif len(labels):
        with suppress(OSError):  # where the system does not tell what is free, it is tried
            free = shutil.disk_usage(Path(labels.file(0)).parent).free
    if free is not None and needed * SPARE > free:
        LOGGER.warning(
            f"cache={kind}: the images take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free, which is too "
            "little; images are read from their files instead"
        )
        return None

    def keep(index: int) -> None:
        if cache.get(index) is None:  # a disk cache may have it from an earlier run
            with suppress(DatasetError):  # an unreadable image is reported when a batch needs it
                cache.put(index, read(labels.file(index)))

    try:
        cache = DiskCache(labels, shapes, channels) if kind == "disk" else RamCache(shapes, channels)
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            done = pool.map(keep, range(len(labels)))
            for _ in tqdm(done, total=len(labels), desc=f"cache={kind}", leave=False, disable=None):
                continue  # asking for a result raises what its thread has raised
    except (YOLOError, RuntimeError, MemoryError) as exc:  # torch raises RuntimeError when memory runs out
        LOGGER.warning(f"cache={kind} cannot be used ({exc}); images are read from their files instead")
        return None
    return cache
