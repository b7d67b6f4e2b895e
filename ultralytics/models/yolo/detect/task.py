"""Object detection. A task that finds boxes and more is a subclass of DetectTask in a room of its own."""

from functools import partial
from math import prod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ultralytics.cfg import Options
from ultralytics.data.dataset import Batch, LabelFormat, YOLODataset
from ultralytics.data.labels.rows import parse_box_rows
from ultralytics.data.loaders import Frame
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.evaluator import PLOT_CONF, DetectEvaluator
from ultralytics.models.yolo.task import USUAL_LOSSES, Outputs, Task
from ultralytics.nn.augmented import predict_augmented
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.checks import warn_once
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.losses.functions import similarity
from ultralytics.utils.losses.table import make_loss
from ultralytics.utils.metrics import DetMetrics
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes, xyxy2xywhn
from ultralytics.utils.plotting import plot_images


class DetectTask(Task):
    """Boxes with a class and a confidence. A prediction is (n, 6): xyxy in pixels of the input, confidence, class."""

    name = "detect"
    default_settings: ClassVar = {"model": "yolov8n-DynamicConv.yaml", "data": "shapes.yaml", "imgsz": 640}
    can_augment = True
    model_class = DetectionModel
    loss_class = v8DetectionLoss
    loss_names = v8DetectionLoss.names
    evaluator_class = DetectEvaluator
    metrics_class = DetMetrics
    metric_keys = tuple(DetMetrics({0: "any"}).keys)
    suppress = staticmethod(non_max_suppression)
    header: ClassVar[tuple[str, ...]] = ("Class", "Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)")

    @classmethod
    def check_options(cls, options: Options, method: str) -> None:
        """Refuse losses that do not exist, and options of losses that would change nothing."""
        super().check_options(options, method)
        make_loss("iou_loss", options.iou_loss)  # raises for a name that does not exist, and so do the others
        make_loss("cls_loss", options.cls_loss)
        similarity(options.assign_iou)
        if options.focaler and not options.focaler[0] < options.focaler[1]:
            raise ConfigError(f"focaler={options.focaler}: expected [d, u] with d below u, such as [0.0, 0.95]")
        if options.nwd_c != USUAL_LOSSES["nwd_c"] and not options.nwd and options.assign_iou != "nwd":
            raise ConfigError(f"nwd_c={options.nwd_c} changes nothing without nwd: give nwd=0.5 or assign_iou=nwd, too")

    def label_format(self) -> LabelFormat:
        """Rows of boxes or polygons, and, where the dataset has keypoints, of boxes followed by those."""
        keypoint_numbers = prod(self.data.get("kpt_shape") or (0,))
        return LabelFormat(parse=partial(parse_box_rows, keypoint_numbers=keypoint_numbers))

    def infer(self, model: nn.Module, images: Tensor) -> Outputs:
        """Outputs of the network, with `augment` those of several passes."""
        return predict_augmented(model, images) if self.options.augment and self.can_augment else model(images)

    def postprocess(self, outputs: Outputs, nc: int, multi_label: bool = False) -> list:
        """Detections (n, 6) of each image by NMS, most confident first; `multi_label`: of every class of an anchor."""
        o = self.options
        decoded, *rest = outputs if isinstance(outputs, tuple) else (outputs,)  # an exported network gives no raw ones
        # (B, n, 6) of YOLOv10's head, where others have (B, 4 + nc, A): with six anchor points, those of one level on
        # 64 x 96 pixels, the raw outputs tell.
        has_one_set = any(isinstance(raw, dict) and "feats" in raw and "one2one" not in raw for raw in rest)
        end2end = self.name == "detect" and decoded.shape[2] == 6 and not has_one_set
        if end2end and 300 <= decoded.shape[1] < o.max_det:
            warn_once(f"max_det={o.max_det}: the head has chosen {decoded.shape[1]} boxes of each image, and no more")
        return self.suppress(
            decoded,
            o.conf,
            o.iou,
            classes=o.classes,
            agnostic=o.agnostic_nms,
            multi_label=multi_label,
            max_det=o.max_det,
            nc=nc,
            end2end=end2end,
        )

    @staticmethod
    def rows(pred: Tensor) -> Tensor:
        """Rows (n, 6 or more) of a prediction: box in pixels of the input, confidence, class."""
        return pred

    def to_result(self, pred: Tensor, input_shape: tuple[int, int], frame: Frame, model: nn.Module) -> Results:
        """Boxes on the original image, clipped to it."""
        boxes = scale_boxes(input_shape, pred, frame.image.shape[:2])
        return Results(frame.image, frame.path, model.names, boxes=boxes)

    def plot_labels(self, dataset: YOLODataset, save_dir: Path) -> None:
        """Draw labels.jpg: objects per class, their places and sizes."""
        from ultralytics.utils.charts.training import plot_labels

        plot_labels(dataset.labels.boxes, dataset.labels.cls, self.data["names"], save_dir)

    def plot_batch(self, batch: Batch, fname: Path) -> None:
        """Draw the images of a batch with their boxes."""
        index, cls, boxes = batch["batch_idx"], batch["cls"].flatten(), batch["bboxes"]
        plot_images(batch["img"], index, cls, boxes, None, batch["im_file"], self.data["names"], fname)

    def plot_predictions(self, batch: Batch, preds: list, fname: Path) -> None:
        """Draw the images of a batch with the boxes that are reasonably certain."""
        height, width = batch["img"].shape[-2:]
        index, rows = filter_confident(preds)
        boxes = xyxy2xywhn(rows[:, :4], width, height)
        names = self.data["names"]
        plot_images(batch["img"], index, rows[:, 5], boxes, rows[:, 4], batch["im_file"], names, fname)


def filter_confident(preds: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Detections of a batch that are worth drawing: index of the image (n,), and their rows (n, m), on the CPU."""
    kept = [pred[pred[:, 4] > PLOT_CONF].cpu() for pred in preds]
    counts = torch.tensor([len(rows) for rows in kept])
    return torch.arange(len(kept)).repeat_interleave(counts), torch.cat(kept)
