"""Batches of a dataset, loaded by any number of workers."""

import math
import os
from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from ultralytics.data.dataset import YOLODataset
from ultralytics.utils.errors import DatasetError

PREFETCH = 2  # batches that each worker loads ahead


class EpochSampler(Sampler):
    """Keys (epoch, position) of one epoch, which `set_epoch` names."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        return ((epoch, position) for position in range(self.length))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of the iterations that start from now on."""
        self.epoch = epoch


class Loader(DataLoader):
    """Batches of one epoch after another; the dataset's `collate` says what is in them."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of the iterations that start from now on."""
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            yield from super().__iter__()
        except DatasetError as exc:  # from a worker it comes with a traceback in its text, and the sentence at the end
            raise DatasetError(str(exc).strip().rpartition(f"{DatasetError.__name__}: ")[2]) from None


def build_loader(
    dataset: YOLODataset, workers: int = 0, *, pin_memory: bool = False, start_method: str | None = None
) -> Loader:
    """Loader of a dataset in batches of `dataset.batch`; the last one may be smaller.

    The batches are the same for any number of `workers`, of which no more are started than there are batches or
    processors. They live as long as the loader. `start_method` (fork, spawn, forkserver) is the system's if None.
    """
    batches = math.ceil(len(dataset) / dataset.batch)
    workers = min(workers, batches, os.cpu_count() or 1)
    parallel: dict[str, Any] = {}
    if workers:
        context = torch.multiprocessing.get_context(start_method)
        dataset.share((PREFETCH * workers + 1) * dataset.batch, context.Lock())
        parallel = {
            "multiprocessing_context": context,
            "worker_init_fn": _init_worker,
            "prefetch_factor": PREFETCH,
            "persistent_workers": True,
        }
    return Loader(
        dataset,
        batch_size=dataset.batch,
        sampler=EpochSampler(len(dataset)),
        num_workers=workers,
        collate_fn=dataset.collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else each iteration would draw from the process's own
        **parallel,
    )


def _init_worker(_: int) -> None:
    """One thread a worker: there are as many workers as processors may be kept busy."""
    cv2.setNumThreads(0)
