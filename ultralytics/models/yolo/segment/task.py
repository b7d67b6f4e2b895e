"""Instance segmentation: boxes as in detection, and a mask for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.dataset import Batch, LabelFormat
from ultralytics.data.labels.rows import parse_polygon_rows
from ultralytics.data.loaders import Frame
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.evaluator import PLOT_CONF, DetectEvaluator
from ultralytics.models.yolo.detect.task import DetectTask
from ultralytics.models.yolo.segment.data import mask_targets, masks_of
from ultralytics.models.yolo.task import Outputs
from ultralytics.nn.tasks import SegmentationModel
from ultralytics.utils.annotator import Annotator, colors
from ultralytics.utils.coco import mask_annotation, run_lengths
from ultralytics.utils.loss import v8SegmentationLoss
from ultralytics.utils.masks import MASK_CHUNK, process_mask, process_mask_native, resize_masks, scale_masks
from ultralytics.utils.metrics import MASK, SegmentMetrics, mask_iou
from ultralytics.utils.ops import scale_boxes, xyxy2xywhn
from ultralytics.utils.paper.masks import fill_polygon, part_iou, parts_on_original
from ultralytics.utils.paper.sizes import SIZES
from ultralytics.utils.plotting import plot_images

Size = tuple[int, int]


@dataclass(frozen=True)
class MaskDetections:
    """Detections of an image: `rows` (n, 6 + K), mask coefficients after box, confidence, class; `proto` (K, h, w).

    Boxes are xyxy in pixels of the network's input.
    """

    rows: Tensor
    proto: Tensor

    def masks(self, input_shape: Size, upsample: bool = True) -> Tensor:
        """Masks (n, h, w) uint8 at the size of the network's input or, without `upsample`, of the prototypes."""
        return process_mask(self.proto, self.rows[:, 6:], self.rows[:, :4], input_shape, upsample)


