"""Latency of networks on this machine, measured in interleaved rounds, so that other load affects all of them alike."""

import platform
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

from ultralytics.engine.model import YOLO
from ultralytics.engine.runtime import current_device, seconds
from ultralytics.utils import LOGGER
from ultralytics.utils.files import read_csv, write_csv
from ultralytics.utils.ops import make_divisible

CPU = torch.device("cpu")
BATCHES = (1, 8)
ROUNDS, SECONDS, MIN_ROUNDS = 30, 60.0, 5  # as many rounds as fit into the seconds, for each batch size
COLUMNS = ("network", "nc", "imgsz", "batch", "ms", "machine")
Times = dict[tuple[str, int], float]  # ms per image by label and batch size


def latencies(networks: Mapping[str, tuple[str, list[int]]], nc: int, cache: Path, device: torch.device = CPU) -> Times:
    """Milliseconds per image of each network on a device, fused, in float32.

    `networks`: model YAML and (height, width) by label. Results are kept in the CSV `cache`; where it lacks one of the
    networks on this machine, all are measured again, as only figures of the same rounds can be compared.
    """
    keys = [name for name in COLUMNS if name != "ms"]
    rows = [row for row in read_csv(cache) if row.get("ms")] if cache.exists() else []
    cached = {tuple(row[name] for name in keys): row["ms"] for row in rows}
    wanted = {
        (label, batch): (Path(yaml).name, str(nc), "x".join(map(str, size)), str(batch), machine(device))
        for label, (yaml, size) in networks.items()
        for batch in BATCHES
    }
    if not all(key in cached for key in wanted.values()):
        LOGGER.info(
            f"measuring {len(networks)} networks on {machine(device)}; kept in {cache}, delete it to measure again"
        )
        models = {
            label: YOLO(yaml, nc=nc).model.eval().fuse(verbose=False).to(device)
            for label, (yaml, _) in networks.items()
        }
        for batch in BATCHES:
            images = {}
            for label, (_, size) in networks.items():
                # Noise; sides are raised to a multiple of the stride, as they are for training.
                sides = (make_divisible(side, models[label].max_stride) for side in size)
                images[label] = torch.rand(batch, models[label].channels, *sides).to(device)
            for label, ms in measure_interleaved(models, images, device).items():
                cached[wanted[label, batch]] = f"{ms:.3f}"
        write_csv(cache, [dict(zip(keys, key, strict=True), ms=ms) for key, ms in cached.items()], COLUMNS)
    return {place: float(cached[key]) for place, key in wanted.items()}


@torch.inference_mode()
def measure_interleaved(
    models: Mapping[str, nn.Module], images: Mapping[str, torch.Tensor], device: torch.device = CPU
) -> dict[str, float]:
    """Median milliseconds per image, over rounds in which each model runs once on its batch (B, C, H, W)."""

    def one_pass(label: str) -> list[float]:
        start = seconds(device)
        models[label](images[label])
        return [seconds(device) - start]

    with current_device(device):
        times = interleaved({label: partial(one_pass, label) for label in models})
    return {label: 1e3 * float(np.median(taken)) / len(images[label]) for label, taken in times.items()}


def interleaved(passes: Mapping[str, Callable[[], list[float]]]) -> dict[str, np.ndarray]:
    """Seconds (rounds, stages) that each pass returns, in rounds in which each runs once; a first round is warm-up."""
    for run in passes.values():
        run()
    times: dict[str, list[list[float]]] = {label: [] for label in passes}
    started = perf_counter()
    for i in range(ROUNDS):
        if i >= MIN_ROUNDS and perf_counter() - started > SECONDS:
            break
        for label, run in passes.items():
            times[label].append(run())
    return {label: np.array(taken) for label, taken in times.items()}


def machine(device: torch.device = CPU) -> str:
    """GPU, or processor and number of threads, and version of torch."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")  # Linux, where platform does not know the processor's name
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"
