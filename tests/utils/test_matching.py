"""Matching of detections with objects."""

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.utils.metrics import IOU_THRESHOLDS, box_iou, match_greedily, match_predictions


def plain_assign(iou: np.ndarray, threshold: float) -> list[int]:
    """The definition, word by word."""
    free = set(range(len(iou)))
    taken = []
    for detection in range(iou.shape[1]):
        candidates = [t for t in sorted(free) if iou[t, detection] >= threshold]
        best = max(candidates, key=lambda t: iou[t, detection], default=-1)
        free.discard(best)
        taken.append(best)
    return taken


@st.composite
def images(draw):
    """IoU (T, N) without ties, true (T,) and predicted classes (N,)."""
    objects, detections = draw(st.integers(0, 7)), draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    iou = rng.uniform(0.3, 1, (objects, detections))
    return iou, rng.integers(0, 2, objects), rng.integers(0, 2, detections)


def test_box_iou_agrees_with_torchvision():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(n, 4, generator=generator) * 50 for n in (30, 40))
    a[:, 2:] += a[:, :2]
    b[:, 2:] += b[:, :2]
    torch.testing.assert_close(box_iou(a, b), torchvision.ops.box_iou(a, b), rtol=0, atol=1e-5)
    assert box_iou(a, b[:0]).shape == (30, 0)
    assert box_iou(a[:0], b).shape == (0, 40)


def test_box_iou_of_half_precision_is_computed_in_float32():
    box = torch.tensor([[0.0, 0.0, 600.0, 600.0]], dtype=torch.float16)  # its area is beyond float16
    assert box_iou(box, box).item() == pytest.approx(1)


@given(images())
def test_assignment_is_the_plain_loop(image):
    iou, _, _ = image
    taken = match_greedily(iou, IOU_THRESHOLDS)
    for k, threshold in enumerate(IOU_THRESHOLDS):
        assert taken[:, k].tolist() == plain_assign(iou, threshold)


@given(images())
def test_every_object_is_used_once_and_only_by_its_class(image):
    iou, true_cls, pred_cls = image
    tp = match_predictions(pred_cls, true_cls, iou)
    assert tp.shape == (len(pred_cls), 10)
    for c in (0, 1):
        assert (tp[pred_cls == c].sum(0) <= (true_cls == c).sum()).all()
    for column in match_greedily(iou, IOU_THRESHOLDS).T:
        used = column[column >= 0]
        assert len(set(used)) == len(used)


@given(images())
def test_a_higher_threshold_matches_no_more(image):
    iou, true_cls, pred_cls = image
    assert (np.diff(match_predictions(pred_cls, true_cls, iou).sum(0)) <= 0).all()


@given(images(), st.randoms(use_true_random=False))
def test_order_of_the_objects_does_not_matter(image, random):
    iou, true_cls, pred_cls = image
    order = random.sample(range(len(true_cls)), len(true_cls))
    shuffled = match_predictions(pred_cls, true_cls[order], iou[order])
    np.testing.assert_array_equal(shuffled, match_predictions(pred_cls, true_cls, iou))


@given(images())
def test_classes_do_not_see_each_other(image):
    iou, true_cls, pred_cls = image
    tp = match_predictions(pred_cls, true_cls, iou)
    for c in (0, 1):
        alone = match_predictions(
            pred_cls[pred_cls == c], true_cls[true_cls == c], iou[true_cls == c][:, pred_cls == c]
        )
        np.testing.assert_array_equal(tp[pred_cls == c], alone)


def test_the_confident_one_goes_first_and_the_other_falls_back():
    iou = np.array([[0.9, 0.95], [0.0, 0.6]])
    assert match_greedily(iou, np.array([0.5, 0.95])).tolist() == [[0, -1], [1, 0]]
    tp = match_predictions(np.zeros(2), np.zeros(2), iou)
    assert tp.sum(1).tolist() == [9, 4]  # up to 0.90; object 1 up to 0.60 and object 0 at 0.95
