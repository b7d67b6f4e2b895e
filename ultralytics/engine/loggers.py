"""Logs of a training run while it lasts, checkpoints apart: progress, results.csv, TensorBoard."""

import csv
import logging
import os
import platform
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ultralytics import __version__
from ultralytics.utils import LOGGER, ROOT
from ultralytics.utils.files import read_csv, write_csv

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from ultralytics.engine.trainer import BaseTrainer

Row = Mapping[str, float | int | None]

WIDE, NARROW = 11, 6  # characters of a column of the progress bar
BAR_FORMAT = "{desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
METER = 36  # characters of that beside the columns and the two numbers of batches, with hours and a short bar


class LogSink(ABC):
    """Receiver of the row of every epoch: one of your own joins `trainer.sinks`, in a callback before the run."""

    @abstractmethod
    def add(self, row: Row) -> None:
        """Take the row of an epoch: `epoch`, counted from 1, `time`, losses, metrics and learning rates by column."""

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Release what is open; called at the end of the run, also of one that failed."""


@contextmanager
def quiet(enabled: bool) -> Iterator[None]:
    """Log nothing below warnings meanwhile."""
    before = LOGGER.level
    LOGGER.setLevel(max(before, logging.WARNING) if enabled else before)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


def run_header(device: torch.device) -> str:
    """Line for the log: version and folder of this package, Python, torch and the device."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        what = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    else:
        threads = torch.get_num_threads()
        what = f"{platform.processor() or platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"ultralytics {__version__} in {ROOT}, {versions}, {device} ({what})"


def progress_columns(trainer: "BaseTrainer", batch: Mapping | None = None) -> str:
    """Columns left of the progress bar: for a batch their values, without one their heads.

    They are epoch, memory, mean losses so far, objects and image size of the batch. On a narrow terminal they stand
    closer together, and the last ones are left out, so that the bar keeps its count, speed and time.
    """
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or sys.maxsize
    except (OSError, ValueError, AttributeError):  # a pipe, a file, a notebook
        columns = sys.maxsize
    room = columns - METER - 2 * len(str(trainer.batches))
    wide = WIDE * (len(trainer.loss_names) + 4) <= room
    memory = torch.cuda.memory_reserved(trainer.device) / 1e9 if trainer.device.type == "cuda" else 0
    cells = {"Epoch": f"{trainer.epoch + 1}/{trainer.epochs}", "GPU_mem": f"{memory:.3g}G"}
    losses = [f"{loss:.{4 if wide else 3}g}" for loss in trainer.shown] or [""] * len(trainer.loss_names)
    cells |= dict(zip(trainer.loss_names, losses, strict=True))
    if batch is not None:
        cells |= {"Instances": str(len(batch["cls"])), "Size": str(batch["img"].shape[-1])}
    else:
        heads = (*cells, "Instances", "Size")
        cells = {name: name if wide else name.partition("_")[0][:4] for name in heads} | {"Epoch": "Epoch"}
    width = WIDE if wide else NARROW
    first = max(width, 2 * len(str(trainer.epochs)) + 1)
    line, *rest = f"{cells.pop('Epoch'):>{first}}", *(f"{cell:>{width}}" for cell in cells.values())
    return line + "".join(rest[: max((room - first) // width, 0)])


class ResultsTable(LogSink):
    """results.csv: one row an epoch, never half a one, under the public package's column names."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, str]] = []

    def resume(self, epochs: int) -> None:
        """Take over the rows of the first `epochs` epochs from the file, where they are.

        What is no row of numbers, in a file that something else has damaged, is dropped and said.
        """
        if not self.path.exists():
            return
        try:
            found = read_csv(self.path)
        except (OSError, ValueError, csv.Error) as exc:  # a UnicodeDecodeError is a ValueError
            LOGGER.warning(f"{self.path} cannot be read as a table ({exc}): it begins again with epoch {epochs + 1}")
            return
        self.rows = [row for row in found if is_row(row) and 1 <= int(row["epoch"]) <= epochs]
        if lost := sum(not is_row(row) for row in found):
            LOGGER.warning(f"{self.path}: {lost} of {len(found)} rows are no numbers by column and are dropped")

    def add(self, row: Row) -> None:
        """Append a row and rewrite the small file; None and columns that only other rows have stay empty."""
        self.rows.append({k: "" if v is None else f"{v:.6g}" for k, v in row.items()})
        write_csv(self.path, self.rows)


class EpochTimes(LogSink):
    """Time of every epoch, in the log."""

    def __init__(self, table: ResultsTable) -> None:
        self.table = table  # gets each row before, and has those from before a resume

    def add(self, row: Row) -> None:
        """Log the time since the row before."""
        before = float(self.table.rows[-2].get("time") or 0) if len(self.table.rows) > 1 else 0.0
        LOGGER.info(f"epoch {row['epoch']} took {row['time'] - before:.1f} s, validation included")


def is_row(row: Mapping[str, str]) -> bool:
    """Whether a row of a table has an epoch and otherwise numbers or nothing, below names that can be printed."""
    if not re.fullmatch(r"[0-9]{1,7}", row.get("epoch", "")) or not all(name and name.isprintable() for name in row):
        return False
    try:
        return all(not value or isinstance(float(value), float) for value in row.values())
    except ValueError:
        return False


class TensorBoard(LogSink):
    """Rows of results.csv as curves, where the extra is installed: `tensorboard --logdir runs` shows all runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.enabled = find_spec("tensorboard") is not None
        self._writer: SummaryWriter | None = None

    def add(self, row: Row) -> None:
        """Add a point at the row's `epoch` to each column's curve; later points of an earlier run are hidden."""
        if not self.enabled:
            return
        epoch = row["epoch"]
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self.folder), purge_step=epoch)
            for name, value in row.items():
                if value is not None and name != "epoch":
                    self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        except (OSError, ImportError) as exc:
            LOGGER.warning(f"nothing more is written for TensorBoard: {exc}")
            self.enabled = False

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
