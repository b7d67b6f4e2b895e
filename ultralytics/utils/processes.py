"""Sums and shares of processes that train one run together; nothing happens where a process is alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar

from torch import Tensor, distributed

T = TypeVar("T")
_apart = ContextVar("apart", default=False)  # whether this process works for itself


@contextmanager
def apart() -> Iterator[None]:
    """Let this process work for itself meanwhile, as the others may not do it, or not as often."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def process_rank() -> tuple[int, int]:
    """Number of this process among those that train one run, and how many they are: (0, 1) where it is alone."""
    if _apart.get() or not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of a tensor over the processes, without gradient; where there is one process the tensor itself."""
    processes = process_rank()[1]
    if processes == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / processes


def share_of(images: int, rank: int, processes: int) -> slice:
    """Images of a batch that a process has: of 5, the first of two processes has the first 2 and the other the rest."""
    return slice(rank * images // processes, (rank + 1) * images // processes)


def gather_items(value: T) -> list[T]:
    """The values of all processes, in their order; they are pickled."""
    values = [value] * process_rank()[1]
    if len(values) > 1:
        distributed.all_gather_object(values, value)
    return values


def gather_images(items: list, batch: int) -> list:
    """Items of all images, in the order of the dataset, from every process's list of those of its shares of batches."""
    processes = len(lists := gather_items(items))
    parts, images, gathered = [iter(part) for part in lists], sum(map(len, lists)), []
    for start in range(0, images, batch):
        n = min(batch, images - start)
        for rank, part in enumerate(parts):
            gathered += islice(part, len(range(n)[share_of(n, rank, processes)]))
    return gathered


def batch_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, (C,), of a batch (B, C) of which every process has a share; without gradient."""
    if process_rank()[1] == 1:
        return values.mean(0), values.var(0, correction=0)
    count = mean_over_processes(values.new_tensor(float(len(values))))
    mean = mean_over_processes(values.sum(0)) / count
    return mean, mean_over_processes((values - mean).square().sum(0)) / count


def whole_batch(total: Tensor) -> Tensor:
    """Divisor of a loss from the `total` of this process's share of a batch: that of the whole batch, at least 1.

    Where there are several processes it is divided by their number: the mean of their gradients is then that of the
    whole batch. They all have to call this, whatever they have found.
    """
    return mean_over_processes(total.float()).clamp(min=1 / process_rank()[1])
