"""Losses of boxes and of class scores, one function each, by the names that `iou_loss` and `cls_loss` take.

Yours joins by the same decorator. The formulas are those of the papers; where common code differs, the docstring says
so.

Legend of boxes: P pairs of a predicted box and its object; sides w, h and wg, hg; the smallest box around both has the
sides cw, ch and the diagonal c; rho is the distance of the centers, dx and dy along x and y.

Legend of scores: B images, A anchor points. All return the loss of every score, (B, A, nc), whose sum is divided by
that of the target scores, whatever a paper divides by, so that `cls` remains comparable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import FunctionType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.losses.table import make_loss, register_loss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.processes import mean_over_processes

EPS = 1e-7  # keeps divisions by the sides and areas of boxes without any finite


@dataclass(frozen=True)
class BoxPairs:
    """Predicted boxes and their objects, pair by pair, and the geometry that the losses are made of, each (P, 1)."""

    pred: Tensor  # (P, 4) xyxy, in cells of the level that predicts the box
    target: Tensor  # (P, 4) xyxy
    stride: Tensor | float = 1.0  # (P, 1) pixels of a cell
    imgsz: Tensor | None = None  # (2,) height and width of the network's input in pixels
    inner_ratio: float = 0.0  # see `overlap`
    focaler: Sequence[float] | None = None

    @cached_property
    def iou(self) -> Tensor:
        """IoU."""
        return bbox_iou(self.pred, self.target, xywh=False)

    @cached_property
    def overlap(self) -> Tensor:
        """IoU, or what `inner_ratio` and `focaler` put in its place, for losses that are a product with it.

        Inner-IoU (arXiv 2311.02877) is the IoU of both boxes scaled about their centers. Focaler-IoU (arXiv 2401.10525)
        maps an IoU from `focaler`, its lower and upper end, to 0..1; of both, the latter maps the former. A loss that
        reads this says so that it contains an IoU as a factor, see `IoULoss`.
        """
        overlap = self.iou
        if self.inner_ratio:
            scaled = []
            for boxes in (self.pred, self.target):
                center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (self.inner_ratio / 2)
                scaled.append(torch.cat((center - half, center + half), 1))
            overlap = bbox_iou(*scaled, xywh=False)
        if self.focaler:
            lower, upper = self.focaler
            overlap = ((overlap - lower) / (upper - lower)).clamp(0, 1)
        return overlap

    @cached_property
    def sides(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sides w, h of the predictions and w, h of the objects."""
        pred, target = self.pred[:, 2:] - self.pred[:, :2], self.target[:, 2:] - self.target[:, :2]
        return pred[:, :1], pred[:, 1:], target[:, :1], target[:, 1:]

    @cached_property
    def offset(self) -> tuple[Tensor, Tensor]:
        """Offsets of the centers along x and y."""
        corners = self.pred - self.target  # first, so that equal boxes are 0 apart whatever is rounded
        offset = (corners[:, :2] + corners[:, 2:]) / 2
        return offset[:, :1], offset[:, 1:]

    @cached_property
    def enclosing(self) -> tuple[Tensor, Tensor]:
        """Sides cw, ch of the smallest box around both."""
        upper, lower = torch.maximum(self.pred, self.target), torch.minimum(self.pred, self.target)
        return upper[:, 2:3] - lower[:, :1], upper[:, 3:] - lower[:, 1:2]

    @cached_property
    def diagonal2(self) -> Tensor:
        """Squared diagonal of that box."""
        cw, ch = self.enclosing
        return cw.square() + ch.square() + EPS

    @cached_property
    def center2(self) -> Tensor:
        """Squared distance of the centers."""
        dx, dy = self.offset
        return dx.square() + dy.square()

    @property
    def image_diagonal2(self) -> Tensor:
        """Squared diagonal of the image in the cells of each pair; ConfigError where its size is not known."""
        if self.imgsz is None:
            raise ConfigError("this loss needs the size of the image: BoxPairs(..., imgsz=(height, width))")
        return self.imgsz.to(self.pred).square().sum() / self.stride**2


@register_loss("iou")
def iou(p: BoxPairs) -> Tensor:
    """1 - IoU: no gradient where the boxes do not touch."""
    return 1 - p.iou


@register_loss("giou")
def giou(p: BoxPairs) -> Tensor:
    """1 - IoU + (C - U) / C, with the area C of the enclosing box and that of the union (arXiv 1902.09630)."""
    return 1 - bbox_iou(p.pred, p.target, xywh=False, GIoU=True)


@register_loss("diou")
def diou(p: BoxPairs) -> Tensor:
    """1 - IoU + rho² / c² (arXiv 1911.08287)."""
    return 1 - bbox_iou(p.pred, p.target, xywh=False, DIoU=True)


