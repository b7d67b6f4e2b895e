"""Detection's answers to the loops."""

import json
from collections import defaultdict

import cv2
import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.data.labels.files import list_images
from ultralytics.data.labels.scan import scan
from ultralytics.models.yolo import task_class
from ultralytics.models.yolo.detect.task import DetectTask
from ultralytics.utils import coco
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import DetMetrics, box_iou, match_predictions
from ultralytics.utils.ops import xywhn2xyxy


def measure(rows, labels, names):
    """Our metrics of COCO rows on the original pictures."""
    found = defaultdict(list)
    for row in rows:
        x, y, w, h = row["bbox"]
        found[row["image_id"]].append((x, y, x + w, y + h, row["score"], row["category_id"] - 1))
    metrics = DetMetrics(names)
    for i in range(len(labels)):
        cls, boxes, *_ = labels.labels_of(i)
        height, width = labels.shapes[i].tolist()
        mine = np.array(found[coco.image_id(labels.file(i))], np.float32).reshape(-1, 6)
        mine = mine[np.argsort(-mine[:, 4], kind="stable")]
        truth = torch.from_numpy(xywhn2xyxy(boxes, width, height))
        tp = match_predictions(mine[:, 5], cls, box_iou(truth, torch.from_numpy(mine[:, :4])).numpy())
        metrics.update_stats(
            {"tp": tp, "conf": mine[:, 4], "pred_cls": mine[:, 5], "target_cls": cls, "target_img": np.unique(cls)}
        )
    metrics.process()
    return metrics


def test_agreement_with_a_coco_evaluator(golden, dataset, tmp_path):
    pytest.importorskip("faster_coco_eval")
    folder, model = dataset("bccd"), YOLO(golden / "weights" / "detect.pt")
    validated = model.val(
        data=folder / "data.yaml", save_json=True, workers=0, plots=False, verbose=False, project=tmp_path
    )
    rows = json.loads((validated.save_dir / "predictions.json").read_text())
    labels = scan(list_images(folder / "images" / "val"), 3)
    images = [(labels.file(i), labels.shapes[i].tolist(), *labels.labels_of(i)[:2]) for i in range(len(labels))]
    theirs = coco.evaluate_coco(coco.coco_ground_truth(images, model.names), rows)
    ours = measure(rows, labels, model.names)
    assert ours.box.map == pytest.approx(theirs["AP"], abs=0.01)
    assert ours.box.map50 == pytest.approx(theirs["AP50"], abs=0.01)
    np.testing.assert_allclose(ours.box.maps, list(theirs["per_class"].values()), atol=0.015)
    assert ours.box.map == pytest.approx(validated.box.map, abs=0.015)  # measured in pixels of the network's input


def test_pictures_of_a_batch(tmp_path):
    """White pictures of 640 pixels, drawn 480 wide below a heading: boxes lie where they should."""
    batch = {
        "img": torch.full((2, 3, 480, 640), 255, dtype=torch.uint8),
        "batch_idx": torch.tensor([1.0]),
        "cls": torch.tensor([[0.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.5, 0.5]]),
        "im_file": ("a.jpg", "b.jpg"),
    }
    found = [torch.tensor([[64.0, 96, 320, 384, 0.9, 1], [400, 96, 600, 384, 0.2, 1]]), torch.zeros(0, 6)]
    DetectTask(get_options(), {"names": {0: "x", 1: "y"}}).plot_batch(batch, tmp_path / "labels.png")
    DetectTask(get_options(), {"names": {0: "x", 1: "y"}}).plot_predictions(batch, found, tmp_path / "found.png")
    for name, tile, expected in (("labels", 1, (160, 120, 480, 360)), ("found", 0, (64, 96, 320, 384))):
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        colored = (picture.max(2) > 150) & (picture.min(2) < 60)
        scale = (picture.shape[1] - 4) / 2 / 640
        top = picture.shape[0] - round(480 * scale)
        rows, columns = np.nonzero(colored[top:])
        columns = columns - tile * (picture.shape[1] + 4) // 2
        seen = np.array([columns.min(), rows[columns < columns.max() - 5].max(), columns.max()]) / scale
        np.testing.assert_allclose(seen, np.array(expected)[[0, 3, 2]], atol=4)


def test_tasks_of_the_table():
    assert task_class("detect").name == "detect"
    with pytest.raises(ConfigError, match="task=track is not supported, choose one of: detect"):
        task_class("track")
