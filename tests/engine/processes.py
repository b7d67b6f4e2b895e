"""Processes that train one run together, as children of a fork server, which need not import torch again."""

import os
import socket
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.resume import CHILDREN
from ultralytics import YOLO


def start(processes: int, work: Callable, *args: Any) -> list[BaseProcess]:
    """Start `work(*args)` in as many processes with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [CHILDREN.Process(target=_enter, args=(i, processes, port, work, args)) for i in range(processes)]
    for child in children:
        child.start()
    return children


def finish(children: list[BaseProcess], seconds: float = 120) -> list[int | None]:
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


def freeze_norms(trainer: Any) -> None:
    """Callback that keeps norms as they are: batches of another size would change their statistics."""
    for module in trainer.model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.requires_grad_(False)
            module.eval()


def train_runs(runs: dict[str, dict[str, Any]], folder: Path) -> None:
    """Train several runs; of each the first process leaves weights and what was measured in folder/name.pt."""
    for name, options in runs.items():
        model = YOLO(options["model"])
        if options.pop("frozen", True):
            model.add_callback("on_train_start", freeze_norms)
        model.train(**options)
        if os.environ["RANK"] == "0":
            left = {"weights": model.trainer.model.state_dict(), "metrics": model.metrics.results_dict}
            left["stats"] = getattr(model.metrics, "stats", {})
            torch.save(left, folder / f"{name}.pt")
