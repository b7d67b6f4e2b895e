"""Images of a classifier: a square from the middle, in training a random one, both by torchvision."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ultralytics.cfg import Options
from ultralytics.data.augment import MixProbs, Transform, apply_transform, seeded_rng
from ultralytics.data.cache.loading import ImageLoader
from ultralytics.data.dataset import Batch
from ultralytics.data.instances import Instances, Sample
from ultralytics.data.labels.store import LabelStore
from ultralytics.models.yolo.classify.folders import first_of_each_class, scan_classes, spread_over_classes
from ultralytics.utils.errors import ConfigError

Crop = Callable[[Image.Image], Image.Image]
MAX_HUE = 0.5  # half of the color circle either way, which is all of it
NO_INSTANCES = Instances(np.empty(0, np.float32), np.empty((0, 4), np.float32))


def crop_to_tensor(bgr: np.ndarray, crop: Crop) -> Tensor:
    """Square (3, s, s) uint8 RGB that `crop` makes of an image (H, W, 3) BGR."""
    square = crop(Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def center_crop(side: int) -> Crop:
    """Transform that resizes the shorter side to `side` pixels, with antialiasing, and cuts the middle square."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    return Compose([Resize(side, InterpolationMode.BILINEAR), CenterCrop(side)])


def random_crop(options: Options) -> Crop:
    """Transform that cuts a square of 1 - `scale` to all of the area, flips it and changes its colors.

    A pair `scale` is the smallest and largest part of the area. Colors change as `auto_augment` says or, where that is
    empty, by `hsv_h`, `hsv_s` and `hsv_v`. Draws come from torch's own generator.
    """
    from torchvision import transforms as t

    bilinear = t.InterpolationMode.BILINEAR
    areas = options.scale if isinstance(options.scale, list) else (1 - options.scale, 1)
    if options.hsv_h > MAX_HUE and not options.auto_augment:
        raise ConfigError(f"hsv_h={options.hsv_h}: for classification at most {MAX_HUE}, which is all hues")
    policies = {"randaugment": t.RandAugment, "augmix": t.AugMix, "autoaugment": t.AutoAugment}
    if options.auto_augment:
        colors = policies[options.auto_augment](interpolation=bilinear)
    else:
        colors = t.ColorJitter(options.hsv_v, options.hsv_v, options.hsv_s, options.hsv_h)
    return t.Compose(
        [
            t.RandomResizedCrop(options.imgsz, areas, interpolation=bilinear),
            t.RandomHorizontalFlip(options.fliplr),
            t.RandomVerticalFlip(options.flipud),
            colors,
        ]
    )


@contextmanager
def fixed_torch_seed(seed: int) -> Iterator[None]:
    """Let torch's own generator start at `seed` meanwhile; afterwards it continues as if nothing had been drawn."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
    try:
        yield
    finally:
        torch.set_rng_state(before)


@dataclass(frozen=True)
class ClassSample:
    """Image (3, s, s) uint8 RGB, its class, its file and its (height, width) there."""

    img: Tensor
    cls: int
    im_file: str
    ori_shape: tuple[int, int]


class ClassDataset(Dataset):
    """Samples of a split, for training (`augment`) in random order, or for validation.

    `dataset[(epoch, position)]` is a pure function of seed, epoch and position; `dataset[i]` is position `i` of
    epoch 0. `transforms` are the user's own augmentations (data/augment.py), which get no boxes.
    """

    def __init__(
        self, labels: LabelStore, options: Options, *, augment: bool, batch: int, transforms: Sequence[Transform] = ()
    ) -> None:
        from torchvision.transforms import RandomErasing

        self.labels, self.options, self.augment, self.batch = labels, options, augment, batch
        self.transforms = tuple(transforms)
        self.images = ImageLoader(labels, None, 3, options.cache)
        self.crop = random_crop(options) if augment else center_crop(options.imgsz)
        self.erase = RandomErasing(options.erasing, inplace=True)  # 2 to 33 % of the image turn black

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | tuple[int, int]) -> ClassSample:
        epoch, position = key if isinstance(key, tuple) else (0, key)
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is not in 0..{len(self) - 1}")
        index = position
        if self.augment:  # each epoch in an order of its own
            index = int(seeded_rng(self.options.seed, epoch).permutation(len(self))[position])
        bgr, index = self.images.load(index)
        file, (height, width) = self.labels.file(index), self.labels.shapes[index].tolist()
        if not self.augment:
            img = crop_to_tensor(bgr, self.crop)
            return ClassSample(img, int(self.labels.cls[index]), file, (height, width))
        rng = seeded_rng(self.options.seed, epoch, position)
        # torchvision draws from torch's generator, and so may the user's transforms: all of it from one seed.
        with fixed_torch_seed(int(rng.integers(2**63))):
            img = crop_to_tensor(bgr, self.crop)
            for transform in self.transforms:
                square = np.ascontiguousarray(img.permute(1, 2, 0).numpy()[..., ::-1])  # (s, s, 3) BGR
                changed = apply_transform(transform, Sample(square, NO_INSTANCES, file, square.shape[:2]), rng)
                img = torch.from_numpy(np.ascontiguousarray(changed.img[..., ::-1].transpose(2, 0, 1)))
            img = self.erase(img)
        return ClassSample(img, int(self.labels.cls[index]), file, (height, width))

    def mix_probs(self, epoch: int) -> MixProbs:
        """Probabilities of mixing images: classification never does."""
        return MixProbs()

    def share_memory(self, ahead: int, lock: AbstractContextManager) -> None:
        """Prepare for workers."""
        self.images.unreadable.share_memory_()

    @staticmethod
    def collate(samples: Sequence[ClassSample]) -> Batch:
        """Batch: `img` (B, 3, s, s) uint8 RGB, `cls` (B,) int64, and tuples of B: `im_file`, `ori_shape`."""
        return {
            "img": torch.stack([sample.img for sample in samples]),
            "cls": torch.tensor([sample.cls for sample in samples]),
            "im_file": tuple(sample.im_file for sample in samples),
            "ori_shape": tuple(sample.ori_shape for sample in samples),
        }


def build_class_dataset(
    folder: Path,
    names: dict[int, str],
    options: Options,
    *,
    augment: bool,
    batch: int,
    desc: str,
    transforms: Sequence[Transform] = (),
) -> ClassDataset:
    """Dataset of a split's folder; for training `fraction` of each class, or so many images of all."""
    labels = scan_classes(folder, names, desc)
    if augment and isinstance(options.fraction, int):
        labels = labels.select(spread_over_classes(labels.cls, options.fraction))
    elif augment and options.fraction < 1:
        labels = labels.select(first_of_each_class(labels.cls, options.fraction))
    return ClassDataset(labels, options, augment=augment, batch=batch, transforms=transforms)
