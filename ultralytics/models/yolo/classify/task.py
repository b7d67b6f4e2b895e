"""Image classification: one class for the whole image."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.cfg import Options
from ultralytics.data.classify.folders import load_class_folders
from ultralytics.data.classify.samples import ClassDataset, build_class_dataset, center_crop, crop_to_tensor
from ultralytics.data.dataset import Batch, image_channels
from ultralytics.data.images import with_channels
from ultralytics.data.loaders import Frame, stack_if_tensors
from ultralytics.data.utils import DatasetInfo
from ultralytics.engine.results import Results
from ultralytics.models.yolo.task import Outputs, Task, refuse_losses
from ultralytics.nn.tasks import BaseModel, ClassificationModel
from ultralytics.utils import HEADING, LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.loss import v8ClassificationLoss
from ultralytics.utils.metrics import TOP, ClassifyMetrics
from ultralytics.utils.plotting import class_name, plot_classes
from ultralytics.utils.processes import gather_items

UNUSED = "classification gives every image one class"
UNSUPPORTED = {  # options that would change nothing, and what there is instead
    "single_cls": UNUSED,
    "multi_scale": "training images are cropped at random scales already: use scale",
    "save_json": f"{UNUSED}, and COCO JSON is for boxes",
    "save_crop": f"{UNUSED}, and there is no box to cut out",
}


class ClassifyEvaluator:
    """Evaluator by the ranks of the true classes."""

    def __init__(self, task: "ClassifyTask", dataset: ClassDataset, save_dir: Path, nc: int, final: bool) -> None:
        """`nc`: classes of the network; `final`: not one of the validations between epochs, which leave no files."""
        self.task, self.dataset, self.nc, self.final = task, dataset, nc, final
        self.names = task.data["names"]
        self.ranked: list[tuple[np.ndarray, np.ndarray]] = []  # of each batch what `ClassifyMetrics.update_stats` takes
        self.metrics = task.metrics_class(self.names)
        self.metrics.save_dir = save_dir

    def postprocess(self, outputs: Outputs) -> list[Tensor]:
        """Probabilities (nc,) per image."""
        return self.task.postprocess(outputs, self.nc)

    def update(self, preds: list[Tensor], batch: Batch) -> None:
        """Keep the most probable classes of a batch and the true ones."""
        ranked = torch.stack(preds).argsort(dim=1, descending=True, stable=True)[:, :TOP]
        self.ranked.append((ranked.cpu().numpy(), batch["cls"].numpy()))

    def finish(self, speed: dict[str, float]) -> ClassifyMetrics:
        """Metrics of everything gathered, logged as a table and, if final, drawn."""
        metrics, options = self.metrics, self.task.options
        for first, true in chain.from_iterable(gather_items(self.ranked)):
            metrics.update_stats(first, true)
        metrics.speed = speed
        metrics.process()
        row = "%22s" + "%11s" + "%11.3g" * 2
        LOGGER.info("%22s" + "%11s" * 3, "classes", "images", "top1_acc", "top5_acc", extra=HEADING)
        LOGGER.info(row, "all", len(self.dataset), *metrics.mean_results())
        if self.final and options.verbose:
            for c in np.flatnonzero(metrics.nt_per_class).tolist():
                LOGGER.info(row, self.names[c][:22], metrics.nt_per_class[c], *metrics.per_class[c])
        if self.final and options.plots:
            for normalize in (False, True):
                metrics.confusion_matrix.plot(normalize, metrics.save_dir)
        return metrics

    def paper(self) -> tuple[list[dict[str, object]], list[str]]:
        """Rows and notes of paper.md: accuracies of all images and of each class."""
        m, (top1, top5) = self.metrics, self.metrics.mean_results()
        rows = [{"Class": "all", "Images": len(self.dataset), "Top-1": top1, "Top-5": top5}]
        for c in np.flatnonzero(m.nt_per_class).tolist():
            top1, top5 = m.per_class[c].tolist()
            rows += [{"Class": self.names[c], "Images": int(m.nt_per_class[c]), "Top-1": top1, "Top-5": top5}]
        return rows, ["Fractions of the images whose class is the most probable, and among the five most probable."]


class ClassifyTask(Task):
    """Probabilities of the classes. A prediction is (nc,)."""

    name = "classify"
    default_settings: ClassVar = {"model": "yolov8n-DynamicConv-cls.yaml", "data": "shapes-cls.yaml", "imgsz": 224}
    method_defaults: ClassVar = {method: {"imgsz": 224} for method in ("train", "val", "predict", "export")}
    model_class = ClassificationModel
    loss_class = v8ClassificationLoss
    loss_names = v8ClassificationLoss.names
    evaluator_class = ClassifyEvaluator
    metrics_class = ClassifyMetrics
    metric_keys = tuple(ClassifyMetrics({0: "any"}).keys)

    @classmethod
    def check_options(cls, options: Options, method: str) -> None:
        """Refuse what classification cannot do."""
        for name, reason in UNSUPPORTED.items():
            if getattr(options, name):
                raise ConfigError(f"{name}={getattr(options, name)}: {reason}")
        refuse_losses(options, f"{UNUSED}, by cross entropy")
        if not isinstance(options.imgsz, int):
            raise ConfigError(
                f"imgsz={options.imgsz}: classification crops squares; give one number, such as imgsz=224"
            )
        if method == "train" and options.reduced_decode:
            LOGGER.info("reduced_decode=True changes nothing: classification cuts crops from whole images")
        if isinstance(options.scale, list) and max(options.scale) > 1:
            raise ConfigError(f"scale={options.scale}: classification crops a part of the image, of at most 1")
        if method == "train" and options.rect:
            raise ConfigError("rect=True: classification crops every image to a square, leave rect out")
        if method == "val" and options.save_txt:
            raise ConfigError("save_txt=True: classes are written by predict(save_txt=True), not by val")

    @classmethod
    def describe_data(cls, path: str, splits: Sequence[str]) -> DatasetInfo:
        """Describe a folder with train/ and val/, which hold a folder for every class."""
        return load_class_folders(path, splits)

    def build_model(self, yaml: dict[str, object]) -> BaseModel:
        """Build the network of a model YAML for the classes of the dataset, with the dropout of the options."""
        model = super().build_model(yaml)
        for module in model.modules():
            if isinstance(module, nn.Dropout) and self.options.dropout:
                module.p = self.options.dropout
        return model

    def dataset(
        self, split: str, *, augment: bool, batch: int, transforms: Sequence[Callable] = (), **_: object
    ) -> ClassDataset:
        """Dataset of a split; `stride` and `rect` mean nothing to squares."""
        shape = {"augment": augment, "batch": batch, "transforms": transforms, "channels": image_channels(self.data)}
        return build_class_dataset(self.data[split], self.data["names"], self.options, desc=split, **shape)

    def preprocess(self, frames: list[Frame], stride: int, channels: int = 3) -> Tensor:
        """Middle squares of frames, (B, C, s, s) RGB or gray, uint8; tensors of one fitting shape stay 0..1."""
        if (tensors := stack_if_tensors(frames, stride, channels)) is not None:
            return tensors
        crop = center_crop(self.options.imgsz)
        squares = [crop_to_tensor(with_channels(frame.image, channels), crop) for frame in frames]
        return torch.stack(squares)

    def logits(self, outputs: Outputs) -> Tensor:
        """Logits (B, nc, 1) of the image."""
        return outputs[1][..., None]

    def postprocess(self, outputs: Outputs, nc: int) -> list[Tensor]:
        """Probabilities (nc,) per image; with `classes` 0 for all others."""
        probs = outputs[0] if isinstance(outputs, tuple) else outputs
        if self.options.classes is not None:
            others = [c for c in range(probs.shape[1]) if c not in self.options.classes]
            probs = probs.index_fill(1, torch.tensor(others, dtype=torch.long, device=probs.device), 0)
        return list(probs)

    def to_result(self, pred: Tensor, input_shape: tuple[int, int], frame: Frame, model: nn.Module) -> Results:
        """Probabilities (nc,) of an image."""
        return Results(frame.image, frame.path, model.names, probs=pred)

    def plot_labels(self, dataset: ClassDataset, save_dir: Path) -> None:
        """Draw labels.jpg: training images per class."""
        from ultralytics.utils.charts.training import plot_class_counts

        plot_class_counts(dataset.labels.cls, self.data["names"], save_dir)

    def plot_batch(self, batch: Batch, fname: Path) -> None:
        """Draw the images of a batch with their classes."""
        classes = batch["cls"].tolist()
        texts = [class_name(self.data["names"], c) for c in classes]
        plot_classes(batch["img"], classes, texts, batch["im_file"], fname)

    def plot_predictions(self, batch: Batch, preds: list[Tensor], fname: Path) -> None:
        """Draw the images of a batch with the most probable class of each and, where it is wrong, the true one."""
        names, classes, texts = self.data["names"], [], []
        for probs, true in zip(preds, batch["cls"].tolist(), strict=True):
            c = probs.argmax().item()
            classes.append(c)
            wrong = "" if c == true else f"\nnot {class_name(names, true)}"
            texts.append(f"{class_name(names, c)} {probs.max().item():.2f}{wrong}")
        plot_classes(batch["img"], classes, texts, batch["im_file"], fname)
