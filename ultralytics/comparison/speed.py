"""Speed of networks from their files, .pt and exported ones, measured in interleaved rounds: `yolo speed`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ultralytics.comparison.latency import interleaved, machine
from ultralytics.data.loaders import Frame
from ultralytics.engine.model import YOLO
from ultralytics.engine.runtime import seconds
from ultralytics.models.yolo import task_class
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.ops import normalized
from ultralytics.utils.torch_utils import select_device

STAGES = ("pre", "network", "post")
COLUMNS = ("file", "batch", *(f"{stage} {of}" for stage in (*STAGES, "all") for of in ("median", "p90")), "FPS")


def measure_speed(
    files: Sequence[str], batches: Sequence[int], options: Mapping[str, object]
) -> list[dict[str, object]]:
    """Median and 90th percentile of the milliseconds per image of every file and batch size, by stage.

    `options` are those of predict. Preprocessing begins with decoded images, noise at the size that `imgsz` says;
    postprocessing is NMS and what makes results of the boxes, whose number depends on the images.
    """
    models = {file: YOLO(file) for file in dict.fromkeys(files)}
    rows = []
    for batch in batches:
        passes = {file: one_pass(model, batch, options) for file, model in models.items()}
        for file, taken in interleaved(passes).items():  # (rounds, stages)
            ms = 1e3 * np.column_stack((taken, taken.sum(1))) / batch
            median, p90 = np.median(ms, axis=0), np.percentile(ms, 90, axis=0)
            values = [value for pair in zip(median.tolist(), p90.tolist(), strict=True) for value in pair]
            cells = [Path(file).name, batch, *(round(value, 3) for value in values), round(1e3 / median[-1].item(), 1)]
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows


def one_pass(model: YOLO, batch: int, options: Mapping[str, object]) -> Callable[[], list[float]]:
    """Function that takes images to results once, and returns the seconds of each stage."""
    checked = model.resolve("predict", {**options, "batch": batch})
    network, task = model.network(checked), task_class(model.task)(checked)
    height, width = checked.imgsz if isinstance(checked.imgsz, list) else (checked.imgsz, checked.imgsz)
    noise = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    frames = [Frame(image, f"{i}.png") for i, image in enumerate(noise)]

    now = partial(seconds, network.device)

    @torch.inference_mode()
    def run() -> list[float]:
        times = [now()]
        images = task.preprocess(frames, network.max_stride, network.channels)
        images = normalized(images, network.device, network.dtype)
        times.append(now())
        preds = network(images)
        times.append(now())
        for pred, frame in zip(task.postprocess(preds, network.nc), frames, strict=True):
            task.to_result(pred, images.shape[2:], frame, network)
        times.append(now())
        return np.diff(times).tolist()

    return run


def speed_report(words: Mapping[str, object], options: Mapping[str, object]) -> str:
    """Table of the files `model` and batch sizes `batch` among the words, and the conditions."""
    files = [file.strip() for file in as_list(words.get("model"))]
    if not files:
        raise ConfigError("nothing to measure: give model=best.pt, or several as model=a.pt,b.onnx")
    sizes = as_list(words.get("batch", 1))
    if not sizes or not all(size.strip().isdecimal() and int(size) for size in sizes):
        raise ConfigError(f"batch={words['batch']}: expected integers of at least 1, such as batch=1,8")
    rows = measure_speed(files, [int(size) for size in sizes], options)
    place = machine(select_device(options.get("device")))
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.values() for row in rows)]
    table = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return (
        f"{table}\n\nMilliseconds per image; FPS is 1000 by the median of all. Rounds in which every file runs once on "
        f"the same noise, after a warm-up; networks fused. On {place}; options: {dict(options) or 'defaults'}."
    )


def as_list(value: object) -> list[str]:
    """Items of a list, or of a text with commas."""
    items = value if isinstance(value, list) else ("" if value is None else str(value)).strip("[]").split(",")
    return [str(item) for item in items if str(item)]
