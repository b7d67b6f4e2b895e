"""Detection of rotated boxes: what differs from upright ones."""

from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.cfg import Options
from ultralytics.data.dataset import Batch, LabelFormat
from ultralytics.data.labels.rows import parse_polygon_rows
from ultralytics.data.loaders import Frame
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.evaluator import DetectEvaluator
from ultralytics.models.yolo.detect.task import DetectTask, filter_confident
from ultralytics.models.yolo.obb.data import RotatedInstances, rotated_targets
from ultralytics.models.yolo.obb.dota import save_task1, to_dota_predictions
from ultralytics.models.yolo.task import refuse_losses
from ultralytics.nn.tasks import OBBModel
from ultralytics.utils.coco import save_predictions
from ultralytics.utils.loss import v8OBBLoss
from ultralytics.utils.metrics import OBBMetrics, batch_probiou
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes
from ultralytics.utils.plotting import plot_images

CONF, CLS, THETA = 4, 5, 6  # columns of a prediction (n, 7)
XYWHR = [0, 1, 2, 3, THETA]
RESULT = [*XYWHR, CONF, CLS]  # the order in which Results take them


class OBBEvaluator(DetectEvaluator):
    """Evaluator by probiou, in pixels of the network's input."""

    geometry = XYWHR
    overlap = staticmethod(batch_probiou)
    scale = staticmethod(partial(scale_boxes, xywh=True))  # out of the image they may reach
    areas_of = "the area of their rotated boxes; probiou in place of IoU"

    def boxes(self, batch: Batch) -> Tensor:
        """Boxes of the objects (N, 5) xywhr in pixels of the network's input."""
        height, width = batch["img"].shape[-2:]
        return batch["bboxes"] * torch.tensor((width, height, width, height, 1))

    @staticmethod
    def areas(boxes: Tensor) -> np.ndarray:
        """Areas (n,) of rotated boxes."""
        return boxes[:, 2:4].prod(1).numpy()

    def result_on_original(self, pred: Tensor, batch: Batch, i: int) -> Results:
        """Detections of the i-th image of a batch on its original, whose pixels stay black."""
        black = np.broadcast_to(np.uint8(0), (*batch["ori_shape"][i], 3))
        obb = self.scale_to_original(pred, batch, i)[:, RESULT]
        return Results(black, batch["im_file"][i], self.names, obb=obb)

    def json_rows(self, result: Results) -> list[dict]:
        """Rows of predictions.json for an image."""
        return to_dota_predictions(result.path, result.obb.data)

    def save_json(self, rows: list[dict]) -> None:
        """Write the rows of predictions.json, and the same as DOTA's server takes it."""
        save_predictions(self.save_dir / "predictions.json", rows)
        save_task1(self.save_dir / "predictions_txt", rows, self.names)


class OBBTask(DetectTask):
    """Rotated boxes. A prediction is (n, 7): center, width, height in pixels of the input, confidence, class, theta."""

    name = "obb"
    default_settings: ClassVar = {"model": "yolov8n-DynamicConv-obb.yaml", "data": "shapes-obb.yaml"}
    can_augment = False
    model_class = OBBModel
    method_defaults: ClassVar = {"train": {"conf": 0.01}, "val": {"conf": 0.01}}
    loss_class = v8OBBLoss
    loss_names = v8OBBLoss.names
    metrics_class = OBBMetrics
    val_batch_factor = 1  # as in the public package; metrics depend a little on the shapes of rectangular batches
    suppress = staticmethod(partial(non_max_suppression, rotated=True))
    evaluator_class = OBBEvaluator

    @classmethod
    def check_options(cls, options: Options, method: str) -> None:
        """Refuse losses of upright boxes: rotated ones have probiou."""
        super().check_options(options, method)
        refuse_losses(
            options, "the loss and the overlap of rotated boxes are those of probiou", supported=("cls_loss",)
        )

    def label_format(self) -> LabelFormat:
        """Rows of polygons, around which the smallest rectangles are learned."""
        return LabelFormat(parse_polygon_rows, RotatedInstances, targets=rotated_targets)

    def to_result(self, pred: Tensor, input_shape: tuple[int, int], frame: Frame, model: nn.Module) -> Results:
        """Rotated boxes on the original image, out of which they may reach."""
        rows = scale_boxes(input_shape, pred, frame.image.shape[:2], xywh=True)
        return Results(frame.image, frame.path, model.names, obb=rows[:, RESULT])

    def plot_predictions(self, batch: Batch, preds: list[Tensor], fname: Path) -> None:
        """Draw the images of a batch with the rotated boxes that are reasonably certain."""
        height, width = batch["img"].shape[-2:]
        index, rows = filter_confident(preds)
        boxes = rows[:, XYWHR] / torch.tensor((width, height, width, height, 1))
        names = self.data["names"]
        plot_images(batch["img"], index, rows[:, CLS], boxes, rows[:, CONF], batch["im_file"], names, fname)
