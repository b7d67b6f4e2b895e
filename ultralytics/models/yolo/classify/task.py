"""Image classification: everything about it that the loops do not know."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ultralytics.data.sources import Frame, stack_if_tensors
from ultralytics.engine.results import Results
from ultralytics.models.yolo.classify.data import ClassDataset, build_class_dataset, center_crop, to_pillow, to_tensor
from ultralytics.models.yolo.classify.folders import load_class_folders
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import TOP, ClassifyMetrics
from ultralytics.utils.plotting import class_name, plot_classes

UNUSED = "classification gives every image one class"
INVALID = {  # options that would change nothing, and what there is instead
    "single_cls": UNUSED,
    "classes": f"{UNUSED}: leave out the folders of other classes",
    "multi_scale": "training images are cropped at random scales already: use scale",
    "save_json": f"{UNUSED}, and COCO JSON is for boxes",
    "save_crop": f"{UNUSED}, and there is no box to cut out",
}


class ClassifyTask:
    """The answers of classification to the questions of the loops."""

    name = "classify"
    default_settings: Mapping[str, Any] = {
        "model": "yolov8n-DynamicConv-cls.yaml",
        "data": "shapes-cls.yaml",
        "imgsz": 224,
    }
    defaults: Mapping[str, Mapping[str, Any]] = {
        method: {"imgsz": 224} for method in ("train", "val", "predict", "export")
    }
    model_class = ClassificationModel
    loss_names = ("loss",)
    metric_keys = ClassifyMetrics.keys
    metrics_of = ClassifyMetrics
    val_batches = 2  # training batches in one of the validations in between
    header = ("classes", "top1_acc", "top5_acc")

    @staticmethod
    def check(options: Any, method: str) -> None:
        """Refuse what classification cannot do."""
        for name, reason in INVALID.items():
            if getattr(options, name):
                raise ConfigError(f"{name}={getattr(options, name)}: {reason}")
        if not isinstance(options.imgsz, int):
            raise ConfigError(
                f"imgsz={options.imgsz}: classification crops squares; give one number, such as imgsz=224"
            )
        if method == "train" and options.rect:
            raise ConfigError("rect=True: classification crops every image to a square, leave rect out")
        if method == "val" and options.save_txt:
            raise ConfigError("save_txt=True: classes are written by predict(save_txt=True), not by val")

    @staticmethod
    def load_data(path: str, need: Sequence[str]) -> dict[str, Any]:
        """What `data=` names: a folder with train/ and val/, which hold a folder for every class."""
        return load_class_folders(path, need)

    @classmethod
    def build_model(cls, architecture: dict[str, Any], data: dict[str, Any], options: Any) -> nn.Module:
        """The network of a model YAML for the classes of a dataset, with the dropout of `options`."""
        model = cls.model_class(architecture, nc=data["nc"], verbose=options.verbose)
        for module in model.modules():
            if isinstance(module, nn.Dropout) and options.dropout:
                module.p = options.dropout
        return model

    @staticmethod
    def check_data(model: nn.Module, data: dict[str, Any], path: str) -> None:
        """Whatever classes there are as many of as the network has can be measured."""

    @staticmethod
    def preprocess(frames: list[Frame], options: Any, stride: int) -> Tensor:
        """Images (B, 3, s, s) RGB 0..1 float for prediction: tensors as they are, else squares out of the middle."""
        if (given := stack_if_tensors(frames, stride)) is not None:
            return given
        crop = center_crop(options.imgsz)
        return torch.stack([to_tensor(crop(to_pillow(frame.image))) for frame in frames]).float() / 255

    @staticmethod
    def criterion(model: nn.Module) -> Callable:
        """The loss: `criterion(outputs, batch) -> (scalar to minimize, parts (1,) to report)`."""
        return cross_entropy

    @staticmethod
    def dataset(
        data: dict,
        split: str,
        options: Any,
        *,
        augment: bool,
        batch: int,
        transforms: Sequence[Callable] = (),
        **_: Any,
    ) -> ClassDataset:
        """Images and classes of a split; shapes of batches, `stride` and `rect`, do not matter to squares."""
        how = {"augment": augment, "batch": batch, "transforms": transforms}
        return build_class_dataset(data[split], data["names"], options, desc=split, **how)

    @staticmethod
    def decode(outputs: Any, options: Any, nc: int) -> list[Tensor]:
        """Network outputs to probabilities per image, (nc,)."""
        return list(outputs[0] if isinstance(outputs, tuple) else outputs)

    @staticmethod
    def result(
        found: Tensor, input_shape: tuple[int, int], image: np.ndarray, path: str, model: nn.Module, options: Any
    ) -> Results:
        """Probabilities (nc,) of a image."""
        return Results(image, path, model.names, probs=found)

    @staticmethod
    def plot_labels(dataset: ClassDataset, names: dict[int, str], save_dir: Path) -> None:
        """labels.jpg: how many training images each class has."""
        from ultralytics.utils.charts.training import plot_class_counts

        plot_class_counts(dataset.labels.cls, names, save_dir)

    @staticmethod
    def plot_batch(batch: dict, fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with their classes."""
        classes = batch["cls"].tolist()
        plot_classes(batch["img"], classes, [class_name(names, c) for c in classes], batch["im_file"], fname)

    @staticmethod
    def plot_predictions(batch: dict, found: list[Tensor], fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with the likeliest class of each and, where that is wrong, the true one."""
        best = [
            (one.argmax().item(), one.max().item(), true)
            for one, true in zip(found, batch["cls"].tolist(), strict=True)
        ]
        texts = [
            f"{class_name(names, c)} {conf:.2f}" + ("" if c == true else f"\nnot {class_name(names, true)}")
            for c, conf, true in best
        ]
        plot_classes(batch["img"], [c for c, *_ in best], texts, batch["im_file"], fname)

    @classmethod
    def evaluator(cls, *args: Any) -> "ClassifyEvaluator":
        """What measures the probabilities on a split."""
        return ClassifyEvaluator(cls, *args)


def cross_entropy(outputs: Tensor | tuple[Tensor, Tensor], batch: dict) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of logits, in eval mode the second output, with `cls` (B,): to minimize, and to report."""
    logits = outputs[1] if isinstance(outputs, tuple) else outputs
    loss = functional.cross_entropy(logits.float(), batch["cls"].to(logits.device))
    return loss, loss.detach()[None]


class ClassifyEvaluator:
    """Gathers the likeliest classes batch by batch, then measures and draws."""

    def __init__(
        self, task: type, data: dict, options: Any, dataset: ClassDataset, save_dir: Path, nc: int, final: bool
    ) -> None:
        """`nc`: classes of the network; `final`: not one of the validations between epochs, which leave no files."""
        self.task = task
        self.options = options
        self.dataset = dataset
        self.nc = nc
        self.final = final
        self.names = data["names"]
        self.metrics = task.metrics_of(self.names)
        self.metrics.save_dir = save_dir

    def decode(self, outputs: Any) -> list[Tensor]:
        """Probabilities per image."""
        return self.task.decode(outputs, self.options, self.nc)

    def update(self, found: list[Tensor], batch: dict) -> None:
        """Compare the likeliest classes of a batch with the true ones."""
        first = torch.stack(found).argsort(dim=1, descending=True, stable=True)[:, :TOP]
        self.metrics.update_stats(first.cpu().numpy(), batch["cls"].numpy())

    def finish(self, speed: dict[str, float]) -> ClassifyMetrics:
        """The metrics of everything gathered, said and, if final, drawn."""
        self.metrics.speed = speed
        self.metrics.process()
        self._report()
        if self.final and self.options.plots:
            from ultralytics.utils.charts.metrics import plot_confusion_matrix

            for normalize in (False, True):
                plot_confusion_matrix(
                    self.metrics.confusion_matrix.matrix, self.names, self.metrics.save_dir, normalize
                )
        return self.metrics

    def _report(self) -> None:
        """The table: all classes, then each class that there are images of."""
        row = "%22s" + "%11s" + "%11.3g" * 2
        LOGGER.info("%22s" + "%11s" * 3, self.task.header[0], "images", *self.task.header[1:])
        LOGGER.info(row, "all", len(self.dataset), *self.metrics.mean_results())
        if self.final and self.options.verbose:
            for c in np.flatnonzero(self.metrics.nt_per_class).tolist():
                LOGGER.info(row, self.names[c][:22], self.metrics.nt_per_class[c], *self.metrics.per_class[c])
