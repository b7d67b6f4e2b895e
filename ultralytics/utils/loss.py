"""Losses of all tasks: the terms first, then one class a task; those that find objects extend v8DetectionLoss.

Legend: B images, M objects of an image (padded), N objects of the batch, A anchor points, P positives, K keypoints or
mask coefficients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ultralytics.utils import refused
from ultralytics.utils.losses.end_to_end import E2EDetectLoss  # noqa: F401 (published here)
from ultralytics.utils.losses.functions import (  # noqa: F401 (the modules are published here)
    BoxPairs,
    FocalLoss,
    IoULoss,
    ScorePairs,
    VarifocalLoss,
    similarity,
)
from ultralytics.utils.losses.table import make_loss, register_loss  # noqa: F401 (the latter published here)
from ultralytics.utils.masks import crop_mask
from ultralytics.utils.metrics import bbox_iou, oks_sigmas, probiou
from ultralytics.utils.ops import to_box_frame, true_places, upload, xywh2xyxy
from ultralytics.utils.processes import process_rank, whole_batch
from ultralytics.utils.tal import (
    Assignment,
    RotatedTaskAlignedAssigner,
    TaskAlignedAssigner,
    bbox2dist,
    dist2bbox,
    dist2rbox,
    make_anchors,
    pad_objects,
    positives,
    scale_sides,
)

RawPreds = dict[str, Any]  # a head's raw output: "boxes" (B, 4 * reg_max, A), "scores" (B, nc, A), "feats", and more
Batch = dict[str, Any]  # "img", "batch_idx" (N,), "cls" (N, 1), "bboxes" (N, 4) xywh normalized, and more
__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead

# Terms ---------------------------------------------------------------------------------------------------------------


class DFLoss(nn.Module):
    """Distribution focal loss (arXiv 2006.04388): cross entropy on the two bins around a continuous distance."""

    def __init__(self, reg_max: int = 16) -> None:
        """`reg_max` bins stand for the distances 0, 1, …, reg_max - 1."""
        super().__init__()
        self.reg_max = reg_max

    def forward(self, pred_dist: Tensor, target: Tensor) -> Tensor:
        """Mean over the four sides, (P, 1), of logits (P * 4, reg_max) against distances (P, 4) in stride units."""
        target = target.clamp(0, self.reg_max - 1 - 0.01)  # so that a bin above always exists
        lower = target.long()
        above = target - lower
        log_p = pred_dist.log_softmax(-1).view(*target.shape, self.reg_max)
        at_lower = log_p.gather(-1, lower[..., None]).squeeze(-1)
        at_upper = log_p.gather(-1, lower[..., None] + 1).squeeze(-1)
        return -(at_lower * (1 - above) + at_upper * above).mean(-1, keepdim=True)


class BboxLoss(nn.Module):
    """Loss of the positives' boxes, each weighted by its target score."""

    overlap = staticmethod(partial(bbox_iou, xywh=False))  # IoU (P, 1) of predictions and targets (P, 4), pair by pair

    def __init__(self, reg_max: int = 16, iou_loss: Callable[[BoxPairs], Tensor] | None = None) -> None:
        """`reg_max` as in `DFLoss`; `iou_loss` gives the loss (P, 1) of pairs of boxes, by default CIoU's."""
        super().__init__()
        self.dfl_loss = DFLoss(reg_max)
        self.iou_loss = iou_loss or IoULoss()

    def forward(
        self,
        pred_dist: Tensor,
        pred_bboxes: Tensor,
        anchor_points: Tensor,
        target_bboxes: Tensor,
        target_scores: Tensor,
        target_scores_sum: Tensor | float,
        fg_mask: Tensor,
        imgsz: Tensor | None = None,
        stride: Tensor | None = None,
        most: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """IoU loss and distribution focal loss, scalars, 0 without positives.

        `pred_dist` (B, A, 4 * reg_max) logits, `pred_bboxes` and `target_bboxes` (B, A, 4) xyxy in stride units,
        `anchor_points` (A, 2), `target_scores` (B, A, nc), `target_scores_sum` the divisor, `fg_mask` (B, A). Losses
        that count pixels need `imgsz` (2,), height and width of the network's input, and `stride` (A, 1). With `most`,
        a bound on the positives, a GPU is not waited for, unless the loss takes means over them.
        """
        _, anchor = positive = true_places(fg_mask, most if self.pairwise else None)  # (P,)
        pred, target, weight = positives(positive, pred_bboxes, target_bboxes, target_scores)
        strides = 1.0 if stride is None else stride[anchor]  # (P, 1)
        pairs = BoxPairs(pred, target, strides, imgsz)
        loss_iou = (self.iou_loss(pairs) * weight).sum() / target_scores_sum

        distance = self.target_distances(anchor_points[anchor], target)
        logits = pred_dist[positive].view(-1, self.dfl_loss.reg_max)  # (P * 4, reg_max)
        loss_dfl = (self.dfl_loss(logits, distance) * weight).sum() / target_scores_sum
        return loss_iou, loss_dfl

    @property
    def pairwise(self) -> bool:
        """Whether `iou_loss` takes each pair by itself, so that more may be given than count."""
        return getattr(self.iou_loss, "pairwise", False)

    def target_distances(self, points: Tensor, target: Tensor) -> Tensor:
        """Distances (P, 4) of anchor points (P, 2) to the sides of boxes (P, 4): targets of the distributions."""
        return bbox2dist(points, target, self.dfl_loss.reg_max - 1)


VARIANCE_EPS = 0.01  # square strides: predictions that are still lines have a gradient, too


def rotated_iou_loss(pairs: BoxPairs) -> Tensor:
    """1 - probiou, (P, 1), of each pair of rotated boxes (P, 5) by itself."""
    return 1 - probiou(pairs.pred, pairs.target, floor=VARIANCE_EPS)


rotated_iou_loss.pairwise = True


class RotatedBboxLoss(BboxLoss):
    """Loss of the positives' rotated boxes (B, A, 5), 1 - probiou, each weighted by its target score."""

    overlap = staticmethod(partial(probiou, floor=VARIANCE_EPS))

    def __init__(self, reg_max: int = 16) -> None:
        """`reg_max` as in `DFLoss`."""
        super().__init__(reg_max, rotated_iou_loss)

    def target_distances(self, points: Tensor, target: Tensor) -> Tensor:
        """Distances (P, 4) of anchor points (P, 2) to the sides of boxes (P, 5), along the boxes' axes."""
        place, half = to_box_frame(points, target), target[:, 2:4] / 2
        return torch.cat((half + place, half - place), -1).clamp(0, self.dfl_loss.reg_max - 1 - 0.01)


ASPECT_WEIGHT = 3  # the smaller, the less the angle of an elongated object counts


def angle_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Loss (P,) in 0..1 of the angles of rotated boxes (P, 5); 0 where their axes agree, whichever is the width.

    A square target counts fully, for probiou does not tell the angles of squares apart; the more elongated the target,
    the less the term counts beside probiou.
    """
    width, height = target[:, 2], target[:, 3]
    squareness = (-(width / height).log().square() / ASPECT_WEIGHT**2).exp()
    return (2 * (pred[:, 4] - target[:, 4])).sin().square() * squareness


class KeypointLoss(nn.Module):
    """1 - object keypoint similarity: the distances of points, by how exactly people place them."""

    def __init__(self, sigmas: Tensor | tuple[float, ...]) -> None:
        """`sigmas` (K,) as in `oks_sigmas`."""
        super().__init__()
        self.sigmas = sigmas

    def forward(self, pred_kpts: Tensor, gt_kpts: Tensor, kpt_mask: Tensor, area: Tensor) -> Tensor:
        """Mean over objects and points, a scalar, of points (P, K, 2 or more) against true ones (P, K, 2 or more).

        `kpt_mask` (P, K) is 1 for the points that count, `area` (P, 1) that of the objects in their unit squared.
        Objects count the same, however many of their points do.
        """
        squared = (pred_kpts[..., :2] - gt_kpts[..., :2]).square().sum(-1)  # (P, K)
        sigmas = upload(torch.as_tensor(self.sigmas, dtype=squared.dtype), squared.device)
        distance = squared / (2 * (2 * sigmas).square() * (area + 1e-9))
        factor = kpt_mask.shape[1] / (kpt_mask.sum(1, keepdim=True) + 1e-9)  # (P, 1)
        return (factor * (1 - (-distance).exp()) * kpt_mask).mean()


# Detection -----------------------------------------------------------------------------------------------------------


LOSS_OPTIONS = ("iou_loss", "inner_ratio", "focaler", "nwd", "nwd_c")  # arguments of IoULoss
STATEFUL = ("bbox_loss", "cls_loss")  # parts of a detection loss that may keep a state


@dataclass(frozen=True)
class Assigned:
    """Predictions of a batch and their assigned targets; coordinates of anchor points and boxes in stride units."""

    anchor_points: Tensor  # (A, 2)
    strides: Tensor  # (A, 1) pixels
    dist: Tensor  # (B, A, 4 * reg_max) logits
    scores: Tensor  # (B, A, nc) logits
    boxes: Tensor  # (B, A, 4) xyxy
    target: Assignment  # its boxes are xyxy in pixels
    score_sum: Tensor  # sum of the target scores, see `whole_batch`
    imgsz: Tensor  # (2,) height and width of the network's input in pixels
    most: list[int] | None = None  # bounds on the positives of each image, if a GPU would be waited for to count them

    def places(self) -> tuple[Tensor, Tensor]:
        """Image and anchor point of each positive, (P,), as `true_places` gives them."""
        return true_places(self.target.fg_mask, self.most and sum(self.most))


class v8DetectionLoss:
    """Loss of a detection head on a batch.

    A task with more to learn than boxes and classes extends `names` and `components`, taking from `match` which anchor
    point answers for which object.
    """

    names: tuple[str, ...] = ("box_loss", "cls_loss", "dfl_loss")
    raw_names: tuple[str, ...] = ("boxes", "scores")  # of the head's outputs, what predictions are decoded from

    def __init__(self, model: nn.Module, tal_topk: int = 10) -> None:
        """Take strides, classes and bins from the head, and the gains `box`, `cls`, `dfl` from `model.args`.

        Loss options come from there, too; one that `model.args` lacks has its default.
        """
        head = model.model[-1]
        self.args = model.args
        self.stride: list[float] = [float(s) for s in head.stride]
        self.nc, self.reg_max = head.nc, head.reg_max
        chosen = {n: getattr(self.args, n) for n in (*LOSS_OPTIONS, "assign_iou", "cls_loss") if hasattr(self.args, n)}
        assign_iou = chosen.pop("assign_iou", "ciou")
        self.cls_loss = make_loss("cls_loss", chosen.pop("cls_loss", "bce"))
        self.bbox_loss = BboxLoss(self.reg_max, IoULoss(**chosen))
        self.assigner = TaskAlignedAssigner(tal_topk, self.nc, alpha=0.5, beta=6.0, stride=self.stride)
        if assign_iou != "ciou":
            self.assigner.similarity = similarity(assign_iou, self.bbox_loss.iou_loss.nwd_c)

    def __call__(self, preds: RawPreds | tuple[Tensor, RawPreds], batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the total to call `backward` on, a scalar, and the detached components in the order of `names`.

        `preds` is the head's raw output, or what it returns in eval mode. The total is the sum of the components, gains
        included, times the batch size. Computed in float32 whatever precision the network ran in. Where processes have
        a share of the batch each, the mean of their totals and of their components is that of the whole batch.
        """
        raw = preds[1] if isinstance(preds, tuple) else preds
        with torch.autocast(raw["boxes"].device.type, enabled=False):
            components = self.components(raw, batch)
        if not batch.get("is_counted", True):  # an image that only fills up a share
            components = components * 0
        return components.sum() * batch.get("images_in_batch", len(raw["boxes"])), components.detach()

    def components(self, raw: RawPreds, batch: Batch) -> Tensor:
        """The losses times their gains, (3,)."""
        return torch.stack(self.detection_losses(self.match(raw, batch)))

    def match(self, raw: RawPreds, batch: Batch) -> Assigned:
        """Decode the raw output and assign the batch's objects to anchor points."""
        dist, scores, *more = (raw[key].float().permute(0, 2, 1).contiguous() for key in self.raw_names)  # (B, A, ...)
        anchor_points, strides = make_anchors(raw["feats"], self.stride)
        boxes = self.bbox_decode(anchor_points, dist, *more)  # in the notation of `bbox_loss` and the assigner

        height, width = (side * self.stride[0] for side in raw["feats"][0].shape[-2:])  # of the input, pixels
        scale = torch.tensor([width, height, width, height], dtype=dist.dtype, device=batch["bboxes"].device)
        labels, true_boxes, mask = self.preprocess(batch, len(dist), scale)
        if not batch.get("is_counted", True):
            mask = torch.zeros_like(mask)
        known, most = {}, None  # by the host, so that it need not wait for a GPU to tell
        if dist.device.type == "cuda" and mask.is_cpu and isinstance(self.assigner, TaskAlignedAssigner):
            known = self.assigner.bounds(true_boxes[mask[..., 0]], raw["feats"], self.stride)
            most = (mask.sum((1, 2)) * self.assigner.topk).tolist() if known else None
        labels, true_boxes, mask = (upload(x, dist.device) for x in (labels, true_boxes, mask))
        pixels, scores_now = scale_sides(boxes.detach(), strides), scores.detach().sigmoid()
        target = self.assigner(scores_now, pixels, anchor_points * strides, labels, true_boxes, mask, **known)
        score_sum = whole_batch(target.target_scores.sum())
        imgsz = upload(torch.tensor([height, width], dtype=dist.dtype), dist.device)
        return Assigned(anchor_points, strides, dist, scores, boxes, target, score_sum, imgsz, most)

    def preprocess(self, batch: Batch, images: int, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The batch's objects by image, padded: labels (B, M, 1), xyxy boxes (B, M, 4) in pixels, mask (B, M, 1).

        `scale` (4,) is width, height, width, height of the network input, on the device of the batch.
        """
        image = batch["batch_idx"].long().view(-1)  # (N,)
        rows = torch.cat((batch["cls"].view(-1, 1), batch["bboxes"]), 1).to(scale)
        boxes = xywh2xyxy(rows[:, 1:] * scale)
        return pad_objects(image, images, rows[:, :1], boxes)

    def bbox_decode(self, anchor_points: Tensor, pred_dist: Tensor) -> Tensor:
        """Boxes (B, A, 4) xyxy in stride units from the logits of their sides (B, A, 4 * reg_max)."""
        return dist2bbox(self.expected_distances(pred_dist), anchor_points, xywh=False)

    def expected_distances(self, pred_dist: Tensor) -> Tensor:
        """Distances (B, A, 4) of the sides: the means of their distributions over the bins."""
        bins = torch.arange(self.reg_max, dtype=pred_dist.dtype, device=pred_dist.device)
        return pred_dist.unflatten(-1, (4, self.reg_max)).softmax(-1) @ bins

    def detection_losses(self, m: Assigned) -> tuple[Tensor, Tensor, Tensor]:
        """Box, class and distribution focal loss times their gains, scalars."""
        target, positive = m.target, m.target.fg_mask
        true_boxes = scale_sides(target.target_bboxes, 1 / m.strides)
        args = m.dist, m.boxes, m.anchor_points, true_boxes, target.target_scores, m.score_sum, positive
        # A subclass may have the published arguments alone, and know of no bound.
        bound = {"most": sum(m.most)} if m.most and type(self.bbox_loss).forward is BboxLoss.forward else {}
        box, dfl = self.bbox_loss(*args, m.imgsz, m.strides, **bound)
        scores = ScorePairs(
            m.scores,
            target.target_scores,
            positive,
            overlap=lambda: self.bbox_loss.overlap(m.boxes[positive].detach(), true_boxes[positive]).squeeze(-1),
        )
        cls = self.cls_loss(scores).sum() / m.score_sum
        return box * self.args.box, cls * self.args.cls, dfl * self.args.dfl

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """State that the losses keep from batch to batch, saved in last.pt: buffers such as the mean of wiou3."""
        return {name: loss.state_dict() for name in STATEFUL if isinstance(loss := getattr(self, name), nn.Module)}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Continue from a state that `state_dict` gave."""
        for name, values in state.items():
            getattr(self, name).load_state_dict(values)


# Instance segmentation -----------------------------------------------------------------------------------------------

# Masks of an image that are compared at a time. Where there are more, they are computed once more for the gradients
# instead of being kept: of a crowd of 300 objects they take several hundred megabytes an image.
MASK_CHUNK = 256


class v8SegmentationLoss(v8DetectionLoss):
    """Loss of a Segment head on a batch with `masks`, as models/yolo/segment/data.py makes them.

    `sem_loss` is 0: newer networks learn a map of classes, and tables of results have a column for it.
    """

    names = ("box_loss", "seg_loss", "cls_loss", "dfl_loss", "sem_loss")

    def components(self, raw: RawPreds, batch: Batch) -> Tensor:
        """The losses times their gains, (5,); that of the masks has the gain of the boxes."""
        matched = self.match(raw, batch)
        box, cls, dfl = self.detection_losses(matched)
        seg = self.mask_loss(raw, matched, batch) * self.args.box
        return torch.stack((box, seg, cls, dfl, torch.zeros_like(box)))

    def mask_loss(self, raw: RawPreds, matched: Assigned, batch: Batch) -> Tensor:
        """Mean over the positives: each is to show its object's mask inside its object's box."""
        masks, proto = batch["masks"], raw["proto"].float()
        if proto.shape[-2:] != masks.shape[-2:]:
            proto = F.interpolate(proto, masks.shape[-2:], mode="bilinear", align_corners=False)
        coefficients = raw["mask_coefficient"].float().transpose(1, 2)  # (B, A, K)
        height, width = matched.imgsz
        boxes = matched.target.target_bboxes / torch.stack((width, height, width, height))  # (B, A, 4) in 0..1

        total = proto.sum() * 0 + coefficients.sum() * 0  # so that both have gradients where nothing is positive
        for i, positive in enumerate(matched.target.fg_mask):
            (anchor,) = true_places(positive, matched.most and matched.most[i])
            # One map of the numbers of the image's objects, or a mask for each of them.
            true = masks[i] if self.args.overlap_mask else masks[(batch["batch_idx"] == i).to(masks.device)]
            true, parts = upload(true, proto.device), anchor.split(MASK_CHUNK)
            loss = partial(checkpoint, pixel_loss, use_reentrant=False) if len(parts) > 1 else pixel_loss
            for part in parts:
                objects = matched.target.target_gt_idx[i, part]
                total = total + loss(coefficients[i, part], proto[i], true, objects, boxes[i, part], part >= 0)
        return total / whole_batch(matched.target.fg_mask.sum())


def pixel_loss(
    coefficients: Tensor, proto: Tensor, masks: Tensor, objects: Tensor, boxes: Tensor, counts: Tensor
) -> Tensor:
    """Sum over P predictions of the mean cross entropy of a mask in its box, over the area of that.

    `coefficients` (P, K), `proto` (K, h, w), `boxes` (P, 4) xyxy in 0..1, `objects` (P,) that they are to show, of
    which `masks` has one each (k, h, w), or is a map of their numbers from 1 (h, w); `counts` (P,) is False for what
    is no positive. The mean is over the whole image, whose pixels outside the box count as 0, so that with the division
    all objects count the same.
    """
    height, width = proto.shape[1:]
    own = (masks == objects[:, None, None] + 1 if masks.ndim == 2 else masks[objects]).float()
    logits = (coefficients @ proto.flatten(1)).view_as(own)
    loss = F.binary_cross_entropy_with_logits(logits, own, reduction="none")
    x1, y1, x2, y2 = boxes.unbind(1)
    loss = crop_mask(loss, torch.stack((x1 * width, y1 * height, x2 * width, y2 * height), 1))
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return torch.where(counts, loss.mean((1, 2)) / torch.where(counts, area, 1.0), 0.0).sum()


# Pose ----------------------------------------------------------------------------------------------------------------


class v8PoseLoss(v8DetectionLoss):
    """Loss of a Pose head on a batch with `keypoints` (N, K, 3): x and y in fractions of W and H, visibility."""

    names = ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss")

    def __init__(self, model: nn.Module, tal_topk: int = 10) -> None:
        """Read, besides what detection reads, the gains `pose` and `kobj`, and `kpt_oks_sigmas` of the model's YAML."""
        super().__init__(model, tal_topk)
        self.kpt_shape: tuple[int, int] = model.model[-1].kpt_shape
        self.keypoint_loss = KeypointLoss(oks_sigmas(self.kpt_shape, model.yaml.get("kpt_oks_sigmas")))

    def components(self, raw: RawPreds, batch: Batch) -> Tensor:
        """The losses times their gains, (5,)."""
        matched = self.match(raw, batch)
        box, cls, dfl = self.detection_losses(matched)
        pose, kobj = self.keypoint_losses(raw, matched, batch)
        return torch.stack((box, pose * self.args.pose, kobj * self.args.kobj, cls, dfl))

    def keypoint_losses(self, raw: RawPreds, m: Assigned, batch: Batch) -> tuple[Tensor, Tensor]:
        """Means over the positives and their points: 1 - similarity of the places, and cross entropy of visibility."""
        kpts = raw["kpts"].float().unflatten(1, self.kpt_shape).permute(0, 3, 1, 2)  # (B, A, K, D)
        is_known = type(self.keypoint_loss) is KeypointLoss  # another may divide by how many it is given
        image, anchor = positive = m.places() if is_known else true_places(m.target.fg_mask)  # (P,)
        share = len(image) / whole_batch(m.target.fg_mask.sum())  # 1 in a single process; of sums that means become
        if not len(image):
            return kpts.sum() * 0, kpts.sum() * 0

        # The objects' points in pixels, padded as the assigner's objects are.
        points = batch["keypoints"].float()
        height, width = (side * self.stride[0] for side in raw["feats"][0].shape[-2:])
        points = points * points.new_tensor((width, height, 1))
        index = batch["batch_idx"].long().view(-1)
        _, padded, _ = pad_objects(index, len(kpts), points.new_zeros(len(points), 1), points.flatten(1))
        padded = upload(padded, kpts.device).unflatten(-1, points.shape[1:])  # (B, M, K, 3)

        pred, strides = kpts[positive], m.strides[anchor]
        places = pred[..., :2] * 2 + (m.anchor_points[anchor] - 0.5)[:, None]  # stride units, as Pose decodes them
        true = padded[image, m.target.target_gt_idx[positive]]  # (P, K, 3)
        counts = (image >= 0)[:, None]
        visible = ((true[..., 2] != 0) & counts).float()
        lower, upper = (m.target.target_bboxes[positive] / strides).split(2, 1)
        area = (upper - lower).prod(1, keepdim=True)
        pose = self.keypoint_loss(places, true[..., :2] / strides[:, None], visible, area) * share
        if self.kpt_shape[1] == 2:  # no visibility to predict
            return pose, kpts.sum() * 0
        weight = counts.expand_as(visible).float()
        return pose, F.binary_cross_entropy_with_logits(pred[..., 2], visible, weight) * share


# Rotated boxes -------------------------------------------------------------------------------------------------------

MIN_SIDE_PIXELS = 2  # pixels: nothing is learned from objects that are shorter in a direction


class v8OBBLoss(v8DetectionLoss):
    """Loss of a head for rotated boxes (…, 5); `angle` of `model.args` is the gain of the angle's term."""

    names = ("box_loss", "cls_loss", "dfl_loss", "angle_loss")
    raw_names = ("boxes", "scores", "angle")

    def __init__(self, model: nn.Module, tal_topk: int = 10) -> None:
        """Read what a detection loss reads."""
        super().__init__(model, tal_topk)
        self.assigner = RotatedTaskAlignedAssigner(tal_topk, self.nc, alpha=0.5, beta=6.0, stride=self.stride)
        self.bbox_loss = RotatedBboxLoss(self.reg_max)

    def components(self, raw: RawPreds, batch: Batch) -> Tensor:
        """The losses times their gains, (4,)."""
        m = self.match(raw, batch)
        pred, target, weight = positives(m.places(), m.boxes, m.target.target_bboxes, m.target.target_scores)
        # Weighted as the loss of the boxes is, so that a better aligned prediction counts more.
        angle = (angle_loss(pred, target) * weight[:, 0]).sum() / m.score_sum
        return torch.stack((*self.detection_losses(m), angle * self.args.angle))

    def bbox_decode(self, anchor_points: Tensor, pred_dist: Tensor, pred_angle: Tensor) -> Tensor:
        """Boxes (B, A, 5), all but theta in stride units, from logits of the sides (B, A, 4 * reg_max) and theta."""
        return torch.cat((dist2rbox(self.expected_distances(pred_dist), pred_angle, anchor_points), pred_angle), -1)

    def preprocess(self, batch: Batch, images: int, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The batch's objects but the smallest: labels (B, M, 1), boxes (B, M, 5) in pixels, mask (B, M, 1)."""
        boxes = batch["bboxes"].to(scale)
        boxes = torch.cat((boxes[:, :4] * scale, boxes[:, 4:]), 1)
        # Both sides, along the box's own axes.
        large = (boxes[:, 2:4] >= MIN_SIDE_PIXELS).all(1)
        image, labels = batch["batch_idx"].long().view(-1), batch["cls"].to(scale).view(-1, 1)
        return pad_objects(image[large], images, labels[large], boxes[large])


# Classification ------------------------------------------------------------------------------------------------------


class v8ClassificationLoss:
    """Mean cross entropy of an image's class."""

    names = ("loss",)

    def __init__(self, model: nn.Module | None = None) -> None:
        """Take a network, as the other losses do; nothing is asked of it."""

    def __call__(self, preds: Tensor | tuple[Tensor, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss to call `backward` on, a scalar, and the same detached, (1,), in the order of `names`.

        `preds` are logits (B, nc), in eval mode the second output of the head; `batch` has the classes `cls` (B,).
        """
        logits = preds[1] if isinstance(preds, tuple) else preds
        loss = F.cross_entropy(logits.float(), upload(batch["cls"], logits.device).long())
        if "images_in_batch" in batch:  # this process has a share of it
            loss = loss * (len(logits) * batch["is_counted"] * process_rank()[1] / batch["images_in_batch"])
        return loss, loss.detach()[None]
