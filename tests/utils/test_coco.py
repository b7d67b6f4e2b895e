"""COCO's json form, and our AP against a COCO evaluator's on the same boxes."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ultralytics.utils.coco import (
    coco_ground_truth,
    evaluate_coco,
    run_lengths,
    save_predictions,
    to_coco_predictions,
)
from ultralytics.utils.errors import DatasetError, DependencyError
from ultralytics.utils.metrics import DetMetrics, box_iou, match_predictions
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import xywhn2xyxy

NAMES = {0: "cat", 1: "dog"}
IMAGES = [
    ("a/0012.jpg", (100, 200), np.array([0.0, 1.0]), np.array([[0.5, 0.5, 0.2, 0.4], [0.1, 0.2, 0.1, 0.1]])),
    ("b/left.png", (50, 50), np.zeros(0), np.zeros((0, 4))),
]


def perfect(image: tuple) -> torch.Tensor:
    """The objects of an image as detections (n, 6) in its pixels."""
    _, (height, width), classes, boxes = image
    conf = np.linspace(0.9, 0.8, len(classes))
    rows = np.concatenate((xywhn2xyxy(boxes, width, height), conf[:, None], classes[:, None]), 1)
    return torch.from_numpy(rows)


def test_rows_of_predictions():
    detections = torch.tensor([[10.00049, 20.0, 30.1234567, 60.0, 0.1234567, 1.0]], dtype=torch.float64)
    row = {"file_name": "0012.jpg", "bbox": [10.0, 20.0, 20.123, 40.0], "score": 0.12346}
    assert to_coco_predictions("a/0012.jpg", detections) == [{"image_id": 12, "category_id": 2, **row}]
    assert to_coco_predictions("0012.jpg", detections, [1, 90])[0]["category_id"] == 90
    assert to_coco_predictions("img-12²?.jpg", detections)[0]["image_id"] == "img-12²?"
    assert to_coco_predictions("2².jpg", detections)[0]["image_id"] == "2²"
    assert to_coco_predictions("x.jpg", detections[:0]) == []


def test_ground_truth():
    truth = coco_ground_truth(IMAGES, NAMES, [17, 18])
    entries = [(image["id"], image["height"], image["width"]) for image in truth["images"]]
    assert entries == [(12, 100, 200), ("left", 50, 50)]
    assert truth["categories"] == [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    assert [a["category_id"] for a in truth["annotations"]] == [17, 18]
    assert truth["annotations"][0]["bbox"] == pytest.approx([80, 30, 40, 40])
    assert truth["annotations"][0]["area"] == pytest.approx(1600)


def test_two_images_of_one_id_are_an_error():
    with pytest.raises(DatasetError, match=r"a/0012\.jpg and c/12\.png both have the COCO image id 12"):
        coco_ground_truth([*IMAGES, ("c/12.png", *IMAGES[1][1:])], NAMES)


def test_evaluation_from_files(tmp_path):
    truth = coco_ground_truth(IMAGES, NAMES | {2: "bird"})
    rows = [row for image in IMAGES for row in to_coco_predictions(image[0], perfect(image))]
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    save_predictions(tmp_path / "predictions.json", rows)
    result = evaluate_coco(tmp_path / "truth.json", tmp_path / "predictions.json")
    assert result.pop("by_size") == {"small": 1, "medium": 1, "large": -1}
    assert result == {"AP": 1, "AP50": 1, "AP75": 1, "per_class": {1: 1, 2: 1}}  # no bird, no AP of birds
    half = evaluate_coco(truth, rows[:1])
    assert half.pop("by_size") == {"small": 0, "medium": 1, "large": -1}
    assert half == {"AP": 0.5, "AP50": 0.5, "AP75": 0.5, "per_class": {1: 1, 2: 0}}
    assert evaluate_coco(truth, [])["AP"] == 0
    none = evaluate_coco(coco_ground_truth(IMAGES[1:], NAMES), [])
    assert set(none.pop("by_size").values()) == {-1} and none == {"AP": 0, "AP50": 0, "AP75": 0, "per_class": {}}


def test_more_than_a_hundred_detections_count():
    """COCO's own limit of 100 would lose the last twenty objects."""
    corner = np.stack(np.meshgrid(np.arange(12), np.arange(10)), -1).reshape(-1, 2) / 12
    crowd = ("crowd.jpg", (600, 600), np.zeros(120), np.concatenate((corner + 0.04, np.full((120, 2), 0.06)), 1))
    assert evaluate_coco(coco_ground_truth([crowd], NAMES), to_coco_predictions(crowd[0], perfect(crowd)))["AP"] == 1


def test_mistakes_are_named(tmp_path, monkeypatch):
    truth = coco_ground_truth(IMAGES, NAMES)
    row = to_coco_predictions("a/0012.jpg", perfect(IMAGES[0]))[0]
    with pytest.raises(DatasetError, match="image_id 13"):
        evaluate_coco(truth, [row | {"image_id": 13}])
    with pytest.raises(DatasetError, match="category_id 91"):
        evaluate_coco(truth, [row | {"category_id": 91}])
    (tmp_path / "x.json").write_text("[1, 2", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"x\.json cannot be read"):
        evaluate_coco(tmp_path / "x.json", [row])
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DatasetError, match="images, annotations and categories"):
        evaluate_coco(tmp_path / "x.json", [row])
    with pytest.raises(DatasetError, match="a list of predictions"):
        evaluate_coco(truth, tmp_path / "x.json")
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(DependencyError, match=r"\[coco\]"):
        evaluate_coco(truth, [row])


