"""Runs a network over images and videos."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.sources import Frame, Source, load_source
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.results import Results
from ultralytics.engine.validator import Stopwatch
from ultralytics.engine.writer import Writer
from ultralytics.utils import LOGGER
from ultralytics.utils.letterbox import letterbox_batch


class Predictor:
    """One source at a time; callbacks receive it with `args`, `source`, `batch`, `results` and `save_dir`."""

    def __init__(self, task: Any, options: Any, callbacks: Callbacks) -> None:
        self.task = task
        self.args = options
        self.callbacks = callbacks
        self.source: Source | None = None
        self.batch: list[Frame] = []
        self.results: list[Results] = []
        self.writer = Writer(options) if Writer.wanted(options) else None
        self.seen = 0

    @property
    def save_dir(self) -> Path | None:
        """Folder of what is saved; None if nothing is."""
        return self.writer.folder if self.writer else None

    @torch.no_grad()
    def stream(self, model: nn.Module, source: Any) -> Iterator[Results]:
        """Results in order, each as soon as its batch is done; nothing older is kept."""
        self.source = load_source(source, vid_stride=self.args.vid_stride)
        first = next(model.parameters())
        self.callbacks.run("on_predict_start", self)
        try:
            for batch in batches(self.source, self.args.batch):
                self.batch = batch
                self.callbacks.run("on_predict_batch_start", self)
                self.results = self._predict(model, first.device, first.dtype)
                self.callbacks.run("on_predict_postprocess_end", self)
                for frame, result in zip(self.batch, self.results, strict=True):
                    self._leave(frame, result)
                self.callbacks.run("on_predict_batch_end", self)
                yield from self.results
        finally:
            if self.writer:
                self.writer.close()
        self.callbacks.run("on_predict_end", self)

    def _predict(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> list[Results]:
        watch = Stopwatch(device)
        with watch("preprocess"):
            images = network_input(self.batch, self.args.imgsz, int(model.stride.max()), self.args.rect)
            images = images.to(device, dtype)
        with watch("inference"):
            outputs = model(images)
        with watch("postprocess"):
            found = self.task.decode(outputs, self.args, len(model.names))
            results = [
                self.task.result(one, images.shape[2:], frame.image, frame.path, model.names)
                for one, frame in zip(found, self.batch, strict=True)
            ]
        for result in results:
            result.speed = watch.per_image(len(images))
        return results

    def _leave(self, frame: Frame, result: Results) -> None:
        """Say, save and show what was asked for."""
        self.seen += 1
        if self.args.verbose:
            height, width = result.orig_shape
            place = f"frame {frame.frame} of " if frame.is_video else ""
            LOGGER.info(
                "%d: %s%s %dx%d: %s%.1f ms", self.seen, place, frame.path, height, width, result.verbose(),
                result.speed["inference"],
            )  # fmt: skip
        if self.writer:
            self.writer.write(frame, result)
        if self.args.show:
            result.show()


def batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Groups of up to `size` frames."""
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def network_input(frames: list[Frame], imgsz: int | list[int], stride: int, rect: bool) -> Tensor:
    """Letterboxed images (B, 3, H, W) RGB 0..1 float32."""
    stacked = letterbox_batch([frame.image for frame in frames], imgsz, stride, rect)
    return torch.from_numpy(np.ascontiguousarray(stacked[..., ::-1].transpose(0, 3, 1, 2))).float() / 255
