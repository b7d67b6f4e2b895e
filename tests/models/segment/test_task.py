"""Segmentation against the reference: outputs, losses, training steps, predictions, validation, targets."""

import json

import cv2
import numpy as np
import pytest
import torch

from tests.close import partners
from tests.steps import as_batch, assert_reference_steps, reference_arrays
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.models.yolo.segment.task import SegmentEvaluator, SegmentTask
from ultralytics.utils.metrics import box_iou


@pytest.fixture(scope="module")
def reference_file(golden):
    """What the reference computed on one batch."""
    return reference_arrays(golden / "segment.npz")


@pytest.fixture(scope="module")
def model(golden):
    return YOLO(golden / "weights" / "segment.pt")


def test_outputs(model, reference_file):
    assert model.task == "segment" and type(model.model.model[-1]).__name__ == "Segment"
    with torch.no_grad():
        decoded, raw = model.model.eval()(reference_file["batch.img"])
    expected = reference_file["eval.0.0"]
    torch.testing.assert_close(decoded[:, :4], expected[:, :4], atol=0.05, rtol=0)
    torch.testing.assert_close(decoded[:, 4:], expected[:, 4:], atol=1e-3, rtol=0)
    torch.testing.assert_close(raw["proto"], reference_file["eval.0.1"], atol=1e-3, rtol=0)
    for part in ("boxes", "scores", "mask_coefficient", "proto"):
        torch.testing.assert_close(raw[part], reference_file[f"eval.1.{part}"], atol=1e-3, rtol=0)


def test_fused_and_exported(golden, model, reference_file):
    fused = YOLO(golden / "weights" / "segment.pt").fuse().model.eval()
    head = fused.model[-1]
    with torch.no_grad():
        decoded, raw = fused(reference_file["batch.img"])
        head.export = True
        exported = fused(reference_file["batch.img"])
    torch.testing.assert_close(decoded, reference_file["eval.0.0"], atol=0.05, rtol=1e-3)
    assert torch.equal(exported[0], decoded) and torch.equal(exported[1], raw["proto"])
    options = get_options({"conf": 0.25}).resolve("predict")
    for one, other in zip(*(SegmentTask(options).postprocess(o, 1) for o in (exported, (decoded, raw))), strict=True):
        assert torch.equal(one.rows, other.rows) and torch.equal(one.proto, other.proto)


def test_losses_and_training_steps(golden, reference_file):
    model = YOLO(golden / "weights" / "segment.pt").model.float().train()
    model.args = get_options()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".dfl." not in name)
    parts = ("boxes", "scores", "mask_coefficient", "proto")
    assert_reference_steps(
        model, reference_file, SegmentTask.loss_names, SegmentTask(get_options()).criterion(model), parts
    )


def test_targets(dataset, reference_file):
    options = get_options({"imgsz": 192}).resolve("val")
    data = SegmentTask.describe_data(dataset("nuclei_seg") / "data.yaml", ("val",))
    split = SegmentTask(options, data).dataset("val", augment=False, batch=4)
    batch, expected = split.collate([split[i] for i in range(4)]), as_batch(reference_file)
    assert torch.equal(batch["img"] / 255, expected["img"])
    # An image's objects are sorted by area, those of equal area as numpy's instructions for this processor leave them.
    ours, theirs = (torch.cat((b["batch_idx"][:, None], b["cls"], b["bboxes"]), 1) for b in (batch, expected))
    order = partners(ours, theirs)
    np.testing.assert_allclose(ours[order], theirs, atol=1e-6)
    for i in range(4):
        rows = (batch["batch_idx"] == i).nonzero().flatten()
        numbers = torch.cat((torch.tensor([0]), order.argsort()[rows] - rows[0] + 1))  # theirs, by ours
        assert (numbers[batch["masks"][i].long()] == expected["masks"][i]).all()


