"""Batches of a dataset, loaded by any number of workers."""

import math
import os
from collections.abc import Iterator

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from ultralytics.data.dataset import Batch, BatchDataset
from ultralytics.utils import refused
from ultralytics.utils.errors import DatasetError

PREFETCH = 2  # batches that each worker loads ahead


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


class Loader(DataLoader):
    """Batches of one epoch after another; the dataset's `collate` says what is in them."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of the iterations that start from now on."""
        self.sampler.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        try:
            yield from super().__iter__()
        except DatasetError as exc:
            # From a worker it comes with a traceback in its text, and the sentence at the end.
            raise DatasetError(str(exc).strip().rpartition(f"{DatasetError.__name__}: ")[2]) from None


def build_loader(
    dataset: BatchDataset, workers: int = 0, *, pin_memory: bool = False, start_method: str | None = None
) -> Loader:
    """Loader of a dataset in batches of `dataset.batch`; the last one may be smaller.

    The batches are the same for any number of `workers`, of which no more are started than there are batches or
    processors. They live as long as the loader. `start_method` (fork, spawn, forkserver) is the system's if None.
    """
    batches = math.ceil(len(dataset) / dataset.batch)
    workers = min(workers, batches, os.cpu_count() or 1)
    context = torch.multiprocessing.get_context(start_method) if workers else None
    if workers:
        # Each worker has PREFETCH batches in work, and one more is on its way to the consumer.
        dataset.share_memory((PREFETCH * workers + 1) * dataset.batch, context.Lock())
    return Loader(
        dataset,
        batch_size=dataset.batch,
        sampler=EpochSampler(len(dataset)),
        num_workers=workers,
        collate_fn=dataset.collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else each iteration would draw from the process's own
        multiprocessing_context=context,
        worker_init_fn=_init_worker,
        prefetch_factor=PREFETCH if workers else None,
        persistent_workers=workers > 0,
    )


def _init_worker(_: int) -> None:
    """One thread a worker: there are as many workers as processors may be kept busy."""
    cv2.setNumThreads(0)


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
