"""Overlaps against torchvision, OpenCV and integrals; matching against its definition; metrics of a validation."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import ops

from ultralytics.utils import metrics
from ultralytics.utils.metrics import (
    BOX,
    IOU_THRESHOLDS,
    MASK,
    OKS_SIGMA,
    POSE,
    ClassifyMetrics,
    ConfusionMatrix,
    DetMetrics,
    OBBMetrics,
    PoseMetrics,
    SegmentMetrics,
    batch_probiou,
    bbox_ioa,
    bbox_iou,
    box_iou,
    kpt_iou,
    mask_iou,
    match_greedily,
    match_predictions,
    oks_sigmas,
    probiou,
    smooth_bce,
)
from ultralytics.utils.ops import xyxy2xywh

NAMES = {0: "cell", 1: "dust", 2: "hair"}


def pairs(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Two times (n, 4) xyxy, most of which overlap."""
    generator = torch.Generator().manual_seed(0)
    corner, size = torch.rand(2, 2, n, 2, generator=generator) * 50
    box1, box2 = torch.cat((corner, corner + size + 1), -1)
    return box1, box2


ORACLES = {
    "IoU": lambda a, b: ops.box_iou(a, b).diagonal(),
    "GIoU": lambda a, b: ops.generalized_box_iou(a, b).diagonal(),
    "DIoU": lambda a, b: 1 - ops.distance_box_iou_loss(a, b),
    "CIoU": lambda a, b: 1 - ops.complete_box_iou_loss(a, b),
}


@pytest.mark.parametrize("kind", ORACLES)
def test_iou_agrees_with_torchvision_and_so_do_its_gradients(kind):
    box1, box2 = (box.requires_grad_() for box in pairs())
    flags = {} if kind == "IoU" else {kind: True}
    own = bbox_iou(box1, box2, xywh=False, **flags)
    expected = ORACLES[kind](box1, box2)
    assert own.shape == (200, 1)
    torch.testing.assert_close(own[:, 0], expected, rtol=0, atol=1e-5)
    gradients = torch.autograd.grad(own.sum(), (box1, box2))
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.sum(), (box1, box2)), rtol=1e-3, atol=1e-5)
    in_xywh = bbox_iou(xyxy2xywh(box1), xyxy2xywh(box2), **flags)
    torch.testing.assert_close(in_xywh, own, rtol=0, atol=1e-5)


def test_boxes_broadcast():
    box1, box2 = pairs()
    all_pairs = bbox_iou(box1[:20, None], box2[None, :30], xywh=False)
    torch.testing.assert_close(all_pairs[..., 0], ops.box_iou(box1[:20], box2[:30]), rtol=0, atol=1e-5)


def test_fractions_that_boxes_cover():
    left, right = (
        np.array([[0.0, 0, 10, 10], [5, 5, 15, 20]]),
        np.array([[0.0, 0, 5, 5], [20, 20, 30, 30], [2, 2, 12, 12]]),
    )
    np.testing.assert_allclose(bbox_ioa(left, right), [[1, 0, 0.64], [0, 0, 0.49]], atol=1e-6)
    ious = ops.box_iou(torch.from_numpy(left), torch.from_numpy(right))
    np.testing.assert_allclose(bbox_ioa(left, right, iou=True), ious, atol=1e-6)
    assert bbox_ioa(left, right[:0]).shape == (2, 0)


@pytest.mark.parametrize("kind", ORACLES)
def test_boxes_without_extent_stay_finite(kind):
    point, box = torch.tensor([[5.0, 5.0, 0.0, 0.0]], requires_grad=True), torch.tensor([[5.0, 5.0, 4.0, 2.0]])
    iou = bbox_iou(
        torch.cat((point, point)), torch.cat((box, point.detach())), **({} if kind == "IoU" else {kind: True})
    )
    iou.sum().backward()
    assert iou.isfinite().all()
    assert point.grad.isfinite().all()


def test_box_iou_agrees_with_torchvision():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(n, 4, generator=generator) * 50 for n in (30, 40))
    a[:, 2:] += a[:, :2]
    b[:, 2:] += b[:, :2]
    torch.testing.assert_close(box_iou(a, b), ops.box_iou(a, b), rtol=0, atol=1e-5)
    assert box_iou(a, b[:0]).shape == (30, 0)
    assert box_iou(a[:0], b).shape == (0, 40)


