"""Bases of the callables that change a labels dictionary, and those that change an image alone.

A labels dictionary has an image, `img` (H, W, C) uint8 BGR, and perhaps `instances`, Instances of data/instances.py in
its pixels, whose classes are `cls` (k, 1) as well. Transforms change the dictionary they are given and return it.
"""

import math
import random
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from PIL import Image

from ultralytics.data.instances import NO_INSTANCES, Sample, Size
from ultralytics.utils.letterbox import PADDING_VALUE, as_shape, pad, padding, resize, resize_shape

Labels = dict[str, object]
Params = dict[str, object]


def to_sample(labels: Labels) -> Sample:
    """The image of a labels dictionary with its instances, none if it has none."""
    img = labels["img"]
    shape = labels.get("ori_shape", img.shape[:2])
    return Sample(img, labels.get("instances", NO_INSTANCES), str(labels.get("im_file", "")), tuple(shape))


def update(labels: Labels, sample: Sample) -> Labels:
    """Put a sample's image, its shape and, where the dictionary had instances, its instances into the dictionary."""
    labels |= {"img": sample.img, "resized_shape": sample.size}
    if "instances" in labels:
        labels |= {"instances": sample.instances, "cls": sample.instances.cls[:, None]}
    return labels


def drawn_rng() -> np.random.Generator:
    """Generator for one call, which follows from `random.seed`."""
    return np.random.default_rng(random.getrandbits(128))


class BaseTransform:
    """Callable that changes a labels dictionary, in steps that a subclass replaces.

    `get_params` draws what the steps share, which they get as `params`; each step returns the dictionary.
    """

    def __call__(self, labels: Labels) -> Labels:
        """Change the labels."""
        return self.apply(labels, self.get_params(labels))

    def get_params(self, labels: Labels) -> Params:
        """Draw the parameters of this call."""
        return {}

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Take all steps; the transforms of this folder change image and instances in this one."""
        for step in (self.apply_image, self.apply_instances, self.apply_semantic):
            labels = step(labels, params)
        return labels

    def apply_image(self, labels: Labels, params: Params | None = None) -> Labels:
        """Change the image."""
        return labels

    def apply_instances(self, labels: Labels, params: Params | None = None) -> Labels:
        """Change the instances."""
        return labels

    def apply_semantic(self, labels: Labels, params: Params | None = None) -> Labels:
        """Change whatever else a subclass keeps in the dictionary."""
        return labels


class LetterBox:
    """Callable that scales an image (H, W[, C]) to fit `new_shape` and pads it there.

    `auto`: padded to the next multiple of `stride` only; `scale_fill`: stretched instead of padded; not `scaleup`:
    never enlarged; not `center`: the image at the top left.
    """

    def __init__(
        self,
        new_shape: int | Size = (640, 640),
        auto: bool = False,
        scale_fill: bool = False,
        scaleup: bool = True,
        center: bool = True,
        stride: int = 32,
        padding_value: int = PADDING_VALUE,
        interpolation: int = cv2.INTER_LINEAR,
    ) -> None:
        self.new_shape, self.stride = as_shape(new_shape), stride
        self.auto, self.scale_fill, self.scaleup, self.center = auto, scale_fill, scaleup, center
        self.padding_value, self.interpolation = padding_value, interpolation

    def __call__(self, labels: Labels | None = None, image: np.ndarray | None = None) -> "Labels | np.ndarray":
        """The letterboxed `image`, or `labels` with its `img` so, its `instances` moved and its `resized_shape`."""
        img = (labels or {})["img"] if image is None else image
        height, width = labels.pop("rect_shape", self.new_shape) if labels else self.new_shape
        h, w = img.shape[:2]
        gain = min(height / h, width / w, math.inf if self.scaleup else 1.0)
        shape = (height, width) if self.scale_fill else (max(round(h * gain), 1), max(round(w * gain), 1))
        if self.auto and not self.scale_fill:
            height, width = (s + (full - s) % self.stride for s, full in zip(shape, (height, width), strict=True))
        left, top, _, _ = padding(shape, (height, width)) if self.center else (0, 0, 0, 0)
        if shape != (h, w):
            img = cv2.resize(img, shape[::-1], interpolation=self.interpolation).reshape(*shape, *img.shape[2:])
        out = np.full((height, width, *img.shape[2:]), self.padding_value, img.dtype)
        out[top : top + shape[0], left : left + shape[1]] = img
        if not labels:
            return out
        if "instances" in labels:
            matrix = np.array(((shape[1] / w, 0, left), (0, shape[0] / h, top), (0, 0, 1)))
            labels["instances"] = labels["instances"].affine(matrix, (height, width))
        labels |= {"img": out, "resized_shape": (height, width)}
        return labels


class Compose:
    """Callables one after the other, each given what the one before returned."""

    def __init__(self, transforms: Callable | Sequence[Callable]) -> None:
        self.transforms = list(transforms) if isinstance(transforms, list | tuple) else [transforms]

    def __call__(self, data: object) -> object:
        """Pass the data through all of them."""
        for transform in self.transforms:
            data = transform(data)
        return data

    def append(self, transform: Callable) -> None:
        """Add one behind the others."""
        self.transforms.append(transform)

    def insert(self, index: int, transform: Callable) -> None:
        """Add one before that at `index`."""
        self.transforms.insert(index, transform)

    def __getitem__(self, index: int | list[int]) -> "Callable | Compose":
        """The one at an index, or a Compose of those at several."""
        return Compose([self.transforms[i] for i in index]) if isinstance(index, list) else self.transforms[index]

    def __setitem__(self, index: int, transform: Callable) -> None:
        self.transforms[index] = transform

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"

    def tolist(self) -> list[Callable]:
        """The callables."""
        return self.transforms


class CenterCrop:
    """Callable that cuts the middle square of an image (H, W, C), array or Pillow's, and resizes it to `size`."""

    def __init__(self, size: int | Size = (640, 640)) -> None:
        self.size = as_shape(size)

    def __call__(self, im: Image.Image | np.ndarray) -> np.ndarray:
        im = np.asarray(im)
        side = min(im.shape[:2])
        top, left = (im.shape[0] - side) // 2, (im.shape[1] - side) // 2
        return resize(im[top : top + side, left : left + side], self.size)


class ClassifyLetterBox:
    """Callable that scales an image to fit `size` and pads it to that, or (`auto`) to multiples of `stride`."""

    def __init__(self, size: int | Size = (640, 640), auto: bool = False, stride: int = 32) -> None:
        self.size, self.auto, self.stride = as_shape(size), auto, stride

    def __call__(self, im: np.ndarray) -> np.ndarray:
        shape = resize_shape(*im.shape[:2], self.size, ceil=False)
        canvas = tuple(math.ceil(side / self.stride) * self.stride for side in shape) if self.auto else self.size
        return pad(resize(im, shape), canvas)[0]


class ToTensor:
    """Callable that makes an image (H, W, C) uint8 a tensor (C, H, W) in 0..1, in float16 with `half`."""

    def __init__(self, half: bool = False) -> None:
        self.half = half

    def __call__(self, im: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(im.transpose(2, 0, 1)))
        return (tensor.half() if self.half else tensor.float()) / 255
