"""Batches of a dataset, loaded by any number of workers."""

import math
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from ultralytics.cfg import Options, get_options
from ultralytics.data.augment import seeded_rng
from ultralytics.data.dataset import Batch, BatchDataset, LabelFormat, YOLODataset, build_dataset
from ultralytics.data.labels.rows import parse_box_rows
from ultralytics.data.loaders import Batches, LoadImagesAndVideos, LoadPilAndNumpy, LoadTensor
from ultralytics.data.utils import dataset_info
from ultralytics.utils import refused
from ultralytics.utils.errors import ConfigError, DatasetError, TrainingError
from ultralytics.utils.processes import process_rank, share_of

T = TypeVar("T")
PREFETCH = 2  # batches that each worker loads ahead


def seed_worker(worker_id: int) -> None:
    """Seed numpy and Python in a worker as torch is, for datasets that draw from these: torch's `worker_init_fn`."""
    seed = torch.initial_seed() % 2**32
    np.random.seed(seed)
    random.seed(seed)


class EpochSampler(Sampler):
    """Keys (epoch, position) of the epoch that was set last."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch  # that of the start: prefetched batches of an iteration never change their epoch
        return ((epoch, position) for position in range(self.length))


class IndexSampler(Sampler):
    """Indices of a dataset of any kind, in an order of each epoch's own; an epoch follows the other by itself."""

    def __init__(self, length: int, shuffle: bool, seed: int) -> None:
        self.length, self.shuffle, self.seed = length, shuffle, seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        order = seeded_rng(self.seed, self.epoch).permutation(self.length) if self.shuffle else np.arange(self.length)
        self.epoch += 1
        return iter(order.tolist())


class ShareSampler(BatchSampler):
    """The share that this process has of each batch: all of it, unless several processes train one run.

    Together they see the batches that one process would. Where a batch has fewer images than there are processes, some
    get its first image, which does not count.
    """

    def __iter__(self) -> Iterator[list]:
        for keys in super().__iter__():
            yield keys[share_of(len(keys), *process_rank())] or keys[:1]


