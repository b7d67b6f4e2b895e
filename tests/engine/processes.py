"""Processes that train one run together, as children of a fork server, which need not import torch again."""

import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from benchmarks.resume import CHILDREN
from ultralytics import YOLO
from ultralytics.engine import distributed


def start(processes: int, work: Callable, *args: Any) -> list[BaseProcess]:
    """Start `work(*args)` in as many processes with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [CHILDREN.Process(target=_enter, args=(i, processes, port, work, args)) for i in range(processes)]
    for child in children:
        child.start()
    return children


def finish(children: list[BaseProcess], seconds: float = 400) -> list[int | None]:
    """Exit codes once all have ended; None for those that had to be killed after that many seconds."""
    deadline = time.monotonic() + seconds
    for child in children:
        child.join(max(deadline - time.monotonic(), 0))
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
        child.join()
    return codes


def _enter(rank: int, processes: int, port: int, work: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    variables = numbers | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in variables.items()})
    work(*args)


def kill_one(trainer: Any) -> None:
    """Callback that kills the second process in the second epoch."""
    if os.environ["RANK"] == "1" and trainer.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(options: dict[str, Any]) -> None:
    """Train a run whose second process is killed."""
    model = YOLO(options["model"])
    model.add_callback("on_train_batch_end", kill_one)
    model.train(**options)


def freeze_norms(trainer: Any) -> None:
    """Callback that keeps norms as they are: batches of another size would change their statistics."""
    for module in trainer.model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.requires_grad_(False)
            module.eval()


class SummedNorm(nn.BatchNorm2d):
    """What SyncBatchNorm, which refuses CPUs, computes: a norm with the statistics of all processes together."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        sums = torch.stack((x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), torch.ones_like(x).sum((0, 2, 3))))
        total, squares, n = all_reduce(sums)
        mean = total / n
        var = squares / n - mean**2
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * n / (n - 1), self.momentum)
        mean, scale, shift = (v[:, None, None] for v in (mean, self.weight * (var + self.eps).rsqrt(), self.bias))
        return (x - mean) * scale + shift


def sum_norms(model: nn.Module) -> None:
    """Stand-in for `synchronize_norms`."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SummedNorm


def train_runs(runs: dict[str, dict[str, Any]], folder: Path) -> None:
    """Train several runs; of each the first process leaves weights and what was measured in folder/name.pt."""
    for name, options in runs.items():
        model = YOLO(options["model"])
        if options.get("sync_bn"):
            distributed.synchronize_norms = sum_norms
        elif options.pop("frozen", True):
            model.add_callback("on_train_start", freeze_norms)
        model.train(**options)
        if os.environ["RANK"] == "0":
            left = {"weights": model.trainer.model.state_dict(), "metrics": model.metrics.results_dict}
            left |= {"stats": getattr(model.metrics, "stats", {}), "steps": model.trainer.ema.updates}
            torch.save(left, folder / f"{name}.pt")
