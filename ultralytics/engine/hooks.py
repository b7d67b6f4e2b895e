"""Methods that a subclass of a trainer may replace: the loop in trainer.py asks each by its published name."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import Dataset

from ultralytics.cfg import Options
from ultralytics.data.build import Loader, build_loader
from ultralytics.data.dataset import Batch
from ultralytics.data.utils import DatasetInfo
from ultralytics.engine.callbacks import HasCallbacks
from ultralytics.engine.distributed import first_of_machine
from ultralytics.engine.loggers import LogSink, ResultsTable, Row, progress_columns, quiet
from ultralytics.engine.optim import Schedule, build_optimizer
from ultralytics.engine.runtime import OnItsWay, RuntimeSettings
from ultralytics.engine.setup import ResumePoint, check_unchanged, choose_batch, load_data, with_images
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.task import Criterion, Outputs, Task
from ultralytics.nn.model_yaml import without_weights
from ultralytics.nn.tasks import BaseModel, yaml_model_load
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint
from ultralytics.utils.ops import normalized
from ultralytics.utils.torch_utils import ModelEMA

if TYPE_CHECKING:
    from ultralytics.engine.model import YOLO


class TrainerHooks(HasCallbacks):
    """The methods of BaseTrainer that decide what a run is made of; their defaults ask the task.

    All of them may read the attributes below. Options change as a whole: `self.args = self.args.replace(box=5.0)`.
    """

    halves_batch = True  # if a GPU runs out of memory in the first epoch, start again with half the batch
    task_class: type[Task] | None = None  # None: that of the option `task`

    # From the start:
    args: Options
    device: torch.device
    runtime: RuntimeSettings
    data: DatasetInfo  # of get_dataset()
    task: Task
    source: "YOLO | None"  # what trains; by itself a trainer opens what the option `model` names
    transforms: Sequence[Callable]  # the user's augmentations
    resumed: ResumePoint | None  # until the first epoch of a resumed run
    batch_size: int  # of all processes together
    save_dir: Path
    last: Path
    best: Path
    table: ResultsTable  # results.csv
    sinks: list[LogSink]  # of the rows of epochs
    loss_names: tuple[str, ...]  # columns of results.csv

    # Made by setup(), the first thing that train() does:
    model: BaseModel
    network: nn.Module  # the model, compiled where that was asked for
    ema: ModelEMA
    loss_function: Criterion
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    train_loader: Loader  # this and the next two are None again after train()
    test_loader: Loader  # of the validation images; the public name
    validator: BaseValidator
    batches: int  # of an epoch

    # As far as training has come:
    epoch: int  # from 0
    epochs: int
    stop: bool
    seconds: float
    iteration: int  # batches since the start of the run
    last_step: int  # iteration of the last optimizer step, also of one skipped
    skipped: int  # batches and steps without effect, as a loss or a gradient was not finite
    loss: Tensor | None
    loss_items: Tensor | None  # components of the last loss
    tloss: Tensor | None  # mean of `loss_items` over the epoch so far
    shown: list[float]  # the same as the bar shows it, of a GPU that of the batch before
    reads_late: bool  # whether what a GPU finds not to be finite is read a batch later, and it skips steps by itself
    notes: deque[tuple[int, str, OnItsWay]]  # (iteration, what, values) that a GPU has been asked for
    losses_finite: Tensor | None  # whether all losses since the last step were, (), on the device
    metrics: dict[str, float | None]
    fitness: float | None
    best_fitness: float | None
    best_epoch: int

    def get_dataset(self) -> DatasetInfo:
        """Describe the dataset: `train` and `val`, `names` and `nc`, and what else its YAML says."""
        with first_of_machine():
            return load_data(self.task_class, self.args)

    def setup_model(self) -> BaseModel:
        """The run's network: `get_model` of its YAML with the weights that the options ask for, or of a resumed run."""
        if self.resumed:
            model = self.get_model(without_weights(self.resumed.checkpoint.yaml), verbose=self.args.verbose)
            self.resumed.check(self.data, model)
            return model
        source = self.source.model
        weights = source if self.args.pretrained and self.source.has_weights else None
        if isinstance(self.args.pretrained, str):
            weights = load_checkpoint(Path(self.args.pretrained))
        # A head for other classes than the data's may have had no place for what the data's has one for.
        loaded = self.source.loaded if weights is source and len(source.names) != self.data["nc"] else None
        model = self.get_model(deepcopy(source.yaml), weights if loaded is None else loaded, self.args.verbose)
        if loaded is not None:
            with quiet(True):  # what was changed since then
                model.load(source, seed=self.args.seed)
        if type(self).get_model is TrainerHooks.get_model:
            check_unchanged(model, source)
        frozen = {name for name, parameter in source.named_parameters() if not parameter.requires_grad}
        for name, parameter in model.named_parameters():  # what the user froze
            parameter.requires_grad_(parameter.requires_grad and name not in frozen)
        return model

    def get_model(
        self, cfg: str | dict | None = None, weights: BaseModel | Checkpoint | None = None, verbose: bool = True
    ) -> BaseModel:
        """Network of a model YAML, for the classes of the data, with every weight that has a place in it."""
        with quiet(not verbose):
            model = self.task.build_model(cfg if isinstance(cfg, dict) else yaml_model_load(cfg or self.args.model))
            model.names = self.data["names"]  # by which classes find their weights
            if weights is not None:
                model.load(weights, seed=self.args.seed)
        return model

    def set_model_attributes(self) -> None:
        """Give the network what it is saved with: the names of the classes."""
        self.model.names = self.data["names"]

    def auto_batch(self) -> int:
        """Largest batch size whose training step fits into the GPU's memory, or the fraction `batch` of it."""
        return choose_batch(self.args, self.model, self.runtime)

    def get_dataloader(self, dataset_path: object, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Loader:
        """Loader of a split, of `build_dataset`; `rank` is 0, as the loader knows which share of a batch is whose."""
        with first_of_machine():
            dataset = self.build_dataset(dataset_path, mode, batch_size)
        return build_loader(dataset, self.args.workers, pin_memory=self.device.type == "cuda")

    def build_dataset(self, img_path: object, mode: str = "train", batch: int | None = None) -> Dataset:
        """Dataset of the images of a split, as its YAML names them: augmented for training, else letterboxed."""
        training = mode == "train"
        task = type(self.task)(self.args, with_images(self.data, mode, img_path))
        return task.dataset(
            mode,
            augment=training,
            batch=batch or self.batch_size,
            stride=self.model.max_stride,
            rect=self.args.rect or not training,
            transforms=self.transforms if training else (),
        )

    def get_validator(self) -> BaseValidator:
        """Validator of the epochs."""
        return BaseValidator(self.test_loader, self.save_dir, self.args, self.callbacks)

    def preprocess_batch(self, batch: Batch) -> Batch:
        """Images (B, 3, H, W) on the device, uint8 as 0..1, with `multi_scale` in another size each iteration."""
        images = normalized(batch["img"], self.device, torch.float32)
        if scale := self.args.multi_scale:
            # Drawn from seed and iteration alone, so that a resumed run sees the same sizes.
            spread = np.random.default_rng((self.args.seed, self.iteration)).uniform(-scale, scale)
            stride = self.model.max_stride
            factor = max(round(self.args.imgsz * (1 + spread) / stride), 1) * stride / max(images.shape[2:])
            shape = [max(math.ceil(side * factor / stride), 1) * stride for side in images.shape[2:]]
            images = F.interpolate(images, shape, mode="bilinear", align_corners=False)
        return batch | {"img": images}

    def get_criterion(self) -> Criterion:
        """Loss of the network: that of a model class with an `init_criterion` of its own, else the task's."""
        own = type(self.model).init_criterion is not BaseModel.init_criterion
        return self.model.init_criterion() if own else self.task.criterion(self.model)

    def criterion(self, preds: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of a batch, to call backward on, and its parts, detached, which `loss_names` names."""
        return self.loss_function(preds, batch)

    def label_loss_items(self, loss_items: Tensor | None = None, prefix: str = "train") -> dict[str, float] | list[str]:
        """Parts of a loss as columns of results.csv, or without `loss_items` the names of these columns."""
        if loss_items is None:
            return [f"{prefix}/{name}" for name in self.loss_names]
        losses = zip(self.loss_names, torch.atleast_1d(loss_items).tolist(), strict=True)
        return {f"{prefix}/{name}": loss for name, loss in losses}

    def build_optimizer(
        self,
        model: nn.Module,
        name: str = "auto",
        lr: float = 0.001,
        momentum: float = 0.9,
        decay: float = 1e-5,
        iterations: float = 1e5,
    ) -> Optimizer:
        """Optimizer of the run; `auto` is that of the options, which was chosen before by the number of iterations.

        Its rates follow the schedule from `lr0` on: a group that begins with another one keeps its proportion to that.
        """
        given = {} if name == "auto" else {"optimizer": name, "lr0": lr, "momentum": momentum}
        return build_optimizer(model, self.args.replace(**given), decay)

    def save_model(self) -> None:
        """Write best.pt if this is the best epoch so far, epochN.pt where `save_period` asks for it, and last.pt."""
        # best.pt before last.pt: a run that is killed between the two does this epoch again.
        if self.best_fitness is None or self.best_epoch == self.epoch:
            self.save(self.best, self.epoch)
        if self.args.save_period > 0 and (self.epoch + 1) % self.args.save_period == 0:
            self.save(self.last.with_name(f"epoch{self.epoch + 1}.pt"), self.epoch)
        self.save(self.last, self.epoch, resumable=True)

    def save_metrics(self, metrics: Row) -> None:
        """Hand the row of an epoch to every sink, results.csv first; only the first of several processes does."""
        for sink in self.sinks:
            sink.add(metrics)

    def progress_string(self) -> str:
        """Heads of the columns beside the progress bar, logged above that of every epoch."""
        return "\n" + progress_columns(self)

    def plot_training_labels(self) -> None:
        """Draw labels.jpg."""
        self.task.plot_labels(self.train_loader.dataset, self.save_dir)

    def plot_training_samples(self, batch: Batch, ni: int) -> None:
        """Draw a batch with its labels; `ni` counts the batches of the run."""
        self.task.plot_batch(batch, self.save_dir / f"train_batch{ni}.jpg")

    def plot_metrics(self) -> None:
        """Draw results.png, the curves of results.csv."""
        from ultralytics.utils.charts.training import plot_results

        plot_results(self.table.path)
