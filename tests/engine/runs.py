"""Looking into run folders."""

import csv
from pathlib import Path

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
