"""Anchor points, box distances, and the assigner against a slow one written from its description."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils.metrics import probiou
from ultralytics.utils.ops import to_box_frame
from ultralytics.utils.tal import (
    RotatedTaskAlignedAssigner,
    TaskAlignedAssigner,
    bbox2dist,
    dist2bbox,
    dist2rbox,
    make_anchors,
)

SETTINGS = {"topk": 10, "num_classes": 3, "alpha": 0.5, "beta": 6.0, "stride": (8, 16, 32)}


def test_anchor_points_are_cell_centers_row_by_row():
    feats = [torch.zeros(1, 3, 2, 3), torch.zeros(1, 3, 1, 2)]
    points, strides = make_anchors(feats, torch.tensor([8.0, 16.0]))
    assert points.tolist() == [
        [0.5, 0.5],
        [1.5, 0.5],
        [2.5, 0.5],
        [0.5, 1.5],
        [1.5, 1.5],
        [2.5, 1.5],
        [0.5, 0.5],
        [1.5, 0.5],
    ]
    assert strides.tolist() == [[8.0]] * 6 + [[16.0]] * 2


def test_anchor_points_take_plain_strides_and_an_offset():
    points, strides = make_anchors([torch.zeros(1, 1, 1, 2)], [32], grid_cell_offset=0.0)
    assert points.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert strides.tolist() == [[32.0], [32.0]]


def test_anchor_points_of_bfloat16_maps_are_exact():
    points, _ = make_anchors([torch.zeros(1, 1, 1, 300, dtype=torch.bfloat16)], [8])
    assert points[-1].tolist() == [299.5, 0.5]


def test_every_level_needs_a_stride():
    with pytest.raises(ValueError, match="shorter"):
        make_anchors([torch.zeros(1, 1, 2, 2)] * 2, [8])


@pytest.mark.parametrize("dim", [-1, 1])
def test_boxes_from_distances(dim):
    distance = torch.tensor([[[1.0, 2.0, 3.0, 6.0]]])
    points = torch.tensor([[[10.0, 20.0]]])
    if dim == 1:
        distance, points = distance.mT, points.mT
    assert dist2bbox(distance, points, xywh=False, dim=dim).flatten().tolist() == [9, 18, 13, 26]
    assert dist2bbox(distance, points, xywh=True, dim=dim).flatten().tolist() == [11, 22, 4, 8]


def test_distances_invert_boxes_within_the_bins():
    points = torch.rand(2, 50, 2) * 20
    distance = torch.rand(2, 50, 4) * 14
    torch.testing.assert_close(
        bbox2dist(points, dist2bbox(distance, points, xywh=False), 15), distance, atol=1e-5, rtol=0
    )


def test_distances_are_clamped_below_the_last_bin():
    box = torch.tensor([[2.0, -30.0, 40.0, 8.0]])
    torch.testing.assert_close(bbox2dist(torch.tensor([[1.0, 1.0]]), box, 15), torch.tensor([[0.0, 14.99, 14.99, 7.0]]))
    assert bbox2dist(torch.tensor([[1.0, 1.0]]), box).tolist() == [[-1, 31, 39, 7]]


def test_a_box_around_its_anchor_point():
    """From distances measured along the axes of a box to the box, and back."""
    generator = torch.Generator().manual_seed(0)
    distances, angle = torch.rand(20, 4, generator=generator) * 9, torch.rand(20, 1, generator=generator) * 3 - 0.7
    points = torch.rand(20, 2, generator=generator) * 50
    rows = torch.cat((dist2rbox(distances, angle, points), angle), 1)
    place = to_box_frame(points, rows)
    half = rows[:, 2:4] / 2
    torch.testing.assert_close(torch.cat((half + place, half - place), 1), distances, atol=1e-4, rtol=0)
    by_columns = dist2rbox(distances.T, angle.T, points.T, dim=0)
    torch.testing.assert_close(by_columns.T, rows[:, :4])


def test_no_part_of_a_rotated_box_is_cut_out_of_a_part():
    """torch-pruning follows the channels of a part back through the graph, but not those of a part of it."""
    distances, angle = torch.rand(2, 4, 5, requires_grad=True), torch.rand(2, 1, 5, requires_grad=True)

    def cuts(node):
        below = max((cuts(one) for one, _ in node.next_functions if one is not None), default=0)
        return below + node.name().startswith("Split")

    assert cuts(dist2rbox(distances, angle, torch.rand(2, 5), dim=1).grad_fn) == 1


def slow_ciou(a, b, eps=1e-7):
    """CIoU of two xyxy boxes, from the formulas of its paper."""
    intersection = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    (w1, h1), (w2, h2) = ((box[2] - box[0], box[3] - box[1]) for box in (a, b))
    iou = intersection / (w1 * h1 + w2 * h2 - intersection + eps)
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2 + eps
    distance = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    v = 4 / math.pi**2 * (math.atan(w1 / (h1 + eps)) - math.atan(w2 / (h2 + eps))) ** 2
    return iou - distance / diagonal - v * v / (v - iou + 1 + eps)


def contains(box, point, min_side):
    """Strictly inside, small sides enlarged."""
    for axis in (0, 1):
        low, high = box[axis], box[axis + 2]
        if high - low < min_side:
            middle = (low + high) / 2
            low, high = middle - min_side / 2, middle + min_side / 2
        if not low < point[axis] < high:
            return False
    return True


def slow_assign(scores, boxes, points, labels, objects, beta):
    """Object (or -1) and target score of every anchor point of one image, by loops."""
    iou, aligned = {}, {}
    for j, (label, true) in enumerate(zip(labels, objects, strict=True)):
        for a, point in enumerate(points):
            if contains(true, point, min_side=16):
                iou[a, j] = max(slow_ciou(true, boxes[a]), 0.0)
                aligned[a, j] = scores[a, label] ** 0.5 * iou[a, j] ** beta
    claims = {a: [] for a in range(len(points))}
    for j in range(len(objects)):
        aligned_points = [a for a in range(len(points)) if aligned.get((a, j), 0) > 0]
        for a in sorted(aligned_points, key=lambda a: -aligned[a, j])[:10]:
            claims[a].append(j)
    owner = np.full(len(points), -1)
    for a, claimants in claims.items():
        if len(claimants) == 1:
            owner[a] = claimants[0]
        elif claimants:
            owner[a] = max((j for j in range(len(objects)) if (a, j) in iou), key=lambda j: iou[a, j])
    target = np.zeros(len(points))
    for j in range(len(objects)):
        kept = np.flatnonzero(owner == j)
        if len(kept):
            best, overlap = max(aligned[a, j] for a in kept), max(iou[a, j] for a in kept)
            target[kept] = [aligned[a, j] / (best + 1e-9) * overlap for a in kept]
    return owner, target


def anchor_points(size=64):
    """Anchor points (A, 2) in pixels of a square input, float64."""
    feats = [torch.zeros(1, 1, size // s, size // s, dtype=torch.float64) for s in (8, 16, 32)]
    points, strides = make_anchors(feats, (8, 16, 32))
    return points * strides


def random_case(seed, counts, side, ties):
    """Objects and predictions near them; `ties` of the predictions are copies of one another, objects too."""
    rng = np.random.default_rng(seed)
    points = anchor_points().numpy()
    images, most = len(counts), max(counts, default=0)
    scores = rng.random((images, len(points), 3))
    boxes = np.empty((images, len(points), 4))
    objects, labels = np.zeros((images, most, 4)), np.zeros((images, most, 1))
    for i, count in enumerate(counts):
        center, size = rng.uniform(0, 64, (count, 2)), rng.uniform(*side, (count, 2))
        objects[i, :count] = np.concatenate((center - size / 2, center + size / 2), 1)
        labels[i, :count, 0] = rng.integers(0, 3, count)
        copies = np.flatnonzero(rng.random(count) < ties)
        objects[i, copies], labels[i, copies] = objects[i, :1], labels[i, :1]
        boxes[i] = np.concatenate(
            (points - rng.uniform(2, 20, points.shape), points + rng.uniform(2, 20, points.shape)), 1
        )
        if count:  # half of the predictions aim at an object
            aim = rng.random(len(points)) < 0.5
            boxes[i, aim] = objects[i, rng.integers(0, count, aim.sum())] + rng.uniform(-3, 3, (aim.sum(), 4))
        copies = np.flatnonzero(rng.random(len(points)) < ties)
        boxes[i, copies], scores[i, copies] = boxes[i, :1], scores[i, :1]
    mask = np.arange(most)[None, :, None] < np.array(counts)[:, None, None]
    return [torch.from_numpy(np.ascontiguousarray(x)) for x in (scores, boxes, points, labels, objects, mask)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(0, 14), min_size=1, max_size=3),
    side=st.sampled_from([(1, 15), (4, 40), (20, 64)]),
    ties=st.sampled_from([0.0, 0.5]),
)
def test_assignment_equals_the_slow_one(seed, counts, side, ties):
    case = random_case(seed, counts, side, ties)
    # Torch's pow rounds the last few elements of a tensor in another way than the rest, but not a cube.
    beta = 3.0 if ties else SETTINGS["beta"]
    out = TaskAlignedAssigner(**SETTINGS | {"beta": beta})(*case)
    scores, boxes, points, labels, objects, _ = (x.numpy() for x in case)
    for i, count in enumerate(counts):
        true_labels = labels[i, :count, 0].astype(int)
        owner, target = slow_assign(scores[i], boxes[i], points, true_labels, objects[i, :count], beta)
        positive = owner >= 0
        assert out.fg_mask[i].numpy().tolist() == positive.tolist()
        assert out.target_gt_idx[i].numpy()[positive].tolist() == owner[positive].tolist()
        assert out.target_labels[i].numpy()[positive].tolist() == true_labels[owner[positive]].tolist()
        np.testing.assert_array_equal(out.target_bboxes[i].numpy()[positive], objects[i][owner[positive]])
        expected = np.zeros((len(points), 3))
        expected[positive, true_labels[owner[positive]]] = target[positive]
        np.testing.assert_allclose(out.target_scores[i].numpy(), expected, rtol=1e-9, atol=1e-12)


def perfect_case(objects, labels, scores=0.5):
    """One image whose anchor points all predict the first object exactly."""
    points = anchor_points()
    gt = torch.tensor([objects], dtype=torch.float64).view(1, -1, 4)
    pred = gt[:, :1].expand(1, len(points), 4)
    score = torch.full((1, len(points), 3), scores, dtype=torch.float64)
    return score, pred, points, torch.tensor(labels).view(1, -1, 1), gt, torch.ones(1, gt.shape[1], 1, dtype=torch.bool)


def test_equal_alignment_goes_to_the_first_points():
    case = perfect_case([[0, 0, 64, 64]], [1])
    out = TaskAlignedAssigner(**SETTINGS)(*case)
    assert out.fg_mask[0].nonzero().flatten().tolist() == list(range(10))
    torch.testing.assert_close(out.target_scores[0, :10, 1], torch.ones(10, dtype=torch.float64), rtol=1e-6, atol=0)


def test_of_two_equal_objects_the_first_takes_all():
    out = TaskAlignedAssigner(**SETTINGS)(*perfect_case([[8, 8, 40, 40]] * 2, [1, 1]))
    assert out.target_gt_idx[out.fg_mask].unique().tolist() == [0]


def test_a_contested_point_goes_to_the_largest_overlap_even_unclaimed():
    # The third object fits best, but its class scores nothing, so it claims no point itself.
    objects = [[8, 8, 40, 40], [8, 8, 41, 41], [9, 9, 40, 40]]
    score, pred, *rest = perfect_case(objects, [0, 0, 2])
    pred = torch.tensor([9.0, 9, 40, 40], dtype=torch.float64).expand_as(pred)
    score[..., 2] = 0
    out = TaskAlignedAssigner(**SETTINGS)(score, pred, *rest)
    assert out.fg_mask.sum() == 10
    assert out.target_gt_idx[out.fg_mask].unique().tolist() == [2]
    assert out.target_scores.sum() == 0


def test_the_edge_is_outside():
    # The points are 4, 12, 20, 28, … at stride 8, then 8, 24, … and 16, 48: none on the edges of 12 to 28 counts.
    out = TaskAlignedAssigner(**SETTINGS)(*perfect_case([[12, 12, 28, 28]], [0]))
    inside = anchor_points()[out.fg_mask[0]]
    assert inside.tolist() == [[20, 20], [24, 24], [16, 16]] or sorted(inside.tolist()) == [
        [16, 16],
        [20, 20],
        [24, 24],
    ]


@pytest.mark.parametrize(("stride", "positives"), [((8, 16, 32), 5), ((8, 32), 10), ((4,), 1)])
def test_small_sides_are_enlarged_to_the_second_stride(stride, positives):
    out = TaskAlignedAssigner(**SETTINGS | {"stride": stride})(*perfect_case([[15, 15, 17, 17]], [0]))
    assert out.fg_mask.sum() == positives


@pytest.mark.parametrize("shape", [(2, 0), (2, 3)])
def test_no_objects(shape):
    points = anchor_points()
    out = TaskAlignedAssigner(**SETTINGS)(
        torch.rand(2, len(points), 3), torch.rand(2, len(points), 4), points, torch.zeros(*shape, 1),
        torch.zeros(*shape, 4), torch.zeros(*shape, 1, dtype=torch.bool),
    )  # fmt: skip
    assert [tuple(x.shape) for x in out] == [(2, 84), (2, 84, 4), (2, 84, 3), (2, 84), (2, 84)]
    assert not any(x.any() for x in out)


def test_points_without_alignment_are_never_positive():
    assert not TaskAlignedAssigner(**SETTINGS)(*perfect_case([[0, 0, 64, 64]], [1], scores=0.0)).fg_mask.any()


def test_not_a_number_is_never_positive():
    score, pred, *rest = perfect_case([[0, 0, 64, 64]], [1])
    pred = pred.clone()
    pred[0, :5] = float("nan")
    out = TaskAlignedAssigner(**SETTINGS)(score, pred, *rest)
    assert out.fg_mask[0].nonzero().flatten().tolist() == list(range(5, 15))


def test_half_precision_is_assigned_in_float32():
    case = random_case(3, [5, 2], (20, 64), 0.0)
    score, pred = (x.to(torch.bfloat16) for x in case[:2])
    half = TaskAlignedAssigner(**SETTINGS)(score, pred, *case[2:])
    full = TaskAlignedAssigner(**SETTINGS)(score.float(), pred.float(), *case[2:])
    assert half.target_scores.dtype is torch.float32
    torch.testing.assert_close(half.target_scores, full.target_scores, rtol=0, atol=0)


@pytest.mark.parametrize("changed", [{"topk": 3}, {"alpha": 1.0}, {"beta": 2.0}])
def test_every_setting_counts(changed):
    case = random_case(0, [6], (20, 64), 0.0)
    usual, other = (TaskAlignedAssigner(**SETTINGS | extra)(*case) for extra in ({}, changed))
    assert not torch.equal(usual.target_scores, other.target_scores)


def slow_rotated_assign(scores, predicted, points, labels, boxes, topk, min_side):
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


def test_rotated_assignment_of_several_classes_equals_the_slow_one():
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
    assigner = RotatedTaskAlignedAssigner(topk=4, num_classes=3, alpha=0.5, beta=6.0, stride=(8, 16, 32))
    out = assigner(
        scores[None], predicted[None], points, labels[None, :, None], boxes[None], torch.ones(1, 5, 1, dtype=torch.bool)
    )
    owner, quality = slow_rotated_assign(scores, predicted, points, labels, boxes, topk=4, min_side=16)
    positive = owner >= 0
    assert positive.sum() > 10 and (out.fg_mask[0].numpy() == positive).all()
    assert (out.target_gt_idx[0].numpy()[positive] == owner[positive]).all()
    assert (out.target_labels[0].numpy()[positive] == labels.numpy()[owner[positive]]).all()
    np.testing.assert_allclose(out.target_scores[0].sum(-1), quality, atol=1e-9)


def test_the_edge_of_a_rotated_box_is_inside_and_small_sides_count_as_sixteen():
    assigner = RotatedTaskAlignedAssigner(num_classes=1, stride=(8, 16, 32))
    box = torch.tensor([[20.0, 20, 30, 4, 0]])
    points = torch.tensor([[35.0, 20], [35.1, 20], [20, 28], [20, 28.1], [5, 12]])
    assert assigner.inside(points, box).tolist() == [[True, False, True, False, True]]