@register_loss("ciou")
def ciou(p: BoxPairs) -> Tensor:
    """DIoU loss + alpha v, v the squared difference of the aspect angles, alpha a constant (arXiv 1911.08287)."""
    return 1 - bbox_iou(p.pred, p.target, xywh=False, CIoU=True)


@register_loss("eiou")
def eiou(p: BoxPairs) -> Tensor:
    """DIoU loss + (w - wg)² / cw² + (h - hg)² / ch² (arXiv 2101.08158), without the paper's focal weight."""
    w, h, wg, hg = p.sides
    cw, ch = p.enclosing
    return diou(p) + (w - wg).square() / (cw.square() + EPS) + (h - hg).square() / (ch.square() + EPS)


@register_loss("siou")
def siou(p: BoxPairs) -> Tensor:
    """1 - IoU + (distance + shape) / 2, where centers on a common axis count more (arXiv 2205.12740).

    The paper's angle 1 - 2 sin²(arcsin(sin a) - pi / 4) is sin 2a, computed as 2 |dx dy| / rho², which has a gradient
    on the axes, too. theta of the shape is 4, between the paper's 2 and 6.
    """
    (dx, dy), (cw, ch) = p.offset, p.enclosing
    gamma = 2 - 2 * (dx * dy).abs() / (p.center2 + EPS)
    distance = 2 - sum((-gamma * d.square() / (c.square() + EPS)).exp() for d, c in ((dx, cw), (dy, ch)))
    return 1 - p.iou + (distance + _shape(p, 1, 1)) / 2


def _shape(p: BoxPairs, weight_w: Tensor | float, weight_h: Tensor | float) -> Tensor:
    """Sum over both sides of (1 - exp(-o))^4, o the weighted difference relative to the longer one."""
    w, h, wg, hg = p.sides
    relative_w = weight_w * (w - wg).abs() / (torch.maximum(w, wg) + EPS)
    relative_h = weight_h * (h - hg).abs() / (torch.maximum(h, hg) + EPS)
    return (1 - (-relative_w).exp()) ** 4 + (1 - (-relative_h).exp()) ** 4


@register_loss("shapeiou")
def shapeiou(p: BoxPairs, scale: float = 0.0) -> Tensor:
    """1 - IoU + distance + shape / 2, weighted by the object's sides to the power of `scale` (arXiv 2312.17663).

    The paper fits `scale` to the sizes of a dataset's objects; 0, the default of its code, weights both sides alike:
    `register_loss("shapeiou1", partial(shapeiou, scale=1))` gives another.
    """
    _, _, wg, hg = p.sides
    powers = (wg + EPS) ** scale, (hg + EPS) ** scale
    ww, hh = (2 * power / sum(powers) for power in powers)
    dx, dy = p.offset
    return 1 - p.iou + (hh * dx.square() + ww * dy.square()) / p.diagonal2 + _shape(p, hh, ww) / 2


@register_loss("mpdiou")
def mpdiou(p: BoxPairs) -> Tensor:
    """1 - IoU + (d1² + d2²) / (W² + H²), d the distances of the left top and right bottom corners (arXiv 2307.07662).

    W and H are the image's, as in the paper; common code takes those of the feature map for boxes in pixels.
    """
    corners = (p.pred - p.target).square().sum(1, keepdim=True)
    return 1 - p.iou + corners / p.image_diagonal2


@register_loss("piou")
def piou(p: BoxPairs) -> Tensor:
    """1 - IoU + 1 - exp(-P²), P as in `side_distance` (Powerful-IoU, Neural Networks 170, 2024)."""
    return 2 - p.iou - (-side_distance(p).square()).exp()


@register_loss("piou2")
def piou2(p: BoxPairs) -> Tensor:
    """PIoU loss times 3 x exp(-x²), x = 1.3 exp(-P): boxes of medium quality count most (Neural Networks 170, 2024).

    The factor has a gradient, as in the paper and its code: boxes whose P is above 1 are taken for lost, the loss falls
    the further they are off.
    """
    x = 1.3 * (-side_distance(p)).exp()
    return 3 * x * (-x.square()).exp() * (2 - p.overlap - (-side_distance(p).square()).exp())


def side_distance(p: BoxPairs) -> Tensor:
    """P of Powerful-IoU: mean distance of the four sides from the object's, in units of its width or height."""
    _, _, wg, hg = p.sides
    left, top, right, bottom = (p.pred - p.target).abs().split(1, 1)
    relative = (left + right) / (wg + EPS) + (top + bottom) / (hg + EPS)
    return (relative / 4).clamp(max=1e4)  # exp(-P²) is 0 long before


