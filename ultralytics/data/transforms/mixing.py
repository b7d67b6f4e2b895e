"""Transforms that join images of a dataset: mosaic, mixup, cutmix, copy-paste, and training's whole augmentation."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Protocol

from ultralytics.cfg import Options, get_options
from ultralytics.data.augment import AugmentSettings, MixProbs, augment, cutmix, flip, mixup, mosaic4, paste
from ultralytics.data.instances import Sample
from ultralytics.data.transforms.base import BaseTransform, Compose, Labels, Params, drawn_rng, to_sample, update
from ultralytics.utils.errors import ConfigError


class LabeledImages(Protocol):
    """Interface that the transforms need of a dataset, such as YOLODataset."""

    def __len__(self) -> int: ...

    def get_image_and_label(self, index: int) -> Labels:
        """A labels dictionary with `img` and `instances`."""


class BaseMixTransform(BaseTransform):
    """Base of transforms that, with probability `p`, get other images as `labels["mix_labels"]`.

    These are labels dictionaries of the `dataset` at `get_indexes`, changed by `pre_transform`. A subclass replaces
    `apply_image` and `apply_instances`.
    """

    def __init__(self, dataset: LabeledImages, pre_transform: Callable | None = None, p: float = 0.0) -> None:
        if not 0 <= p <= 1:
            raise ConfigError(f"p={p}: a probability is a number from 0 to 1")
        self.dataset, self.pre_transform, self.p = dataset, pre_transform, p

    def __call__(self, labels: Labels) -> Labels:
        if drawn_rng().random() >= self.p:
            return labels
        indexes = self.get_indexes()
        labels["mix_labels"] = []
        for i in [indexes] if isinstance(indexes, int) else indexes:
            other = self.dataset.get_image_and_label(i)
            labels["mix_labels"].append(other if self.pre_transform is None else self.pre_transform(other))
        labels = super().__call__(labels)
        labels.pop("mix_labels", None)
        return labels

    def get_indexes(self) -> int | list[int]:
        """Draw which other images to join."""
        return int(drawn_rng().integers(len(self.dataset)))


class Mosaic(BaseMixTransform):
    """Joins four images of at most `imgsz` a side at a random point of an image of twice that."""

    def __init__(self, dataset: LabeledImages, imgsz: int = 640, p: float = 1.0, n: int = 4) -> None:
        if n != 4:
            raise ConfigError(f"n={n}: a mosaic is made of 4 images")
        super().__init__(dataset, p=p)
        self.imgsz = imgsz

    def get_indexes(self) -> list[int]:
        """Draw three other images."""
        return drawn_rng().integers(len(self.dataset), size=3).tolist()

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Join image and instances."""
        samples = [to_sample(part) for part in (labels, *labels["mix_labels"])]
        return update(labels, mosaic4(samples, self.imgsz, drawn_rng()).draw())


class MixUp(BaseMixTransform):
    """Averages two images of one size, which has the instances of both."""

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Join image and instances."""
        return update(labels, mixup(to_sample(labels), to_sample(labels["mix_labels"][0]), drawn_rng()))


class CutMix(BaseMixTransform):
    """Puts a rectangle of another image of the same size where this one has no instances, the first free of several."""

    def __init__(
        self,
        dataset: LabeledImages,
        pre_transform: Callable | None = None,
        p: float = 0.0,
        beta: float = 1.0,
        num_areas: int = 3,
    ) -> None:
        if beta != 1:
            raise ConfigError(f"beta={beta}: the rectangle covers a uniform fraction of the image, which is beta=1")
        super().__init__(dataset, pre_transform, p)
        self.num_areas = num_areas

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Join image and instances."""
        other = to_sample(labels["mix_labels"][0])
        return update(labels, cutmix(to_sample(labels), other, drawn_rng(), self.num_areas))


class CopyPaste(BaseMixTransform):
    """Pastes a fraction `p` of the instances with a polygon for which there is room.

    They are those of the mirrored image (`mode` flip) or, with probability `p`, of another one (mixup).
    """

    def __init__(
        self,
        dataset: LabeledImages | None = None,
        pre_transform: Callable | None = None,
        p: float = 0.5,
        mode: str = "flip",
    ) -> None:
        if mode not in ("flip", "mixup"):
            raise ConfigError(f"mode={mode!r}: expected 'flip' or 'mixup'")
        super().__init__(dataset, pre_transform, p)
        self.mode = mode

    def __call__(self, labels: Labels) -> Labels:
        if self.mode == "mixup":
            return super().__call__(labels)
        return self.apply(labels, self.get_params(labels)) if self.p else labels

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Paste into the image, and add the instances."""
        sample = to_sample(labels)
        source = to_sample(labels["mix_labels"][0]) if self.mode == "mixup" else flip(sample, horizontal=True)
        return update(labels, paste(sample, source, self.p))


class Augment(BaseTransform):
    """All steps of a training image, as `augment` takes them, with the partners that `dataset` has."""

    def __init__(self, dataset: LabeledImages, settings: AugmentSettings) -> None:
        self.dataset, self.settings = dataset, settings

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Change image and instances."""
        rng = drawn_rng()

        def other_sample() -> Sample:
            return to_sample(self.dataset.get_image_and_label(int(rng.integers(len(self.dataset)))))

        return update(labels, augment(to_sample(labels), other_sample, self.settings, rng))


def v8_transforms(dataset: LabeledImages, imgsz: int, hyp: Options | SimpleNamespace) -> Compose:
    """Compose of training's whole augmentation, by the options `hyp`, to images of `imgsz` a side."""
    options = hyp if isinstance(hyp, Options) else get_options(vars(hyp))
    settings = AugmentSettings(options, (imgsz, imgsz), MixProbs.at(options, 0))
    return Compose([Augment(dataset, settings)])
