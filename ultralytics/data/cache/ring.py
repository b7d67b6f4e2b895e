"""Ring of the images loaded last, by (epoch, position), from which mosaics take their partners."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch


class DecodeBuffer:
    """A ring of loaded images (h, w, `channels`) of at most `side` pixels a side, by (epoch, position).

    It may be shared by workers, so that each image is decoded once and not once a worker. Images are read in place:
    there are more slots than positions in use at any one time, and two workers that load the same position write the
    same bytes. `lock` guards the entries, which tell what a slot holds.
    """

    def __init__(self, slots: int, side: int, channels: int, lock: AbstractContextManager | None = None) -> None:
        self.channels = channels
        self.lock = lock or nullcontext()
        self.pixels = torch.empty((slots, side * side * channels), dtype=torch.uint8)
        self.entries = torch.full((slots, 5), -1)  # epoch, position, index, height, width
        if lock is not None:
            self.pixels.share_memory_()
            self.entries.share_memory_()

    def get(self, epoch: int, position: int) -> tuple[np.ndarray, int] | None:
        """The image of a position, a view, and its index in the dataset; None if it is not here."""
        slot = position % len(self.entries)
        with self.lock:
            *key, index, height, width = self.entries[slot].tolist()
        if key != [epoch, position]:
            return None
        size = height * width * self.channels  # the slot may be larger
        return self.pixels[slot, :size].numpy().reshape(height, width, self.channels), index

    def put(self, epoch: int, position: int, img: np.ndarray, index: int) -> np.ndarray:
        """Keep a copy of an image; returns that copy."""
        slot = position % len(self.entries)
        view = self.pixels[slot, : img.size].numpy().reshape(img.shape)
        np.copyto(view, img)  # before its entry: no worker may find the one without the other
        with self.lock:
            self.entries[slot] = torch.tensor((epoch, position, index, *img.shape[:2]))
        return view
