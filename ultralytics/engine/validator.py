"""Measures a network on a split of a dataset."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ultralytics.cfg import Options
from ultralytics.data.build import Loader, build_loader
from ultralytics.data.dataset import Batch
from ultralytics.data.utils import DatasetInfo
from ultralytics.engine.callbacks import Callbacks, HasCallbacks
from ultralytics.engine.runtime import Stopwatch, computing_on, speed_line
from ultralytics.engine.setup import Given, explicit_options, load_data, with_images
from ultralytics.models.yolo import task_class
from ultralytics.models.yolo.task import Criterion, Evaluator, Metrics, Outputs, Task
from ultralytics.utils import LOGGER, refused
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import increment_path
from ultralytics.utils.ops import normalized
from ultralytics.utils.paper.tables import cost_note, speed_note, write_tables
from ultralytics.utils.processes import mean_over_processes

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

STAGES = ("preprocess", "inference", "loss", "postprocess")
NUM_PLOTTED_BATCHES = 3  # of a training, too, as in the public package


class BaseValidator(HasCallbacks):
    """Loop over a loader; callbacks receive it with `args`, `data`, `metrics`, `save_dir`, `seen` and `loss`.

    A subclass changes how batches are prepared, what counts as a detection or what is measured. A trainer makes one in
    `get_validator`; YOLO(...).val(validator=MyValidator) runs it.
    """

    task_class: type[Task] | None = None  # None: that of the network

    def __init__(
        self,
        dataloader: Loader | None = None,
        save_dir: str | Path | None = None,
        args: Given = None,
        _callbacks: Callbacks | Mapping[str, Sequence[Callable]] | None = None,
    ) -> None:
        """Without `dataloader` and `save_dir` they are made when it is called, of the options `args`."""
        refused.warn_never_called(type(self), "val")
        self.dataloader, self.args = dataloader, args
        self.save_dir = None if save_dir is None else Path(save_dir)
        self.callbacks = Callbacks.of(_callbacks)
        self.task: Task | None = None
        self.data: DatasetInfo = {}
        self.evaluator: Evaluator | None = None
        self.metrics: Metrics | None = None
        self.loss: Tensor | None = None  # parts of the loss, means over batches, where a trainer validates
        self.seen = 0
        # The network before it was fused, and its file: what they cost is told in paper.md.
        self.subject: tuple[nn.Module, Path | None] | None = None

    def __call__(
        self, trainer: "BaseTrainer | None" = None, model: nn.Module | str | Path | None = None
    ) -> dict[str, float]:
        """Results by name: of a trainer's averaged weights, on its data, or of a network, or of weights by their path.

        Called by a trainer after an epoch, it logs one row and writes no files. `metrics` has all that was measured.
        """
        if trainer is not None:
            self.args = self.args if isinstance(self.args, Options) else trainer.args
            self.task, self.data = type(trainer.task)(self.args, trainer.data), trainer.data
            runtime = trainer.runtime
            # float16 as in training and as in the public package; bfloat16 would move boxes by pixels.
            autocast = runtime.autocast if runtime.amp is torch.float16 else nullcontext
            return self.run(trainer.ema.ema, trainer.criterion, autocast, final=False)
        if not isinstance(self.args, Options):  # it runs by itself
            from ultralytics.engine.model import YOLO

            given = explicit_options(self.args)
            yolo = YOLO(given.get("model") if model is None or isinstance(model, nn.Module) else model)
            self.args = yolo.resolve("val", given)
            model = model if isinstance(model, nn.Module) else yolo.network(self.args)
        if self.task is None:
            self.prepare(model)
        return self.run(model)

    def prepare(self, model: nn.Module) -> None:
        """Describe the data of the options, on which `model` is measured, and make what is not there yet."""
        task = self.task_class or task_class(model.task)
        if task.name != model.task:
            raise ConfigError(f"{type(self).__name__} is for {task.name}, and the network has a head for {model.task}")
        self.data = load_data(task, self.args, splits=(self.args.split,))
        if len(model.names) != self.data["nc"] and not self.args.single_cls:
            raise ConfigError(
                f"{self.args.data} has {self.data['nc']} classes and the network {len(model.names)}: "
                "validate on the data it was trained for, or train it on these"
            )
        if self.data.setdefault("channels", model.channels) != model.channels:
            raise ConfigError(
                f"{self.args.data} has `channels: {self.data['channels']}` and the network takes images of "
                f"{model.channels}: validate on the data it was trained for, or train it on these"
            )
        self.task = task(self.args, self.data)
        self.task.check_model(model)
        self.stride, self.device = model.max_stride, model.device
        if self.dataloader is None:
            self.dataloader = self.get_dataloader(self.data[self.args.split], self.args.batch)
        if self.save_dir is None:
            self.save_dir = increment_path(Path(self.args.project) / self.args.name, self.args.exist_ok)

    def run(
        self,
        model: nn.Module,
        criterion: Criterion | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        final: bool = True,
    ) -> dict[str, float]:
        """Measure `model`, which is put into eval mode and otherwise used as it is; with `criterion` its loss, too.

        Its passes are made in `autocast()`.
        """
        batch = self.dataloader.dataset.batch
        with torch.no_grad(), computing_on(model.device, f"validation at batch={batch}, imgsz={self.args.imgsz}"):
            return self._measure(model, criterion, autocast, final)

    def _measure(
        self,
        model: nn.Module,
        criterion: Criterion | None,
        autocast: Callable[[], AbstractContextManager],
        final: bool,
    ) -> dict[str, float]:
        watch = Stopwatch(model.device, STAGES)
        self.device, self.dtype = model.device, model.dtype
        self.evaluator = self.task.evaluator(self.dataloader.dataset, self.save_dir, model.nc, final)
        model.eval()
        losses, self.seen = [], 0
        self.run_callbacks("on_val_start")
        self.init_metrics(model)
        loader = tqdm(self.dataloader, desc="validation", leave=False, disable=not self.args.verbose)
        for i, loaded in enumerate(loader):
            # Where processes share the batches, an image may only fill up a share, for the sake of the loss.
            is_counted = not isinstance(loaded, dict) or loaded.get("is_counted", True)
            if not is_counted and criterion is None:
                continue
            self.run_callbacks("on_val_batch_start")
            with watch("preprocess"):
                batch = self.preprocess(loaded)
            with watch("inference"), autocast():
                # The loss takes the outputs of one pass.
                outputs = model(batch["img"]) if criterion else self.task.infer(model, batch["img"])
            if criterion is not None:
                with watch("loss"):
                    losses.append(criterion(outputs, batch)[1])
            with watch("postprocess"):
                preds = self.postprocess(outputs)
                if is_counted:
                    self.update_metrics(preds, batch)
                    self.seen += len(batch["img"])
            if final and self.args.plots and i < NUM_PLOTTED_BATCHES:
                self.plot_val_samples(loaded, i)
                self.plot_predictions(loaded, preds, i)
            self.run_callbacks("on_val_batch_end")
        self.loss = mean_over_processes(torch.stack(losses).mean(0)) if losses else None
        self.metrics = self.evaluator.finish(watch.per_image(self.seen))
        self.finalize_metrics()
        if final and self.args.plots:
            rows, notes = self.evaluator.paper()
            network, file = self.subject or (model, None)
            notes += [
                cost_note(network, file, self.args.imgsz),
                speed_note(self.metrics.speed, model, self.dataloader.dataset.batch, self.seen),
            ]
            write_tables(self.save_dir, rows, [note for note in notes if note])
        if final and self.args.verbose:
            LOGGER.info(speed_line(self.metrics.speed))
            if self.save_dir.is_dir():
                LOGGER.info(f"Results saved to {self.save_dir}")
        self.run_callbacks("on_val_end")
        return self.get_stats()

    # What a subclass may replace -------------------------------------------------------------------------------------

    def get_dataloader(self, dataset_path: object, batch_size: int) -> Loader:
        """Loader of the split, of `build_dataset`."""
        dataset = self.build_dataset(dataset_path, self.args.split, batch_size)
        return build_loader(dataset, self.args.workers, pin_memory=self.device.type == "cuda")

    def build_dataset(self, img_path: object, mode: str = "val", batch: int | None = None) -> Dataset:
        """Dataset of the images that the split `mode` has, as the dataset YAML names them; letterboxed."""
        task = type(self.task)(self.args, with_images(self.data, mode, img_path))
        batch = batch or self.args.batch
        return task.dataset(mode, augment=False, batch=batch, stride=self.stride, rect=self.args.rect)

    def init_metrics(self, model: nn.Module) -> None:
        """Prepare to measure, before the first batch; the task's evaluator is `evaluator`."""

    def preprocess(self, batch: Batch) -> Batch:
        """Images (B, 3, H, W) uint8 to 0..1 on the network's device, in its precision."""
        return batch | {"img": normalized(batch["img"], self.device, self.dtype)}

    def postprocess(self, preds: Outputs) -> list:
        """Outputs of the network to one prediction an image, for detection by NMS."""
        return self.evaluator.postprocess(preds)

    def update_metrics(self, preds: list, batch: Batch) -> None:
        """Compare the predictions of a batch with its labels."""
        self.evaluator.update(preds, batch)

    def finalize_metrics(self) -> None:
        """Change `metrics`, once all batches are measured."""

    def get_stats(self) -> dict[str, float]:
        """Results by name: a trainer takes them from here, and more of them become columns of results.csv."""
        return self.metrics.results_dict

    def plot_val_samples(self, batch: Batch, ni: int) -> None:
        """Draw the labels of a batch."""
        self.task.plot_batch(batch, self.save_dir / f"val_batch{ni}_labels.jpg")

    def plot_predictions(self, batch: Batch, preds: list, ni: int) -> None:
        """Draw the predictions of a batch."""
        self.task.plot_predictions(batch, preds, self.save_dir / f"val_batch{ni}_pred.jpg")


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
