"""Detection of rotated boxes: what differs from upright ones."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.dataset import YOLODataset, build_dataset
from ultralytics.data.labels.rows import parse_polygon_rows
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.evaluator import DetectEvaluator
from ultralytics.models.yolo.detect.task import DetectTask, filter_confident, plot_objects
from ultralytics.models.yolo.obb.data import RotatedInstances, rotated_targets
from ultralytics.models.yolo.obb.dota import save_task1, to_dota_predictions
from ultralytics.utils.coco import save_predictions
from ultralytics.utils.loss import v8OBBLoss
from ultralytics.utils.metrics import probiou
from ultralytics.utils.nms import rotated_non_max_suppression
from ultralytics.utils.ops import scale_boxes

CONF, CLS, THETA = 4, 5, 6  # columns of detections (n, 7)
ROTATED = [0, 1, 2, 3, THETA]


class OBBTask(DetectTask):
    """The answers of oriented object detection to the questions of the loops.

    Detections are (n, 7): center, width, height, confidence, class, theta.
    """

    name = "obb"
    default_settings: Mapping[str, str] = {"model": "yolov8n-DynamicConv-obb.yaml", "data": "shapes-obb.yaml"}
    defaults: Mapping[str, Mapping[str, Any]] = {"train": {"conf": 0.01}, "val": {"conf": 0.01}}
    loss_names = v8OBBLoss.names
    val_batches = 1
    suppress = staticmethod(rotated_non_max_suppression)

    @staticmethod
    def criterion(model: nn.Module) -> Callable:
        """The loss: `criterion(outputs, batch) -> (scalar to minimize, parts (4,) to report)`."""
        return v8OBBLoss(model)

    @staticmethod
    def dataset(data: dict, split: str, options: Any, **how: Any) -> YOLODataset:
        """Images and rotated boxes of a split; `how` says whether to augment, the batch size, the stride and `rect`."""
        how |= {"parse": parse_polygon_rows, "targets": rotated_targets, "objects": RotatedInstances}
        return build_dataset(data, split, options, **how)

    @staticmethod
    def result(
        found: Tensor, input_shape: tuple[int, int], image: np.ndarray, path: str, model: nn.Module, options: Any
    ) -> Results:
        """Detections of a letterboxed image, on the image itself; they may reach out of it."""
        found = scale_boxes(input_shape, found, image.shape[:2], xywh=True)
        return Results(image, path, model.names, obb=as_obb(found))

    @staticmethod
    def plot_predictions(batch: dict, found: list[Tensor], fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with what the network is reasonably sure of."""
        height, width = batch["img"].shape[-2:]
        index, rows = filter_confident(found)
        boxes = rows[:, ROTATED] / torch.tensor((width, height, width, height, 1))
        plot_objects(batch, index, rows[:, CLS], boxes, rows[:, CONF], fname, names)

    @classmethod
    def evaluator(cls, *args: Any) -> "OBBEvaluator":
        """What measures the detections on a split."""
        return OBBEvaluator(cls, *args)


def as_obb(found: Tensor) -> Tensor:
    """Detections as `Results` take them: center, width, height, theta, confidence, class."""
    return found[:, [*ROTATED, CONF, CLS]]


class OBBEvaluator(DetectEvaluator):
    """Measures by probiou, in pixels of the network's input."""

    def boxes(self, batch: dict) -> Tensor:
        """The objects' boxes (N, 5) in pixels of the network's input."""
        height, width = batch["img"].shape[-2:]
        return batch["bboxes"] * torch.tensor((width, height, width, height, 1))

    def overlap(self, boxes: Tensor, found: Tensor) -> np.ndarray:
        """Probiou of objects and detections, (m, n)."""
        return probiou(boxes[:, None], found[None, :, ROTATED]).numpy()

    def to_original(self, found: Tensor, batch: dict, i: int) -> Results:
        """Detections of the i-th image of a batch on its original, which is left black."""
        shape = batch["ori_shape"][i]
        found = scale_boxes(batch["img"].shape[-2:], found, shape, batch["ratio_pad"][i], xywh=True)
        return Results(np.broadcast_to(np.uint8(0), (*shape, 3)), batch["im_file"][i], self.names, obb=as_obb(found))

    def json_rows(self, result: Results) -> list[dict]:
        """What predictions.json says of an image."""
        return to_dota_predictions(result.path, result.obb.data)

    def save_json(self) -> None:
        """predictions.json, and the same as DOTA's server takes it."""
        save_predictions(self.save_dir / "predictions.json", self.rows)
        save_task1(self.save_dir / "predictions_txt", self.rows, self.names)
