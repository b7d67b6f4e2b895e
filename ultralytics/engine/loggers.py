"""What a training run writes and logs, checkpoints apart: results.csv, TensorBoard, progress."""

import csv
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ultralytics.utils import LOGGER
from ultralytics.utils.files import atomic_write


class ResultsTable:
    """Rows by column name; every `add` rewrites the small file as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, str]] = []

    def resume(self, epochs: int) -> None:
        """Take over the rows of the first `epochs` epochs from the file, where they are."""
        if self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]

    def add(self, row: dict[str, float | int | None]) -> None:
        """Append a row; None and columns that only other rows have stay empty."""
        self.rows.append({k: "" if v is None else f"{v:.6g}" for k, v in row.items()})
        columns = list(dict.fromkeys(column for r in self.rows for column in r))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        atomic_write(self.path, lambda file: file.write(text.getvalue().encode()))


class Board:
    """Rows of results.csv as curves: `tensorboard --logdir runs` shows all runs below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._there = find_spec("tensorboard") is not None
        self._writer: Any = None

    def add(self, row: Mapping[str, float | None]) -> None:
        """A point at the row's `epoch` for each of its other columns; later points of an earlier run are hidden."""
        if not self._there:
            return
        epoch = row["epoch"]
        try:
            self._writer = self._writer or _writer(self.folder, epoch)
            for name, value in row.items():
                if value is not None and name != "epoch":
                    self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        except (OSError, ImportError) as exc:
            LOGGER.warning("nothing more is written for TensorBoard: %s", exc)
            self._there = False

    def close(self) -> None:
        """Let go of the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _writer(folder: Path, epoch: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=epoch)


@contextmanager
def quiet(enabled: bool) -> Iterator[None]:
    """Say nothing but warnings meanwhile."""
    before = LOGGER.level
    LOGGER.setLevel(max(before, logging.WARNING) if enabled else before)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


def resume_hint(trainer: Any) -> str:
    """What to do with a run that was interrupted."""
    if not trainer.last.exists():
        return "nothing was saved"
    return f"resume={trainer.last} goes on after the last epoch that was finished"


def progress(trainer: Any, batch: dict) -> str:
    """Text of the progress bar: epoch, memory, losses, objects and image size of the batch."""
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
    from ultralytics.utils.charts.training import plot_results

    plot_results(trainer.table.path)
