"""A data set for classification: from (epoch, position) to a square picture and its class."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ultralytics.data.crops import centre_crop, drawing_from, random_crop, random_erasing, to_pillow, to_tensor
from ultralytics.data.folders import scan_classes, share_of_each
from ultralytics.data.instances import Objects, Sample
from ultralytics.data.labels import LabelStore
from ultralytics.data.pictures import Pictures
from ultralytics.data.transforms import Transform, apply_transform

NOTHING = Objects(np.empty(0, np.float32), np.empty((0, 4), np.float32))


@dataclass(frozen=True)
class ClassSample:
    """A picture (3, s, s) uint8 RGB, its class, file and (height, width) there."""

    img: Tensor
    cls: int
    im_file: str
    ori_shape: tuple[int, int]


class ClassDataset(Dataset):
    """Samples of a split, for training (`augment`) in random order, or for validation.

    `dataset[(epoch, position)]` is a pure function of seed, epoch and position; `dataset[i]` is position `i` of
    epoch 0. `transforms` are the user's own steps, data/transforms.py: there are no boxes for them.
    """

    def __init__(
        self, labels: LabelStore, options: Any, *, augment: bool, batch: int, transforms: Sequence[Transform] = ()
    ) -> None:
        self.labels, self.options, self.augment, self.batch = labels, options, augment, batch
        self.transforms = tuple(transforms)
        self.pictures = Pictures(labels, None, 3, options.cache)
        self.crop = random_crop(options) if augment else centre_crop(options.imgsz)
        self.erase = random_erasing(options) if augment else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | tuple[int, int]) -> ClassSample:
        epoch, position = key if isinstance(key, tuple) else (0, key)
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is not in 0..{len(self) - 1}")
        bgr, index = self.pictures.load(int(self.order(epoch)[position]))
        img = self._random(bgr, index, epoch, position) if self.augment else to_tensor(self.crop(to_pillow(bgr)))
        height, width = self.labels.shapes[index].tolist()
        return ClassSample(img, int(self.labels.cls[index]), self.labels.file(index), (height, width))

    def order(self, epoch: int) -> np.ndarray:
        """Image index of each position of an epoch, (n,)."""
        return self._generator(epoch).permutation(len(self)) if self.augment else np.arange(len(self))

    def mixing(self, epoch: int) -> None:
        """No epoch joins pictures."""

    def share(self, ahead: int, lock: AbstractContextManager) -> None:
        """Get ready for workers."""
        self.pictures.share()

    @staticmethod
    def collate(samples: Sequence[ClassSample]) -> dict[str, Any]:
        """`img` (B, 3, s, s) uint8 RGB, `cls` (B,) int64, and tuples of B: `im_file`, `ori_shape`."""
        return {
            "img": torch.stack([sample.img for sample in samples]),
            "cls": torch.tensor([sample.cls for sample in samples]),
            "im_file": tuple(sample.im_file for sample in samples),
            "ori_shape": tuple(sample.ori_shape for sample in samples),
        }

    def _random(self, bgr: np.ndarray, index: int, epoch: int, position: int) -> Tensor:
        """The picture cropped and changed, with all draws of torchvision and the user's steps from one seed."""
        rng = self._generator(epoch, position)
        with drawing_from(int(rng.integers(2**63))):
            img = to_tensor(self.crop(to_pillow(bgr)))
            for transform in self.transforms:
                img = _transformed(transform, img, self.labels.file(index), rng)
            return self.erase(img)

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.options.seed, spawn_key=key))


def _transformed(transform: Callable, img: Tensor, file: str, rng: np.random.Generator) -> Tensor:
    """A picture (3, H, W) after a step of the user's."""
    bgr = np.ascontiguousarray(img.permute(1, 2, 0).numpy()[..., ::-1])
    changed = apply_transform(transform, Sample(bgr, NOTHING, file, bgr.shape[:2]), rng)
    return torch.from_numpy(np.ascontiguousarray(changed.img[..., ::-1].transpose(2, 0, 1)))


def build_class_dataset(
    folder: Path,
    names: dict[int, str],
    options: Any,
    *,
    augment: bool,
    batch: int,
    desc: str,
    transforms: Sequence[Transform] = (),
) -> ClassDataset:
    """The data set of a split's folder; for training `fraction` of each class."""
    labels = scan_classes(folder, names, desc)
    if augment and options.fraction < 1:
        labels = labels.select(share_of_each(labels.cls, options.fraction))
    return ClassDataset(labels, options, augment=augment, batch=batch, transforms=transforms)