def test_predictions(model, golden, dataset):
    expected = json.loads((golden / "segment-predict.json").read_text(encoding="utf-8"))
    files = [dataset("nuclei_seg") / image["file"] for image in expected["images"]]
    settings = {key: expected[key] for key in ("imgsz", "conf", "iou")}
    results = model(files, batch=len(files), verbose=False, **settings)
    for result, image in zip(results, expected["images"], strict=True):
        truth = torch.tensor(image["xyxy"])
        iou = box_iou(result.boxes.xyxy, truth)
        partner = iou.argmax(1)
        assert len(result) == len(truth) and iou.amax(1).min() > 0.98 and partner.unique().numel() == len(truth)
        assert (result.boxes.conf - torch.tensor(image["conf"])[partner]).abs().max() < 0.01
        assert list(result.masks.shape) == image["mask_shape"] and result.masks.data.dtype == torch.uint8
        areas = result.masks.data.flatten(1).sum(1)
        np.testing.assert_allclose(areas, torch.tensor(image["mask_area"])[partner], rtol=0.01)


def test_validation(model, golden, dataset):
    expected = json.loads((golden / "segment-val.json").read_text(encoding="utf-8"))
    settings = {key: expected[key] for key in ("imgsz", "batch", "rect", "conf", "iou")}
    metrics = model.val(data=dataset("nuclei_seg") / "data.yaml", workers=0, plots=False, verbose=False, **settings)
    assert metrics.results_dict.keys() == expected["results"].keys() | metrics.further.keys()
    for name, value in expected["results"].items():
        tolerance = 0.003 if "mAP" in name or name == "fitness" else 0.01
        assert metrics.results_dict[name] == pytest.approx(value, abs=tolerance), name
    np.testing.assert_allclose(metrics.maps, expected["per_class_map50_95"], atol=0.003)
    assert [key for key in expected["results"] if key != "fitness"] == list(SegmentTask.metric_keys)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"save_txt": True}, (0.66915, 0.54532, 0.55444, 0.19746)),  # masks at the size of the input
        ({"overlap_mask": False}, (0.57335, 0.51155, 0.47262, 0.14722)),  # hidden parts count
        ({"mask_ratio": 2}, (0.63389, 0.48187, 0.48006, 0.16059)),  # the truth is drawn finer
    ],
    ids=str,
)
def test_other_ways_to_measure_masks(model, dataset, tmp_path, monkeypatch, options, expected):
    """What the public package 8.4.190 measures with the same weights and options."""
    monkeypatch.setattr(SegmentEvaluator, "_export", lambda *args: None)  # what is written is tested elsewhere
    data = dataset("nuclei_seg") / "data.yaml"
    how = {"imgsz": 192, "batch": 8, "workers": 0, "plots": False, "verbose": False, "project": tmp_path}
    metrics = model.val(data=data, **how, **options)
    np.testing.assert_allclose(metrics.seg.mean_results()[2:], expected[2:], atol=0.003)
    # Precision and recall are those of the best F1, and hardly worse ones lie where one is higher, the other lower.
    (p, r), (precision, recall) = metrics.seg.mean_results()[:2], expected[:2]
    assert p * r / (p + r) == pytest.approx(precision * recall / (precision + recall), abs=0.005)


RETINA = {  # (height, width): finds, areas of the surest six, all pixels
    (192, 192): (54, (273, 176, 145, 252, 132, 215), 11707),
    (200, 300): (49, (384, 216, 185, 368, 502, 387), 16847),
    (300, 200): (50, (359, 361, 445, 524, 483, 357), 18590),
    (120, 190): (47, (119, 83, 100, 151, 158, 78), 6008),
    (97, 211): (33, (117, 94, 149, 157, 166, 140), 3918),
    (384, 131): (27, (349, 427, 592, 437, 447, 491), 10563),
}


@pytest.mark.parametrize("shape", RETINA, ids=str)
def test_masks_of_pictures_of_other_shapes(model, dataset, shape):
    """retina_masks in pixels of the picture, as the public package 8.4.190 has them; without, of the input."""
    found, areas, pixels = RETINA[shape]
    picture = cv2.imread(str(dataset("nuclei_seg") / "images" / "val" / "245b995878370ef4.jpg"))
    picture = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA)
    (result,) = model.predict(picture, imgsz=192, retina_masks=True, verbose=False)
    assert len(result) == found and tuple(result.masks.shape) == (found, *shape)
    np.testing.assert_allclose(result.masks.data[:6].flatten(1).sum(1), areas, rtol=0.01, atol=2)
    assert int(result.masks.data.sum()) == pytest.approx(pixels, rel=1e-3)
    (usual,) = model.predict(picture, imgsz=192, verbose=False)
    assert max(usual.masks.shape[1:]) == 192
