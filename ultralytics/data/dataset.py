"""A labeled dataset: from (epoch, position) to a sample, and from samples to a batch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ultralytics.data.augment import AugmentSettings, MixProbs, Transform, augment
from ultralytics.data.cache.loading import ImageLoader
from ultralytics.data.cache.ring import DecodeBuffer
from ultralytics.data.cache.whole import available_memory
from ultralytics.data.instances import Instances, Sample, Size
from ultralytics.data.labels.files import labels_cache, list_images
from ultralytics.data.labels.rows import RowParser, parse_box_rows
from ultralytics.data.labels.scan import scan
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.letterbox import pad as pad_to
from ultralytics.utils.letterbox import rect_shapes, resize, resize_shape

WINDOW_BATCHES, WINDOW_MAX = 8, 1000

Key = int | tuple[int, int]
Extend = Callable[[Instances, np.ndarray, Size], Instances]
Targets = Callable[[Sequence[Sample]], dict[str, torch.Tensor]]


def box_targets(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """What detection learns from: `cls` (N, 1), `bboxes` (N, 4) xywh in shares of H and W, `batch_idx` (N,); float32.

    A task that learns more brings a function like this one; its entries go into the batch as they are.
    """
    objects = [sample.instances for sample in samples]
    counts = torch.tensor([len(o) for o in objects])
    return {
        "cls": torch.from_numpy(np.concatenate([o.cls for o in objects]))[:, None],
        "bboxes": torch.from_numpy(np.concatenate([s.instances.normalized(s.size) for s in samples])),
        "batch_idx": torch.arange(len(samples), dtype=torch.float32).repeat_interleave(counts),
    }


class YOLODataset(Dataset):
    """Samples of a dataset, for training (`augment`) or validation.

    `dataset[(epoch, position)]` is a pure function of seed, epoch and position, which name a place in the shuffled
    order of an epoch; `dataset[i]` is position `i` of epoch 0. Validation goes through the images in their order, or,
    with `rect`, by aspect ratio, each batch with a shape of its own; training then shuffles whole batches and joins no
    images. `batch` is the batch size, `pad` a margin of rectangular batches in strides; `objects` is the kind of
    objects in samples, to which `extend(objects, numbers, size)` adds what the label store has as `extra` numbers.
    """

    def __init__(
        self,
        labels: LabelStore,
        options: Any,
        *,
        augment: bool,
        batch: int,
        data: dict[str, Any],
        stride: int = 32,
        rect: bool = False,
        pad: float = 0.5,
        transforms: Transform | Sequence[Transform] = (),
        targets: Targets = box_targets,
        objects: type[Instances] = Instances,
        extend: Extend | None = None,
    ) -> None:
        self.targets, self.instances, self.extend = targets, objects, extend
        self.options, self.augment, self.batch, self.rect = options, augment, batch, rect
        self.transforms = (transforms,) if callable(transforms) else tuple(transforms)
        self.canvases = torch.tensor([(options.imgsz, options.imgsz)])
        if rect:
            order, canvases = rect_shapes(labels.shapes, batch, options.imgsz, stride, pad)
            labels, self.canvases = labels.select(order), torch.from_numpy(canvases)
        self.labels = labels
        self.images = ImageLoader(labels, options.imgsz, data["channels"], options.cache)
        self.buffer: DecodeBuffer | None = None
        self.kept_classes = None
        if options.classes is not None:
            there = np.arange(_nc_in_files(data))
            if gone := sorted(set(options.classes) - set(there.tolist())):
                raise ConfigError(f"classes={gone}: the dataset has the classes 0 to {there[-1]}; leave out others")
            self.kept_classes = np.isin(there, options.classes)
        if rect and augment and MixProbs.at(options, 0):
            LOGGER.info("rect=True: batches have shapes of their own, so mosaic, copy_paste, mixup and cutmix are off")
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> Sample:
        epoch, position = key if isinstance(key, tuple) else (0, key)
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is not in 0..{len(self) - 1}")
        return self._training_sample(epoch, position) if self.augment else self._val_sample(position)

    def collate(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Samples as a batch, see `collate_fn`."""
        return collate_fn(samples, self.targets)

    @property
    def window(self) -> int:
        """How many positions back, its own included, the partners of a sample come from."""
        return min(WINDOW_BATCHES * self.batch, WINDOW_MAX, len(self))

    def mixing(self, epoch: int) -> MixProbs:
        """How likely images are joined in an epoch."""
        return MixProbs() if self.rect or not self.augment else MixProbs.at(self.options, epoch)

    def order(self, epoch: int) -> np.ndarray:
        """Image index of each position of an epoch, (n,)."""
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._shuffled(epoch))
        return self._order[1]

    def share(self, ahead: int, lock: AbstractContextManager) -> None:
        """Get ready for workers, which together load up to `ahead` positions at a time: each image is decoded once.

        Where memory is short, each worker keeps decoded images for itself, which takes more time.
        """
        self.images.share()
        if self.images.in_memory or not self.mixing(0):
            return
        size = (self.window + ahead, self.images.imgsz, self.images.channels)
        needed, free = DecodeBuffer.nbytes(*size), available_memory()
        if free is None or needed < free / 2:
            with suppress(RuntimeError):  # shared memory may be smaller than all memory
                self.buffer = DecodeBuffer(*size, lock)
                return
        LOGGER.warning(
            f"there are no {needed / 1e6:.0f} MB of shared memory for decoded images (docker sets it with --shm-size): "
            "each worker decodes for itself, which is slower"
        )

    def _shuffled(self, epoch: int) -> np.ndarray:
        n = len(self)
        if not self.augment:
            return np.arange(n)
        rng = self._generator(epoch)
        if not self.rect:
            return rng.permutation(n)
        full = n // self.batch * self.batch  # the batch that is not full stays last
        batches = rng.permutation(np.arange(full).reshape(-1, self.batch), axis=0)
        return np.concatenate((batches.ravel(), np.arange(full, n)))

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.options.seed, spawn_key=key)))

    def _training_sample(self, epoch: int, position: int) -> Sample:
        rng, order, mixing = self._generator(epoch, position), self.order(epoch), self.mixing(epoch)
        main = self._at(epoch, position, keep=bool(mixing))

        def partner() -> Sample:
            if self.images.in_memory:
                return self._sample(*self._load(int(rng.integers(len(self)))))
            return self._at(epoch, int(rng.integers(max(0, position - self.window + 1), position + 1)), keep=True)

        settings = AugmentSettings(self.options, self._canvas(int(order[position])), mixing, self.transforms)
        return augment(main, partner, settings, rng)

    def _val_sample(self, index: int) -> Sample:
        """The image letterboxed into its batch's canvas."""
        sample = self._sample(*self._load(index))
        canvas = self._canvas(index)
        img, (left, top) = pad_to(sample.img, canvas)
        gain = (sample.size[0] / sample.ori_shape[0], sample.size[1] / sample.ori_shape[1])
        objects = sample.instances.translate(left, top)
        return Sample(img, objects, sample.im_file, sample.ori_shape, (gain, (left, top)))

    def _canvas(self, index: int) -> Size:
        height, width = self.canvases[index // self.batch if self.rect else 0].tolist()
        return height, width

    def _at(self, epoch: int, position: int, keep: bool) -> Sample:
        """The loaded image at a position, decoded once while it may be drawn again (`keep`)."""
        if not keep or self.images.in_memory:
            return self._sample(*self._load(int(self.order(epoch)[position])))
        if self.buffer is None:
            self.buffer = DecodeBuffer(self.window, self.images.imgsz, self.images.channels)
        found = self.buffer.get(epoch, position)
        if found is None:
            img, index = self._load(int(self.order(epoch)[position]))
            found = self.buffer.put(epoch, position, img, index), index
        return self._sample(*found)

    def _sample(self, img: np.ndarray, index: int) -> Sample:
        """A loaded image and its objects, in pixels, of the classes asked for."""
        found = self.labels.objects(index)
        objects = self.instances.from_normalized(found.cls, found.boxes, found.polygons, img.shape[:2])
        if self.extend is not None:
            objects = self.extend(objects, self.labels.extra(index), img.shape[:2])
        if self.kept_classes is not None:
            objects = objects.select(self.kept_classes[objects.cls.astype(int)])
        if self.options.single_cls:
            objects = replace(objects, cls=np.zeros_like(objects.cls))
        height, width = self.labels.shapes[index].tolist()
        return Sample(img, objects, self.labels.file(index), (height, width))

    def _load(self, index: int) -> tuple[np.ndarray, int]:
        """The image of an image, or of one in its place, and the index of that; made smaller if it has to fit."""
        img, found = self.images.load(index)
        height, width = self._canvas(index)
        fits = img.shape[0] <= height and img.shape[1] <= width  # one of another `rect` batch may not
        return (img if fits else resize(img, resize_shape(*img.shape[:2], (height, width)))), found


def build_dataset(
    data: dict[str, Any],
    split: str,
    options: Any,
    *,
    augment: bool,
    batch: int,
    stride: int = 32,
    rect: bool = False,
    parse: RowParser = parse_box_rows,
    transforms: Transform | Sequence[Transform] = (),
    targets: Targets = box_targets,
    objects: type[Instances] = Instances,
    extend: Extend | None = None,
) -> YOLODataset:
    """The dataset of one `split` of a dataset YAML as `load_data_yaml` gives it; `fraction` of it for training.

    Raises DatasetError if there is not a single image that can be used.
    """
    if not isinstance(options.imgsz, int):
        raise ConfigError(f"imgsz={list(options.imgsz)}: training and validation take one number, such as imgsz=640")
    files = list_images(data[split])
    if augment:
        files = files[: max(round(len(files) * options.fraction), 1)]
    single_cls = options.single_cls and options.classes is None  # `classes` are picked by what the files say
    labels = scan(files, _nc_in_files(data), parse, single_cls=single_cls, cache_path=labels_cache(files), desc=split)
    how = {"augment": augment, "batch": batch, "stride": stride, "rect": rect, "pad": 0.0 if augment else 0.5}
    how |= {"transforms": transforms, "targets": targets, "objects": objects, "extend": extend}
    return YOLODataset(labels, options, data=data, **how)


def _nc_in_files(data: dict[str, Any]) -> int:
    """Number of classes in the label files, of which `single_cls` makes one."""
    return data.get("nc_in_files", data["nc"])


def collate_fn(samples: Sequence[Sample], targets: Targets = box_targets) -> dict[str, Any]:
    """Samples of one size as a batch.

    `img` (B, C, H, W) uint8 RGB; what `targets` makes of the objects; tuples of B: `im_file`, `ori_shape`,
    `resized_shape`, and, where samples are not augmented, `ratio_pad`.
    """
    batch = {
        "img": _images([sample.img for sample in samples]),
        **targets(samples),
        "im_file": tuple(sample.im_file for sample in samples),
        "ori_shape": tuple(sample.ori_shape for sample in samples),
        "resized_shape": tuple(sample.size for sample in samples),
    }
    if all(sample.ratio_pad is not None for sample in samples):
        batch["ratio_pad"] = tuple(sample.ratio_pad for sample in samples)
    return batch


def _images(imgs: Sequence[np.ndarray]) -> torch.Tensor:
    """BGR images (H, W, C) as (B, C, H, W), the channels in reverse."""
    height, width, channels = imgs[0].shape
    out = torch.empty((len(imgs), channels, height, width), dtype=torch.uint8)
    for img, planes in zip(imgs, out.numpy(), strict=True):
        cv2.split(img, list(planes[::-1]))
    return out
