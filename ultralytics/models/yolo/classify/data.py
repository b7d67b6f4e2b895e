"""How a classifier sees a image: a square out of its middle, in training a random one, both by torchvision."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ultralytics.data.augment import Transform, apply_transform
from ultralytics.data.cache.loading import ImageLoader
from ultralytics.data.instances import Instances, Sample
from ultralytics.data.labels.store import LabelStore
from ultralytics.models.yolo.classify.folders import scan_classes, share_of_each
from ultralytics.utils.errors import ConfigError

Crop = Callable[[Image.Image], Image.Image]
MOST_HUE = 0.5  # the whole color circle, half of it either way


def to_pillow(bgr: np.ndarray) -> Image.Image:
    """A image (H, W, 3) BGR as Pillow has it."""
    return Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def to_tensor(image: Image.Image) -> Tensor:
    """A Pillow image in RGB as (3, H, W) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def center_crop(side: int) -> Crop:
    """The shorter side becomes `side` pixels, bilinear with antialiasing; then the square in the middle."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    return Compose([Resize(side, InterpolationMode.BILINEAR), CenterCrop(side)])


def random_crop(options: Any) -> Crop:
    """A square of 1 - `scale` to all of the image's area, flipped, its colors changed as `auto_augment` says.

    Where that is empty, colors follow `hsv_h`, `hsv_s` and `hsv_v`. Draws come from torch's own generator.
    """
    from torchvision import transforms as t

    bilinear = t.InterpolationMode.BILINEAR
    if options.hsv_h > MOST_HUE and not options.auto_augment:
        raise ConfigError(f"hsv_h={options.hsv_h}: for classification at most {MOST_HUE}, which is all hues")
    policies = {"randaugment": t.RandAugment, "augmix": t.AugMix, "autoaugment": t.AutoAugment}
    if options.auto_augment:
        colors = policies[options.auto_augment](interpolation=bilinear)
    else:
        colors = t.ColorJitter(options.hsv_v, options.hsv_v, options.hsv_s, options.hsv_h)
    return t.Compose(
        [
            t.RandomResizedCrop(options.imgsz, (1 - options.scale, 1), interpolation=bilinear),
            t.RandomHorizontalFlip(options.fliplr),
            t.RandomVerticalFlip(options.flipud),
            colors,
        ]
    )


def random_erasing(options: Any) -> Callable[[Tensor], Tensor]:
    """With probability `erasing` a rectangle of 2 to 33 % of the image turns black."""
    from torchvision.transforms import RandomErasing

    return RandomErasing(options.erasing, inplace=True)


@contextmanager
def fixed_torch_seed(seed: int) -> Iterator[None]:
    """Let torch's own generator start at `seed` meanwhile, and go on afterwards as if nothing had been drawn."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
    try:
        yield
    finally:
        torch.set_rng_state(before)


NOTHING = Instances(np.empty(0, np.float32), np.empty((0, 4), np.float32))


@dataclass(frozen=True)
class ClassSample:
    """A image (3, s, s) uint8 RGB, its class, file and (height, width) there."""

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
        self.images = ImageLoader(labels, None, 3, options.cache)
        self.crop = random_crop(options) if augment else center_crop(options.imgsz)
        self.erase = random_erasing(options) if augment else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | tuple[int, int]) -> ClassSample:
        epoch, position = key if isinstance(key, tuple) else (0, key)
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is not in 0..{len(self) - 1}")
        bgr, index = self.images.load(int(self.order(epoch)[position]))
        img = self._random(bgr, index, epoch, position) if self.augment else to_tensor(self.crop(to_pillow(bgr)))
        height, width = self.labels.shapes[index].tolist()
        return ClassSample(img, int(self.labels.cls[index]), self.labels.file(index), (height, width))

    def order(self, epoch: int) -> np.ndarray:
        """Image index of each position of an epoch, (n,)."""
        return self._generator(epoch).permutation(len(self)) if self.augment else np.arange(len(self))

    def mixing(self, epoch: int) -> None:
        """No epoch joins images."""

    def share(self, ahead: int, lock: AbstractContextManager) -> None:
        """Get ready for workers."""
        self.images.share()

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
        """The image cropped and changed, with all draws of torchvision and the user's steps from one seed."""
        rng = self._generator(epoch, position)
        with fixed_torch_seed(int(rng.integers(2**63))):
            img = to_tensor(self.crop(to_pillow(bgr)))
            for transform in self.transforms:
                img = _transformed(transform, img, self.labels.file(index), rng)
            return self.erase(img)

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.options.seed, spawn_key=key))


def _transformed(transform: Callable, img: Tensor, file: str, rng: np.random.Generator) -> Tensor:
    """A image (3, H, W) after a step of the user's."""
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
    """The dataset of a split's folder; for training `fraction` of each class."""
    labels = scan_classes(folder, names, desc)
    if augment and options.fraction < 1:
        labels = labels.select(share_of_each(labels.cls, options.fraction))
    return ClassDataset(labels, options, augment=augment, batch=batch, transforms=transforms)
