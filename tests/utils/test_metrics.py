"""IoU and its generalizations against torchvision, and the metrics object of a validation."""

import numpy as np
import pytest
import torch
from torchvision import ops

from ultralytics.utils.metrics import BOX, DetMetrics, MetricSet, bbox_iou
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


@pytest.mark.parametrize("kind", ORACLES)
def test_boxes_without_extent_stay_finite(kind):
    point, box = torch.tensor([[5.0, 5.0, 0.0, 0.0]], requires_grad=True), torch.tensor([[5.0, 5.0, 4.0, 2.0]])
    iou = bbox_iou(
        torch.cat((point, point)), torch.cat((box, point.detach())), **({} if kind == "IoU" else {kind: True})
    )
    iou.sum().backward()
    assert iou.isfinite().all()
    assert point.grad.isfinite().all()


def image(**changes: np.ndarray) -> dict[str, np.ndarray]:
    """Three detections, the first two right at every threshold, the third of a class that is not there."""
    right = np.array([True, True, False])[:, None].repeat(10, 1)
    stats = {"tp": right, "conf": np.array([0.9, 0.8, 0.3]), "pred_cls": np.array([0.0, 2.0, 1.0])}
    return stats | {"target_cls": np.array([0.0, 2.0]), "target_img": np.array([0.0, 2.0])} | changes


def test_metrics_of_a_validation():
    metrics = DetMetrics(NAMES)
    metrics.update_stats(image())
    metrics.update_stats(image(target_cls=np.array([0.0, 0.0, 2.0])))
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
    metrics.update_stats(image())
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


def test_a_second_set_is_a_second_instance():
    metrics = DetMetrics(NAMES, sets=(BOX, MetricSet("M", "tp_m", "Mask")))
    metrics.update_stats(image(tp_m=np.zeros((3, 10), bool)))
    metrics.process()
    assert metrics.results["M"].map == 0
    assert metrics.keys[4:] == [key.replace("(B)", "(M)") for key in metrics.keys[:4]]
    assert metrics.mean_results() == [*metrics.box.mean_results(), *metrics.results["M"].mean_results()]
    assert len(metrics.curves) == len(metrics.curves_results) == 8
    assert metrics.fitness == metrics.box.map
    assert {"Box-P", "Mask-P", "mAP50", "Mask-mAP50"} <= metrics.summary()[0].keys()

    metrics = DetMetrics(NAMES, sets=(BOX, MetricSet("P", "tp_p", "Pose")))
    metrics.update_stats(image(tp_p=image()["tp"]))
    metrics.process()
    assert metrics.fitness == pytest.approx(2 * metrics.box.map)
    np.testing.assert_allclose(metrics.maps, 2 * metrics.box.maps)
