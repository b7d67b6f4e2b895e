"""The state of a training run as plain data, and back: a resumed run equals one that was never interrupted."""

import random
from dataclasses import replace
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
            args=trainer.args.as_dict(),
            epoch=epoch,
            metrics=trainer.metrics,
            training=capture(trainer) if with_training else None,
        ),
    )


def finish(path: Path) -> None:
    """Reduce a checkpoint to what is left when nobody wants to train on: the averaged weights, in half precision."""
    save_checkpoint(path, replace(load_checkpoint(path), training=None))


def capture(trainer: Any) -> dict[str, Any]:
    """Everything the next epoch depends on, apart from the averaged weights, as tensors, numbers, lists and dicts."""
    return {
        "model": trainer.model.state_dict(),
        "ema_updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "gradients": {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None},
        "last_step": trainer.last_step,
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
    set_random_state(saved["rng"])
    for name in ("last_step", "epochs", "seconds", "best_fitness", "best_epoch"):
        setattr(trainer, name, saved[name])
    trainer.start_epoch = checkpoint.epoch + 1
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
    np.random.seed(number)
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
    """Whether no weight or running statistic is NaN or infinite."""
    return all(bool(t.isfinite().all()) for t in model.state_dict().values() if t.is_floating_point())