def test_box_iou_of_half_precision_is_computed_in_float32():
    box = torch.tensor([[0.0, 0.0, 600.0, 600.0]], dtype=torch.float16)  # its area is beyond float16
    assert box_iou(box, box).item() == pytest.approx(1)


# Rotated boxes

rotated_boxes = st.tuples(
    st.floats(-50, 50), st.floats(-50, 50), st.floats(2, 60), st.floats(2, 60), st.floats(-math.pi, math.pi)
)


def random_rotated_boxes(n, seed, spread=20.0):
    """(n, 5) xywhr, crowded."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        (rng.uniform(0, spread, (n, 2)), rng.uniform(5, 40, (n, 2)), rng.uniform(-0.8, 2.4, (n, 1))), 1
    )
    return torch.from_numpy(rows)


def exact_iou(a, b):
    """Intersection over union of two rotated boxes as polygons."""
    first, second = (((x, y), (w, h), math.degrees(t)) for x, y, w, h, t in (a.tolist(), b.tolist()))
    kind, points = cv2.rotatedRectangleIntersection(first, second)
    shared = 0.0 if kind == cv2.INTERSECT_NONE else cv2.contourArea(cv2.convexHull(points))
    return shared / (float(a[2] * a[3] + b[2] * b[3]) - shared)


def test_a_value_of_the_reference():
    box1, box2 = torch.tensor([[50, 50, 40, 10, 0.3], [54, 49, 36, 14, 0.7]], dtype=torch.float64)
    assert probiou(box1, box2).item() == pytest.approx(0.551948, abs=1e-6)
    assert probiou(box1, box2, floor=0.01).item() == pytest.approx(0.5521, abs=5e-5)


def test_shapes_of_probiou():
    a, b = random_rotated_boxes(7, seed=0), random_rotated_boxes(5, seed=1)
    assert probiou(a, a.flip(0)).shape == (7, 1)
    every = batch_probiou(a, b)
    assert every.shape == (7, 5)
    torch.testing.assert_close(every[:, 2], probiou(a, b[2]).squeeze(-1))
    torch.testing.assert_close(batch_probiou(a.numpy(), b.numpy()), every)


def test_probiou_with_the_penalty_on_the_aspect_ratio():
    square, long = torch.tensor([[6.0, 5, 8, 8, 1]]), torch.tensor([[5.0, 5, 8, 2, 1]])
    overlap = probiou(square, long).item()
    v = 4 / math.pi**2 * (math.atan(1) - math.atan(4)) ** 2
    assert probiou(square, long, CIoU=True).item() == pytest.approx(overlap - v * v / (v - overlap + 1), abs=1e-5)
    torch.testing.assert_close(probiou(long, long, CIoU=True), probiou(long, long))


@settings(deadline=None)
@given(rotated_boxes, rotated_boxes)
def test_probiou_is_the_overlap_of_two_normal_distributions(a, b):
    """1 - Hellinger distance, from determinants and an inverse instead of written-out formulas."""

    def gaussian(box):
        x, y, w, h, t = box
        turn = np.array(((math.cos(t), -math.sin(t)), (math.sin(t), math.cos(t))))
        return np.array((x, y)), turn @ np.diag((w**2 / 12, h**2 / 12)) @ turn.T

    (m1, s1), (m2, s2) = gaussian(a), gaussian(b)
    s = (s1 + s2) / 2
    distance = (m1 - m2) @ np.linalg.inv(s) @ (m1 - m2) / 8
    distance += 0.5 * math.log(np.linalg.det(s) / math.sqrt(np.linalg.det(s1) * np.linalg.det(s2)))
    expected = 1 - math.sqrt(1 - math.exp(-min(max(distance, 0), 100)))
    overlap = probiou(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)).item()
    assert overlap == pytest.approx(expected, abs=1e-3)  # eps of the formula under a square root: 3e-4


@settings(deadline=None)
@given(rotated_boxes, rotated_boxes)
def test_probiou_knows_no_order_and_no_side_called_width(a, b):
    first, second = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    x, y, w, h, t = a
    swapped = torch.tensor((x, y, h, w, t + math.pi / 2), dtype=torch.float64)
    overlap = probiou(first, second)
    torch.testing.assert_close(overlap, probiou(second, first), atol=1e-6, rtol=0)
    torch.testing.assert_close(overlap, probiou(swapped, second), atol=1e-6, rtol=0)


def test_probiou_orders_boxes_as_their_polygons_overlap():
    """Of pairs whose exact IoU differs by 0.2 the one that overlaps more has the higher probiou, nearly always."""
    a, b = random_rotated_boxes(300, seed=0), random_rotated_boxes(300, seed=1)
    exact = np.array([exact_iou(x, y) for x, y in zip(a, b, strict=True)])
    overlap = probiou(a, b)[:, 0].numpy()
    apart = exact[:, None] - exact[None, :] > 0.2
    assert apart.sum() > 10000
    assert ((overlap[:, None] - overlap[None, :])[apart] > 0).mean() > 0.97
    assert np.corrcoef(exact.argsort().argsort(), overlap.argsort().argsort())[0, 1] > 0.95  # Spearman


def test_probiou_has_gradients_for_equal_boxes():
    box = torch.tensor([[10.0, 10, 8, 4, 0.2]], requires_grad=True)
    probiou(box, box.detach(), floor=0.01).sum().backward()
    assert box.grad.isfinite().all()


# Masks and keypoints


def test_mask_iou():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (3, 6, 7), np.uint8), rng.integers(0, 2, (4, 6, 7), np.uint8)
    expected = [[(x & y).sum() / (x | y).sum() for y in b] for x in a]
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    np.testing.assert_allclose(mask_iou(a, b), expected, atol=1e-6)
    np.testing.assert_allclose(mask_iou(a.flatten(1).float(), b.flatten(1).float()), expected, atol=1e-6)
    assert mask_iou(torch.zeros(0, 4, 4), torch.ones(3, 4, 4)).shape == (0, 3)


def test_keypoint_similarity():
    true = torch.tensor([[[0.0, 0, 2], [10, 0, 1], [99, 99, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]])
    predicted = torch.tensor([[[3.0, 4], [10, 0], [0, 0]]])
    similar = kpt_iou(true, predicted, torch.tensor([100.0, 100.0]), [0.25, 0.1, 0.1])
    assert similar.shape == (2, 1)  # the invisible point does not count, an object without points is like nothing
    assert similar[:, 0].tolist() == [pytest.approx((math.exp(-25 / (2 * 0.5**2 * 100)) + 1) / 2), 0]


def test_sigmas_of_keypoints():
    assert oks_sigmas((17, 3)) == tuple(OKS_SIGMA) and OKS_SIGMA.shape == (17,)
    assert oks_sigmas((5, 2)) == (0.2,) * 5
    assert oks_sigmas((2, 3), [0.1, 0.3]) == (0.1, 0.3)


def test_smoothed_targets():
    assert smooth_bce() == (0.95, 0.05)
    assert smooth_bce(0.0) == (1, 0)


# Matching


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


BACKGROUND = 3
WHOLE = [0.0, 0.0, 100.0, 100.0]
NEAR = [0.0, 0.0, 100.0, 80.0]
FAR = [200.0, 0.0, 300.0, 100.0]


def counts(detections: list, objects: list) -> dict[tuple[int, int], int]:
    """(predicted, true): count of detections [box, conf, class] and objects [box, class]."""
    matrix = ConfusionMatrix({0: "a", 1: "b", 2: "c"})
    rows = torch.tensor([[*box, conf, cls] for box, conf, cls in detections]).reshape(-1, 6)
    boxes = torch.tensor([box for box, _ in objects]).reshape(-1, 4)
    matrix.process_batch(rows, boxes, torch.tensor([float(cls) for _, cls in objects]))
    return {(int(p), int(t)): int(matrix.matrix[p, t]) for p, t in zip(*np.nonzero(matrix.matrix), strict=True)}


@pytest.mark.parametrize(
    ("detections", "objects", "expected"),
    [
        ([], [], {}),
        ([(WHOLE, 0.9, 1)], [(WHOLE, 1)], {(1, 1): 1}),
        ([(NEAR, 0.9, 2)], [(WHOLE, 1)], {(2, 1): 1}),
        ([], [(WHOLE, 1), (FAR, 0)], {(BACKGROUND, 1): 1, (BACKGROUND, 0): 1}),
        ([(WHOLE, 0.9, 1)], [], {(1, BACKGROUND): 1}),
        ([(FAR, 0.9, 1)], [(WHOLE, 1)], {(1, BACKGROUND): 1, (BACKGROUND, 1): 1}),
        ([(WHOLE, 0.25, 1)], [(WHOLE, 1)], {(BACKGROUND, 1): 1}),  # not above the confidence
        (
            [(NEAR, 0.9, 0), (WHOLE, 0.8, 1)],
            [(WHOLE, 1)],
            {(0, 1): 1, (1, BACKGROUND): 1},
        ),  # the confident one goes first
        ([(NEAR, 0.9, 0), (NEAR, 0.8, 0)], [(WHOLE, 0), (NEAR, 1)], {(0, 1): 1, (0, 0): 1}),  # the second falls back
    ],
)
def test_cases(detections, objects, expected):
    assert counts(detections, objects) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 9))
def test_everything_is_counted_once(seed, objects, detections):
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(2, objects + detections, 2, generator=generator) * 50
    boxes = torch.cat((corner, corner + size), 1)
    classes = torch.randint(3, (objects + detections,), generator=generator).float()
    conf = torch.linspace(1, 0.3, detections)
    matrix = ConfusionMatrix({0: "a", 1: "b", 2: "c"})
    rows = torch.cat((boxes[objects:], conf[:, None], classes[objects:, None]), 1)
    for _ in range(2):
        matrix.process_batch(rows, boxes[:objects], classes[:objects])
    true, predicted = (np.bincount(c.int(), minlength=3) for c in (classes[:objects], classes[objects:]))
    np.testing.assert_array_equal(matrix.matrix[:, :3].sum(0), 2 * true)
    np.testing.assert_array_equal(matrix.matrix[:3].sum(1), 2 * predicted)
    assert matrix.matrix[BACKGROUND, BACKGROUND] == 0


def statistics(**changes: np.ndarray) -> dict[str, np.ndarray]:
    """Three detections, the first two right at every threshold, the third of a class that is not there."""
    right = np.array([True, True, False])[:, None].repeat(10, 1)
    stats = {"tp": right, "conf": np.array([0.9, 0.8, 0.3]), "pred_cls": np.array([0.0, 2.0, 1.0])}
    return stats | {"target_cls": np.array([0.0, 2.0]), "target_img": np.array([0.0, 2.0])} | changes


def test_metrics_of_a_validation():
    metrics = DetMetrics(NAMES)
    metrics.update_stats(statistics())
    metrics.update_stats(statistics(target_cls=np.array([0.0, 0.0, 2.0])))
    metrics.process()
    box = metrics.box
    assert box.ap_class_index.tolist() == metrics.ap_class_index.tolist() == [0, 2]
    assert box.r.tolist() == [pytest.approx(2 / 3), 1]
    assert box.p.tolist() == [1, 1]
    assert box.f1.tolist() == [pytest.approx(0.8), 1]
    assert box.conf < 0.8
    assert box.ap50.tolist() == [pytest.approx(0.665), pytest.approx(0.995)]  # 67 points reached, the last one a ramp
    assert [box.map, box.map50, box.map75] == pytest.approx([0.83] * 3)
    assert box.maps.tolist() == metrics.maps.tolist() == [pytest.approx(v) for v in (0.665, 0.83, 0.995)]
    assert metrics.class_result(0) == [pytest.approx(v) for v in (1, 2 / 3, 0.665, 0.665)]
    assert metrics.results_dict == {
        "metrics/precision(B)": pytest.approx(1),
        "metrics/recall(B)": pytest.approx(5 / 6),
        "metrics/mAP50(B)": pytest.approx(0.83),
        "metrics/mAP50-95(B)": pytest.approx(0.83),
        "fitness": pytest.approx(0.83),
    }
    assert metrics.fitness == box.map
    assert metrics.summary()[0] == {
        "Class": "cell",
        "Images": 2,
        "Instances": 3,
        "Box-P": 1.0,
        "Box-R": 0.66667,
        "Box-F1": 0.8,
        "mAP50": 0.665,
        "mAP75": 0.665,
        "mAP50-95": 0.665,
    }
    assert list(metrics.speed) == ["preprocess", "inference", "loss", "postprocess"]


def test_curves_are_named_and_have_a_line_per_class():
    metrics = DetMetrics(NAMES)
    metrics.update_stats(statistics())
    metrics.process()
    assert metrics.curves == [
        "Precision-Recall(B)",
        "F1-Confidence(B)",
        "Precision-Confidence(B)",
        "Recall-Confidence(B)",
    ]
    for name, curve in zip(metrics.curves, metrics.curves_results, strict=True):
        assert name == f"{curve.ylabel}-{curve.xlabel}(B)"
        assert curve.x.shape == (1000,)
        assert curve.y.shape == (2, 1000)


@pytest.mark.parametrize("images", [0, 1])
def test_nothing_detected_and_nothing_to_detect(images):
    metrics = DetMetrics(NAMES)
    none = np.zeros(0)
    for _ in range(images):
        metrics.update_stats(
            {"tp": np.zeros((0, 10), bool), "conf": none, "pred_cls": none, "target_cls": none, "target_img": none}
        )
    metrics.process()
    assert metrics.mean_results() == [0, 0, 0, 0]
    assert metrics.maps.tolist() == [0, 0, 0]
    assert metrics.summary() == []
    assert metrics.fitness == 0


def test_metrics_without_names_of_classes():
    for kind, attributes in (
        (DetMetrics, ["box"]),
        (OBBMetrics, ["box"]),
        (SegmentMetrics, ["seg"]),
        (PoseMetrics, ["pose"]),
    ):
        metrics = kind()
        assert [getattr(metrics, name).map for name in attributes] == [0]
        assert metrics.names == {} and metrics.summary() == [] and metrics.fitness == 0
    assert ClassifyMetrics().results_dict == dict.fromkeys([*ClassifyMetrics.keys, "fitness"], 0)
    assert ConfusionMatrix().matrix.shape == (1, 1) and ConfusionMatrix(task="classify").matrix.shape == (0, 0)


def test_a_second_set_is_a_second_instance():
    metrics = DetMetrics(NAMES, sets=(BOX, MASK))
    metrics.update_stats(statistics(tp_m=np.zeros((3, 10), bool)))
    metrics.process()
    assert metrics.results["M"].map == 0
    assert metrics.keys[4:] == [key.replace("(B)", "(M)") for key in metrics.keys[:4]]
    assert metrics.mean_results() == [*metrics.box.mean_results(), *metrics.results["M"].mean_results()]
    assert len(metrics.curves) == len(metrics.curves_results) == 8
    assert metrics.fitness == metrics.box.map
    assert {"Box-P", "Mask-P", "mAP50", "Mask-mAP50"} <= metrics.summary()[0].keys()

    metrics = DetMetrics(NAMES, sets=(BOX, POSE))
    metrics.update_stats(statistics(tp_p=statistics()["tp"]))
    metrics.process()
    assert metrics.fitness == pytest.approx(2 * metrics.box.map)
    np.testing.assert_allclose(metrics.maps, 2 * metrics.box.maps)


def test_charts_are_published_here_as_well(tmp_path):
    x, drawn = np.linspace(0, 1, 1000), []
    metrics.plot_pr_curve(
        x, np.stack((1 - x, x)), np.ones((2, 10)), tmp_path / "pr.png", {0: "a", 1: "b"}, drawn.append
    )
    metrics.plot_mc_curve(x, x[None], tmp_path / "mc.png", {0: "cell"}, "Confidence", "F1", drawn.append)
    assert drawn == [tmp_path / "pr.png", tmp_path / "mc.png"] and all(file.is_file() for file in drawn)
    with pytest.raises(AttributeError, match="no attribute 'plot_no_curve'"):
        metrics.plot_no_curve  # noqa: B018