class Loader(DataLoader):
    """Batches of one epoch after another, or shares of them; the dataset's `collate` says what is in them.

    Where processes share a batch, `images_in_batch` is the number of images in all of it, and `is_counted` is False for
    an image that only fills up a share.
    """

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of the iterations that start from now on."""
        self.batch_sampler.sampler.epoch = epoch

    @property
    def prefetches(self) -> bool:
        """Whether a thread makes the next batch: not where it would draw from the generators of a network on a CPU."""
        return not self.num_workers and (self.pin_memory or not getattr(self.dataset, "draws_globally", False))

    def __iter__(self) -> Iterator[Batch]:
        images, size, (rank, processes) = len(self.batch_sampler.sampler), self.batch_sampler.batch_size, process_rank()
        batches = with_signals_unchanged(super().__iter__)
        try:
            for i, batch in enumerate(prefetched(batches) if self.prefetches else batches):
                if processes > 1 and isinstance(batch, dict):  # a pasted dataset may have others
                    whole = range(min(size, images - i * size))
                    is_counted = len(whole[share_of(len(whole), rank, processes)]) > 0
                    batch |= {"images_in_batch": len(whole), "is_counted": is_counted}
                yield batch
        except (RuntimeError, EOFError, ConnectionError) as exc:
            # A worker that was killed has no exception type of its own: torch raises a RuntimeError that begins like
            # this, or its pipe breaks. Errors of a user's code in a worker begin with "Caught".
            reason = str(exc) or type(exc).__name__
            from_user_code = reason.startswith("Caught")
            worker_died = reason.startswith("DataLoader worker (pid") or not isinstance(exc, RuntimeError)
            if not self.num_workers or from_user_code or not worker_died:
                raise
            raise TrainingError(
                f"a process that loads images was ended ({reason}), often for lack of memory: use fewer workers, or "
                "workers=0; resume a run from its last.pt"
            ) from exc
        except DatasetError as exc:
            # From a worker it comes with a traceback in its text, and the sentence at the end.
            raise DatasetError(str(exc).strip().rpartition(f"{DatasetError.__name__}: ")[2]) from None


def with_signals_unchanged(start: Callable[[], T]) -> T:
    """Result of `start`, after which torch's handler of SIGCHLD is removed again.

    Once a worker was killed, that raises wherever the process is just then, in a __del__ as well. Without it, whoever
    waits for a batch of that worker is told within seconds, as on Windows, which has no such signal.
    """
    number = getattr(signal, "SIGCHLD", None)
    before = number and signal.getsignal(number)
    started = start()
    if number and signal.getsignal(number) is not before:
        signal.signal(number, before or signal.SIG_DFL)
    return started


def prefetched(items: Iterator[T]) -> Iterator[T]:
    """Yield the same items in the same order, each made by a thread while the one before is in use.

    An error comes in the place of its item.

    Decoding and augmenting are done by OpenCV and numpy, and networks by torch, which all leave Python free meanwhile.
    """
    end = object()
    # A thread starts with GPU 0, of which pinned memory would open a context, whichever GPU the run is on.
    gpu = (torch.cuda.current_device(),) if torch.cuda.is_initialized() else ()
    with ThreadPoolExecutor(1, "prefetch", torch.cuda.set_device if gpu else None, gpu) as thread:
        waiting = thread.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = thread.submit(next, items, end)
            yield item


def build_loader(
    dataset: BatchDataset,
    workers: int = 0,
    *,
    pin_memory: bool = False,
    drop_last: bool = False,
    start_method: str | None = None,
) -> Loader:
    """Loader of a dataset in batches of `dataset.batch`; the last one may be smaller, or with `drop_last` is left out.

    The batches are the same for any number of `workers`, of which no more are started than there are batches or
    processors; without one a thread makes the next batch while one is in use, if `Loader.prefetches`. Workers live as
    long as the loader. `start_method` (fork, spawn, forkserver) is the system's if None.
    """
    settings = worker_settings(len(dataset), dataset.batch, workers)
    workers = settings["num_workers"]
    context = torch.multiprocessing.get_context(start_method) if workers else None
    if workers:
        # Each worker has PREFETCH batches in work, and one more is on its way to the consumer.
        dataset.share_memory((PREFETCH * workers + 1) * dataset.batch, context.Lock())
    return Loader(
        dataset,
        batch_sampler=ShareSampler(EpochSampler(len(dataset)), dataset.batch, drop_last),
        collate_fn=dataset.collate,
        pin_memory=pin_memory,
        multiprocessing_context=context,
        **settings,
    )


def worker_settings(images: int, batch: int, workers: int) -> dict[str, object]:
    """Arguments of a DataLoader that concern its workers, of which there are no more than batches or processors."""
    workers = min(workers, math.ceil(images / max(batch, 1)), os.cpu_count() or 1)
    return {
        "num_workers": workers,
        "generator": torch.Generator(),  # else each iteration would draw from the process's own
        "worker_init_fn": _init_worker,
        "prefetch_factor": PREFETCH if workers else None,
        "persistent_workers": workers > 0,
    }


def _init_worker(_: int) -> None:
    """One thread a worker: there are as many workers as processors may be kept busy."""
    cv2.setNumThreads(0)


# Published names -------------------------------------------------------------------------------------------------


def build_dataloader(
    dataset: Dataset,
    batch: int,  # images
    workers: int,
    shuffle: bool = True,  # False for validation
    rank: int = -1,
    drop_last: bool = False,
    pin_memory: bool = True,
) -> Loader:
    """Loader of a dataset of any kind, batched by its `collate_fn` if it has one.

    A dataset of this tree shuffles by itself, in training and with its own seed; another one by torch's seed. `batch`
    is that of all processes together, of which this one loads its share.
    """
    if rank > 0 and rank != process_rank()[0]:
        raise ConfigError(f"rank={rank}: this process is number {process_rank()[0]}; leave rank out")
    pin_memory = pin_memory and torch.cuda.is_available()
    if hasattr(dataset, "mix_probs"):  # a BatchDataset
        if dataset.augment != shuffle:
            kind = "training" if dataset.augment else "validation"
            raise ConfigError(f"shuffle={shuffle}: this dataset is for {kind}: leave shuffle at {dataset.augment}")
        if isinstance(dataset, YOLODataset):
            dataset.set_batch(batch)
        dataset.batch = batch
        return build_loader(dataset, workers, pin_memory=pin_memory, drop_last=drop_last)
    batch = min(batch, len(dataset))
    return Loader(
        dataset,
        batch_sampler=ShareSampler(IndexSampler(len(dataset), shuffle, torch.initial_seed() % 2**63), batch, drop_last),
        collate_fn=getattr(dataset, "collate_fn", None),
        pin_memory=pin_memory,
        **worker_settings(len(dataset), batch, workers),
    )


def build_yolo_dataset(
    cfg: Options | SimpleNamespace | Mapping[str, object],
    img_path: str | Path | Sequence[str | Path],
    batch: int,
    data: Mapping[str, object],
    mode: str = "train",
    rect: bool = False,
    stride: int = 32,
    label_format: LabelFormat | None = None,
) -> YOLODataset:
    """Labeled dataset of the images of `img_path`, with options as scripts hold them, which stay as they are.

    Labels are boxes, or those of `label_format`, which a task has: `trainer.task.label_format()`.
    """
    options = cfg if isinstance(cfg, Options) else get_options(dict(vars(cfg) if hasattr(cfg, "__dict__") else cfg))
    if label_format is None:
        if options.task not in (None, "detect"):
            raise ConfigError(f"task={options.task}: labels of this task need label_format=trainer.task.label_format()")
        numbers = prod(data.get("kpt_shape") or (0,))
        label_format = LabelFormat(parse=partial(parse_box_rows, keypoint_numbers=numbers))
    paths = [Path(path) for path in ([img_path] if isinstance(img_path, str | Path) else img_path)]
    return build_dataset(
        dataset_info(data) | {mode: paths},
        mode,
        options,
        augment=mode == "train",
        batch=batch,
        stride=stride,
        rect=options.rect or rect,
        label_format=label_format,
    )


def load_inference_source(
    source: object, batch: int = 1, vid_stride: int = 1, buffer: bool = False, channels: int = 3
) -> Batches:
    """Images of a source in batches, as scripts iterate them; images in memory are one batch."""
    if buffer:
        raise ConfigError("buffer=True: network streams, which it is for, are not read")
    if isinstance(source, Tensor):
        return LoadTensor(source)
    one = source[0] if isinstance(source, list | tuple) and source else source
    if isinstance(one, np.ndarray | Image.Image):
        return LoadPilAndNumpy(source, channels)
    return LoadImagesAndVideos(source, batch, vid_stride, channels)


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
