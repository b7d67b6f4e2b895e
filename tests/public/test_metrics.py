"""Metrics of a validation as tables, texts and curves, under the public package's names (8.4.190)."""

import csv
import io
import json

import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.utils.metrics import (
    ClassifyMetrics,
    ConfusionMatrix,
    DetMetrics,
    Metric,
    OBBMetrics,
    PoseMetrics,
    SegmentMetrics,
    ap_per_class,
)

DATA = {
    "detect": "bccd",
    "segment": "nuclei_seg",
    "pose": "glue_tubes_pose",
    "obb": "nuclei_obb",
    "classify": "sign_digits_cls",
}
BOX = ["Class", "Images", "Instances", "Box-P", "Box-R", "Box-F1", "mAP50", "mAP75", "mAP50-95"]
COLUMNS = {
    "detect": BOX,
    "segment": [*BOX, "Mask-P", "Mask-R", "Mask-F1"],
    "pose": [*BOX, "Pose-P", "Pose-R", "Pose-F1"],
    "obb": BOX,
    "classify": ["top1_acc", "top5_acc"],
}
# First row of the table that the public package gives for its own weights at 160 pixels, batch 8.
FIRST = {
    "detect": ("RBC", 68, 772, 0.72203, 0.84715, 0.7796, 0.83648, 0.66282, 0.54789),
    "segment": ("nucleus", 24, 662, 0.70859, 0.50604, 0.59043, 0.51858, 0.13368, 0.20677, 0.52783, 0.44109, 0.48057),
    "pose": ("glue_tube", 23, 41, 0.83409, 0.78049, 0.8064, 0.80006, 0.48364, 0.49805, 0.87725, 0.87166, 0.87445),
    "obb": ("nucleus", 24, 662, 0.85924, 0.71003, 0.77754, 0.75702, 0.3756, 0.3972),
    "classify": (0.09, 0.52),
}
KINDS = ("Precision-Recall", "F1-Confidence", "Precision-Confidence", "Recall-Confidence")


@pytest.fixture(scope="module", params=DATA)
def validated(request, golden, dataset, tmp_path_factory):
    """Task, and metrics of its reference weights on its reference data."""
    folder = dataset(DATA[request.param])
    data = folder if request.param == "classify" else folder / "data.yaml"
    model = YOLO(golden / "weights" / f"{request.param}.pt")
    options = {"imgsz": 160, "batch": 8, "workers": 0, "verbose": False, "plots": request.param in ("detect", "pose")}
    return request.param, model.val(data=data, project=str(tmp_path_factory.mktemp("runs")), **options)


@pytest.mark.public("python::val")
def test_the_table_is_the_public_one(validated):
    pytest.importorskip("pandas")
    task, metrics = validated
    rows = metrics.summary()
    names, expected = COLUMNS[task], FIRST[task]
    assert list(rows[0])[: len(names)] == names == list(metrics.to_df().columns)[: len(names)]
    for name, value in zip(names, expected, strict=True):
        # Tolerances of the reference: mAP 0.003, precision and recall 0.01; counts and names are equal.
        assert rows[0][name] == (value if isinstance(value, str | int) else pytest.approx(value, abs=0.01)), name
    assert json.loads(metrics.to_json()) == rows
    read = list(csv.DictReader(io.StringIO(metrics.to_csv())))
    assert [[str(value) for value in row.values()] for row in rows] == [list(row.values()) for row in read]
    assert list(metrics.summary(decimals=2)[0].values())[-1] == round(list(rows[0].values())[-1], 2)


@pytest.mark.public("python::val")
def test_curves_have_the_public_names_and_shapes(validated):
    task, metrics = validated
    letters = {"detect": "B", "segment": "BM", "pose": "BP", "obb": "B", "classify": ""}[task]
    assert list(metrics.curves) == [f"{kind}({letter})" for letter in letters for kind in KINDS]
    assert len(metrics.curves_results) == len(metrics.curves)
    for name, (x, y, xlabel, ylabel) in zip(metrics.curves, metrics.curves_results, strict=True):
        assert x.shape == (1000,) and y.shape == (len(metrics.ap_class_index), 1000)
        assert name.startswith(f"{ylabel}-{xlabel}(")
    assert list(metrics.results_dict) == [*metrics.keys, "fitness", *getattr(metrics, "further", ())]


def test_curves_are_files_of_the_public_names(validated):
    task, metrics = validated
    titles = {"detect": ("Box",), "pose": ("Box", "Pose")}.get(task, ())  # of the others no plots were asked for
    files = {path.name for path in metrics.save_dir.glob("*_curve.png")}
    assert {f"{title}{kind}_curve.png" for title in titles for kind in ("PR", "F1", "P", "R")} == files


