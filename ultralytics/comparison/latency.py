"""How long networks take for an image on this CPU, measured in turn, so that whatever else goes on hits all alike."""

import csv
import io
import platform
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import nn

from ultralytics.engine.model import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.files import atomic_write
from ultralytics.utils.ops import make_divisible

BATCHES = (1, 8)
ROUNDS, SECONDS, FEWEST = 30, 60.0, 5  # as many rounds as fit, per batch size
COLUMNS = ("network", "nc", "imgsz", "batch", "ms", "machine")
Times = dict[tuple[str, int], float]  # milliseconds an image by network and batch


def latencies(networks: Mapping[str, tuple[str, list[int]]], nc: int, cache: Path) -> Times:
    """Milliseconds an image of each network, fused, in float32; by label a model YAML and (height, width).

    Kept in `cache`, a CSV; where one of the networks is missing there for this machine, all are measured again.
    """
    kept = _read(cache)
    place = {label: (Path(yaml).name, str(nc), "x".join(map(str, size))) for label, (yaml, size) in networks.items()}
    wanted = {(label, batch): (*place[label], str(batch), machine()) for label in networks for batch in BATCHES}
    if not all(row in kept for row in wanted.values()):
        LOGGER.info(f"measuring {len(networks)} networks on {machine()}; kept in {cache}, delete it to measure again")
        models = {label: YOLO(yaml, nc=nc).model.eval().fuse(verbose=False) for label, (yaml, _) in networks.items()}
        for batch in BATCHES:
            images = {label: _images(models[label], batch, size) for label, (_, size) in networks.items()}
            for label, ms in _in_turn(models, images).items():
                kept[wanted[label, batch]] = f"{ms:.3f}"
        _write(cache, kept)
    return {place: float(kept[row]) for place, row in wanted.items()}


def _images(model: nn.Module, batch: int, size: list[int]) -> torch.Tensor:
    """Noise of the size, raised to a multiple of the model's stride as it is for training."""
    return torch.rand(batch, 3, *(make_divisible(side, int(model.stride.max())) for side in size))


@torch.inference_mode()
def _in_turn(models: Mapping[str, nn.Module], images: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Medians, milliseconds an image, over rounds in which each model runs once."""
    for label, model in models.items():
        model(images[label])
    times: dict[str, list[float]] = {label: [] for label in models}
    started = perf_counter()
    for i in range(ROUNDS):
        if i >= FEWEST and perf_counter() - started > SECONDS:
            break
        for label, model in models.items():
            start = perf_counter()
            model(images[label])
            times[label].append(perf_counter() - start)
    return {label: 1e3 * median(values) / len(images[label]) for label, values in times.items()}


def machine() -> str:
    """The processor, the threads in use, and torch."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _read(cache: Path) -> dict[tuple[str, ...], str]:
    if not cache.exists():
        return {}
    with cache.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("ms")]
    return {tuple(row[name] for name in COLUMNS if name != "ms"): row["ms"] for row in rows}


def _write(cache: Path, kept: Mapping[tuple[str, ...], str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((*place[:4], ms, place[4]) for place, ms in kept.items())
    atomic_write(cache, lambda file: file.write(text.getvalue().encode()))
