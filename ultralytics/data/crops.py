"""How a classifier sees a picture: a square out of its middle, in training a random one, both by torchvision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ultralytics.utils.errors import ConfigError

Crop = Callable[[Image.Image], Image.Image]
MOST_HUE = 0.5  # the whole colour circle, half of it either way


def to_pillow(bgr: np.ndarray) -> Image.Image:
    """A picture (H, W, 3) BGR as Pillow has it."""
    return Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def to_tensor(image: Image.Image) -> Tensor:
    """A Pillow picture in RGB as (3, H, W) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def centre_crop(side: int) -> Crop:
    """The shorter side becomes `side` pixels, bilinear with antialiasing; then the square in the middle."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    return Compose([Resize(side, InterpolationMode.BILINEAR), CenterCrop(side)])


def random_crop(options: Any) -> Crop:
    """A square of 1 - `scale` to all of the picture's area, flipped, its colours changed as `auto_augment` says.

    Where that is empty, colours follow `hsv_h`, `hsv_s` and `hsv_v`. Draws come from torch's own generator.
    """
    from torchvision import transforms as t

    bilinear = t.InterpolationMode.BILINEAR
    if options.hsv_h > MOST_HUE and not options.auto_augment:
        raise ConfigError(f"hsv_h={options.hsv_h}: for classification at most {MOST_HUE}, which is all hues")
    policies = {"randaugment": t.RandAugment, "augmix": t.AugMix, "autoaugment": t.AutoAugment}
    if options.auto_augment:
        colours = policies[options.auto_augment](interpolation=bilinear)
    else:
        colours = t.ColorJitter(options.hsv_v, options.hsv_v, options.hsv_s, options.hsv_h)
    return t.Compose(
        [
            t.RandomResizedCrop(options.imgsz, (1 - options.scale, 1), interpolation=bilinear),
            t.RandomHorizontalFlip(options.fliplr),
            t.RandomVerticalFlip(options.flipud),
            colours,
        ]
    )


def random_erasing(options: Any) -> Callable[[Tensor], Tensor]:
    """With probability `erasing` a rectangle of 2 to 33 % of the picture turns black."""
    from torchvision.transforms import RandomErasing

    return RandomErasing(options.erasing, inplace=True)


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Let torch's own generator start at `seed` meanwhile, and go on afterwards as if nothing had been drawn."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
    try:
        yield
    finally:
        torch.set_rng_state(before)
