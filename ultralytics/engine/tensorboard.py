"""The numbers of every epoch for TensorBoard, where that extra is installed."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER


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
