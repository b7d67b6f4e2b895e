"""Images of a classifier: a square from the middle, in training a random one, both by torchvision."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from ultralytics.cfg import Options, get_options
from ultralytics.data.augment import MixProbs, Transform, apply_transform, seeded_rng
from ultralytics.data.cache.loading import ImageLoader
from ultralytics.data.classify.folders import class_folders, part_of_classes, scan_classes
from ultralytics.data.dataset import Batch
from ultralytics.data.images import swap_colors
from ultralytics.data.instances import NO_INSTANCES, Sample
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils.errors import ConfigError, DatasetError

Crop = Callable[[Image.Image], Image.Image]
MAX_HUE = 0.5  # half of the color circle either way, which is all of it


def crop_to_tensor(bgr: np.ndarray, crop: Crop) -> Tensor:
    """Square (3, s, s) uint8 RGB that `crop` makes of an image (H, W, 3) BGR, or (1, s, s) of a gray one (H, W, 1)."""
    square = np.array(crop(Image.fromarray(swap_colors(bgr) if bgr.shape[2] == 3 else bgr[..., 0])))
    return torch.from_numpy(np.atleast_3d(square)).permute(2, 0, 1).contiguous()


def center_crop(side: int) -> Crop:
    """Transform that resizes the shorter side to `side` pixels, with antialiasing, and cuts the middle square."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    return Compose([Resize(side, InterpolationMode.BILINEAR), CenterCrop(side)])


def policy(name: str, interpolation: object) -> Crop:
    """torchvision's transform of the option `auto_augment`; ConfigError for another name."""
    from torchvision import transforms as t

    policies = {"randaugment": t.RandAugment, "augmix": t.AugMix, "autoaugment": t.AutoAugment}
    if name not in policies:
        raise ConfigError(f"auto_augment={name}: expected one of {', '.join(policies)}, or nothing")
    return policies[name](interpolation=interpolation)


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
    if options.auto_augment:
        colors = policy(options.auto_augment, bilinear)
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
    """Image (C, s, s) uint8 RGB or gray, its class, its file and its (height, width) there."""

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
        self,
        labels: LabelStore,
        options: Options,
        *,
        augment: bool,
        batch: int,
        channels: int = 3,
        transforms: Sequence[Transform] = (),
    ) -> None:
        from torchvision.transforms import RandomErasing

        self.labels, self.options, self.augment, self.batch = labels, options, augment, batch
        self.transforms = tuple(transforms)
        self.draws_globally = augment  # torchvision does
        self.images = ImageLoader(labels, None, channels, options.cache, keep=augment)
        self.crop = random_crop(options) if augment else center_crop(options.imgsz)
        self._order: tuple[int, np.ndarray] | None = None  # of the epoch that was asked for last
        self.erase = RandomErasing(options.erasing, inplace=True)  # 2 to 33 % of the image turn black

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | tuple[int, int]) -> ClassSample:
        epoch, position = key if isinstance(key, tuple) else (0, key)
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is not in 0..{len(self) - 1}")
        index = position
        if self.augment:  # each epoch in an order of its own
            if self._order is None or self._order[0] != epoch:
                self._order = epoch, seeded_rng(self.options.seed, epoch).permutation(len(self))
            index = int(self._order[1][position])
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
                square = swap_colors(np.ascontiguousarray(img.permute(1, 2, 0).numpy()))  # (s, s, C) BGR
                changed = apply_transform(transform, Sample(square, NO_INSTANCES, file, square.shape[:2]), rng)
                img = torch.from_numpy(np.ascontiguousarray(swap_colors(changed.img).transpose(2, 0, 1)))
            img = self.erase(img)
        return ClassSample(img, int(self.labels.cls[index]), file, (height, width))

    def mix_probs(self, epoch: int) -> MixProbs:
        """Probabilities of mixing images: classification never does."""
        return MixProbs()

    def share_memory(self, ahead: int, lock: AbstractContextManager) -> None:
        """Prepare for workers."""
        self.images.share_memory(lock)

    @staticmethod
    def collate(samples: Sequence[ClassSample]) -> Batch:
        """Batch: `img` (B, C, s, s) uint8, `cls` (B,) int64, and tuples of B: `im_file`, `ori_shape`."""
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
    channels: int = 3,
    transforms: Sequence[Transform] = (),
) -> ClassDataset:
    """Dataset of the images of a split's folder that `select_images` takes."""
    labels = select_images(folder, names, options, augment, desc)
    return ClassDataset(labels, options, augment=augment, batch=batch, channels=channels, transforms=transforms)