def test_classes_are_asked_one_by_one(validated):
    task, metrics = validated
    if task == "classify":
        assert len(metrics.per_class) == 10
        return
    for i, c in enumerate(metrics.ap_class_index):
        assert metrics.class_result(i)[:4] == pytest.approx((m := metrics.box).class_result(i))
        assert m.class_result(i) == (m.p[i], m.r[i], m.ap50[i], m.ap[i]) and m.maps[c] == m.ap[i]
    assert metrics.mean_results()[:4] == [m.mp, m.mr, m.map50, m.map] and m.fitness() == m.map


@pytest.mark.public("python::pose_metrics_curves")
@pytest.mark.parametrize("kind", [DetMetrics, SegmentMetrics, PoseMetrics, OBBMetrics])
def test_metrics_are_made_without_names_and_measure_nothing(kind):
    metrics = kind()
    letters = {SegmentMetrics: "BM", PoseMetrics: "BP"}.get(kind, "B")
    assert metrics.curves == [f"{name}({letter})" for letter in letters for name in KINDS]
    assert metrics.summary() == [] and metrics.to_csv() == "" and metrics.fitness == 0
    assert set(metrics.results_dict.values()) == {0.0}


def test_statistics_are_added_measured_drawn_and_forgotten(tmp_path):
    metrics, files = DetMetrics({0: "a", 1: "b"}), []
    hits = {"tp": np.ones((2, 10), bool), "conf": np.array([0.9, 0.8]), "pred_cls": np.array([0, 1])}
    metrics.update_stats(hits | {"target_cls": np.array([0, 1]), "target_img": np.array([0, 1]), "im_name": "a.jpg"})
    stats = metrics.process(tmp_path, plot=True, on_plot=files.append)
    assert stats["conf"].tolist() == [0.9, 0.8] and metrics.box.map50 == pytest.approx(0.995)
    assert sorted(file.name for file in files) == [f"Box{k}_curve.png" for k in ("F1", "PR", "P", "R")]
    metrics.clear_stats()
    assert not metrics.stats and metrics.box.map50 == pytest.approx(0.995)
    metrics.process()
    assert metrics.box.map50 == 0


def test_a_metric_is_filled_later():
    empty = Metric()
    assert (empty.map, empty.mp, empty.maps.tolist(), empty.mean_results()) == (0, 0, [], [0, 0, 0, 0])
    conf, classes = np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1])
    empty.update(ap_per_class(np.ones((3, 10), bool), conf, classes, classes)[2:])
    assert empty.map == pytest.approx(0.995) and empty.nc == 2 and empty.maps.shape == (2,)


def test_classification_is_measured_from_lists_of_batches():
    metrics = ClassifyMetrics()
    assert metrics.summary() == [{"top1_acc": 0, "top5_acc": 0}]
    metrics.process([torch.tensor([0, 1])], [torch.tensor([[0, 1, 2, 3, 4], [3, 2, 0, 4, 1]])])
    assert (metrics.top1, metrics.top5, metrics.fitness) == (0.5, 1.0, 0.75)


def test_a_confusion_matrix_is_a_table_and_a_chart(tmp_path, caplog):
    matrix = ConfusionMatrix({0: "a", 1: "b"})
    detections = torch.tensor([[0.0, 0, 10, 10, 0.9, 0], [20, 20, 30, 30, 0.8, 1]])
    matrix.process_batch(detections, torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), torch.tensor([0.0, 1]))
    assert [list(counts) for counts in matrix.tp_fp()] == [[1, 0], [0, 1]]
    assert matrix.summary()[1] == {"Predicted": "b", "a": 0.0, "b": 0.0, "background": 1.0}
    assert matrix.to_csv().splitlines() == [
        "Predicted,a,b,background",
        "a,1.0,0.0,0.0",
        "b,0.0,0.0,1.0",
        "background,0.0,1.0,0.0",
    ]
    files = []
    matrix.plot(save_dir=tmp_path, on_plot=files.append)
    matrix.plot(normalize=False, save_dir=tmp_path, on_plot=files.append)
    assert [file.name for file in files] == ["confusion_matrix_normalized.png", "confusion_matrix.png"]
    with caplog.at_level("INFO", "ultralytics"):
        matrix.print()
    assert [record.getMessage() for record in caplog.records] == ["1 0 0", "0 0 1", "0 1 0"]
