"""Interface between loops and tasks: read it before writing a task.

A task is a folder beside this file: `task.py` with a subclass of Task (or of DetectTask, where it finds boxes and
more), and what only this task needs, such as `data.py`, from label rows to targets. engine/ never asks which task it
runs; it calls the methods of this class. CONTRIBUTING.md walks through the files that a new task touches.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ultralytics.cfg import Options
from ultralytics.data.dataset import BOXES, Batch, BatchDataset, LabelFormat, build_dataset, check_one_size
from ultralytics.data.images import with_channels
from ultralytics.data.loaders import Frame, stack_if_tensors
from ultralytics.data.utils import DatasetInfo, load_data_yaml
from ultralytics.engine.results import Results
from ultralytics.nn.model_yaml import source
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.letterbox import letterbox_batch
from ultralytics.utils.losses.end_to_end import make_criterion
from ultralytics.utils.metrics import ClassifyMetrics, DetMetrics

Outputs = Tensor | tuple | dict  # whatever a head returns: raw in training, (decoded, raw) in eval mode
Criterion = Callable[[Outputs, Batch], tuple[Tensor, Tensor]]  # -> (scalar to call backward on, detached components)
Metrics = DetMetrics | ClassifyMetrics

# The losses of YOLOv8, by the options that choose others: a task that has only these refuses the rest.
USUAL_LOSSES = {
    "iou_loss": "ciou",
    "inner_ratio": 0.0,
    "focaler": None,
    "nwd": 0.0,
    "nwd_c": 12.8,
    "cls_loss": "bce",
    "assign_iou": "ciou",
}


def refuse_losses(options: Options, reason: str, supported: Sequence[str] = ()) -> None:
    """Raise ConfigError, with `reason`, if a loss option outside of `supported` differs from its usual value."""
    for name, usual in USUAL_LOSSES.items():
        if name not in supported and (value := getattr(options, name)) != usual:
            raise ConfigError(f"{name}={value}: {reason}; leave {name} out")


class Evaluator(Protocol):
    """Measurement of a validation, batch by batch; detect/evaluator.py has one for boxes and what comes with them."""

    def postprocess(self, outputs: Outputs) -> list:
        """Outputs of the network in eval mode to one prediction an image, as the task's `postprocess` gives them.

        Here and not in the loop, as an evaluator may measure with options of its own, such as a higher `max_det`.
        """

    def update(self, preds: list, batch: Batch) -> None:
        """Compare the predictions of a batch with its labels."""

    def finish(self, speed: dict[str, float]) -> Metrics:
        """Metrics of all batches, logged; if made with final=True, drawn and written. `speed`: ms an image by stage.

        Where several processes have shares of the batches, `gather_images` (utils/processes.py) gives those of all.
        """

    def paper(self) -> tuple[list[dict[str, object]], list[str]]:
        """Table of the finished metrics for paper.md, rows by column, all classes first, and notes on it."""


class Task(ABC):
    """One task, with the options of a call and, where it has one, its dataset.

    Class methods are called before the dataset exists, the others after. A task defines every class attribute without a
    value (with a `criterion` of its own it needs no `loss_class`) and every abstract method; the other methods do what
    most tasks want.
    """

    name: ClassVar[str]  # as in cfg.TASKS and in the `task` of the head
    # `model`, `data` and `imgsz` where this task is chosen and they are not given:
    default_settings: ClassVar[Mapping[str, str | int]]
    # Defaults of options by method, such as {"val": {"conf": 0.01}}, where they are not the common ones:
    method_defaults: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    can_augment: ClassVar[bool] = False  # whether `infer` knows test-time augmentation
    model_class: ClassVar[type[BaseModel]]
    loss_class: ClassVar[Callable[[BaseModel], Criterion]]  # a class or a plain function, called by `criterion`
    evaluator_class: ClassVar[Callable[..., Evaluator]]  # (task, dataset, save_dir, nc, final), see `evaluator`
    metrics_class: ClassVar[type[Metrics]]
    # Columns of results.csv: train/… and val/… are the loss components in the order of `criterion`, metrics/… the keys
    # of `metrics_class`.
    loss_names: ClassVar[tuple[str, ...]]
    metric_keys: ClassVar[tuple[str, ...]]
    # Batch size of validation as a multiple of that of training, in a run and in model.val() on its weights: without
    # gradients there is room for two.
    val_batch_factor: ClassVar[int] = 2

    def __init__(self, options: Options, data: DatasetInfo | None = None) -> None:
        self.options = options
        self.data = data

    # Before anything is loaded -----------------------------------------------------------------------------------

    @classmethod
    def check_options(cls, options: Options, method: str) -> None:
        """Raise ConfigError for options that the task cannot follow in `method`: train, val, predict or export.

        Asked first, when nothing has been read yet. An option that changes nothing for the task must not pass in
        silence, if the user has set it: its name is then in `options.given`.
        """
        if method in ("train", "val"):
            check_one_size(options)

    @classmethod
    def describe_data(cls, path: str, splits: Sequence[str]) -> DatasetInfo:
        """Describe the dataset that `data=` names, whose `splits` must exist (DatasetError).

        The mapping has `names` by index, `nc`, `nc_in_files` and the paths of its splits, and whatever else
        the dataset YAML says; what a task needs there, such as `kpt_shape`, it checks here.
        """
        return load_data_yaml(path, splits)

    # The network -------------------------------------------------------------------------------------------------

    def build_model(self, yaml: dict[str, object]) -> BaseModel:
        """Build the network of a model YAML, without weights, for the classes and channels of the dataset.

        A head that depends on more than their number, such as the keypoints of an object, is told here. Raises
        ModelError, naming the row that is at fault.
        """
        own = yaml.get("channels", yaml.get("ch", 3))
        channels = self.data.get("channels", own)
        if channels != own:
            LOGGER.info(f"{source(yaml)}: channels={channels} in place of channels={own}")
        return self.model_class(yaml | {"channels": channels}, nc=self.data["nc"], verbose=self.options.verbose)

    def check_model(self, model: nn.Module) -> None:  # noqa: B027 (optional: the number of classes is checked elsewhere)
        """Raise ConfigError if the dataset is not one that this network can be measured on."""

    def criterion(self, model: BaseModel) -> Criterion:
        """Make the loss of a network: called with (preds, batch), it gives a scalar and its detached components.

        `preds` is what the network returns, raw while training. Labels are on the device where the loader left them;
        `img` is on the network's device, 0..1, float32 in training and in the network's precision in validation. The
        components are those of `loss_names`, in that order, and become the columns train/… and val/… of results.csv. A
        criterion that keeps a state from batch to batch has `state_dict` and `load_state_dict`, for last.pt.
        """
        return make_criterion(type(self).loss_class, model)  # of the class: a plain function would become a method

    # From files to batches ---------------------------------------------------------------------------------------

    def label_format(self) -> LabelFormat:
        """Way from the rows of a label file to the targets of a batch: parser, instances, what is attached, targets.

        It may depend on options and dataset, as the masks of segment do on `mask_ratio`. A task without label files,
        such as classify, overrides `dataset` instead and returns any BatchDataset.
        """
        return BOXES

    def dataset(
        self,
        split: str,
        *,
        augment: bool,
        batch: int,
        stride: int = 32,
        rect: bool = False,
        transforms: Sequence[Callable] = (),
    ) -> BatchDataset:
        """Dataset of a split; `transforms` are the user's own augmentations."""
        return build_dataset(
            self.data,
            split,
            self.options,
            augment=augment,
            batch=batch,
            stride=stride,
            rect=rect,
            transforms=transforms,
            label_format=self.label_format(),
        )

    # Prediction --------------------------------------------------------------------------------------------------

    def preprocess(self, frames: list[Frame], stride: int, channels: int = 3) -> Tensor:
        """Batch (B, C, H, W) of the frames of a source, RGB, or gray for 1 channel, letterboxed to `imgsz`: uint8.

        Tensors of one shape that fits the stride stay as they are, float in 0..1. The predictor normalizes.
        """
        if (tensors := stack_if_tensors(frames, stride, channels)) is not None:
            return tensors
        images = [with_channels(frame.image, channels) for frame in frames]
        return torch.from_numpy(letterbox_batch(images, self.options.imgsz, stride, self.options.rect))

    def infer(self, model: nn.Module, images: Tensor) -> Outputs:
        """Outputs of a network in eval mode, or of an exported one, for images (B, C, H, W) of its own input."""
        return model(images)

    def logits(self, outputs: Outputs) -> Tensor:
        """Class logits (B, nc, A) of all predictions in the outputs of a network in eval mode, for heat maps."""
        raw = outputs[1]
        if "one2one" in raw:  # YOLOv10's head has two sets, and with `end2end` predicts by this one, (B, n, 6)
            raw = raw["one2one" if outputs[0].shape[2] == 6 else "one2many"]  # 6: see DetectTask.postprocess
        return raw["scores"]

    @abstractmethod
    def postprocess(self, outputs: Outputs, nc: int) -> list:
        """Outputs of a network in eval mode, or of an exported one, to one prediction an image.

        The task decides what a prediction is: its own `to_result`, `plot_predictions` and evaluator read it. Boxes and
        points are in pixels of the network's input, sorted by confidence, highest first; classes are 0 to nc - 1.
        """

    @abstractmethod
    def to_result(self, pred: Any, input_shape: tuple[int, int], frame: Frame, model: nn.Module) -> Results:
        """One prediction of `postprocess` on the original image, as model.predict() returns it.

        `input_shape` (H, W) is what the network saw, padding included; `frame` has the image (h, w, 3) BGR and its
        origin, `model` the names of the classes. Coordinates are scaled to the original image and clipped to it.
        """

    # Measuring and drawing ---------------------------------------------------------------------------------------

    def evaluator(self, dataset: BatchDataset, save_dir: Path, nc: int, final: bool) -> Evaluator:
        """Evaluator of one validation of a network of `nc` classes.

        Between epochs `final` is False: only one row is logged, and nothing is written. The last one, and that of
        model.val(), draws and writes into `save_dir` what the options `plots`, `save_json` and `save_txt` ask for.
        """
        return type(self).evaluator_class(self, dataset, save_dir, nc, final)

    @abstractmethod
    def plot_labels(self, dataset: BatchDataset, save_dir: Path) -> None:
        """Draw labels.jpg in `save_dir`: what the training data hold, such as objects per class and their sizes.

        It is there before the first batch, so that a dataset that was read wrongly is seen before it costs a night.
        """

    @abstractmethod
    def plot_batch(self, batch: Batch, fname: Path) -> None:
        """Draw the images of a batch with their labels: train_batch0.jpg to train_batch2.jpg and the like.

        The batch is as the loader gives it, images (B, 3, H, W) uint8 RGB on the CPU, in training augmented.
        """

    @abstractmethod
    def plot_predictions(self, batch: Batch, preds: list, fname: Path) -> None:
        """Draw the images of a validation batch with its predictions, as `postprocess` gives them.

        Only those that are reasonably certain: at the low `conf` of a validation an image is covered by boxes.
        """