def select_images(folder: Path, names: dict[int, str], options: Options, augment: bool, desc: str) -> LabelStore:
    """Checked images of a folder, of the `classes` asked for; for training `fraction` of each class, or of all a count.

    Raises ConfigError for a class that is not among `names`, DatasetError if no image is left.
    """
    labels = scan_classes(folder, names, desc)
    if options.classes is not None:
        if unknown := sorted(set(options.classes) - set(names)):
            raise ConfigError(f"classes={unknown}: the dataset has the classes 0 to {len(names) - 1}; leave out others")
        labels = labels.select(np.flatnonzero(np.isin(labels.cls, options.classes)))
        if not len(labels):
            raise DatasetError(f"{folder}: there are no images of classes={options.classes}")
    if augment and (isinstance(options.fraction, int) or options.fraction < 1):
        return labels.select(part_of_classes(labels.cls, options.fraction))
    return labels


# Published names -------------------------------------------------------------------------------------------------


def classify_transforms(
    size: int | tuple[int, int] = 224,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    interpolation: str = "BILINEAR",
) -> Callable[[Image.Image], Tensor]:
    """Transform of a Pillow image to a normalized tensor (3, H, W): resized, and cut out of the middle."""
    from torchvision import transforms as t

    how = t.InterpolationMode[interpolation]
    return t.Compose([t.Resize(size, how), t.CenterCrop(size), t.ToTensor(), t.Normalize(mean, std)])


def classify_augmentations(
    size: int = 224,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    scale: tuple[float, float] | None = None,
    ratio: tuple[float, float] | None = None,
    hflip: float = 0.5,
    vflip: float = 0.0,
    auto_augment: str | None = None,
    hsv_h: float = 0.015,
    hsv_s: float = 0.4,
    hsv_v: float = 0.4,
    force_color_jitter: bool = False,
    erasing: float = 0.0,
    interpolation: str = "BILINEAR",
) -> Callable[[Image.Image], Tensor]:
    """Random transform of a Pillow image to a normalized tensor: a crop, flips, colors, erasing.

    Colors change by the policy `auto_augment` or, without one and with `force_color_jitter`, by the `hsv_` gains.
    """
    from torchvision import transforms as t

    how = t.InterpolationMode[interpolation]
    steps = [t.RandomResizedCrop(size, scale or (0.08, 1.0), ratio or (3 / 4, 4 / 3), how)]
    steps += [flip(p) for flip, p in ((t.RandomHorizontalFlip, hflip), (t.RandomVerticalFlip, vflip)) if p]
    if auto_augment:
        steps.append(policy(auto_augment, how))
    if force_color_jitter or not auto_augment:
        steps.append(t.ColorJitter(hsv_v, hsv_v, hsv_s, hsv_h))
    return t.Compose([*steps, t.ToTensor(), t.Normalize(mean, std), t.RandomErasing(erasing, inplace=True)])


class ClassificationDataset(ClassDataset):
    """Images of a folder with a folder for each class, as scripts iterate them: `img` (3, s, s) 0..1 and `cls`.

    `names` are the classes by index, those of the training images where this is another split; folders of others are
    skipped. For training (`augment`) `fraction` is taken of every class.
    """

    def __init__(
        self,
        root: str | Path,
        args: Options | SimpleNamespace,
        augment: bool = False,
        prefix: str = "",
        names: dict[int, str] | None = None,
    ) -> None:
        options = args if isinstance(args, Options) else get_options(vars(args))
        names = names or dict(enumerate(class_folders(Path(root))))
        labels = select_images(Path(root), names, options, augment, prefix)
        super().__init__(labels, options, augment=augment, batch=options.batch or 16)
        self.root, self.names = str(root), names

    @property
    def samples(self) -> list[tuple[str, int]]:
        """File and class of every image."""
        return [(self.labels.file(i), int(c)) for i, c in enumerate(self.labels.cls)]

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor | int]:
        sample = super().__getitem__(key)
        return {"img": sample.img.float() / 255, "cls": sample.cls}

    collate = staticmethod(default_collate)
