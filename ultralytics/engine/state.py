"""The state of a training run as plain data, and back: a resumed run equals one that was never interrupted."""

import random
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def save(trainer: Any, path: Path, epoch: int, with_training: bool = False) -> None:
    """Write a checkpoint of the averaged weights: in half precision, or, to train on, in full with everything else."""
    save_checkpoint(
        path,
        Checkpoint(
            state_dict=trainer.ema.ema.state_dict(),
            yaml=trainer.model.yaml,
            task=trainer.task.name,
            names=trainer.data["names"],
            args=trainer.args.as_dict() | {"batch": trainer.batch_size},
            epoch=epoch,
            metrics=trainer.metrics,
            training=capture(trainer, epoch) if with_training else None,
        ),
    )


def finish(path: Path) -> None:
    """Reduce a checkpoint to what is left when nobody wants to train on: the averaged weights, in half precision."""
    save_checkpoint(path, replace(load_checkpoint(path), training=None))


def capture(trainer: Any, epoch: int) -> dict[str, Any]:
    """All that the epochs after this one depend on, averaged weights apart, as tensors, numbers, lists and dicts."""
    return {
        "model": trainer.model.state_dict(),
        "ema_updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "gradients": {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None},
        "gathered": (epoch + 1) * trainer.batches - 1 - trainer.last_step,  # batches since the last step
        "frozen": [n for n, p in trainer.model.named_parameters() if not p.requires_grad],
        "stop": trainer.stop,
        "epochs": trainer.epochs,
        "batch": trainer.batch_size,
        "seconds": trainer.seconds,
        "best_fitness": trainer.best_fitness,
        "best_epoch": trainer.best_epoch,
        "given": sorted(trainer.args.given),
        "rng": random_state(),
    }


def resume(trainer: Any, checkpoint: Checkpoint) -> None:
    """Go on where a checkpoint was written, in a trainer whose parts have been built."""
    go_back(trainer, checkpoint)
    saved = checkpoint.training
    put_gradients(trainer.model, saved["gradients"])
    for name, parameter in trainer.model.named_parameters():
        parameter.requires_grad_(name not in saved["frozen"])
    set_random_state(saved["rng"])
    for name in ("stop", "epochs", "seconds", "best_fitness", "best_epoch"):
        setattr(trainer, name, saved[name])
    trainer.epoch, trainer.start_epoch = max(checkpoint.epoch, 0), checkpoint.epoch + 1
    trainer.last_step = trainer.start_epoch * trainer.batches - 1 - saved["gathered"]
    trainer.metrics = checkpoint.metrics
    trainer.table.resume(trainer.start_epoch)


def go_back(trainer: Any, checkpoint: Checkpoint) -> None:
    """Take over weights, their average and the optimizer's state, and forget gradients."""
    saved = checkpoint.training
    trainer.model.load_state_dict(saved["model"])
    trainer.ema.ema.load_state_dict(checkpoint.state_dict)
    trainer.ema.updates = saved["ema_updates"]
    trainer.optimizer.load_state_dict(saved["optimizer"])
    trainer.scaler.load_state_dict(saved["scaler"])
    trainer.optimizer.zero_grad()


def put_gradients(model: nn.Module, gradients: dict[str, Tensor]) -> None:
    """Give parameters the gradients that were gathered since the last optimizer step."""
    for name, parameter in model.named_parameters():
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)


def seed(number: int) -> None:
    """Start torch's, numpy's and Python's generators anew."""
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


def random_state() -> dict[str, Any]:
    """The generators a block of the user's may draw from: torch's, numpy's and Python's."""
    _, keys, position, has_gauss, cached = np.random.get_state()
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": {"keys": torch.from_numpy(keys.astype(np.int64)), "rest": [position, has_gauss, cached]},
        "python": {"words": torch.tensor(words), "version": version, "gauss": gauss},
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Continue the draws where `random_state` saw them."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    keys = state["numpy"]["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, *state["numpy"]["rest"]))
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))


def is_finite(model: nn.Module) -> bool:
    """Whether no parameter or running statistic is NaN or infinite; other buffers, such as masks, may well be."""
    statistics = (buffer for name, buffer in model.named_buffers() if "running_" in name)
    return all(bool(tensor.isfinite().all()) for tensor in chain(model.parameters(), statistics))