@register_loss("wiou1")
def wiou1(p: BoxPairs) -> Tensor:
    """exp(rho² / c²) (1 - IoU), c without gradient (Wise-IoU v1, arXiv 2301.10051)."""
    return (p.center2 / p.diagonal2.detach()).exp() * (1 - p.overlap)


@register_loss("wiou3")
class WIoU3(nn.Module):
    """WIoU v1 loss times beta / (delta alpha^(beta - delta)), alpha 1.9, delta 3 (Wise-IoU v3, arXiv 2301.10051).

    beta = (1 - IoU) / its running mean says how much of an outlier a box is. It has no gradient; the mean follows every
    training batch, as that of the authors' code with half of its weight on the last 7000, and is saved in last.pt.
    """

    alpha, delta, momentum = 1.9, 3.0, 1 - 0.5 ** (1 / 7000)
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, p: BoxPairs) -> Tensor:
        """Loss (P, 1). A batch counts in the mean before it is weighted by it; a validation and no boxes do not."""
        outlier = (1 - p.iou).detach()
        self.mean = self.mean.to(outlier)
        if torch.is_grad_enabled() and (now := batch_mean(outlier)).isfinite():
            self.mean += self.momentum * (now - self.mean)
        beta = outlier / self.mean
        return beta / (self.delta * self.alpha ** (beta - self.delta)) * wiou1(p)


def batch_mean(values: Tensor) -> Tensor:
    """Mean of a batch, a scalar, NaN of nothing.

    All means that a loss takes over a batch pass here: where processes have a share of the batch each, numerator and
    number are summed over them, so that the states of all processes stay equal.
    """
    # The ratio of the means is that of the sums.
    total, number = mean_over_processes(torch.stack((values.sum(), torch.ones_like(values).sum())))
    return total / number


def nwd(p: BoxPairs, c: float = 12.8) -> Tensor:
    """Normalized Wasserstein distance, a similarity in 0..1: exp(-W2 / c) (arXiv 2110.13389).

    W2² = rho² + ((w - wg)² + (h - hg)²) / 4 in pixels. The paper's `c` is the mean size of the objects of AI-TOD.
    """
    w, h, wg, hg = p.sides
    differences = torch.cat((*p.offset, (w - wg) / 2, (h - hg) / 2), 1) * p.stride
    return (-torch.linalg.vector_norm(differences, dim=1, keepdim=True) / c).exp()


class IoULoss(nn.Module):
    """Loss of boxes as the options describe it: one of the table, then Inner-IoU, Focaler-IoU and NWD."""

    def __init__(
        self,
        iou_loss: str = "ciou",
        inner_ratio: float = 0.0,
        focaler: Sequence[float] | None = None,
        nwd: float = 0.0,
        nwd_c: float = 12.8,
    ) -> None:
        """The arguments are the options of these names."""
        super().__init__()
        self.loss = make_loss("iou_loss", iou_loss)
        # Whether each pair counts by itself, so that more may be given than count; of others' functions nobody knows.
        self.pairwise = isinstance(self.loss, FunctionType) and self.loss.__module__ == __name__
        self.inner_ratio, self.focaler, self.nwd, self.nwd_c = inner_ratio, focaler, nwd, nwd_c

    def forward(self, p: BoxPairs) -> Tensor:
        """Loss (P, 1) of each pair.

        Inner-IoU and Focaler-IoU replace the IoU in a loss by another overlap. In the papers losses are sums, to which
        IoU - overlap is added; one that is a product takes `p.overlap` itself.
        """
        p = replace(p, inner_ratio=self.inner_ratio, focaler=self.focaler)
        loss = self.loss(p)
        if (self.inner_ratio or self.focaler) and "overlap" not in vars(p):  # the loss has not asked for it
            loss = loss + p.iou - p.overlap
        if self.nwd:
            loss = (1 - self.nwd) * loss + self.nwd * (1 - nwd(p, self.nwd_c))
        return loss


# Losses of which 1 - loss is no overlap to assign by, and why.
NO_OVERLAP = {
    "mpdiou": "depends on the size of the image",
    "piou2": "does not fall towards the object from afar",
    "wiou3": "depends on the batches before",
}


def similarity(name: str, nwd_c: float = 12.8) -> Callable[[Tensor, Tensor], Tensor]:
    """Overlap (P, 1) of objects and predictions in pixels by which `assign_iou` assigns: nwd, or 1 - a loss."""
    if name == "nwd":
        return lambda boxes, predictions: nwd(BoxPairs(predictions, boxes), nwd_c)
    if name in NO_OVERLAP:
        raise ConfigError(f"assign_iou={name}: this loss {NO_OVERLAP[name]}; take another, such as ciou, iou or nwd")
    loss = make_loss("assign_iou", name)
    return lambda boxes, predictions: 1 - loss(BoxPairs(predictions, boxes))


