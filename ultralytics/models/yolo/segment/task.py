"""Instance segmentation: boxes as in detection, and a mask for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.dataset import YOLODataset, build_dataset
from ultralytics.data.labels.rows import parse_polygon_rows
from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.evaluator import DetectEvaluator
from ultralytics.models.yolo.detect.task import PLOT_CONF, DetectTask, plot_objects
from ultralytics.models.yolo.segment.data import mask_targets, masks_of
from ultralytics.utils.coco import mask_annotation, run_lengths
from ultralytics.utils.loss import v8SegmentationLoss
from ultralytics.utils.masks import decode_masks, decode_masks_native, mask_iou, resize_masks
from ultralytics.utils.metrics import MASK, SegmentMetrics
from ultralytics.utils.ops import scale_boxes, xyxy2xywhn
from ultralytics.utils.plotting import Annotator, colors

Size = tuple[int, int]


@dataclass(frozen=True)
class MaskDetections:
    """What was found in an image: `rows` (n, 6 + K), the coefficients behind box, confidence, class; `proto` (K, h, w).

    Boxes are xyxy in pixels of the network's input.
    """

    rows: Tensor
    proto: Tensor

    def masks(self, size: Size, input_shape: Size) -> Tensor:
        """Masks (n, h, w) uint8 of the network's input at another `size` (h, w)."""
        y, x = size[0] / input_shape[0], size[1] / input_shape[1]
        boxes = self.rows[:, :4] * self.rows.new_tensor((x, y, x, y))
        return decode_masks(self.rows[:, 6:], self.proto, boxes, size)

    def sure(self, conf: float) -> "MaskDetections":
        """Only what is more confident than `conf`, on the CPU."""
        return MaskDetections(self.rows[self.rows[:, 4] > conf].cpu(), self.proto.cpu())