def labeled_images(root: Path) -> list[tuple]:
    """File, (height, width), classes, boxes of every image of a dataset on disk."""
    images = []
    for file in sorted(root.glob("images/*/*.jpg")):
        label = root / "labels" / file.parent.name / f"{file.stem}.txt"
        lines = label.read_text(encoding="utf-8").splitlines() if label.exists() else []
        rows = np.array([line.split() for line in lines], dtype=float).reshape(-1, 5)
        images.append((str(file), cv2.imdecode(np.fromfile(file, np.uint8), 0).shape, rows[:, 0], rows[:, 1:]))
    return images


def noisy(image: tuple, rng: np.random.Generator, nc: int) -> torch.Tensor:
    """Jittered ground truth, most of it, and false positives: (n, 6) in pixels, most confident first."""
    _, (height, width), classes, boxes = image
    detected = rng.random(len(classes)) < 0.85
    boxes, classes = boxes[detected], classes[detected]
    boxes = boxes + rng.normal(0, 0.08, boxes.shape) * np.tile(boxes[:, 2:], 2)
    swapped = rng.random(len(classes)) < 0.1
    classes = np.where(swapped, rng.integers(0, nc, len(classes)), classes)
    extra = rng.integers(0, 6)
    wrong = rng.uniform([0.2, 0.2, 0.05, 0.05], [0.8, 0.8, 0.4, 0.4], (extra, 4))
    xyxy = xywhn2xyxy(np.concatenate((boxes, wrong)), width, height)
    cls = np.concatenate((classes, rng.choice(classes, extra) if len(classes) else np.zeros(extra)))
    conf = rng.beta(np.repeat([4, 2], [len(boxes), extra]), 2)
    rows = np.concatenate((xyxy, conf[:, None], cls[:, None]), 1)
    return torch.from_numpy(rows[np.argsort(-conf)])


def measure(images: list[tuple], detections: list[torch.Tensor], names: dict[int, str]) -> DetMetrics:
    """Our own metrics, in pixels of the original images."""
    metrics = DetMetrics(names)
    for (_, (height, width), classes, boxes), rows in zip(images, detections, strict=True):
        iou = box_iou(torch.from_numpy(xywhn2xyxy(boxes, width, height)), rows[:, :4]).numpy()
        pred_cls = rows[:, 5].numpy()
        stats = {"tp": match_predictions(pred_cls, classes, iou), "conf": rows[:, 4].numpy(), "pred_cls": pred_cls}
        metrics.update_stats(stats | {"target_cls": classes, "target_img": np.unique(classes)})
    metrics.process()
    return metrics


def assert_agree(images: list[tuple], detections: list[torch.Tensor], names: dict[int, str]) -> DetMetrics:
    """Our AP is a COCO evaluator's: the mean within 0.01, every class within 0.015."""
    rows = [
        row
        for (file, *_), detected in zip(images, detections, strict=True)
        for row in to_coco_predictions(file, detected)
    ]
    theirs = evaluate_coco(coco_ground_truth(images, names), rows)
    metrics = measure(images, detections, names)
    assert theirs["AP"] == pytest.approx(metrics.box.map, abs=0.01)
    assert theirs["AP50"] == pytest.approx(metrics.box.map50, abs=0.01)
    assert list(theirs["per_class"]) == [c + 1 for c in metrics.ap_class_index]
    np.testing.assert_allclose(list(theirs["per_class"].values()), metrics.box.ap, atol=0.015)
    return metrics


@pytest.mark.parametrize("seed", range(3))
def test_agreement_on_jittered_ground_truth(reference, seed):
    images = labeled_images(reference / "data" / "coco_mini")
    rng = np.random.default_rng(seed)
    detections = [noisy(image, rng, 80) for image in images]
    metrics = assert_agree(images, detections, {i: str(i) for i in range(80)})
    assert 0.2 < metrics.box.map < 0.7  # neither trivial nor hopeless


def test_agreement_on_a_networks_output(golden):
    """Decoded outputs of a trained network for four images of 224 x 224."""
    batch = np.load(golden / "detect.npz")
    detections = non_max_suppression(torch.from_numpy(batch["eval.0"]), 0.001, 0.7, multi_label=True)
    images = []
    for i in range(4):
        own = batch["batch.batch_idx"] == i
        images.append((f"{i}.jpg", (224, 224), batch["batch.cls"][own, 0], batch["batch.bboxes"][own]))
    metrics = assert_agree(images, detections, {0: "RBC", 1: "WBC", 2: "Platelets"})
    assert metrics.box.map50 > 0.85


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=40), elements=st.integers(0, 1)))
def test_run_lengths_are_those_of_a_coco_library(masks):
    library = pytest.importorskip("faster_coco_eval")
    encoded = library.mask.encode(np.asfortranarray(masks.transpose(1, 2, 0)))
    expected = [{"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()} for code in encoded]
    assert run_lengths(torch.from_numpy(masks)) == expected


def test_long_runs_take_several_characters():
    mask = torch.zeros(1, 300, 400)
    mask[0, 100:200, 150:250] = 1
    library = pytest.importorskip("faster_coco_eval")
    (code,) = run_lengths(mask)
    np.testing.assert_array_equal(library.mask.decode(code), mask[0].numpy())
