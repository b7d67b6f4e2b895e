"""Rotated boxes from end to end."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.close import partners
from tests.models.runs import assert_killed_equals_whole, assert_left, tiny_run
from tests.steps import reference_arrays
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.models.yolo.obb import OBBValidator
from ultralytics.models.yolo.obb.task import OBBTask
from ultralytics.utils.errors import DatasetError


def bar(rng):
    """Corners of a turned bar, which are its label."""
    center, size = rng.uniform(20, 44, 2).tolist(), rng.uniform((16, 6), (26, 10)).tolist()
    corners = cv2.boxPoints((center, size, rng.uniform(-90, 90)))
    return corners, (corners / 64).ravel()


@pytest.fixture
def settings(tmp_path):
    """Options of a short run of the tiny network on turned bars in tmp_path/runs/exp."""
    return tiny_run(tmp_path, "OBB, [nc, 1]", bar)


@pytest.fixture(scope="module")
def trained(golden):
    """The reference's network."""
    return YOLO(golden / "weights" / "obb.pt")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_outputs_of_the_reference(trained, golden):
    expected = reference_arrays(golden / "obb.npz")
    kept = {name: value.clone() for name, value in trained.model.state_dict().items()}
    with torch.no_grad():
        decoded, raw = trained.model.eval()(expected["batch.img"])
        in_training = trained.model.train()(expected["batch.img"])
    trained.model.load_state_dict(kept)  # train mode moved the norms' statistics
    torch.testing.assert_close(decoded[:, :4], expected["eval.0"][:, :4], atol=0.05, rtol=0)
    torch.testing.assert_close(decoded[:, 4:], expected["eval.0"][:, 4:], atol=1e-3, rtol=0)
    for part in ("boxes", "scores", "angle"):
        torch.testing.assert_close(raw[part], expected[f"eval.1.{part}"], atol=1e-3, rtol=0)
        torch.testing.assert_close(in_training[part], expected[f"train.{part}"], atol=1e-3, rtol=0)


def test_losses_of_validation_between_epochs(golden, dataset, tmp_path):
    """As the public package's trainer has them with these weights, at imgsz 128 and one batch of all images."""
    yolo = YOLO(golden / "weights" / "obb.pt")
    given = {"data": str(dataset("nuclei_obb") / "data.yaml"), "imgsz": 128, "batch": 24, "rect": True, "workers": 0}
    options = yolo.resolve("val", given | {"verbose": False, "plots": False})
    validator = OBBValidator(args=options, save_dir=tmp_path)
    validator.prepare(yolo.model)
    yolo.model.args = options  # the gains
    results = validator.run(yolo.model, validator.task.criterion(yolo.model), final=False)
    assert validator.loss.tolist() == pytest.approx([1.88468, 0.87502, 1.30513, 0.26696], rel=5e-4)
    assert results["metrics/mAP50(B)"] == pytest.approx(0.63754, abs=1e-3)


def test_predictions_of_the_reference(trained, golden, dataset):
    """One batch of pictures of several shapes, thus square ones."""
    expected = read(golden / "obb-predict.json")
    files = [dataset("nuclei_obb") / image["file"] for image in expected["images"]]
    options = {name: expected[name] for name in ("imgsz", "conf", "iou")}
    results = trained(files, batch=len(files), verbose=False, **options)
    for result, image in zip(results, expected["images"], strict=True):
        boxes, conf, cls = (torch.tensor(image[key]) for key in ("xywhr", "conf", "cls"))
        rows = torch.cat((boxes.reshape(-1, 5), conf[:, None], cls[:, None]), 1)
        found = result.obb.data[partners(result.obb.data, rows)]
        assert result.boxes is None and list(result.orig_shape) == image["shape"]
        torch.testing.assert_close(found[:, :4], rows[:, :4], atol=0.1, rtol=0)
        torch.testing.assert_close(found[:, 4], rows[:, 4], atol=0.001, rtol=0)
        torch.testing.assert_close(found[:, 5], rows[:, 5], atol=0.01, rtol=0)
        assert torch.equal(found[:, 6], rows[:, 6])


