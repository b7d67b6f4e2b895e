"""Average precision, against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.utils.ap import Metric, ap_per_class, compute_ap, smooth


def as_metric(tp: np.ndarray, conf: np.ndarray, pred_cls: np.ndarray, target_cls: np.ndarray, nc: int) -> Metric:
    """Measurements of `ap_per_class`."""
    return Metric(*ap_per_class(tp, conf, pred_cls, target_cls)[2:], nc=nc)


def measure(hits: list[int], conf: list[float], objects: int, nc: int = 1) -> Metric:
    """Detections of class 0 that are right at every threshold or at none."""
    tp = np.array(hits, dtype=bool).reshape(-1, 1).repeat(10, 1)
    return as_metric(tp, np.array(conf, dtype=float), np.zeros(len(hits)), np.zeros(objects), nc)


@pytest.mark.parametrize(
    ("hits", "objects", "expected"),
    [
        ([1], 1, 0.995),  # precision 1 up to the point before recall 1, where the ramp down begins
        ([1], 2, 0.495),
        ([0, 1], 1, 0.4975),  # half of the first
        ([1, 0], 1, 0.995),  # false positives after the last object cost nothing
        ([1, 0, 1], 2, (50 + 50 * 2 / 3 - 0.5) / 100),
        ([0, 0], 3, 0),
    ],
)
def test_ap_by_hand(hits, objects, expected):
    conf = np.linspace(0.9, 0.1, len(hits))
    assert measure(hits, conf, objects).map == pytest.approx(expected, abs=1e-9)


def test_envelope_falls_and_ends_in_nothing():
    ap, precision, recall = compute_ap([0, 0.5, 0.5, 1], [0, 0.5, 0.4, 0.6])
    assert recall.tolist() == [0, 0, 0.5, 0.5, 1, 1, 1]
    assert precision.tolist() == [1, 0.6, 0.6, 0.6, 0.6, 0, 0]
    assert ap == pytest.approx(0.597)
    assert compute_ap(np.array([1.0]), np.array([1.0]))[0] == pytest.approx(0.995)


def test_the_published_tuple():
    tp = np.ones((4, 10), bool)
    tp[3] = False
    conf, cls = np.array([0.9, 0.8, 0.7, 0.95]), np.array([1.0, 1, 2, 2])
    true_positives, false_positives, p, r, f1, ap, classes, *curves, x, prec = ap_per_class(tp, conf, cls, np.ones(3))
    assert true_positives.tolist() == [2] and false_positives.tolist() == [0] and classes.tolist() == [1]
    assert (p.tolist(), r.tolist(), f1.tolist()) == ([1], [pytest.approx(2 / 3)], [pytest.approx(0.8)])
    assert ap.shape == (1, 10) and [c.shape for c in (*curves, prec)] == [(1, 1000)] * 4 and x[-1] == 1


def test_curves_are_drawn_if_asked_for(tmp_path):
    files = []
    classes = np.array([0.0, 2.0])
    ap_per_class(
        np.ones((2, 10), bool), np.array([0.9, 0.8]), classes, classes,
        plot=True, on_plot=files.append, save_dir=tmp_path, names={0: "cell"}, prefix="Box",
    )  # fmt: skip
    assert {file.name for file in files} == {f"Box{kind}_curve.png" for kind in ("F1", "PR", "P", "R")}
    assert all(file.is_file() for file in files)


def test_smoothing_is_a_centered_mean():
    assert smooth(np.array([0.0, 0, 3, 0, 0, 6]), 0.4).tolist() == [0, 1, 1, 1, 2, 4]
    assert smooth(np.arange(1000.0), 0.1)[500] == pytest.approx(500)


def test_precision_and_recall_hold_where_the_mean_f1_is_highest():
    metric = measure([1, 1, 0, 0, 0], [0.9, 0.5, 0.1, 0.05, 0.01], 2)  # everything is right from 0.5 on
    assert metric.conf == pytest.approx(0.5, abs=0.05)
    assert min(metric.p[0], metric.r[0], metric.f1[0]) > 0.95
    assert metric.f1[0] == metric.f1_curve[0, round(metric.conf * 999)]


def test_a_narrow_peak_of_f1_is_not_the_best_confidence():
    hits = [1] * 5 + [0] * 20 + [1] * 5
    metric = measure(hits, [0.9] * 5 + [0.899] * 20 + [0.4] * 5, 10)
    assert metric.f1_curve.max() > 0.6  # at 0.9 alone
    assert metric.conf < 0.4
    assert metric.f1[0] == pytest.approx(0.5)


def test_curves_over_confidence_and_recall():
    metric = measure([1, 0], [0.75, 0.25], 2)
    at = [round(x * 999) for x in (0.9, 0.5, 0.1)]
    np.testing.assert_allclose(metric.r_curve[0, at], [0, 0.5, 0.5])
    np.testing.assert_allclose(metric.p_curve[0, at], [1, 0.75, 0.5], atol=1e-3)
    np.testing.assert_allclose(metric.f1_curve[0, at], [0, 0.6, 0.5], atol=1e-3)
    np.testing.assert_allclose(metric.prec_values[0, [400, 600]], [1, 0])


def test_classes_without_truth_or_without_detections():
    tp = np.ones((3, 10), dtype=bool)
    tp[2] = False
    metric = as_metric(tp, np.array([0.9, 0.8, 0.7]), np.array([1, 1, 3]), np.array([1, 1, 2]), nc=5)
    assert metric.ap_class_index.tolist() == [1, 2]  # class 3 is only detected, 0 and 4 are nowhere
    assert metric.ap.tolist() == [pytest.approx(0.995), 0]
    assert metric.maps.tolist() == [pytest.approx(v) for v in (0.4975, 0.995, 0, 0.4975, 0.4975)]
    assert (metric.p[1], metric.r[1]) == (0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("hits", "objects"), [([], 0), ([], 3), ([0, 0], 0)])
def test_nothing_there(hits, objects):
    metric = measure(hits, [0.5] * len(hits), objects, nc=2)
    assert metric.mean_results() == [0, 0, 0, 0]
    assert metric.map75 == 0
    assert metric.maps.tolist() == [0, 0]
    assert metric.all_ap.shape == (min(objects, 1), 10)


@given(st.integers(0, 2**32 - 1))
def test_order_of_the_detections_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    n = 40
    conf = rng.permutation(n) / n
    tp, pred_cls, target_cls = rng.random((n, 10)) < 0.3, rng.integers(0, 3, n), rng.integers(0, 3, 60)
    order = rng.permutation(n)
    a, b = (as_metric(tp[i], conf[i], pred_cls[i], target_cls, 3) for i in (slice(None), order))
    np.testing.assert_array_equal(a.all_ap, b.all_ap)
    np.testing.assert_array_equal(a.f1_curve, b.f1_curve)
