"""Test-time augmentation against the public package (8.4.190, the golden detector; numbers computed by running it)."""

import numpy as np
import pytest
import torch

from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.models.yolo import task_class
from ultralytics.nn.augmented import predict_augmented
from ultralytics.nn.tasks import DetectionModel

# Anchor points of all passes together, by the size of the images.
ANCHORS = {(128, 96): 537, (224, 224): 1861, (160, 256): 1655, (640, 480): 11411}


@pytest.mark.parametrize("size", ANCHORS)
def test_each_pass_gives_the_levels_it_is_good_at(size):
    model = DetectionModel("yolov8n.yaml", nc=3, verbose=False).eval()
    with torch.no_grad():
        assert predict_augmented(model, torch.rand(1, 3, *size)).shape == (1, 7, ANCHORS[size])


def test_boxes_are_in_pixels_of_the_image_in_every_pass():
    """A network whose every cell predicts a box around itself: mirrored and scaled passes put it back."""

    class Cells(torch.nn.Module):
        stride, max_stride = torch.tensor([8.0]), 8

        def forward(self, images):
            bright = images[:, :1, 4::8, 4::8]  # what is in the middle of each cell
            rows, columns = torch.meshgrid(*(torch.arange(n) for n in bright.shape[2:]), indexing="ij")
            boxes = torch.stack(
                (columns * 8.0 + 4, rows * 8.0 + 4, torch.full_like(rows, 8.0), torch.full_like(rows, 8.0))
            )
            return torch.cat((boxes.flatten(1)[None], bright.flatten(2)), 1)

    images = torch.zeros(1, 3, 160, 320)
    images[:, :, 40:72, 240:272] = 1  # its center is at (256, 56)
    found = predict_augmented(Cells(), images)[0]
    places = found[:2, found[4] > 0.9]
    assert 16 < places.shape[1] < 48  # 16 cells of the first pass, fewer of the smaller ones
    np.testing.assert_allclose(places.mean(1), (256, 56), atol=3)
    assert (places - torch.tensor([[256.0], [56.0]])).abs().max() < 22


@pytest.fixture(scope="module")
def model(golden):
    """The detector of the reference."""
    return YOLO(golden / "weights" / "detect.pt")


@pytest.mark.public("python::model_forward")
def test_predictions_equal_the_public_packages(model, reference):
    images = sorted((reference / "data" / "bccd" / "images" / "val").iterdir())[:10]
    results = model.predict(images, augment=True, device="cpu", verbose=False)
    assert [len(result.boxes) for result in results] == [17, 22, 27, 24, 27, 22, 21, 18, 15, 19]
    np.testing.assert_allclose(results[0].boxes.conf[:4], [0.70108, 0.68818, 0.66090, 0.65911], atol=2e-4)


def test_metrics_equal_the_public_packages(model, dataset):
    data = dataset("bccd") / "data.yaml"
    metrics = model.val(
        data=data, augment=True, batch=8, imgsz=224, plots=False, device="cpu", workers=0, verbose=False
    )
    expected = {"precision": 0.86385, "recall": 0.84065, "mAP50": 0.89432, "mAP50-95": 0.56575}
    found = {name: metrics.results_dict[f"metrics/{name}(B)"] for name in expected}
    assert found == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_other_tasks_say_that_there_is_none(golden, picture, task, caplog):
    model = YOLO(golden / "weights" / f"{task}.pt")
    once, twice = (model.predict(picture, augment=augment)[0] for augment in (False, True))
    for kind in ("boxes", "masks", "keypoints", "obb", "probs"):
        parts = getattr(once, kind), getattr(twice, kind)
        assert parts == (None, None) or parts[0].data.equal(parts[1].data)
    assert f"augment=True, test-time augmentation, is off: there is none for {task}" in caplog.text


def test_an_exported_network_says_what_it_leaves_undone(detector, picture, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    path = detector.export(format="torchscript", imgsz=160)
    exported = YOLO(path)
    exported.predict(picture, augment=True)
    assert "is off: an exported network takes one size" in caplog.text and "channels_last" not in caplog.text
    exported.predict(picture, channels_last=True)
    assert "channels_last=True changes nothing" in caplog.text


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_training_of_other_tasks_validates_without_it(task):
    """Their options say augment=True as well where a trainer was made without YOLO.train, which warns."""
    images, asked = torch.rand(1, 3, 64, 64), task_class(task)(get_options({"augment": True}))
    assert asked.infer(torch.nn.Identity(), images) is images


def test_training_validates_without_and_ends_with_it(train, monkeypatch):
    from ultralytics.models.yolo.detect import task

    calls = []
    monkeypatch.setattr(
        task, "predict_augmented", lambda m, images: calls.append(len(images)) or predict_augmented(m, images)
    )
    train(augment=True, epochs=2)
    assert calls == [4]  # the validation of the best weights: one batch
