"""Losses of class scores, one function each, under the names that `cls_loss` takes. Yours joins by the same decorator.

Legend: B images, A anchor points. All return the loss of every score, (B, A, nc), whose sum is divided by that of the
target scores, whatever a paper divides by, so that `cls` remains comparable.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.utils.losses.iou import batch_mean
from ultralytics.utils.losses.table import register_loss


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
