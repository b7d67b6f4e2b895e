"""Loaded images of a whole dataset, kept in memory or on disk."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError, YOLOError
from ultralytics.utils.files import atomic_write

SPARE = 1.5  # free room has to be this many times what a cache takes
THREADS = 8


class RamCache:
    """Images of known `shapes` (n, 2) in one block of memory, which workers share."""

    def __init__(self, shapes: np.ndarray, channels: int) -> None:
        sizes = shapes.prod(1) * channels
        self.channels = channels
        self.shapes = torch.from_numpy(shapes)
        self.ends = torch.from_numpy(np.cumsum(sizes))
        self.pixels = torch.empty(int(sizes.sum()), dtype=torch.uint8)
        self.filled = torch.zeros(len(shapes), dtype=torch.bool)

    def get(self, index: int) -> np.ndarray | None:
        """The image, a view; None if it is not here."""
        return self._view(index) if self.filled[index] else None

    def put(self, index: int, img: np.ndarray) -> None:
        """Keep a copy of a image, unless its shape is not the one that was expected."""
        view = self._view(index)
        if view.shape == img.shape:
            np.copyto(view, img)
            self.filled[index] = True

    def _view(self, index: int) -> np.ndarray:
        height, width = self.shapes[index].tolist()
        end = int(self.ends[index])
        flat = self.pixels[end - height * width * self.channels : end]
        return flat.numpy().reshape(height, width, self.channels)


class DiskCache:
    """Images as `.npy` files beside the images: photo.jpg.npy holds photo.jpg as it was last loaded."""

    def __init__(self, labels: LabelStore, shapes: np.ndarray, channels: int) -> None:
        self.labels = labels
        self.channels = channels
        self.shapes = torch.from_numpy(shapes)

    def path(self, index: int) -> Path:
        """The file that holds a image."""
        return Path(self.labels.file(index) + ".npy")

    def get(self, index: int) -> np.ndarray | None:
        """The image; None if it is not here, older than the image, of another size, or broken."""
        path = self.path(index)
        try:
            if path.stat().st_mtime_ns < Path(self.labels.file(index)).stat().st_mtime_ns:
                return None
            img = np.load(path)
        except (OSError, ValueError, EOFError):
            return None
        expected = (*self.shapes[index].tolist(), self.channels)
        return img if img.shape == expected and img.dtype == np.uint8 else None

    def put(self, index: int, img: np.ndarray) -> None:
        """Write a image; raises YOLOError where that cannot be done."""
        atomic_write(self.path(index), lambda file: np.save(file, img))


def build_cache(
    kind: Literal[True, False, "ram", "disk"],
    labels: LabelStore,
    shapes: np.ndarray,
    channels: int,
    load: Callable[[int], np.ndarray],
) -> RamCache | DiskCache | None:
    """All images as `load(index)` gives them, of `shapes` (n, 2), in memory or on disk.

    None, said aloud, where that cannot be.
    """
    if not kind:
        return None
    needed, free = int(shapes.prod(1).sum()) * channels, _free(kind, labels)
    if free is not None and needed * SPARE > free:
        LOGGER.warning(
            f"cache={kind}: the images take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free, which is too "
            "little; images are read from their files instead"
        )
        return None
    try:
        cache = DiskCache(labels, shapes, channels) if kind == "disk" else RamCache(shapes, channels)
        _fill(cache, len(labels), load, f"cache={kind}")
    except (YOLOError, RuntimeError, MemoryError) as exc:  # torch raises RuntimeError when memory runs out
        LOGGER.warning(f"cache={kind} cannot be used ({exc}); images are read from their files instead")
        return None
    return cache


def _fill(cache: RamCache | DiskCache, n: int, load: Callable[[int], np.ndarray], desc: str) -> None:
    def keep(index: int) -> None:
        if cache.get(index) is None:
            try:
                img = load(index)
            except DatasetError:  # said when a batch needs it
                return
            cache.put(index, img)

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for _ in tqdm(pool.map(keep, range(n)), total=n, desc=desc, leave=False, disable=None):
            continue


def _free(kind: str | bool, labels: LabelStore) -> int | None:
    """Free bytes where a cache would be; None if the system does not tell."""
    if kind != "disk":
        return available_memory()
    try:
        return shutil.disk_usage(Path(labels.file(0)).parent).free
    except (OSError, IndexError):
        return None


def available_memory() -> int | None:
    """Bytes of memory that this process may still take, within its container; None if the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    free = next((int(row.split()[1]) * 1024 for row in text.splitlines() if row.startswith("MemAvailable")), None)
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text(encoding="utf-8") for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError, TypeError):  # no such group, or "max": no limit
        return free
