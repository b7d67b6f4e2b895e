"""Object detection: everything about it that the loops do not know. Another task is another file like this one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.config import load_data_yaml
from ultralytics.data.dataset import YOLODataset, build_dataset
from ultralytics.data.labels.rows import box_row_parser
from ultralytics.data.sources import Frame, letterboxed
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.evaluator import DetectEvaluator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.metrics import DetMetrics
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes, xyxy2xywhn
from ultralytics.utils.plotting import plot_images

PLOT_CONF = 0.25  # detections below it are not drawn


class DetectTask:
    """The answers of detection to the questions of the loops; a task that finds boxes and more is a subclass."""

    name = "detect"
    default_settings: Mapping[str, Any] = {  # as in train.py; a task that leaves one out has the same
        "model": "yolov8n-DynamicConv.yaml",
        "data": "shapes.yaml",
        "imgsz": 640,
    }
    defaults: Mapping[str, Mapping[str, Any]] = {}  # options by method, where they are not everybody's
    model_class = DetectionModel
    loss_names = v8DetectionLoss.names
    metric_keys = tuple(DetMetrics({0: "any"}).keys)
    metrics_of = DetMetrics
    suppress = staticmethod(non_max_suppression)
    val_batches = 2  # training batches in one of the validations in between
    header = ("Class", "Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)")

    @staticmethod
    def check(options: Any, method: str) -> None:
        """Refuse, by a ConfigError, options that the task cannot follow in train, val or predict."""

    @staticmethod
    def load_data(path: str, need: Sequence[str]) -> dict[str, Any]:
        """What `data=` names, as a mapping with `names`, `nc`, `channels` and the splits; those of `need` are there."""
        return load_data_yaml(path, need)

    @classmethod
    def build_model(cls, architecture: dict[str, Any], data: dict[str, Any], options: Any) -> nn.Module:
        """The network of a model YAML for the classes of a dataset, as the options of a run want it."""
        return cls.model_class(architecture, nc=data["nc"], verbose=options.verbose)

    @staticmethod
    def check_data(model: nn.Module, data: dict[str, Any], path: str) -> None:
        """Refuse, by a ConfigError, to measure a network on data that `path` describes and it was not made for."""

    @staticmethod
    def preprocess(frames: list[Frame], options: Any, stride: int) -> Tensor:
        """Images (B, 3, H, W) RGB 0..1 float for prediction."""
        return letterboxed(frames, options.imgsz, stride, options.rect)

    @staticmethod
    def criterion(model: nn.Module) -> Callable:
        """The loss: `criterion(outputs, batch) -> (scalar to minimize, parts (3,) to report)`."""
        return v8DetectionLoss(model)

    @staticmethod
    def dataset(data: dict, split: str, options: Any, **how: Any) -> YOLODataset:
        """Images and boxes of a split; `how` says whether to augment, the batch size, the stride and `rect`."""
        return build_dataset(data, split, options, parse=box_row_parser(data.get("kpt_shape")), **how)

    @classmethod
    def decode(cls, outputs: Any, options: Any, nc: int, multi_label: bool = False) -> list[Tensor]:
        """Network outputs to detections per image: (n, 6) xyxy in pixels of the input, confidence, class."""
        return cls.suppress(
            outputs[0] if isinstance(outputs, tuple) else outputs,
            options.conf,
            options.iou,
            classes=options.classes,
            agnostic=options.agnostic_nms or options.single_cls,
            multi_label=multi_label,
            max_det=options.max_det,
            nc=nc,
        )

    @staticmethod
    def rows(found: Any) -> Tensor:
        """Of what `decode` gives for an image, (n, 6 or more): box in pixels of the input, confidence, class."""
        return found

    @staticmethod
    def result(
        found: Tensor, input_shape: tuple[int, int], image: np.ndarray, path: str, model: nn.Module, options: Any
    ) -> Results:
        """Detections (n, 6) of a letterboxed image, on the image itself; `model` is what made them."""
        boxes = scale_boxes(input_shape, found, image.shape[:2])
        return Results(image, path, model.names, boxes=boxes)

    @staticmethod
    def plot_labels(dataset: YOLODataset, names: dict[int, str], save_dir: Path) -> None:
        """labels.jpg: what the training data holds."""
        from ultralytics.utils.charts.training import plot_labels

        plot_labels(dataset.labels.boxes, dataset.labels.cls, names, save_dir)

    @staticmethod
    def plot_batch(batch: dict, fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with their labels."""
        plot_objects(batch, batch["batch_idx"], batch["cls"].flatten(), batch["bboxes"], None, fname, names)

    @staticmethod
    def plot_predictions(batch: dict, found: list[Tensor], fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with what the network is reasonably sure of."""
        height, width = batch["img"].shape[-2:]
        index, rows = filter_confident(found)
        boxes = xyxy2xywhn(rows[:, :4], width, height)
        plot_objects(batch, index, rows[:, 5], boxes, rows[:, 4], fname, names)

    @classmethod
    def evaluator(cls, *args: Any) -> "DetectEvaluator":
        """What measures the detections on a split."""
        return DetectEvaluator(cls, *args)


def filter_confident(found: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of detections per image those that are worth drawing: the images they are in (n,), and their rows (n, m)."""
    sure = [one[one[:, 4] > PLOT_CONF].cpu() for one in found]
    counts = torch.tensor([len(one) for one in sure])
    return torch.arange(len(sure)).repeat_interleave(counts), torch.cat(sure)


def plot_objects(
    batch: dict,
    index: Tensor,
    cls: Tensor,
    boxes: Tensor,
    confs: Tensor | None,
    fname: Path,
    names: dict[int, str],
    below: Callable | None = None,
) -> None:
    """Images of a batch with objects: the images they are in (N,), classes (N,), boxes (N, 4 or 5), confidences.

    `below` draws what a task finds beside boxes, see `plot_images`.
    """
    plot_images(batch["img"], index, cls, boxes, confs, paths=batch["im_file"], names=names, fname=fname, below=below)
