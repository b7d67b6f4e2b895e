"""From an image's index to its pixels, whatever happens to the files meanwhile."""

from typing import Literal

import numpy as np
import torch

from ultralytics.data.cache.whole import RamCache, build_cache
from ultralytics.data.images import read_image
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.letterbox import resize, resize_shape

TRIES = 16  # images to try in place of one that cannot be read


class ImageLoader:
    """The images of `labels`, scaled up or down until the longer side has `imgsz` pixels; perhaps kept in a cache.

    With `imgsz` None they stay as large as they are.
    """

    def __init__(
        self, labels: LabelStore, imgsz: int | None, channels: int, cache: Literal[True, False, "ram", "disk"]
    ) -> None:
        self.labels, self.imgsz, self.channels = labels, imgsz, channels
        self.unreadable = torch.zeros(len(labels), dtype=torch.bool)
        shapes = np.array([self._shape(h, w) for h, w in labels.shapes.tolist()]).reshape(-1, 2)
        self.cache = build_cache(cache, labels, shapes, channels, self._decode)

    @property
    def in_memory(self) -> bool:
        """Whether any image is at hand without decoding."""
        return isinstance(self.cache, RamCache)

    def share(self) -> None:
        """Let workers know from each other what has become unreadable, so that it is said once."""
        self.unreadable.share_memory_()

    def load(self, index: int) -> tuple[np.ndarray, int]:
        """The image (h, w, `channels`) and its index: another one's if this one has become unreadable.

        Raises DatasetError if the ones after it are unreadable too, as when the dataset has been deleted.
        """
        failures: list[DatasetError] = []
        for candidate in range(index, index + min(TRIES, len(self.labels))):
            found = candidate % len(self.labels)
            img = self._read(found, failures)
            if img is not None:
                for failure in failures:
                    LOGGER.warning(f"{failure}: from now on another image takes its place")
                return img, found
        raise DatasetError(
            f"{self.labels.file(index)} cannot be read any more, nor can the images tried in its place: check that the "
            "dataset is still where it was"
        )

    def _read(self, index: int, failures: list[DatasetError]) -> np.ndarray | None:
        """A image from the cache or its file; None, the first time with a failure, if that cannot be read."""
        if self.unreadable[index]:
            return None
        try:
            cached = None if self.cache is None else self.cache.get(index)
            return self._decode(index) if cached is None else cached
        except DatasetError as exc:
            self.unreadable[index] = True
            failures.append(exc)
            return None

    def _decode(self, index: int) -> np.ndarray:
        img = read_image(self.labels.file(index), self.channels)
        return resize(img, self._shape(*img.shape[:2]))

    def _shape(self, height: int, width: int) -> tuple[int, int]:
        """What becomes of a file's image of that size."""
        return (height, width) if self.imgsz is None else resize_shape(height, width, self.imgsz)
