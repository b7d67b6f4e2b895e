"""The loss of rotated boxes against the reference and against plain loops."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.steps import assert_reference_steps, reference_arrays
from ultralytics.cfg import get_options
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.loss import RotatedBboxLoss, angle_loss, v8OBBLoss
from ultralytics.utils.metrics import probiou
from ultralytics.utils.tal import RotatedAssigner

HEAD = SimpleNamespace(stride=(8, 16, 32), nc=3, reg_max=16)


@pytest.fixture
def criterion():
    """The loss of a head for three classes with the default gains."""
    return v8OBBLoss(SimpleNamespace(model=[HEAD], args=get_options()))


@pytest.fixture
def raw():
    """`raw(images)`: raw outputs for pictures of 64 x 64, and the leaves that gradients reach."""

    def make(images=2, seed=0):
        generator = torch.Generator().manual_seed(seed)
        anchors = 64 + 16 + 4
        leaves = [torch.randn(images, n, anchors, generator=generator).requires_grad_() for n in (64, 3, 1)]
        feats = [torch.zeros(images, 1, side, side) for side in (8, 4, 2)]
        boxes, scores, angle = leaves
        return {"boxes": boxes, "scores": scores, "angle": (angle.sigmoid() - 0.25) * math.pi, "feats": feats}, leaves

    return make


def batch_of(rows):
    """A batch from rows image, class, x, y, w, h, theta, in shares of the picture."""
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 7)
    return {"batch_idx": values[:, 0], "cls": values[:, 1:2], "bboxes": values[:, 2:]}


def test_reference_steps_on_real_images(golden):
    checkpoint = load_checkpoint(golden / "weights" / "obb.pt")
    model = DetectionModel(dict(checkpoint.yaml), nc=1, verbose=False).train()
    model.load_state_dict(checkpoint.state_dict)
    model.args = get_options()
    assert_reference_steps(model, reference_arrays(golden / "obb.npz"), v8OBBLoss.names, v8OBBLoss(model))


def test_without_objects_only_the_scores_learn(criterion, raw):
    preds, leaves = raw()
    total, parts = criterion(preds, batch_of([]))
    total.backward()
    assert parts[[0, 2, 3]].tolist() == [0, 0, 0] and parts[1] > 0
    assert leaves[1].grad.abs().sum() > 0 and all(leaf.grad is None or not leaf.grad.any() for leaf in leaves[::2])


def test_objects_under_two_pixels_are_not_learned(criterion, raw):
    small = [(0, 1, 0.5, 0.5, 0.5, 1.99 / 64, 0.3), (1, 2, 0.3, 0.3, 1.9 / 64, 0.5, 0.1)]
    preds, _ = raw()
    nothing = criterion(preds, batch_of([]))[1]
    torch.testing.assert_close(criterion(preds, batch_of(small))[1], nothing)
    wide = [(0, 1, 0.5, 0.5, 0.5, 2.01 / 64, 0.3)]
    assert criterion(preds, batch_of(wide))[1][0] > 0
    torch.testing.assert_close(criterion(preds, batch_of(small + wide))[1], criterion(preds, batch_of(wide))[1])


def test_the_gain_of_the_angle(criterion, raw):
    preds, _ = raw()
    batch = batch_of([(0, 1, 0.5, 0.5, 0.6, 0.3, 0.3), (1, 0, 0.4, 0.5, 0.2, 0.5, 1.3)])
    before = criterion(preds, batch)[1]
    criterion.args = get_options({"angle": 2.5})
    after = criterion(preds, batch)[1]
    torch.testing.assert_close(after, before * torch.tensor([1, 1, 1, 2.5]))
    assert before[3] > 0


def test_angles_count_by_how_long_the_target_is():
    target = torch.tensor([[0, 0, 30.0, 10, 0.4], [0, 0, 10, 10, 0.4], [0, 0, 10, 30, 0.4]])
    predicted = target.clone()
    predicted[:, 4] += 0.3
    weight = math.exp(-(math.log(3) ** 2) / 9)
    expected = math.sin(0.6) ** 2 * torch.tensor([weight, 1, weight])
    torch.testing.assert_close(angle_loss(predicted, target), expected)
    predicted[:, 4] = target[:, 4] + math.pi / 2
    torch.testing.assert_close(angle_loss(predicted, target), torch.zeros(3), atol=1e-6, rtol=0)


def test_distances_are_measured_along_the_axes_of_the_target():
    target = torch.tensor([[5.0, 4, 6, 2, math.pi / 6]])
    points = torch.tensor([[5 + 2 * math.cos(math.pi / 6), 4 + 2 * math.sin(math.pi / 6)]])  # 2 along the width
    found = RotatedBboxLoss().distances(points, target)
    torch.testing.assert_close(found, torch.tensor([[5.0, 1, 1, 1]]))
    far = RotatedBboxLoss().distances(points + 40, target)
    assert far.min() == 0 and far.max() == pytest.approx(14.99)


def by_loops(scores, predicted, points, labels, boxes, topk, min_side):
    """Targets of one image: object and class per anchor, -1 for none, and the score."""
    n, a = len(boxes), len(points)
    iou, alignment, inside = np.zeros((n, a)), np.zeros((n, a)), np.zeros((n, a), bool)
    for i, (x, y, w, h, t) in enumerate(boxes.tolist()):
        for j, (px, py) in enumerate(points.tolist()):
            u = (px - x) * math.cos(t) + (py - y) * math.sin(t)
            v = -(px - x) * math.sin(t) + (py - y) * math.cos(t)
            inside[i, j] = abs(u) <= max(w, min_side) / 2 and abs(v) <= max(h, min_side) / 2
            if inside[i, j]:
                iou[i, j] = max(float(probiou(boxes[i], predicted[j])), 0)
                alignment[i, j] = float(scores[j, labels[i]]) ** 0.5 * iou[i, j] ** 6
    positive = np.zeros((n, a), bool)
    for i in range(n):
        best = sorted(range(a), key=lambda j: -alignment[i, j])[:topk]
        positive[i, best] = alignment[i, best] > 0
    for j in np.flatnonzero(positive.sum(0) > 1):
        positive[:, j] = np.arange(n) == iou[:, j].argmax()
    owner = np.where(positive.any(0), positive.argmax(0), -1)
    quality = np.zeros(a)
    for j in np.flatnonzero(owner >= 0):
        i = owner[j]
        quality[j] = alignment[i, j] * iou[i][positive[i]].max() / (alignment[i][positive[i]].max() + 1e-9)
    return owner, quality


def test_the_assignment_of_several_classes_against_loops():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(4, 64, 8), np.arange(4, 64, 8)), -1).reshape(-1, 2)
    points = torch.from_numpy(grid).double()
    boxes = torch.from_numpy(
        np.concatenate((rng.uniform(10, 54, (5, 2)), rng.uniform(4, 45, (5, 2)), rng.uniform(-0.7, 2.3, (5, 1))), 1)
    )
    labels = torch.from_numpy(rng.integers(0, 3, 5))
    near = np.concatenate((grid + rng.normal(0, 4, grid.shape), rng.uniform(8, 40, grid.shape)), 1)
    predicted = torch.from_numpy(np.concatenate((near, rng.uniform(-0.7, 2.3, (64, 1))), 1))
    scores = torch.from_numpy(rng.uniform(0, 1, (64, 3)))
    assigner = RotatedAssigner(topk=4, num_classes=3, alpha=0.5, beta=6.0, stride=(8, 16, 32))
    found = assigner(
        scores[None], predicted[None], points, labels[None, :, None], boxes[None], torch.ones(1, 5, 1, dtype=torch.bool)
    )
    owner, quality = by_loops(scores, predicted, points, labels, boxes, topk=4, min_side=16)
    positive = owner >= 0
    assert positive.sum() > 10 and (found.fg_mask[0].numpy() == positive).all()
    assert (found.target_gt_idx[0].numpy()[positive] == owner[positive]).all()
    assert (found.target_labels[0].numpy()[positive] == labels.numpy()[owner[positive]]).all()
    np.testing.assert_allclose(found.target_scores[0].sum(-1), quality, atol=1e-9)


def test_the_edge_is_inside_and_small_sides_count_as_sixteen():
    assigner = RotatedAssigner(num_classes=1, stride=(8, 16, 32))
    box = torch.tensor([[20.0, 20, 30, 4, 0]])
    points = torch.tensor([[35.0, 20], [35.1, 20], [20, 28], [20, 28.1], [5, 12]])
    assert assigner.inside(points, box).tolist() == [[True, False, True, False, True]]
