"""Whole networks through YOLO against the reference's outputs, predictions and validations on real images."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.utils.metrics import box_iou

YAMLS = {"detect": "yolov8n.yaml", "detect-DynamicConv": "yolov8n-DynamicConv.yaml"}


@pytest.fixture(scope="module", params=[f"{name}{suffix}" for name in YAMLS for suffix in (".pt", ".safetensors")])
def case(request, golden):
    """A network opened in one of two ways: `name` of the reference, `model`."""
    path = golden / "weights" / request.param
    opened = path.suffix == ".pt"
    model = YOLO(path) if opened else YOLO(YAMLS[path.stem], nc=3).load(path)
    return SimpleNamespace(name=path.stem, model=model)


def read(golden, name):
    return json.loads((golden / name).read_text(encoding="utf-8"))


def test_outputs(case, golden):
    expected = {key: torch.from_numpy(value) for key, value in np.load(golden / f"{case.name}.npz").items()}
    with torch.no_grad():
        decoded, raw = case.model.model.eval()(expected["batch.img"])
    torch.testing.assert_close(decoded[:, :4], expected["eval.0"][:, :4], atol=0.05, rtol=0)
    torch.testing.assert_close(decoded[:, 4:], expected["eval.0"][:, 4:], atol=1e-3, rtol=0)
    for part in ("boxes", "scores"):
        torch.testing.assert_close(raw[part], expected[f"eval.1.{part}"], atol=1e-3, rtol=0)


def test_predictions(case, golden, dataset):
    expected = read(golden, f"{case.name}-predict.json")
    files = [dataset("bccd") / image["file"] for image in expected["images"]]
    results = case.model(files, imgsz=expected["imgsz"], conf=expected["conf"], iou=expected["iou"], verbose=False)
    assert [r.path for r in results] == [str(file) for file in files]
    assert [list(r.orig_shape) for r in results] == [image["shape"] for image in expected["images"]]
    for result, image in zip(results, expected["images"], strict=True):
        assert_one_to_one(result.boxes.data, as_rows(image), threshold=expected["conf"])


def as_rows(image):
    boxes, conf, cls = (torch.tensor(image[key]) for key in ("xyxy", "conf", "cls"))
    return torch.cat((boxes.reshape(-1, 4), conf[:, None], cls[:, None]), 1)


def assert_one_to_one(found, expected, threshold):
    """Each box has one partner of its class, IoU and about its confidence; those near the threshold may lack it."""
    same = (box_iou(found[:, :4], expected[:, :4]) > 0.98) & (found[:, None, 5] == expected[None, :, 5])
    same &= (found[:, None, 4] - expected[None, :, 4]).abs() < 0.01
    assert same.sum(1).max() == same.sum(0).max() == 1
    for rows, partners in ((found, same.sum(1)), (expected, same.sum(0))):
        assert (rows[partners == 0, 4] < threshold + 0.01).all()


def test_validation(case, golden, dataset):
    expected = read(golden, f"{case.name}-val.json")
    settings = {key: expected[key] for key in ("imgsz", "batch", "rect", "conf", "iou")}
    metrics = case.model.val(data=dataset("bccd") / "data.yaml", workers=0, plots=False, verbose=False, **settings)
    assert metrics.results_dict.keys() == expected["results"].keys() | metrics.further.keys()
    for name, value in expected["results"].items():
        tolerance = 0.003 if "mAP" in name or name == "fitness" else 0.01
        assert metrics.results_dict[name] == pytest.approx(value, abs=tolerance), name
    np.testing.assert_allclose(metrics.box.maps, expected["per_class_map50_95"], atol=0.003)
    np.testing.assert_allclose(metrics.box.ap50, expected["per_class_ap50"], atol=0.003)
