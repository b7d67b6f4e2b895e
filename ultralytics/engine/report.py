"""What a training run says while it goes and leaves when it is over, checkpoints apart."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ultralytics.utils import LOGGER


@contextmanager
def quiet(enabled: bool) -> Iterator[None]:
    """Say nothing but warnings meanwhile."""
    before = LOGGER.level
    LOGGER.setLevel(max(before, logging.WARNING) if enabled else before)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


def how_to_go_on(trainer: Any) -> str:
    """What to do with a run that was interrupted."""
    if not trainer.last.exists():
        return "nothing was saved"
    return f"resume={trainer.last} goes on after the last epoch that was finished"


def progress(trainer: Any, batch: dict) -> str:
    """Text of the progress bar: epoch, memory, losses, objects and picture size of the batch."""
    epoch = f"{trainer.epoch + 1}/{trainer.epochs}"
    memory = f" {torch.cuda.memory_reserved() / 1e9:.3g}G" if trainer.device.type == "cuda" else ""
    losses = [] if trainer.tloss is None else torch.atleast_1d(trainer.tloss).tolist()
    named = " ".join(f"{n} {v:.4g}" for n, v in zip(trainer.task.loss_names, losses, strict=False))
    return f"epoch {epoch}{memory} {named} objects {len(batch['cls'])} size {batch['img'].shape[-1]}"


def measured(trainer: Any, metrics: Any) -> dict[str, float]:
    """The columns of a validation: metrics, then losses."""
    values = {name: value for name, value in metrics.results_dict.items() if name != "fitness"}
    losses = torch.atleast_1d(trainer.validator.loss).tolist()
    return values | {f"val/{n}": v for n, v in zip(trainer.task.loss_names, losses, strict=True)}


def row(trainer: Any) -> dict[str, float | int | None]:
    """A row of results.csv; what was not measured stays empty."""
    names = trainer.task.loss_names
    losses = [None] * len(names) if trainer.tloss is None else torch.atleast_1d(trainer.tloss).tolist()
    columns = [*trainer.task.metric_keys, *(f"val/{n}" for n in names)]
    return {
        "epoch": trainer.epoch + 1,
        "time": trainer.seconds,
        **{f"train/{n}": v for n, v in zip(names, losses, strict=True)},
        **{column: trainer.metrics.get(column) for column in columns},
        **{f"lr/pg{i}": group["lr"] for i, group in enumerate(trainer.optimizer.param_groups)},
    }


def draw(trainer: Any) -> None:
    """results.png from results.csv."""
    from ultralytics.utils.charts import plot_results

    plot_results(trainer.table.path)
