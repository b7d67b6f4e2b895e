"""Pose estimation against the reference: outputs, losses, training steps, predictions, validation, targets."""

import json
import shutil
from itertools import chain

import numpy as np
import pytest
import torch

from tests.steps import as_batch, assert_reference_steps, reference_arrays
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.models.yolo.pose.task import PoseTask
from ultralytics.utils import coco
from ultralytics.utils.metrics import OKS_SIGMA, box_iou


@pytest.fixture(scope="module")
def reference_file(golden):
    """What the reference computed on one batch."""
    return reference_arrays(golden / "pose.npz")


@pytest.fixture(scope="module")
def model(golden):
    return YOLO(golden / "weights" / "pose.pt")


def test_outputs(model, reference_file):
    assert model.task == "pose" and type(model.model.model[-1]).__name__ == "Pose"
    with torch.no_grad():
        decoded, raw = model.model.eval()(reference_file["batch.img"])
    expected = reference_file["eval.0"]
    torch.testing.assert_close(decoded[:, :4], expected[:, :4], atol=0.05, rtol=0)
    torch.testing.assert_close(decoded[:, 4:5], expected[:, 4:5], atol=1e-3, rtol=0)
    points, expected = decoded[:, 5:].unflatten(1, (2, 3)), expected[:, 5:].unflatten(1, (2, 3))
    torch.testing.assert_close(points[:, :, :2], expected[:, :, :2], atol=0.05, rtol=0)
    torch.testing.assert_close(points[:, :, 2], expected[:, :, 2], atol=1e-3, rtol=0)
    for part in ("boxes", "scores", "kpts"):
        torch.testing.assert_close(raw[part], reference_file[f"eval.1.{part}"], atol=1e-3, rtol=0)


def test_fused_and_exported(golden, model, reference_file):
    fused = YOLO(golden / "weights" / "pose.pt").fuse().model.eval()
    with torch.no_grad():
        decoded, _ = fused(reference_file["batch.img"])
        fused.model[-1].export = True
        exported = fused(reference_file["batch.img"])
    torch.testing.assert_close(decoded, reference_file["eval.0"], atol=0.05, rtol=1e-3)
    assert torch.equal(exported, decoded)


def test_losses_and_training_steps(golden, reference_file):
    model = YOLO(golden / "weights" / "pose.pt").model.float().train()
    model.args = get_options()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".dfl." not in name)
    parts = ("boxes", "scores", "kpts")
    assert_reference_steps(model, reference_file, PoseTask.loss_names, PoseTask(get_options()).criterion(model), parts)


def test_targets(dataset, reference_file):
    options = get_options({"imgsz": 224}).resolve("val")
    data = PoseTask.describe_data(dataset("glue_tubes_pose") / "data.yaml", ("val",))
    split = PoseTask(options, data).dataset("val", augment=False, batch=4)
    batch = split.collate([split[i] for i in range(4)])
    for name, expected in as_batch(reference_file).items():
        if name == "img":
            assert torch.equal(batch["img"] / 255, expected)
        else:
            np.testing.assert_allclose(batch[name], expected, atol=1e-6, err_msg=name)


def test_predictions(model, golden, dataset):
    expected = json.loads((golden / "pose-predict.json").read_text(encoding="utf-8"))
    files = [dataset("glue_tubes_pose") / image["file"] for image in expected["images"]]
    settings = {key: expected[key] for key in ("imgsz", "conf", "iou")}
    results = model(files, batch=len(files), verbose=False, **settings)
    for result, image in zip(results, expected["images"], strict=True):
        truth = torch.tensor(image["xyxy"])
        iou = box_iou(result.boxes.xyxy, truth)
        partner = iou.argmax(1)
        assert len(result) == len(truth) and iou.amax(1).min() > 0.98 and partner.unique().numel() == len(truth)
        assert (result.boxes.conf - torch.tensor(image["conf"])[partner]).abs().max() < 0.01
        points = torch.tensor(image["keypoints"])[partner]
        assert result.keypoints.data.shape == points.shape == (len(truth), 2, 3)
        torch.testing.assert_close(result.keypoints.xy, points[..., :2], atol=0.1, rtol=0)
        torch.testing.assert_close(result.keypoints.conf, points[..., 2], atol=0.01, rtol=0)


def test_validation(model, golden, dataset):
    expected = json.loads((golden / "pose-val.json").read_text(encoding="utf-8"))
    settings = {key: expected[key] for key in ("imgsz", "batch", "rect", "conf", "iou")}
    metrics = model.val(
        data=dataset("glue_tubes_pose") / "data.yaml", workers=0, plots=False, verbose=False, **settings
    )
    assert metrics.results_dict.keys() == expected["results"].keys() | metrics.further.keys()
    for name, value in expected["results"].items():
        tolerance = 0.003 if "mAP" in name or name == "fitness" else 0.01
        assert metrics.results_dict[name] == pytest.approx(value, abs=tolerance), name
    np.testing.assert_allclose(metrics.maps, expected["per_class_map50_95"], atol=0.003)
    assert [key for key in expected["results"] if key != "fitness"] == list(PoseTask.metric_keys)


