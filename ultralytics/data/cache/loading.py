"""Pixels of an image by its index, from a cache or its file; another image takes the place of an unreadable one."""

import shutil
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ultralytics.data.cache.whole import RamCache, build_cache
from ultralytics.data.images import read_image
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.letterbox import resize_shape
from ultralytics.utils.memory import available_memory
from ultralytics.utils.processes import process_rank

TRIES = 16  # images to try in place of one that cannot be read
KEPT_BYTES = 512 * 1024**2  # a dataset that takes no more once it is decoded is decoded once for all epochs


class ImageLoader:
    """The images of `labels`, scaled up or down until the longer side has `imgsz` pixels; perhaps kept in a cache.

    With `imgsz` None they stay as large as they are. Large JPEGs may be decoded `reduced`; never for files on disk,
    which validation and other runs use as well. `keep`: without a cache, what has been read is kept for the next epoch
    if all of it takes no more than KEPT_BYTES, and in all processes of the run a quarter of the memory that is free.
    """

    def __init__(
        self,
        labels: LabelStore,
        imgsz: int | None,
        channels: int,
        cache: Literal[True, False, "ram", "disk"],
        *,
        reduced: bool = False,
        keep: bool = False,
    ) -> None:
        self.labels, self.imgsz, self.channels = labels, imgsz, channels
        self.read = partial(read_image, channels=channels, imgsz=imgsz, reduced=reduced and cache != "disk")
        # (n,); workers that share it report each image once, and not once a worker.
        self.unreadable = torch.zeros(len(labels), dtype=torch.bool)
        shapes = [(h, w) if imgsz is None else resize_shape(h, w, imgsz) for h, w in labels.shapes.tolist()]
        shapes = np.array(shapes, np.int64).reshape(-1, 2)
        self.cache = build_cache(cache, labels, shapes, channels, self.read)
        self.in_memory = isinstance(self.cache, RamCache)  # any image can be had without decoding
        self.keeps = keep and not cache and int(shapes.prod(1).sum()) * channels <= room_to_keep()
        if self.keeps:
            self.cache = RamCache(shapes, channels)

    def load(self, index: int) -> tuple[np.ndarray, int]:
        """The image (h, w, `channels`) and its index: those of another one if this one has become unreadable.

        Raises DatasetError if the ones after it are unreadable too, as when the dataset has been deleted.
        """
        failures: list[DatasetError] = []
        for candidate in range(index, index + min(TRIES, len(self.labels))):
            i = candidate % len(self.labels)
            if self.unreadable[i]:
                continue
            try:
                img = None if self.cache is None else self.cache.get(i)
                if img is None:
                    img = self.read(self.labels.file(i))
                    if self.keeps:
                        self.cache.put(i, img)
            except DatasetError as exc:
                self.unreadable[i] = True
                failures.append(exc)
                continue
            for failure in failures:  # only now: if all fail, one error says so
                LOGGER.warning(f"{failure}: from now on another image takes its place")
            return img, i
        raise DatasetError(
            f"{self.labels.file(index)} cannot be read any more, nor can the images tried in its place: check that the "
            "dataset is still where it was"
        )

    def share_memory(self, lock: AbstractContextManager) -> None:
        """Prepare for workers: what one of them reads is there for all; nothing is kept where memory is short."""
        self.unreadable.share_memory_()
        if not self.keeps:
            return
        with suppress(RuntimeError, OSError):  # shared memory may be smaller than all memory
            shared = Path("/dev/shm")  # half of it stays free for batches
            if not shared.is_dir() or self.cache.pixels.nbytes < shutil.disk_usage(shared).free / 2:
                self.cache.share_memory(lock)
                return
        self.cache, self.keeps = None, False


def room_to_keep() -> float:
    """Bytes of images that a process may keep unasked."""
    free = available_memory()
    return KEPT_BYTES if free is None else min(KEPT_BYTES, free / 4 / process_rank()[1])