class SegmentEvaluator(DetectEvaluator):
    """Evaluator that matches the same detections by their masks as well."""

    coco_kinds = ("bbox", "segm")
    sized: ClassVar = DetectEvaluator.sized | {MASK.letter: tuple(SIZES)}
    areas_of = "the area of their boxes, for masks of their polygons; IoU of masks in pixels of the original image"

    def extra_ious(self, pred: MaskDetections, batch: Batch, i: int) -> dict[str, np.ndarray]:
        """IoU of masks (m, n), at the size of the prototypes, or, where masks are written, of the network's input."""
        input_shape = tuple(batch["img"].shape[-2:])
        truth = masks_of(batch, i).byte()
        if not len(truth) or not len(pred.rows):
            return {MASK.tp: np.zeros((len(truth), len(pred.rows)), np.float32)}
        masks = pred.masks(input_shape, upsample=self.exports).cpu()
        return {MASK.tp: mask_iou(resize_masks(truth, tuple(masks.shape[1:])), masks).numpy()}

    def extra_sizes(
        self, pred: MaskDetections, batch: Batch, i: int, ious: Mapping[str, np.ndarray]
    ) -> dict[str, dict[str, np.ndarray]]:
        """Masks on the original image, where small ones have all their pixels, against the polygons of the labels."""
        shape, input_shape = batch["ori_shape"][i], tuple(batch["img"].shape[-2:])
        boxes = self.scale_to_original(pred.rows[:, :4].cpu().double(), batch, i).numpy()
        masks = parts_on_original(pred.masks(input_shape).cpu().numpy(), boxes, shape, batch["ratio_pad"][i])
        _, _, cls, _, annotations = self.truth(self.numbers[batch["im_file"][i]])
        true = [fill_polygon(np.reshape(a["segmentation"][0], (-1, 2)), shape) for a in annotations]
        areas = {
            "pred_area": np.array([mask.pixels.sum() for mask in masks]),
            "true_area": np.array([a["area"] for a in annotations]),
        }
        return {MASK.letter: {"iou": part_iou(true, masks), "true_cls": cls, **areas}}

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Position of each image in the dataset, by its file."""
        labels = self.dataset.labels
        return {labels.file(i): i for i in range(len(labels))}

    def result_on_original(self, pred: MaskDetections, batch: Batch, i: int) -> Results:
        """Boxes and masks on the original image.

        As in the public package, a pixel there is of a mask only if all those of the network's input are that it is
        interpolated from, so that masks written by a validation are thinner than those of a prediction.
        """
        result = super().result_on_original(pred.rows[:, :6], batch, i)
        masks = pred.masks(tuple(batch["img"].shape[-2:])).split(MASK_CHUNK)
        shape, ratio_pad = batch["ori_shape"][i], batch["ratio_pad"][i]
        result.update(masks=torch.cat([scale_masks(part[None].float(), shape, ratio_pad)[0].byte() for part in masks]))
        return result

    def json_rows(self, result: Results) -> list[dict]:
        """Rows of predictions.json for an image, masks included."""
        masks = [{"segmentation": code} for code in run_lengths(result.masks.data)]
        return [row | mask for row, mask in zip(super().json_rows(result), masks, strict=True)]

    def truth(self, i: int) -> tuple:
        """Image as `coco_ground_truth` takes it, its objects with their polygons."""
        labels, kept = self.dataset.labels, self.dataset.kept_classes
        cls, _, polygons, _ = labels.labels_of(i)
        wanted = [True] * len(cls) if kept is None else kept[cls.astype(int)]
        size = labels.shapes[i][::-1]
        annotations = [mask_annotation(p * size) for p, keep in zip(polygons or (), wanted, strict=True) if keep]
        return (*super().truth(i), annotations)


class SegmentTask(DetectTask):
    """Boxes and masks. A prediction is a MaskDetections."""

    name = "segment"
    default_settings: ClassVar = {"model": "yolov8n-DynamicConv-seg.yaml", "data": "shapes-seg.yaml"}
    can_augment = False
    model_class = SegmentationModel
    loss_class = v8SegmentationLoss
    loss_names = v8SegmentationLoss.names
    metrics_class = SegmentMetrics
    metric_keys = tuple(SegmentMetrics({0: "any"}).keys)
    evaluator_class = SegmentEvaluator
    header = (*DetectTask.header, "Mask(P", "R", "mAP50", "mAP50-95)")

    def label_format(self) -> LabelFormat:
        """Rows of polygons, from which masks are drawn."""
        targets = partial(mask_targets, ratio=self.options.mask_ratio, overlap=self.options.overlap_mask)
        return LabelFormat(parse=parse_polygon_rows, targets=targets)

    def postprocess(self, outputs: Outputs, nc: int, multi_label: bool = False) -> list[MaskDetections]:
        """Detections of each image with the image's prototypes."""
        decoded, raw = outputs
        proto = raw["proto"] if isinstance(raw, dict) else raw  # an exported network returns nothing else
        rows = super().postprocess(decoded, nc, multi_label)
        return [MaskDetections(*pair) for pair in zip(rows, proto, strict=True)]

    @staticmethod
    def rows(pred: MaskDetections) -> Tensor:
        """Rows (n, 6 + K) of a prediction."""
        return pred.rows

    def to_result(self, pred: MaskDetections, input_shape: Size, frame: Frame, model: nn.Module) -> Results:
        """Boxes and masks on the original image, without those whose mask is empty."""
        input_shape, shape = tuple(input_shape), frame.image.shape[:2]
        boxes = scale_boxes(input_shape, pred.rows[:, :6], shape)
        if self.options.retina_masks:
            masks = process_mask_native(pred.proto, pred.rows[:, 6:], boxes[:, :4], shape, input_shape)
        else:
            masks = pred.masks(input_shape)
        shown = masks.flatten(1).amax(1) > 0
        masks = masks[shown] if len(boxes) else None
        return Results(frame.image, frame.path, model.names, boxes=boxes[shown], masks=masks)

    def plot_batch(self, batch: Batch, fname: Path) -> None:
        """Draw the images of a batch with their boxes and masks."""
        masks = torch.cat([masks_of(batch, i) for i in range(len(batch["img"]))])
        index, cls, boxes = batch["batch_idx"], batch["cls"].flatten(), batch["bboxes"]
        names, below = self.data["names"], partial(draw_masks, masks, cls)
        plot_images(batch["img"], index, cls, boxes, None, batch["im_file"], names, fname, below=below)

    def plot_predictions(self, batch: Batch, preds: list[MaskDetections], fname: Path) -> None:
        """Draw the images of a batch with the boxes and masks that are reasonably certain."""
        height, width = batch["img"].shape[-2:]
        kept = [MaskDetections(pred.rows[pred.rows[:, 4] > PLOT_CONF].cpu(), pred.proto.cpu()) for pred in preds]
        index = torch.repeat_interleave(torch.arange(len(kept)), torch.tensor([len(pred.rows) for pred in kept]))
        rows = torch.cat([pred.rows for pred in kept])
        masks = torch.cat([pred.masks((height, width), upsample=False) for pred in kept])
        boxes, cls = xyxy2xywhn(rows[:, :4], width, height), rows[:, 5]
        names, below = self.data["names"], partial(draw_masks, masks, cls)
        plot_images(batch["img"], index, cls, boxes, rows[:, 4], batch["im_file"], names, fname, below=below)


def draw_masks(masks: Tensor, cls: Tensor, annotator: Annotator, objects: np.ndarray) -> None:
    """Draw the masks (N, h, w) of some objects in the colors of their classes (N,), as `plot_images` asks for each."""
    annotator.masks(masks[objects], [colors(cls[j], bgr=True) for j in objects])