# Class scores ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScorePairs:
    """Predicted scores and what the assigner wants them to be."""

    logits: Tensor  # (B, A, nc)
    target: Tensor  # (B, A, nc) in 0..1: of a positive, how well it is aligned with its object; else 0
    positive: Tensor | None = None  # (B, A) bool: anchor points that answer for an object
    overlap: Callable[[], Tensor] | None = None  # IoU of the positives' boxes with their objects, (P,), no gradient


@register_loss("bce", option="cls_loss")
def bce(s: ScorePairs) -> Tensor:
    """Binary cross entropy."""
    return F.binary_cross_entropy_with_logits(s.logits, s.target, reduction="none")


@register_loss("focal", option="cls_loss")
def focal(s: ScorePairs, gamma: float = 1.5, alpha: float = 0.25) -> Tensor:
    """Focal loss (arXiv 1708.02002): cross entropy that counts less the more certain a right answer is.

    The paper's targets are 0 and 1. Here the probability of the right answer and the weight, `alpha` for positives and
    1 - `alpha` for negatives (0: both 1), are interpolated between the two.
    """
    probability, target = s.logits.sigmoid(), s.target
    wrong = target * (1 - probability) + (1 - target) * probability  # how far the answer is from the target
    loss = bce(s) * wrong**gamma
    return loss * (target * alpha + (1 - target) * (1 - alpha)) if alpha > 0 else loss


@register_loss("qfl", option="cls_loss")
def qfl(s: ScorePairs, beta: float = 2.0) -> Tensor:
    """Quality focal loss (arXiv 2006.04388): |target - probability|^beta times cross entropy."""
    return (s.target - s.logits.sigmoid()).abs() ** beta * bce(s)


@register_loss("vfl", option="cls_loss")
def vfl(s: ScorePairs, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """Varifocal loss (arXiv 2008.13367): cross entropy times the target, or alpha probability^gamma where that is 0."""
    return torch.where(s.target > 0, s.target, alpha * s.logits.sigmoid() ** gamma) * bce(s)


@register_loss("slide", option="cls_loss")
def slide(s: ScorePairs) -> Tensor:
    """Slide loss (arXiv 2208.02019): cross entropy, weighted most for positives whose IoU is near the batch's mean mu.

    The weight is 1 up to mu - 0.1, exp(1 - mu) up to mu, exp(1 - IoU) above. Negatives have the weight 1. Common code
    takes the target score for the IoU, and mu for at least 0.2.
    """
    iou = s.overlap()
    weight = s.logits.new_ones(s.positive.shape)
    mu = batch_mean(iou)
    near = torch.where(iou < mu, (1 - mu).exp(), (1 - iou).exp())
    weight[s.positive] = torch.where(iou <= mu - 0.1, 1.0, near)
    return bce(s) * weight[..., None]


# As modules of their own, as the public package has them.


class FocalLoss(nn.Module):
    """Focal loss (arXiv 1708.02002): binary cross entropy that counts less the more certain a right answer is."""

    def __init__(self, gamma: float = 1.5, alpha: float = 0.25) -> None:
        """`alpha` is the weight of positives, 1 - alpha that of negatives; 0 leaves both at 1."""
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, pred: Tensor, label: Tensor) -> Tensor:
        """Sum over the rows of their means, a scalar, of logits (n, nc) against labels (n, nc) in 0..1."""
        pairs = ScorePairs(pred, label.to(pred.dtype))
        return focal(pairs, self.gamma, self.alpha).mean(1).sum()


class VarifocalLoss(nn.Module):
    """Varifocal loss (arXiv 2008.13367): cross entropy with IoU-aware scores; only negatives are focal."""

    def __init__(self, gamma: float = 2.0, alpha: float = 0.75) -> None:
        """Negatives have the weight alpha * probability^gamma, positives their target score."""
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, pred_score: Tensor, gt_score: Tensor, label: Tensor) -> Tensor:
        """Sum over the rows of their means, a scalar, of logits (n, nc) against scores (n, nc) in 0..1.

        `label` (n, nc) is 1 for positives, 0 for negatives. The cross entropy is in float32 also under autocast.
        """
        weight = self.alpha * pred_score.sigmoid().pow(self.gamma) * (1 - label) + gt_score * label
        with torch.autocast(pred_score.device.type, enabled=False):
            loss = F.binary_cross_entropy_with_logits(pred_score.float(), gt_score.float(), reduction="none")
        return (loss * weight).mean(1).sum()