def test_validation_of_the_reference(trained, golden, dataset, tmp_path):
    """And what it leaves behind on request."""
    expected = read(golden / "obb-val.json")
    settings = {name: expected[name] for name in ("imgsz", "batch", "rect", "iou")}  # its conf is not what it ran with
    data = dataset("nuclei_obb") / "data.yaml"
    wanted = {"save_json": True, "save_txt": True, "save_conf": True, "plots": False, "verbose": False}
    metrics = trained.val(data=data, workers=0, project=tmp_path, **settings, **wanted)
    assert metrics.results_dict.keys() == expected["results"].keys() | metrics.further.keys()
    for name, value in expected["results"].items():
        tolerance = 0.003 if "mAP" in name or name == "fitness" else 0.01
        assert metrics.results_dict[name] == pytest.approx(value, abs=tolerance), name
    np.testing.assert_allclose(metrics.box.maps, expected["per_class_map50_95"], atol=0.003)
    np.testing.assert_allclose(metrics.box.ap50, expected["per_class_ap50"], atol=0.003)

    rows = read(metrics.save_dir / "predictions.json")
    first = rows[0]
    assert list(first) == ["image_id", "file_name", "category_id", "score", "rbox", "poly"]
    x, y, w, h, theta = first["rbox"]
    np.testing.assert_allclose(np.reshape(first["poly"], (4, 2)).mean(0), (x, y), atol=0.002)
    found = cv2.minAreaRect(np.reshape(first["poly"], (4, 2)).astype(np.float32))
    np.testing.assert_allclose(sorted(found[1]), sorted((w, h)), atol=0.01)
    assert abs(math.sin(2 * (math.radians(found[2]) - theta))) < 0.01
    lines = (metrics.save_dir / "predictions_txt" / "Task1_nucleus.txt").read_text().splitlines()
    assert len(lines) == len(rows) and lines[0].split()[0] == first["image_id"]
    np.testing.assert_allclose([float(v) for v in lines[0].split()[1:]], [first["score"], *first["poly"]], rtol=1e-4)
    stem = Path(first["file_name"]).stem
    texts = (metrics.save_dir / "labels" / f"{stem}.txt").read_text().splitlines()
    assert len(texts) == sum(row["file_name"] == first["file_name"] for row in rows)
    assert len(texts[0].split()) == 10


def test_a_training_from_end_to_end(settings):
    """Losses that fall, columns, pictures, weights that are opened as they were saved."""
    model = YOLO(settings["model"])
    model.train(**settings | {"epochs": 4, "plots": True, "lr0": 0.02, "warmup_epochs": 0.0, "mosaic": 0.5})
    rows = assert_left(model.trainer.save_dir, OBBTask, ["box_loss", "cls_loss", "dfl_loss", "angle_loss"], ["Box"])
    total = [sum(float(row[f"train/{n}"]) for n in OBBTask.loss_names) for row in rows]
    assert total[-1] < total[0]
    again = YOLO(model.trainer.last)
    assert (again.task, again.names) == ("obb", {0: "red", 1: "blue"})


@pytest.mark.public("engine::resume_incomplete")
def test_killed_at_any_moment(settings):
    assert_killed_equals_whole(settings | {"nbs": 8, "degrees": 45.0})


def test_only_the_image_is_lost_whose_label_is_broken(settings, caplog):
    folder = Path(settings["data"]).parent / "labels" / "train"
    (folder / "03.txt").write_text("0 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    data, options = opened(settings)
    images = OBBTask(options, data).dataset("train", augment=False, batch=4)
    assert len(images) == 11
    assert "03.txt:1: 5 numbers, as of a box, but a row is `class x1 y1 x2 y2 x3 y3" in caplog.text
    for file in folder.glob("*.txt"):
        file.write_text("0 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    with pytest.raises(
        DatasetError,
        match=r"none of its 12 images can be used, the first, .*00\.png, because: .*00\.txt:1: 5 numbers",
    ):
        OBBTask(options, data).dataset("train", augment=False, batch=4)


def opened(settings):
    """The dataset, and options of a validation."""
    return OBBTask.describe_data(settings["data"], ("train", "val")), get_options({"imgsz": 64})


def test_a_perfect_network_is_measured_as_perfect(settings):
    """Several classes: the truth as detections, once as it is, once with the classes exchanged, once turned."""
    data, options = opened(settings)
    images = OBBTask(options, data).dataset("train", augment=False, batch=12)
    batch = images.collate([images[i] for i in range(12)])

    def measure(change):
        evaluator = OBBTask(options, data).evaluator(images, Path(settings["project"]), 2, False)
        boxes, index = evaluator.boxes(batch), batch["batch_idx"]
        rows = torch.cat((boxes[:, :4], torch.ones(len(boxes), 1), batch["cls"], boxes[:, 4:]), 1)
        evaluator.update([change(rows[index == i].clone()) for i in range(12)], batch)
        return evaluator.finish({})

    def exchange(rows):
        rows[:, 5] = 1 - rows[:, 5]
        return rows

    def turn(rows):
        rows[:, 6] += math.pi / 2
        return rows

    assert measure(lambda rows: rows).fitness == pytest.approx(0.995, abs=1e-3)
    assert measure(exchange).fitness < 0.1
    assert measure(turn).fitness < 0.3
    matrix = measure(lambda rows: rows).confusion_matrix.matrix
    assert matrix.sum() == np.trace(matrix) == len(batch["cls"])


def test_defaults_of_validation(settings):
    model, seen = YOLO(settings["model"]), []
    model.add_callback(
        "on_val_start", lambda validator: seen.append((validator.args.conf, validator.dataloader.dataset.batch))
    )
    options = {name: settings[name] for name in ("data", "imgsz", "batch", "workers", "project", "plots")}
    for given in ({}, {"conf": 0.2}):
        model.val(**options, **given)
    model.train(**settings | {"epochs": 1})
    assert seen[:2] == [(0.01, 4), (0.2, 4)]
    assert set(seen[2:]) == {(0.01, 4)}  # batches as large as in training, for other tasks twice that
