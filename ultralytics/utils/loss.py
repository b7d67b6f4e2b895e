"""The detection loss: CIoU and distribution focal loss on the assigned boxes, binary cross entropy on all classes.

Legend: B images, M objects of an image (padded), N objects of the batch, A anchor points, P positives.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.ops import xywh2xyxy
from ultralytics.utils.tal import Assignment, TaskAlignedAssigner, bbox2dist, dist2bbox, make_anchors


class DFLoss(nn.Module):
    """Distribution focal loss (arXiv 2006.04388): cross entropy on the two bins around a continuous distance."""

    def __init__(self, reg_max: int = 16) -> None:
        """`reg_max` bins stand for the distances 0, 1, …, reg_max - 1."""
        super().__init__()
        self.reg_max = reg_max

    def forward(self, pred_dist: Tensor, target: Tensor) -> Tensor:
        """Mean over the four sides, (P, 1), of logits (P * 4, reg_max) against distances (P, 4) in stride units."""
        target = target.clamp(0, self.reg_max - 1 - 0.01)
        lower = target.long()
        above = target - lower
        log_p = pred_dist.log_softmax(-1).view(*target.shape, self.reg_max)
        at_lower = log_p.gather(-1, lower[..., None]).squeeze(-1)
        at_upper = log_p.gather(-1, lower[..., None] + 1).squeeze(-1)
        return -(at_lower * (1 - above) + at_upper * above).mean(-1, keepdim=True)


class BboxLoss(nn.Module):
    """Loss of the positives' boxes, each weighted by its target score."""

    def __init__(self, reg_max: int = 16) -> None:
        """`reg_max` as in `DFLoss`."""
        super().__init__()
        self.dfl_loss = DFLoss(reg_max)

    def forward(
        self,
        pred_dist: Tensor,
        pred_bboxes: Tensor,
        anchor_points: Tensor,
        target_bboxes: Tensor,
        target_scores: Tensor,
        target_scores_sum: Tensor | float,
        fg_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """CIoU loss and distribution focal loss, scalars, 0 without positives.

        `pred_dist` (B, A, 4 * reg_max) logits, `pred_bboxes` and `target_bboxes` (B, A, 4) xyxy in stride units,
        `anchor_points` (A, 2), `target_scores` (B, A, nc), `target_scores_sum` the divisor, `fg_mask` (B, A).
        """
        weight = target_scores[fg_mask].sum(-1, keepdim=True)  # (P, 1)
        target = target_bboxes[fg_mask]
        loss_iou = ((1 - self.overlap(pred_bboxes[fg_mask], target)) * weight).sum() / target_scores_sum

        distance = self.distances(anchor_points.expand(*fg_mask.shape, 2)[fg_mask], target)
        logits = pred_dist[fg_mask].view(-1, self.dfl_loss.reg_max)
        loss_dfl = (self.dfl_loss(logits, distance) * weight).sum() / target_scores_sum
        return loss_iou, loss_dfl

    def overlap(self, predicted: Tensor, target: Tensor) -> Tensor:
        """CIoU (P, 1) of boxes (P, 4), pair by pair."""
        return bbox_iou(predicted, target, xywh=False, CIoU=True)

    def distances(self, points: Tensor, target: Tensor) -> Tensor:
        """What the four sides' distributions shall mean, (P, 4), for anchor points (P, 2) and boxes (P, 4)."""
        return bbox2dist(points, target, self.dfl_loss.reg_max - 1)


@dataclass(frozen=True)
class Matched:
    """Predictions of a batch beside what they shall be; coordinates of anchor points and boxes in stride units."""

    anchor_points: Tensor  # (A, 2)
    strides: Tensor  # (A, 1) pixels
    dist: Tensor  # (B, A, 4 * reg_max) logits
    scores: Tensor  # (B, A, nc) logits
    boxes: Tensor  # (B, A, 4) xyxy
    target: Assignment  # its boxes are xyxy in pixels
    score_sum: Tensor  # sum of the target scores, at least 1


class v8DetectionLoss:
    """Loss of a detection head on a batch.

    A task with more to learn than boxes and classes extends `names` and `components`, taking from `match` which anchor
    point answers for which object.
    """

    names: tuple[str, ...] = ("box_loss", "cls_loss", "dfl_loss")

    def __init__(self, model: nn.Module, tal_topk: int = 10) -> None:
        """Read the head's strides, classes and bins, and the gains `box`, `cls`, `dfl` of `model.args`."""
        head = model.model[-1]
        self.args = model.args
        self.stride: list[float] = [float(s) for s in head.stride]
        self.nc, self.reg_max = head.nc, head.reg_max
        self.assigner = TaskAlignedAssigner(tal_topk, self.nc, alpha=0.5, beta=6.0, stride=self.stride)
        self.bbox_loss = BboxLoss(self.reg_max)

    def __call__(
        self, preds: dict[str, Any] | tuple[Tensor, dict[str, Any]], batch: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Return the total to call `backward` on, a scalar, and the detached components in the order of `names`.

        `preds` is the head's raw output, or what it returns in eval mode. The total is the sum of the components, gains
        included, times the batch size. Computed in float32 whatever precision the network ran in.
        """
        raw = preds[1] if isinstance(preds, tuple) else preds
        with torch.autocast(raw["boxes"].device.type, enabled=False):
            components = self.components(raw, batch)
        return components.sum() * len(raw["boxes"]), components.detach()

    def components(self, raw: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        """The losses times their gains, (3,)."""
        return torch.stack(self.detection_losses(self.match(raw, batch)))

    def match(self, raw: dict[str, Any], batch: dict[str, Any]) -> Matched:
        """Decode the raw output and assign the batch's objects to anchor points."""
        dist, scores = (raw[key].float().permute(0, 2, 1).contiguous() for key in ("boxes", "scores"))
        anchor_points, strides = make_anchors(raw["feats"], self.stride)
        boxes = self.predicted_boxes(raw, anchor_points, dist)

        height, width = (side * self.stride[0] for side in raw["feats"][0].shape[-2:])
        labels, true_boxes, mask = self.preprocess(batch, len(dist), dist.new_tensor([width, height, width, height]))
        pixels = self.scaled(boxes.detach(), strides)
        target = self.assigner(scores.detach().sigmoid(), pixels, anchor_points * strides, labels, true_boxes, mask)
        score_sum = target.target_scores.sum().clamp(min=1)
        return Matched(anchor_points, strides, dist, scores, boxes, target, score_sum)

    def detection_losses(self, m: Matched) -> tuple[Tensor, Tensor, Tensor]:
        """Box, class and distribution focal loss times their gains, scalars."""
        target = m.target
        cls = F.binary_cross_entropy_with_logits(m.scores, target.target_scores, reduction="sum") / m.score_sum
        true_boxes = self.scaled(target.target_bboxes, 1 / m.strides)
        box, dfl = self.bbox_loss(
            m.dist, m.boxes, m.anchor_points, true_boxes, target.target_scores, m.score_sum, target.fg_mask
        )
        return box * self.args.box, cls * self.args.cls, dfl * self.args.dfl

    def predicted_boxes(self, raw: dict[str, Any], anchor_points: Tensor, dist: Tensor) -> Tensor:
        """The network's boxes in stride units, in the notation of `bbox_loss` and the assigner."""
        return self.bbox_decode(anchor_points, dist)

    @staticmethod
    def scaled(boxes: Tensor, factor: Tensor) -> Tensor:
        """Boxes (B, A, 4) times a `factor` (A, 1)."""
        return boxes * factor

    def bbox_decode(self, anchor_points: Tensor, dist: Tensor) -> Tensor:
        """Boxes (B, A, 4) xyxy in stride units from the logits of their sides (B, A, 4 * reg_max)."""
        return dist2bbox(self.distances(dist), anchor_points, xywh=False)

    def distances(self, dist: Tensor) -> Tensor:
        """Distances (B, A, 4) of the sides: the means of their distributions over the bins."""
        bins = torch.arange(self.reg_max, dtype=dist.dtype, device=dist.device)
        return dist.unflatten(-1, (4, self.reg_max)).softmax(-1) @ bins

    def preprocess(self, batch: dict[str, Any], images: int, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The batch's objects, one row of padding an image: labels (B, M, 1), xyxy boxes (B, M, 4) in pixels, mask.

        `scale` (4,) is width, height, width, height of the network input.
        """
        image = batch["batch_idx"].to(scale.device).long().view(-1)  # (N,)
        rows = torch.cat((batch["cls"].view(-1, 1), batch["bboxes"]), 1).to(scale)
        boxes = xywh2xyxy(rows[:, 1:] * scale)
        return pad_objects(image, images, rows[:, :1], boxes)


def pad_objects(image: Tensor, images: int, labels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Objects of the batch, in any order, by image: labels (B, M, 1), boxes (B, M, 4), mask (B, M, 1) of real ones.

    `image` (N,) says whose object it is, `labels` is (N, 1), `boxes` (N, 4). Objects of an image keep their order.
    """
    counts = image.bincount(minlength=images)
    most = int(counts.max())
    order = image.argsort(stable=True)
    first = counts.cumsum(0) - counts
    place = torch.empty_like(image)
    place[order] = torch.arange(len(image), device=image.device) - first[image[order]]

    padded = boxes.new_zeros((images, most, 1 + boxes.shape[-1]))
    padded[image, place] = torch.cat((labels, boxes), 1)
    mask = torch.arange(most, device=image.device) < counts[:, None]
    return padded[..., :1], padded[..., 1:], mask[..., None]
