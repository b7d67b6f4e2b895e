"""Measures a network on a split of a dataset."""

from pathlib import Path

import torch
import torchvision.ops  # noqa: F401 (takes seconds, which the first image would be charged with)
from torch import Tensor, nn
from tqdm import tqdm

from ultralytics.cfg import Options
from ultralytics.data.build import Loader, build_loader
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.runtime import Stopwatch, speed_line
from ultralytics.engine.setup import load_data
from ultralytics.models.yolo.task import Criterion, Metrics, Task
from ultralytics.utils import LOGGER, refused
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import increment_path

STAGES = ("preprocess", "inference", "loss", "postprocess")
NUM_PLOTTED_BATCHES = 3


class Validator:
    """Loop over a loader; callbacks receive it with `args`, `data`, `metrics`, `save_dir`, `seen` and `loss`."""

    def __init__(self, task: Task, loader: Loader, save_dir: Path, callbacks: Callbacks) -> None:
        self.task, self.args, self.data = task, task.options, task.data
        self.loader = loader
        self.save_dir = Path(save_dir)
        self.callbacks = callbacks
        self.metrics: Metrics | None = None
        self.loss: Tensor | None = None  # parts of the loss, means over batches, if there is a criterion
        self.seen = 0

    @classmethod
    def of_model(cls, model: nn.Module, task: type[Task], options: Options, callbacks: Callbacks) -> "Validator":
        """Validator of a network by itself, on `options.split`, with a run folder of its own."""
        data = load_data(task, options, splits=(options.split,))
        if len(model.names) != data["nc"] and not options.single_cls:
            raise ConfigError(
                f"{options.data} has {data['nc']} classes and the network {len(model.names)}: "
                "validate on the data it was trained for, or train it on these"
            )
        task = task(options, data)
        task.check_model(model)
        dataset = task.dataset(
            options.split, augment=False, batch=options.batch, stride=model.max_stride, rect=options.rect
        )
        loader = build_loader(dataset, options.workers, pin_memory=model.device.type == "cuda")
        return cls(task, loader, increment_path(Path(options.project) / options.name, options.exist_ok), callbacks)

    @torch.no_grad()
    def __call__(self, model: nn.Module, criterion: Criterion | None = None, final: bool = True) -> Metrics:
        """Metrics of `model`, which is put into eval mode and otherwise used as it is.

        With `criterion` the mean loss is kept, too. Between epochs (not `final`) there is one row and no files.
        """
        watch = Stopwatch(model.device, STAGES)
        evaluator = self.task.evaluator(self.loader.dataset, self.save_dir, model.nc, final)
        model.eval()
        losses, self.seen = [], 0
        self.callbacks.run("on_val_start", self)
        for i, batch in enumerate(tqdm(self.loader, desc="validation", leave=False, disable=not self.args.verbose)):
            self.callbacks.run("on_val_batch_start", self)
            with watch("preprocess"):
                images = batch["img"].to(model.device, non_blocking=True).to(model.dtype) / 255
            with watch("inference"):
                # The loss takes the outputs of one pass.
                outputs = model(images) if criterion else self.task.infer(model, images)
            if criterion is not None:
                with watch("loss"):
                    losses.append(criterion(outputs, batch)[1])
            with watch("postprocess"):
                preds = evaluator.postprocess(outputs)
                evaluator.update(preds, batch)
            self.seen += len(images)
            if final and self.args.plots and i < NUM_PLOTTED_BATCHES:
                self.task.plot_batch(batch, self.save_dir / f"val_batch{i}_labels.jpg")
                self.task.plot_predictions(batch, preds, self.save_dir / f"val_batch{i}_pred.jpg")
            self.callbacks.run("on_val_batch_end", self)
        self.loss = torch.stack(losses).mean(0) if losses else None
        self.metrics = evaluator.finish(watch.per_image(self.seen))
        if final and self.args.verbose:
            LOGGER.info(speed_line(self.metrics.speed))
            if self.save_dir.is_dir():
                LOGGER.info(f"Results saved to {self.save_dir}")
        self.callbacks.run("on_val_end", self)
        return self.metrics


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
