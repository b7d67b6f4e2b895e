"""A labeled dataset: from (epoch, position) to a sample, and from samples to a batch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ultralytics.cfg import Options
from ultralytics.data.augment import AugmentSettings, MixProbs, Transform, seeded_rng
from ultralytics.data.augment import augment as augment_sample
from ultralytics.data.cache.loading import ImageLoader
from ultralytics.data.cache.ring import DecodeBuffer
from ultralytics.data.instances import Instances, Sample, Size
from ultralytics.data.labels.files import label_path, labels_cache, list_images, misplaced_labels
from ultralytics.data.labels.rows import RowParser, parse_box_rows
from ultralytics.data.labels.scan import scan
from ultralytics.data.labels.store import LabelStore
from ultralytics.data.utils import DatasetInfo
from ultralytics.utils import LOGGER, refused
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.letterbox import pad as pad_to
from ultralytics.utils.letterbox import rect_shapes, resize, resize_shape
from ultralytics.utils.memory import available_memory

# How far back, in batches and at most in images, a mosaic takes its partners from; as in the public package.
REUSE_BATCHES, MAX_REUSE = 8, 1000

# As `YOLODataset.collate` makes it; where processes share one, the loader in build.py adds `images_in_batch`, that of
# all together, and `is_counted`, False for an image that only fills up a share.
Batch = dict[str, Tensor | tuple | int]
Key = int | tuple[int, int]  # position in epoch 0, or (epoch, position)
Attach = Callable[[Instances, np.ndarray, Size], Instances]  # (instances, `extra` numbers (k, m), image size)
Targets = Callable[[Sequence[Sample]], dict[str, Tensor]]  # samples of a batch -> its entries for the loss


def box_targets(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Targets of detection: `cls` (N, 1), `bboxes` (N, 4) xywh in fractions of W and H, `batch_idx` (N,); float32."""
    counts = torch.tensor([len(sample.instances) for sample in samples])
    return {
        "cls": torch.from_numpy(np.concatenate([sample.instances.cls for sample in samples]))[:, None],
        "bboxes": torch.from_numpy(np.concatenate([sample.instances.normalized(sample.size) for sample in samples])),
        "batch_idx": torch.arange(len(samples), dtype=torch.float32).repeat_interleave(counts),
    }


@dataclass(frozen=True)
class LabelFormat:
    """Labels of a task on their way from the rows of a file to a batch: rows -> instances -> targets."""

    parse: RowParser = parse_box_rows  # rows of a label file -> ParsedRows
    instances: type[Instances] = Instances  # holds the objects of a sample and moves them with its image
    attach: Attach | None = None  # adds what a row has beyond its box, such as keypoints, to the instances
    targets: Targets = box_targets  # samples -> further entries of the batch


BOXES = LabelFormat()


class BatchDataset(Protocol):
    """Interface of a dataset for loader and loops, besides `dataset[(epoch, position)]` and `len(dataset)`."""

    batch: int  # images in a batch
    options: Options
    labels: LabelStore  # what is drawn as labels.jpg and measured against
    collate: Callable[[Sequence], Batch]  # samples -> batch
    mix_probs: Callable[[int], MixProbs]  # epoch -> probabilities of mosaic and the like; a user's may lack it
    share_memory: Callable[[int, AbstractContextManager], None]  # (positions in work, lock), before workers start