@pytest.mark.parametrize(
    ("hide", "expected"),
    [
        (lambda n: (0, 0) if n % 3 == 0 else (2, 2), (0.632613, 0.634146, 0.492161, 0.446881)),
        (lambda n: ((0, 2), (2, 1), (2, 2))[n % 3], (0.956518, 0.926829, 0.977293, 0.903492)),
    ],
    ids=["no point of every third object", "one point of every third object"],
)
def test_points_that_are_not_visible_are_measured_as_the_public_package_does(model, dataset, tmp_path, hide, expected):
    """What 8.4.190 measures: nothing finds an object of which no point is visible; COCO leaves it out."""
    folder = shutil.copytree(dataset("glue_tubes_pose"), tmp_path / "data", ignore=shutil.ignore_patterns("*.cache"))
    number = 0
    for file in sorted((folder / "labels" / "val").iterdir()):
        rows = [row.split() for row in file.read_text().splitlines()]
        for row in rows:
            row[7], row[10] = map(str, hide(number))
            number += 1
        file.write_text("\n".join(map(" ".join, rows)))
    how = {"imgsz": 224, "batch": 8, "workers": 0, "plots": False, "verbose": False, "project": tmp_path}
    metrics = model.val(data=folder / "data.yaml", **how)
    np.testing.assert_allclose(metrics.pose.mean_results()[:2], expected[:2], atol=0.01)  # precision and recall
    np.testing.assert_allclose(metrics.pose.mean_results()[2:], expected[2:], atol=0.003)


def test_people_are_measured_as_coco_does(dataset, tmp_path):
    """Seventeen points of mixed visibility, with COCO's sigmas: jittered truth, wrong finds, letterboxed pictures."""
    pytest.importorskip("faster_coco_eval")
    data = PoseTask.describe_data(dataset("coco_pose_mini") / "data.yaml", ("train",))
    options = get_options({"imgsz": 320, "save_json": True}).resolve("val")
    images = PoseTask(options, data).dataset("train", augment=False, batch=32)
    batch = images.collate([images[i] for i in range(len(images))])
    labeled = batch["keypoints"][..., 2].any(1)  # COCO leaves out who has no point that is labeled
    batch |= {name: batch[name][labeled] for name in ("batch_idx", "cls", "bboxes", "keypoints")}
    assert set(batch["keypoints"][..., 2].flatten().tolist()) == {0, 1, 2}
    evaluator = PoseTask(options, data).evaluator(images, tmp_path, 1, True)
    rng, boxes, found = np.random.default_rng(0), evaluator.boxes(batch), []
    for i in range(len(images)):
        mine = batch["batch_idx"] == i
        points, own = batch["keypoints"][mine].numpy() * (320, 320, 1), boxes[mine].numpy()
        root = np.sqrt(np.prod(own[:, 2:] - own[:, :2], 1))[:, None, None]
        reach = rng.lognormal(-0.7, 0.8, (len(points), 1, 1)) * root * OKS_SIGMA[:, None]
        points[..., :2] += rng.normal(0, 1, points[..., :2].shape) * reach
        rows = np.concatenate(
            (own, rng.uniform(0.2, 1, (len(own), 1)), np.zeros((len(own), 1)), points.reshape(-1, 51)), 1
        )
        wrong = rows[rng.random(len(rows)) < 0.3]
        wrong[:, 6:] = rng.uniform(0, 320, (len(wrong), 51))
        wrong[:, 4] *= 0.7
        rows = np.concatenate((rows[rng.random(len(rows)) < 0.85], wrong))
        found.append(torch.from_numpy(rows[np.argsort(-rows[:, 4])]).float())
    evaluator.update(found, batch)
    evaluator.metrics.process()
    truth = coco.coco_ground_truth(map(evaluator.truth, range(len(images))), data["names"])
    theirs = coco.evaluate_coco(truth, list(chain.from_iterable(evaluator.rows_by_image)), "keypoints", OKS_SIGMA)
    ours = evaluator.metrics.pose
    assert 0.2 < ours.map < 0.7 and labeled.sum() > 50
    assert ours.map == pytest.approx(theirs["AP"], abs=0.01)
    assert ours.map50 == pytest.approx(theirs["AP50"], abs=0.01)
    other = PoseTask(options, data | {"kpt_oks_sigmas": [0.01] * 17}).evaluator(images, tmp_path, 1, True)
    other.update(found, batch)
    other.metrics.process()
    assert other.metrics.pose.map < 0.5 * ours.map  # the data may be stricter
