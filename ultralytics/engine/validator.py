"""Measures a network on a split of a dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision.ops  # noqa: F401 (takes seconds, which the first image would be charged with)
from torch import Tensor, nn
from tqdm import tqdm

from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.runtime import Stopwatch, speed_line
from ultralytics.utils import LOGGER

STAGES = ("preprocess", "inference", "loss", "postprocess")
PICTURES = 3  # batches that are drawn


class Validator:
    """Passes over a loader; callbacks receive it with `args`, `data`, `metrics`, `save_dir`, `seen` and `loss`."""

    def __init__(self, task: Any, options: Any, data: dict, loader: Any, save_dir: Path, callbacks: Callbacks) -> None:
        self.task = task
        self.args = options
        self.data = data
        self.loader = loader
        self.save_dir = Path(save_dir)
        self.callbacks = callbacks
        self.metrics: Any = None
        self.loss: Tensor | None = None  # parts of the loss, means over batches, if there is a criterion
        self.seen = 0

    @torch.no_grad()
    def __call__(self, model: nn.Module, criterion: Callable | None = None, final: bool = True) -> Any:
        """Metrics of `model`, which is put into eval mode and otherwise used as it is.

        With `criterion` the mean loss is kept, too. Between epochs (not `final`) there is one row and no files.
        """
        watch = Stopwatch(model.device, STAGES)
        evaluator = self.task.evaluator(self.data, self.args, self.loader.dataset, self.save_dir, model.nc, final)
        model.eval()
        losses, self.seen = [], 0
        self.callbacks.run("on_val_start", self)
        for i, batch in enumerate(tqdm(self.loader, desc="validation", leave=False, disable=not self.args.verbose)):
            self.callbacks.run("on_val_batch_start", self)
            with watch("preprocess"):
                images = batch["img"].to(model.device, non_blocking=True).to(model.dtype) / 255
            with watch("inference"):
                outputs = model(images)
            if criterion is not None:
                with watch("loss"):
                    losses.append(criterion(outputs, batch)[1])
            with watch("postprocess"):
                found = evaluator.decode(outputs)
                evaluator.update(found, batch)
            self.seen += len(images)
            if final and self.args.plots and i < PICTURES:
                self._draw(batch, found, i)
            self.callbacks.run("on_val_batch_end", self)
        self.loss = torch.stack(losses).mean(0) if losses else None
        self.metrics = evaluator.finish(watch.per_image(self.seen))
        if final and self.args.verbose:
            LOGGER.info(speed_line(self.metrics.speed))
            if self.save_dir.is_dir():
                LOGGER.info(f"Results saved to {self.save_dir}")
        self.callbacks.run("on_val_end", self)
        return self.metrics

    def _draw(self, batch: dict, found: list[Tensor], i: int) -> None:
        self.task.plot_batch(batch, self.save_dir / f"val_batch{i}_labels.jpg", self.data["names"])
        self.task.plot_predictions(batch, found, self.save_dir / f"val_batch{i}_pred.jpg", self.data["names"])
