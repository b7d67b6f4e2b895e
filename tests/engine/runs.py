"""Looking into run folders."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ultralytics.utils.checkpoint import load_checkpoint


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Rows of a run folder's results.csv."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def untimed(folder: Path) -> list[dict[str, str]]:
    """Rows of results.csv without the time they took."""
    return [{name: value for name, value in row.items() if name != "time"} for row in rows_of(folder)]


def assert_same_weights(a: Path, b: Path) -> None:
    """Two checkpoints hold the same tensors, bit for bit."""
    first, second = (load_checkpoint(path).state_dict for path in (a, b))
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


def spoil_losses(monkeypatch: pytest.MonkeyPatch, task: type, bad: Callable[[int], bool]) -> None:
    """Make the training losses of a task NaN, and so their gradients, in the iterations that `bad` says."""
    original, seen = task.criterion, []

    def spoilt(self, model):
        criterion = original(self, model)

        def loss(preds, batch):
            parts = criterion(preds, batch)
            if isinstance(preds, tuple):  # of a validation
                return parts
            seen.append(len(seen))
            return [part * float("nan") for part in parts] if bad(seen[-1]) else parts

        return loss

    monkeypatch.setattr(task, "criterion", spoilt)
