"""Losses of class scores: formulas of the papers in plain numbers, and gradients."""

import math

import pytest
import torch

from ultralytics.utils.losses import LOSSES, ScorePairs
from ultralytics.utils.losses.table import make_loss

NAMES = ("bce", "focal", "qfl", "vfl", "slide")
IOUS = torch.tensor([0.9, 0.62, 0.55, 0.3, 0.1])  # of five positives; their mean is 0.494


def pairs(dtype=torch.float64, positives: int = 5) -> ScorePairs:
    """Scores of 2 x 8 anchor points and 3 classes, of which some answer for an object."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 8, 3, generator=generator, dtype=dtype)
    positive = torch.zeros(2, 8, dtype=torch.bool)
    positive.view(-1)[torch.tensor([1, 4, 6, 9, 15])[:positives]] = True
    target = torch.zeros(2, 8, 3, dtype=dtype)
    for i, (image, anchor) in enumerate(positive.nonzero().tolist()):
        target[image, anchor, i % 3] = (i + 1) / 5
    return ScorePairs(logits.requires_grad_(), target, positive, lambda: IOUS[:positives].to(dtype))


def by_paper(name: str, x: float, t: float, iou: float | None, mu: float) -> float:
    """Loss of one logit, `iou` None for negatives, written as the papers have it."""
    p = 1 / (1 + math.exp(-x))
    entropy = -t * math.log(p) - (1 - t) * math.log(1 - p)
    right = t * p + (1 - t) * (1 - p)
    near = 0.0 if iou is None else math.exp(1 - max(iou, mu))
    slide = 1.0 if iou is None or iou <= mu - 0.1 else near
    return {
        "bce": entropy,
        "focal": (t * 0.25 + (1 - t) * 0.75) * (1 - right) ** 1.5 * entropy,
        "qfl": abs(t - p) ** 2 * entropy,
        "vfl": t * entropy if t > 0 else -0.75 * p**2 * math.log(1 - p),
        "slide": slide * entropy,
    }[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_its_formula(name):
    s = pairs()
    ious = dict(zip(map(tuple, s.positive.nonzero().tolist()), IOUS.tolist(), strict=True))
    expected = torch.zeros_like(s.target)
    for b, a, c in torch.ones(2, 8, 3).nonzero().tolist():
        iou = ious.get((b, a))
        expected[b, a, c] = by_paper(name, s.logits[b, a, c].item(), s.target[b, a, c].item(), iou, IOUS.mean().item())
    torch.testing.assert_close(make_loss("cls_loss", name)(s).detach(), expected, rtol=1e-6, atol=1e-9)


def test_every_loss_of_the_table_is_tested():
    assert tuple(LOSSES["cls_loss"]) == NAMES


def test_slide_weights_the_border_of_good_and_bad_most():
    s = pairs()
    weight = (make_loss("cls_loss", "slide")(s) / make_loss("cls_loss", "bce")(s))[..., 0].detach()
    assert weight[~s.positive].tolist() == [1] * 11
    good, fair, near, bad, worse = weight[s.positive].tolist()
    assert bad == worse == pytest.approx(1) and 1 < good < fair < near


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_finite_differences(name):
    s = pairs()
    loss = make_loss("cls_loss", name)
    assert torch.autograd.gradcheck(lambda x: loss(ScorePairs(x, s.target, s.positive, s.overlap)), s.logits)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_scores_and_no_positives(name):
    s = pairs(torch.float32, positives=0)
    logits = torch.tensor([-1e4, -30.0, 0.0, 30.0, 1e4]).repeat(48)[:48].view(2, 8, 3).requires_grad_()
    for target in (s.target, torch.ones_like(s.target), torch.full_like(s.target, 0.3)):
        loss = make_loss("cls_loss", name)(ScorePairs(logits, target, s.positive, s.overlap))
        loss.sum().backward()
        assert loss.isfinite().all() and (loss >= 0).all() and logits.grad.isfinite().all()