class YOLODataset(Dataset):
    """Samples of a dataset, for training (`augment`) or validation.

    `dataset[(epoch, position)]` is the sample at a position of an epoch's shuffled order, `dataset[i]` that at position
    `i` of epoch 0. Given the same options (also `batch` and `cache`), a sample depends on seed, epoch and position, not
    on what was read before or on the number of workers; only where `cache` finds no room (a warning) other mosaic
    partners are drawn. Validation keeps the order of the files or, with `rect`, that of their aspect ratios.

    `rect`: images are sorted by aspect ratio, and each batch has a shape of its own, padded by `pad` strides;
    training then shuffles whole batches and mixes no images. `batch` is the batch size.
    """

    def __init__(
        self,
        labels: LabelStore,
        options: Options,
        *,
        augment: bool,
        batch: int,
        data: DatasetInfo,
        stride: int = 32,
        rect: bool = False,
        pad: float = 0.5,
        transforms: Transform | Sequence[Transform] = (),
        label_format: LabelFormat = BOXES,
    ) -> None:
        self.options, self.augment, self.batch, self.rect = options, augment, batch, rect
        self.label_format = label_format
        self.transforms = (transforms,) if callable(transforms) else tuple(transforms)
        self.draws_globally = bool(self.transforms)  # from generators that all share: a user's transform may
        self.batch_shapes = torch.tensor([(options.imgsz, options.imgsz)])  # (height, width); with `rect` one per batch
        if rect:
            order, shapes = rect_shapes(labels.shapes, batch, options.imgsz, stride, pad)
            labels, self.batch_shapes = labels.select(order), torch.from_numpy(shapes)
        self.labels = labels
        reduced = augment and options.reduced_decode
        channels = image_channels(data)
        self.images = ImageLoader(labels, options.imgsz, channels, options.cache, reduced=reduced, keep=augment)
        self.set_batch(batch)
        self.buffer: DecodeBuffer | None = None  # created with the first sample, or shared before workers start
        self.kept_classes: np.ndarray | None = None  # (nc,) bool, of the classes in the files
        if options.classes is not None:
            known = np.arange(data["nc_in_files"])
            if unknown := sorted(set(options.classes) - set(known.tolist())):
                raise ConfigError(f"classes={unknown}: the dataset has the classes 0 to {known[-1]}; leave out others")
            self.kept_classes = np.isin(known, options.classes)
        if rect and augment and MixProbs.at(options, 0):
            LOGGER.info("rect=True: batches have shapes of their own, so mosaic, copy_paste, mixup and cutmix are off")
        self._order: tuple[int, np.ndarray] | None = None  # the epoch that `order` was asked for last, and its answer

    def __len__(self) -> int:
        return len(self.labels)

    def set_batch(self, batch: int) -> None:
        """Change the batch size before anything is read; with `rect`, where it decides the shapes, a ConfigError."""
        if self.rect and batch != self.batch:
            raise ConfigError(f"batch={batch}: with rect=True this dataset has shapes for batches of {self.batch}")
        self.batch = batch
        # A sample finds its mosaic partners among that many positions, its own included.
        self.reuse_window = min(REUSE_BATCHES * batch, MAX_REUSE, len(self.labels))

    def __getitem__(self, key: Key) -> Sample:
        """Sample at (epoch, position), or at a position of epoch 0; for training augmented."""
        epoch, position = key if isinstance(key, tuple) else (0, key)
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is not in 0..{len(self) - 1}")
        if not self.augment:  # letterboxed into the shape of its batch
            sample = self._with_labels(*self._read_image(position))  # of this index: nothing is shuffled
            img, (left, top) = pad_to(sample.img, self._batch_shape(position))
            gain = (sample.size[0] / sample.ori_shape[0], sample.size[1] / sample.ori_shape[1])
            instances = sample.instances.translate(left, top)
            return Sample(img, instances, sample.im_file, sample.ori_shape, (gain, (left, top)))
        rng = seeded_rng(self.options.seed, epoch, position)
        probs = self.mix_probs(epoch)
        main = self._sample_at(epoch, position, keep=bool(probs))

        def other_sample() -> Sample:
            if self.images.in_memory:  # any image is at hand
                return self._with_labels(*self._read_image(int(rng.integers(len(self)))))
            # Else only images that were decoded a moment ago, so that each file is read once an epoch (once a worker
            # where there is no shared buffer). At the start of an epoch there are few: the first mosaic is one image
            # four times. Images of the previous epoch are never used, so that resume stays exact.
            first = max(0, position - self.reuse_window + 1)
            return self._sample_at(epoch, int(rng.integers(first, position + 1)), keep=True)

        shape = self._batch_shape(int(self.order(epoch)[position]))
        return augment_sample(main, other_sample, AugmentSettings(self.options, shape, probs, self.transforms), rng)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Samples of one size as a batch.

        `img` (B, C, H, W) uint8 RGB; what the label format makes of the instances; tuples of B: `im_file`, `ori_shape`,
        `resized_shape`, and, where samples are not augmented, `ratio_pad`.
        """
        height, width, channels = samples[0].img.shape
        images = torch.empty((len(samples), channels, height, width), dtype=torch.uint8)
        for sample, planes in zip(samples, images.numpy(), strict=True):
            cv2.split(sample.img, list(planes[::-1]))  # BGR, interleaved -> RGB planes, written in place
        batch = {
            "img": images,
            **self.label_format.targets(samples),
            "im_file": tuple(sample.im_file for sample in samples),
            "ori_shape": tuple(sample.ori_shape for sample in samples),
            "resized_shape": tuple(sample.size for sample in samples),  # padding included: H, W of the batch
        }
        if all(sample.ratio_pad is not None for sample in samples):
            batch["ratio_pad"] = tuple(sample.ratio_pad for sample in samples)
        return batch

    def mix_probs(self, epoch: int) -> MixProbs:
        """Probabilities of mosaic, mixup and the like in an epoch."""
        return MixProbs() if self.rect or not self.augment else MixProbs.at(self.options, epoch)

    def order(self, epoch: int) -> np.ndarray:
        """Image index of each position of an epoch, (n,)."""
        if self._order is not None and self._order[0] == epoch:
            return self._order[1]
        n = len(self)
        if not self.augment:
            order = np.arange(n)
        elif not self.rect:
            order = seeded_rng(self.options.seed, epoch).permutation(n)
        else:  # whole batches are shuffled, as their images have similar shapes; the last, smaller one stays last
            full = n // self.batch * self.batch
            batches = np.arange(full).reshape(-1, self.batch)
            batches = seeded_rng(self.options.seed, epoch).permutation(batches, axis=0)
            order = np.concatenate((batches.ravel(), np.arange(full, n)))
        self._order = (epoch, order)
        return order

    def share_memory(self, ahead: int, lock: AbstractContextManager) -> None:
        """Prepare for workers, which together load up to `ahead` positions at a time: each image is decoded once.

        Where memory is short, each worker keeps decoded images for itself, which takes more time.
        """
        self.images.share_memory(lock)
        if self.images.in_memory or self.images.keeps or not self.mix_probs(0):
            return
        slots, side, channels = self.reuse_window + ahead, self.images.imgsz, self.images.channels
        needed, free = slots * side * side * channels, available_memory()
        if free is None or needed < free / 2:  # the rest is for batches, labels and other programs
            with suppress(RuntimeError):  # shared memory may be smaller than all memory
                self.buffer = DecodeBuffer(slots, side, channels, lock)
                return
        LOGGER.warning(
            f"decoded images need {needed / 1e6:.0f} MB of shared memory, which is not free (docker: --shm-size): "
            "each worker decodes for itself, which is slower"
        )

    def _batch_shape(self, index: int) -> Size:
        """(height, width) of the batch that an image, by its index, comes in."""
        height, width = self.batch_shapes[index // self.batch if self.rect else 0].tolist()
        return height, width

    def _sample_at(self, epoch: int, position: int, keep: bool) -> Sample:
        """The sample at a position, its image decoded once while it may be drawn again (`keep`)."""
        index = int(self.order(epoch)[position])
        if self.images.in_memory or self.images.keeps or not keep:
            return self._with_labels(*self._read_image(index))
        if self.buffer is None:
            self.buffer = DecodeBuffer(self.reuse_window, self.images.imgsz, self.images.channels)
        decoded = self.buffer.get(epoch, position)
        if decoded is None:
            img, index = self._read_image(index)
            decoded = self.buffer.put(epoch, position, img, index), index
        return self._with_labels(*decoded)

    def _read_image(self, index: int) -> tuple[np.ndarray, int]:
        """Pixels (h, w, C) of an image, or of the next readable one if its file has broken, and the index of that."""
        img, index_read = self.images.load(index)
        height, width = self._batch_shape(index)
        # An image that stands in for one that has become unreadable may be too large for its rectangular batch.
        fits = img.shape[0] <= height and img.shape[1] <= width
        return (img if fits else resize(img, resize_shape(*img.shape[:2], (height, width)))), index_read

    def get_image_and_label(self, index: int) -> dict[str, object]:
        """Image and instances at a position of the files, as the dictionary that public transforms take."""
        sample = self._with_labels(*self._read_image(index))
        shape = {"ori_shape": sample.ori_shape, "resized_shape": sample.size}
        found = {"instances": sample.instances, "cls": sample.instances.cls[:, None]}
        # A copy, as these write into what they get, and the image may be kept for the next epoch.
        return {"im_file": sample.im_file, "img": sample.img.copy()} | shape | found

    def _with_labels(self, img: np.ndarray, index: int) -> Sample:
        """An image with its instances, in pixels, of the classes asked for."""
        labels, label_format = self.labels.labels_of(index), self.label_format
        instances = label_format.instances.from_normalized(labels.cls, labels.boxes, labels.polygons, img.shape[:2])
        if label_format.attach is not None:
            instances = label_format.attach(instances, labels.extra, img.shape[:2])
        if self.kept_classes is not None:
            instances = instances.select(self.kept_classes[instances.cls.astype(int)])
        if self.options.single_cls:
            instances = replace(instances, cls=np.zeros_like(instances.cls))
        height, width = self.labels.shapes[index].tolist()
        return Sample(img, instances, self.labels.file(index), (height, width))


def image_channels(data: DatasetInfo) -> int:
    """Channels to read images with, 3 or 1; ConfigError for the data of a network that takes others."""
    if (channels := data.get("channels", 3)) not in (1, 3):
        raise ConfigError(
            f"the network takes images of {channels} channels, and files are read with 3 (color) or 1 (gray): replace "
            "build_dataset of a trainer (engine/hooks.py) by one that reads yours, or correct `channels` in its YAML"
        )
    return channels


def check_one_size(options: Options) -> None:
    """Raise ConfigError for `imgsz=[height, width]`, which only prediction and export take."""
    if not isinstance(options.imgsz, int):
        raise ConfigError(f"imgsz={list(options.imgsz)}: training and validation take one number, such as imgsz=640")


def build_dataset(
    data: DatasetInfo,
    split: str,
    options: Options,
    *,
    augment: bool,
    batch: int,
    stride: int = 32,
    rect: bool = False,
    transforms: Transform | Sequence[Transform] = (),
    label_format: LabelFormat = BOXES,
) -> YOLODataset:
    """Dataset of one `split` of a dataset YAML as `load_data_yaml` gives it.

    For training (`augment`) the first `fraction` of the images in the order of their paths, or that many if it is an
    integer.

    Raises DatasetError if not a single image can be used, or there is nothing to learn in any of them.
    """
    check_one_size(options)
    files = list_images(data[split])
    if augment:
        count = options.fraction if isinstance(options.fraction, int) else round(len(files) * options.fraction)
        files = files[: max(count, 1)]
    labels = scan(
        files,
        data["nc_in_files"],
        label_format.parse,
        # `classes` are picked by the numbers in the files, so these have to stay until then.
        single_cls=options.single_cls and options.classes is None,
        cache_path=labels_cache(files),
        desc=split,
    )
    if augment and not labels.counts.any():
        other = misplaced_labels(labels.file(0))
        hint = f"; if they are in {other}, rename that folder to labels" if other else ""
        raise DatasetError(
            f"{split}: not one of its {len(labels)} images has an object; the labels of {labels.file(0)} would be in "
            f"{label_path(labels.file(0))}{hint}"
        )
    return YOLODataset(
        labels,
        options,
        augment=augment,
        batch=batch,
        data=data,
        stride=stride,
        rect=rect,
        pad=0.0 if augment else 0.5,  # as in the public package
        transforms=transforms,
        label_format=label_format,
    )


def __getattr__(name: str) -> Any:
    """`ClassificationDataset`, imported on demand; any other missing name raises an error that says what to use."""
    if name == "ClassificationDataset":
        return import_module("ultralytics.data.classify.samples").ClassificationDataset
    return refused.getter(__name__)(name)
