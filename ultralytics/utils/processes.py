"""Sums and shares of processes that train one run together; nothing happens where a process is alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, distributed, nn

from ultralytics.utils import LOGGER

T = TypeVar("T")
_apart = ContextVar("apart", default=False)  # whether this process works for itself


@contextmanager
def apart() -> Iterator[None]:
    """Work without the other processes meanwhile: they may not do the same, or not as often."""
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


@torch.no_grad()
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


# What a step takes of all ---------------------------------------------------------------------------------------------


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return flag if process_rank()[1] == 1 else bool(mean_over_processes(torch.tensor(float(flag))))


def mean_losses(loss: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and its parts of the whole batch, detached: means over the processes, so that all judge them alike."""
    if process_rank()[1] == 1:
        return loss, items
    means = mean_over_processes(torch.cat((loss.detach()[None], items)))
    return means[0], means[1:]


_named: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()  # parameters that a warning has named


def average_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Replace the gradients by their means over the processes, and return them by name.

    Where there are several processes, a warning names parameters that no loss depends on, once.
    """
    if process_rank()[1] > 1:
        learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        _average(learned, _named.setdefault(model, set()))
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _average(learned: dict[str, nn.Parameter], named: set[str]) -> None:
    used = torch.tensor([float(p.grad is not None) for p in learned.values()])
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned.values()]
    mean = mean_over_processes(torch.cat([used.to(grads[0]), *(grad.flatten() for grad in grads)]))
    used, *means = mean.split([len(used), *(grad.numel() for grad in grads)])
    used = used.tolist()
    for parameter, grad, value, part in zip(learned.values(), grads, means, used, strict=True):
        if part:  # another process may have a gradient where this one has none
            parameter.grad = grad.copy_(value.view_as(grad))
    unused = [name for name, part in zip(learned, used, strict=True) if not part and name not in named]
    if any(used) and unused:
        named.update(unused)
        rows: dict[str, list[str]] = {}  # of the model YAML, with what does not learn in each
        for name in unused:
            row, _, rest = name.removeprefix("model.").partition(".")
            rows.setdefault(row, []).append(rest)
        listed = "; ".join(f"row {row}: {', '.join(rest)}" for row, rest in rows.items())
        LOGGER.warning(f"the loss does not depend on these parameters, which stay as they are: {listed}")


@torch.no_grad()
def average_buffers(*models: nn.Module) -> None:
    """Replace running statistics, which every process has gathered of its own images, by their means."""
    buffers = [b for model in models for b in model.buffers() if b.is_floating_point()]
    if process_rank()[1] == 1 or not buffers:
        return
    means = mean_over_processes(torch.cat([b.flatten().double() for b in buffers]))
    for buffer, mean in zip(buffers, means.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))
