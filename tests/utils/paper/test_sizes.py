"""AP by size: COCO's rules, against its evaluator on real detections and on boxes at the limits."""

import json
import re
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.utils.coco import coco_ground_truth, to_coco_predictions
from ultralytics.utils.files import read_csv
from ultralytics.utils.metrics import box_iou
from ultralytics.utils.ops import xywhn2xyxy
from ultralytics.utils.paper.errors import KINDS
from ultralytics.utils.paper.sizes import SIZES, APBySize, coco_ap

NAMES = {0: "RBC", 1: "WBC", 2: "Platelets"}


def by_coco(images: list[tuple], rows: list[dict]) -> dict[str, float]:
    """AP of all sizes and of each, and AP75, of rows of predictions by faster-coco-eval; -1 where there is nothing."""
    library = pytest.importorskip("faster_coco_eval")
    truth = coco_ground_truth(images, NAMES)
    numbers = {image["id"]: n for n, image in enumerate(truth["images"], 1)}
    for entry in truth["images"]:
        entry["id"] = numbers[entry["id"]]
    rows = [row | {"image_id": numbers[row["image_id"]]} for row in rows]
    for annotation in truth["annotations"]:
        annotation["image_id"] = numbers[annotation["image_id"]]
    for annotation in truth["annotations"]:
        annotation["area"] = round(annotation["area"], 2)
    objects = library.COCO(truth)
    evaluator = library.COCOeval_faster(objects, objects.loadRes(rows), iouType="bbox")
    evaluator.params.maxDets = [300]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = evaluator.eval["precision"][..., 0]  # (IoU, recall, category, size), the first size being all

    def mean(values: np.ndarray) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else -1.0

    found = {size: mean(precision[..., i]) for i, size in enumerate(SIZES, 1)}
    return found | {"all": mean(precision[..., 0]), "75": mean(precision[5, ..., 0])}


def measured(images: list[tuple], detections: list[torch.Tensor]) -> dict[str, float]:
    """Our AP of each size."""
    sizes = APBySize()
    for (_, (height, width), classes, boxes), found in zip(images, detections, strict=True):
        true, rows = torch.from_numpy(xywhn2xyxy(boxes.astype(float), width, height)).reshape(-1, 4), found.double()
        areas = ((b[:, 2:4] - b[:, :2]).prod(1).numpy() for b in (rows, true))
        sizes.add(box_iou(true, rows[:, :4]).numpy(), rows[:, 4].numpy(), rows[:, 5].numpy(), classes, *areas)
    return {size: float(np.mean(list(ap.values()))) if ap else -1.0 for size, ap in sizes.results().items()}


def read_labels(file, split) -> tuple:
    """Image as `coco_ground_truth` takes it."""
    rows = np.loadtxt(file.parents[2] / "labels" / split / f"{file.stem}.txt", ndmin=2).reshape(-1, 5)
    return str(file), cv2.imread(str(file)).shape[:2], rows[:, 0], rows[:, 1:]


def test_a_trained_network_on_real_images(golden, dataset, tmp_path):
    """All numbers that val() has beside mAP50-95 against COCO's evaluator and plain numpy."""
    root = dataset("bccd")
    metrics = YOLO(golden / "weights" / "detect.pt").val(
        data=root / "data.yaml", workers=0, batch=8, save_json=True, verbose=False, project=tmp_path
    )
    images = [read_labels(file, "val") for file in sorted((root / "images" / "val").iterdir())]
    rows = json.loads((metrics.save_dir / "predictions.json").read_text())
    found = metrics.results_dict
    assert list(found) == [*metrics.keys, "fitness", *metrics.further]
    at = found["metrics/F1-confidence(B)"]
    assert f1_at(images, rows, at) == pytest.approx(found["metrics/F1(B)"], abs=0.005)
    assert max(f1_at(images, rows, conf) for conf in np.linspace(0.15, 0.75, 13)) < found["metrics/F1(B)"] + 0.01

    expected = by_coco(images, rows)
    assert found["metrics/mAP75(B)"] == pytest.approx(expected["75"], abs=0.01)
    for size in SIZES:
        assert found[f"metrics/mAP50-95-{size}(B)"] == pytest.approx(expected[size], abs=2e-3), size
    assert 0 < expected["small"] < expected["medium"] < expected["large"]

    table = read_csv(metrics.save_dir / "paper.csv")
    assert [row["Class"] for row in table] == ["all", *NAMES.values()]
    assert float(table[0]["AP-small"]) == pytest.approx(found["metrics/mAP50-95-small(B)"])
    assert float(table[0]["Box-F1"]) == pytest.approx(found["metrics/F1(B)"], abs=1e-5)
    errors, *_ = read_csv(metrics.save_dir / "errors.csv")
    confident = np.concatenate(metrics.stats["conf"]) >= metrics.box.conf
    hits = np.concatenate(metrics.stats["tp"])[confident, 0].sum()
    assert int(errors["objects"]) == metrics.nt_per_class.sum() > int(errors["hit"]) == hits > 100
    assert sum(int(errors[kind]) for kind in KINDS) == confident.sum() > hits
    assert cv2.imread(str(metrics.save_dir / "errors.png")).shape[0] > 640
    note = (metrics.save_dir / "paper.md").read_text(encoding="utf-8")
    assert re.search(r"Network: detect\.pt 6\.21 MB; 3,01\d,\d{3} parameters, 0\.99 GFLOPs of an image at 224", note)
    assert re.search(r"Speed .* images per second \(cpu, 1 threads, float32, batches of 8; means over 73 images", note)