class SegmentTask(DetectTask):
    """Where segmentation answers the loops differently than detection."""

    name = "segment"
    default_settings: Mapping[str, str] = {"model": "yolov8n-DynamicConv-seg.yaml", "data": "shapes-seg.yaml"}
    loss_names = v8SegmentationLoss.names
    metric_keys = tuple(SegmentMetrics({0: "any"}).keys)
    metrics_of = SegmentMetrics
    header = (*DetectTask.header, "Mask(P", "R", "mAP50", "mAP50-95)")

    @staticmethod
    def criterion(model: nn.Module) -> Callable:
        """The loss: `criterion(outputs, batch) -> (scalar to minimize, parts (5,) to report)`."""
        return v8SegmentationLoss(model)

    @staticmethod
    def dataset(data: dict, split: str, options: Any, **how: Any) -> YOLODataset:
        """Images, boxes and masks of a split; `how` as in detection."""
        targets = partial(mask_targets, ratio=options.mask_ratio, overlap=options.overlap_mask)
        return build_dataset(data, split, options, parse=parse_polygon_rows, targets=targets, **how)

    @classmethod
    def decode(cls, outputs: Any, options: Any, nc: int, multi_label: bool = False) -> list[MaskDetections]:
        """Network outputs to what was found in each image."""
        decoded, raw = outputs
        proto = raw["proto"] if isinstance(raw, dict) else raw  # an exported network gives nothing else
        rows = super().decode(decoded, options, nc, multi_label)
        return [MaskDetections(*one) for one in zip(rows, proto, strict=True)]

    @staticmethod
    def rows(found: MaskDetections) -> Tensor:
        """(n, 6 + K), see `MaskDetections`."""
        return found.rows

    @staticmethod
    def result(
        found: MaskDetections, input_shape: Size, image: np.ndarray, path: str, model: nn.Module, options: Any
    ) -> Results:
        """Boxes and masks on the image itself, without those whose mask is empty."""
        input_shape, shape = tuple(input_shape), image.shape[:2]
        boxes = scale_boxes(input_shape, found.rows[:, :6], shape)
        if options.retina_masks:
            masks = decode_masks_native(found.rows[:, 6:], found.proto, boxes[:, :4], input_shape, shape)
        else:
            masks = found.masks(input_shape, input_shape)
        shown = masks.flatten(1).amax(1) > 0
        return Results(image, path, model.names, boxes=boxes[shown], masks=masks[shown] if len(boxes) else None)

    @staticmethod
    def plot_batch(batch: dict, fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with their labels."""
        masks = torch.cat([masks_of(batch, i) for i in range(len(batch["img"]))])
        index, cls = batch["batch_idx"], batch["cls"].flatten()
        plot_objects(batch, index, cls, batch["bboxes"], None, fname, names, below_boxes(masks, cls))

    @staticmethod
    def plot_predictions(batch: dict, found: list[MaskDetections], fname: Path, names: dict[int, str]) -> None:
        """The images of a batch with what the network is reasonably sure of."""
        height, width = batch["img"].shape[-2:]
        sure = [one.sure(PLOT_CONF) for one in found]
        index = torch.repeat_interleave(torch.arange(len(sure)), torch.tensor([len(one.rows) for one in sure]))
        rows = torch.cat([one.rows for one in sure])
        masks = torch.cat([one.masks(one.proto.shape[1:], (height, width)) for one in sure])
        boxes = xyxy2xywhn(rows[:, :4], width, height)
        plot_objects(batch, index, rows[:, 5], boxes, rows[:, 4], fname, names, below_boxes(masks, rows[:, 5]))

    @classmethod
    def evaluator(cls, *args: Any) -> "SegmentEvaluator":
        """What measures boxes and masks on a split."""
        return SegmentEvaluator(cls, *args)


def below_boxes(masks: Tensor, cls: Tensor) -> Callable[[Annotator, np.ndarray], None]:
    """Draws the masks (N, h, w) of objects of the classes (N,)."""

    def draw(annotator: Annotator, mine: np.ndarray) -> None:
        annotator.masks([(masks[j].numpy().astype(np.uint8), colors(cls[j], bgr=True)) for j in mine])

    return draw


class SegmentEvaluator(DetectEvaluator):
    """Matches the same detections by their masks as well."""

    coco_kinds = ("bbox", "segm")

    def extra_ious(self, found: MaskDetections, batch: dict, i: int) -> dict[str, np.ndarray]:
        """Mask IoU (m, n), at the size of the prototypes, or, where masks are written down, of the network's input."""
        input_shape = tuple(batch["img"].shape[-2:])
        size = input_shape if self.exports else tuple(found.proto.shape[1:])
        truth = masks_of(batch, i).byte()
        if not len(truth) or not len(found.rows):
            return {MASK.tp: np.zeros((len(truth), len(found.rows)), np.float32)}
        masks = found.masks(size, input_shape).cpu()
        return {MASK.tp: mask_iou(resize_masks(truth, size), masks).numpy()}

    def to_original(self, found: MaskDetections, batch: dict, i: int) -> Results:
        """Boxes and masks on the original image."""
        input_shape, shape, ratio_pad = tuple(batch["img"].shape[-2:]), batch["ori_shape"][i], batch["ratio_pad"][i]
        result = super().to_original(found.rows[:, :6], batch, i)
        boxes = result.boxes.xyxy.to(found.rows)
        coefficients, proto = found.rows[:, 6:], found.proto
        result.update(masks=decode_masks_native(coefficients, proto, boxes, input_shape, shape, ratio_pad))
        return result

    def json_rows(self, result: Results) -> list[dict]:
        """What predictions.json says of an image, masks included."""
        masks = [{"segmentation": code} for code in run_lengths(result.masks.data)]
        return [row | mask for row, mask in zip(super().json_rows(result), masks, strict=True)]

    def truth(self, i: int) -> tuple:
        """An image as `coco_ground_truth` takes it, its objects with their outlines."""
        labels, kept = self.dataset.labels, self.dataset.kept_classes
        cls, _, outlines = labels.objects(i)
        wanted = [True] * len(cls) if kept is None else kept[cls.astype(int)]
        size = labels.shapes[i][::-1]
        known = [mask_annotation(points * size) for points, keep in zip(outlines or (), wanted, strict=True) if keep]
        return (*super().truth(i), known)
