"""The loss of rotated boxes: as detection's, with probiou for CIoU, and a term for the angle.

Legend as in `loss`; boxes are (…, 5): centre, width, height, theta.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.utils.loss import BboxLoss, Matched, pad_objects, v8DetectionLoss
from ultralytics.utils.rotated import dist2rbox, probiou, to_frame
from ultralytics.utils.tal import TaskAlignedAssigner

SMALLEST = 2  # pixels: nothing is learned from objects that are shorter in a direction
SPREAD = 0.01  # square strides: predictions that are still lines have a gradient, too
ROUND = 3  # the smaller, the sooner an object is too round to have an angle


class RotatedAssigner(TaskAlignedAssigner):
    """The task-aligned assignment for rotated boxes (…, 5): overlap is probiou."""

    def inside(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Which points (A, 2) lie in which boxes (N, 5), the edge included, as (N, A)."""
        sides = boxes[:, 2:4]
        half = torch.where(sides < self.min_side, self.min_side, sides) / 2
        return (to_frame(points, boxes[:, None]).abs() <= half[:, None]).all(-1)

    def overlap(self, boxes: Tensor, predictions: Tensor) -> Tensor:
        """Probiou (P,) of objects and predictions, pair by pair, both (P, 5)."""
        return probiou(boxes, predictions)


class RotatedBboxLoss(BboxLoss):
    """Loss of the positives' rotated boxes (B, A, 5), each weighted by its target score."""

    def overlap(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Probiou (P, 1) of boxes (P, 5), pair by pair."""
        return probiou(predicted, target, spread=SPREAD)[:, None]

    def distances(self, points: Tensor, target: Tensor) -> Tensor:
        """Distances (P, 4) of anchor points (P, 2) to the sides of boxes (P, 5), along the boxes' axes."""
        place, half = to_frame(points, target), target[:, 2:4] / 2
        return torch.cat((half + place, half - place), -1).clamp(0, self.dfl_loss.reg_max - 1 - 0.01)


def angle_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """(P,) 0 where the axes of the boxes (P, 5) agree, whichever is the width; the less the rounder the target is."""
    width, height = target[:, 2], target[:, 3]
    long = (-(width / height).log().square() / ROUND**2).exp()
    return (2 * (predicted[:, 4] - target[:, 4])).sin().square() * long


class v8OBBLoss(v8DetectionLoss):
    """Loss of a head for rotated boxes; `angle` of `model.args` is the gain of the angle's term."""

    names = ("box_loss", "cls_loss", "dfl_loss", "angle_loss")

    def __init__(self, model: nn.Module, tal_topk: int = 10) -> None:
        """Read what a detection loss reads."""
        super().__init__(model, tal_topk)
        self.assigner = RotatedAssigner(tal_topk, self.nc, alpha=0.5, beta=6.0, stride=self.stride)
        self.bbox_loss = RotatedBboxLoss(self.reg_max)

    def components(self, raw: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        """The losses times their gains, (4,)."""
        matched = self.match(raw, batch)
        return torch.stack((*self.detection_losses(matched), self.turned(matched)))

    def turned(self, m: Matched) -> Tensor:
        """The angle's loss times its gain, a scalar."""
        positive = m.target.fg_mask
        weight = m.target.target_scores[positive].sum(-1)
        loss = angle_loss(m.boxes[positive], m.target.target_bboxes[positive])
        return (loss * weight).sum() / m.score_sum * self.args.angle

    def predicted_boxes(self, raw: dict[str, Any], anchor_points: Tensor, dist: Tensor) -> Tensor:
        """Boxes (B, A, 5), all but theta in stride units."""
        angle = raw["angle"].float().permute(0, 2, 1)
        return torch.cat((dist2rbox(self.distances(dist), angle, anchor_points), angle), -1)

    @staticmethod
    def scaled(boxes: Tensor, factor: Tensor) -> Tensor:
        """Boxes (B, A, 5), all but theta times a `factor` (A, 1)."""
        return torch.cat((boxes[..., :4] * factor, boxes[..., 4:]), -1)

    def preprocess(self, batch: dict[str, Any], images: int, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The batch's objects but the smallest: labels (B, M, 1), boxes (B, M, 5) in pixels, mask."""
        boxes = batch["bboxes"].to(scale)
        boxes = torch.cat((boxes[:, :4] * scale, boxes[:, 4:]), 1)
        large = (boxes[:, 2:4] >= SMALLEST).all(1)
        image, labels = batch["batch_idx"].to(scale.device).long().view(-1), batch["cls"].to(scale).view(-1, 1)
        return pad_objects(image[large], images, labels[large], boxes[large])