def f1_at(images: list[tuple], rows: list[dict], conf: float) -> float:
    """Mean F1 of the classes at a confidence, IoU 0.50, counted one by one."""
    scores, sure = [], defaultdict(list)
    for row in rows:
        if row["score"] >= conf:
            sure[row["file_name"], row["category_id"]].append(row)
    for c in NAMES:
        hits = total = found = 0
        for file, (height, width), classes, boxes in images:
            true = [xywhn2xyxy(box, width, height) for box in boxes[classes == c]]
            total += len(true)
            for row in sorted(sure[Path(file).name, c + 1], key=lambda r: -r["score"]):
                found += 1
                x, y, w, h = row["bbox"]
                ious = [plain_iou((x, y, x + w, y + h), box) for box in true]
                if ious and max(ious) >= 0.5:
                    hits += 1
                    true.pop(int(np.argmax(ious)))
        scores.append(2 * hits / max(found + total, 1))
    return float(np.mean(scores))


def plain_iou(a, b) -> float:
    """IoU of two xyxy boxes."""
    w, h = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return w * h / (areas - w * h)


def random_images(seed: int) -> tuple[list[tuple], list[torch.Tensor]]:
    """Objects of whole pixels, many of exactly the limits' areas, and detections around and beside them."""
    rng = np.random.default_rng(seed)
    images, detections = [], []
    for i in range(12):
        n = int(rng.integers(0, 9))
        sides = rng.choice([8, 16, 32, 64, 96, 144, 200], (n, 2))
        corner = rng.integers(0, 400, (n, 2))
        xyxy = np.concatenate((corner, corner + sides), 1).astype(float)
        classes = rng.integers(0, 3, n).astype(float)
        boxes = np.concatenate((corner + sides / 2, sides), 1) / 640
        images.append((f"{i}.jpg", (640, 640), classes, boxes))
        jittered = np.repeat(xyxy, 3, 0) + rng.normal(0, 4, (3 * n, 4)).round()
        jittered[:, 2:] = np.maximum(jittered[:, 2:], jittered[:, :2] + 1)
        conf = rng.permutation(3 * n)[:, None] / 100 + 0.01 + i / 1e4
        rows = np.concatenate((jittered, conf, np.repeat(classes, 3)[:, None]), 1)
        detections.append(torch.from_numpy(rows[np.argsort(-conf[:, 0])]))
    return images, detections


@pytest.mark.parametrize("seed", range(4))
def test_coco_agrees_to_the_last_digit(seed):
    images, detections = random_images(seed)
    rows = [r for (file, *_), found in zip(images, detections, strict=True) for r in to_coco_predictions(file, found)]
    expected = by_coco(images, rows)
    assert measured(images, detections) == pytest.approx({size: expected[size] for size in SIZES}, abs=1e-6)
    assert len(set(expected.values())) == 5


def test_a_size_that_no_object_has():
    box = np.array([[0.5, 0.5, 0.1, 0.1]])
    rows = torch.tensor([[288.0, 288, 352, 352, 0.9, 0]])
    found = measured([("a.jpg", (640, 640), np.zeros(1), box)], [rows])
    assert found == {"small": -1, "medium": pytest.approx(1), "large": -1}
    assert APBySize().results() == {"small": {}, "medium": {}, "large": {}}


def test_ap_of_a_curve_by_hand():
    hit = np.array([True, False, True])
    assert coco_ap(hit, 2) == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert coco_ap(np.zeros(0, bool), 3) == 0
