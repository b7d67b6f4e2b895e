"""Validation through the whole stack: what every option changes, what is said and left."""

import json
import re

import cv2
import numpy as np
import pytest
import torch

from tests.close import partners
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.engine.validator import BaseValidator
from ultralytics.utils import coco
from ultralytics.utils.checkpoint import Checkpoint, save_checkpoint
from ultralytics.utils.errors import ConfigError, DatasetError

COCO_KEYS = ("AP", "AP50", "AP75")


@pytest.fixture
def data(detector, picture, tmp_path):
    """YAML of six pictures, in the splits val and test, labeled with the 20 surest boxes that `detector` finds."""
    for split, count in (("val", 4), ("test", 2)):
        folder = tmp_path / "data" / "images" / split
        folder.mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(folder / f"{i}.png"), np.roll(picture, 30 * i, 1))
    for result in detector(f"{tmp_path}/data/images/*/*.png", imgsz=160, rect=False, max_det=20, verbose=False):
        result.save_txt(result.path.replace("images", "labels").replace(".png", ".txt"))
    path = tmp_path / "data" / "data.yaml"
    path.write_text("val: images/val\ntest: images/test\nnames: [a, b, c]\n", encoding="utf-8")
    return path


@pytest.fixture
def val(detector, data, tmp_path):
    """`val(**options)`: metrics of `detector` on squares of 160 pixels, as they were when the data were labeled."""
    usual = {"data": data, "imgsz": 160, "rect": False, "workers": 0, "plots": False, "project": tmp_path / "runs"}
    return lambda **options: detector.val(**{**usual, "verbose": False, **options})


def labels(data):
    return sorted((data.parent / "labels").rglob("*.txt"))


def summary(metrics):
    return [*metrics.results_dict.values(), *metrics.box.maps, *metrics.confusion_matrix.matrix.flatten()]


def test_a_network_finds_what_it_has_labeled(val, detector):
    metrics = val(conf=0.25, max_det=20)
    assert metrics is detector.metrics
    assert (
        min(metrics.box.mp, metrics.box.mr, metrics.box.map50) > 0.97
    )  # a label ends at the edge, a detection may not
    assert metrics.fitness == metrics.box.map
    matrix = metrics.confusion_matrix.matrix
    assert matrix.trace() == matrix[:3, :3].sum() >= 78 and matrix[:, 3].sum() == matrix[3].sum() == 80 - matrix.trace()
    assert metrics.names == {0: "a", 1: "b", 2: "c"}
    assert set(metrics.speed) == {"preprocess", "inference", "loss", "postprocess"} and metrics.speed["inference"] > 0


def test_the_network_stays_as_it_was(val, detector):
    detector.model.train()
    weights = {name: value.clone() for name, value in detector.model.state_dict().items()}
    val()
    assert detector.model.training and not detector.model.is_fused()
    assert all(torch.equal(value, weights[name]) for name, value in detector.model.state_dict().items())


def test_loading_changes_nothing(val):
    plain = summary(val())
    assert summary(val(batch=1)) == pytest.approx(plain, rel=1e-3)
    assert summary(val(batch=2, workers=2)) == pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"conf": 0.3},
        {"iou": 0.3},
        {"max_det": 3},
        {"classes": [0, 2]},
        {"single_cls": True},
        {"rect": True},
        {"imgsz": 96},
        {"split": "test"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_change_the_measurement(val, options):
    assert list(val(**options).results_dict.values()) != pytest.approx(list(val().results_dict.values()))


def test_agnostic_suppression(val):
    assert val(agnostic_nms=True, conf=0.2).box.map < val(conf=0.2).box.map


def test_classes_left_out_are_neither_wanted_nor_counted(val):
    metrics = val(classes=[2], conf=0.25)
    assert metrics.ap_class_index.tolist() == [2]
    assert metrics.confusion_matrix.matrix[:2].sum() == metrics.confusion_matrix.matrix[:, :2].sum() == 0


def test_all_classes_as_one(val):
    metrics = val(single_cls=True, conf=0.25, iou=1.0)
    assert metrics.names == {0: "item"} and metrics.nt_per_class.tolist() == [80]
    assert metrics.box.mr > 0.9  # although the network has three
    assert summary(val(single_cls=True)) == summary(val(single_cls=True, agnostic_nms=True))


def test_a_network_of_one_class_on_picked_classes_of_the_files(detector, data, tmp_path):
    model = YOLO(detector.cfg, nc=1)
    metrics = model.val(
        data=data, single_cls=True, classes=[2], conf=0, imgsz=160, workers=0, plots=False, save_txt=True,
        project=tmp_path / "runs",
    )  # fmt: skip
    assert metrics.nt_per_class.tolist() == [66]
    assert len(list((metrics.save_dir / "labels").iterdir())) == 4  # it is not asked for detections of class 2


def test_what_is_said(val, caplog):
    val(verbose=True, save_txt=True)
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("val: 4 images, 0 skipped, 0 without objects")
    table = [line.split() for line in said[1:6]]
    assert table[0] == ["Class", "Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)"]
    assert [row[0] for row in table[1:]] == ["all", "a", "b", "c"] and table[1][1:3] == ["4", "80"]
    assert sum(int(row[2]) for row in table[2:]) == 80
    assert re.fullmatch(r"F1\(B\) 0\.\d+, F1-confidence\(B\) .*, mAP75\(B\) .*, mAP50-95-medium\(B\) 0\.\d+", said[6])
    assert re.fullmatch(r"Speed: .*ms preprocess, .*ms inference, .*ms loss, .*ms postprocess per image", said[7])
    assert said[8].startswith("Results saved to ") and said[8].endswith("exp")
    caplog.clear()
    val()
    assert len(caplog.records) == 3  # without the classes, and nothing was saved


def test_pictures_are_left_where_asked_for(val, tmp_path):
    assert val().save_dir == tmp_path / "runs" / "exp" and not (tmp_path / "runs").exists()
    folder = val(plots=True, batch=2).save_dir
    curves = {"BoxP_curve.png", "BoxR_curve.png", "BoxF1_curve.png", "BoxPR_curve.png"}
    matrices = {"confusion_matrix.png", "confusion_matrix_normalized.png"}
    papers = {"paper.md", "paper.csv", "paper.tex", "errors.csv", "errors.png"}
    batches = {f"val_batch{i}_{what}.jpg" for i in range(2) for what in ("labels", "pred")}
    assert {path.name for path in folder.iterdir()} == curves | matrices | papers | batches


def test_between_epochs_nothing_is_left(detector, data, tmp_path, caplog):
    changes = {"data": data, "imgsz": 160, "project": tmp_path / "runs", "workers": 0}
    options = get_options(changes, {"plots": True, "save_txt": True, "save_json": True}).resolve("val")
    validator = BaseValidator(args=options)
    validator.prepare(detector.model)
    caplog.clear()
    validator.run(detector.model, final=False)
    assert validator.metrics.nt_per_class.sum() == 80
    assert not (tmp_path / "runs").exists() and len(caplog.records) == 2


def test_label_files(val, tmp_path):
    folder = val(save_txt=True, conf=0.25, max_det=20).save_dir / "labels"
    for path in labels(tmp_path / "data" / "data.yaml")[2:]:
        found, truth = (torch.from_numpy(np.loadtxt(p)) for p in (folder / path.name, path))
        torch.testing.assert_close(found[partners(found, truth)], truth, rtol=0, atol=1e-4)
    assert val(save_txt=True).save_dir == folder.parent.with_name("exp2")
    again = val(save_txt=True, save_conf=True, conf=0.25, max_det=20, exist_ok=True).save_dir / "labels"
    assert again == folder and np.loadtxt(folder / "0.txt").shape == (20, 6)


def test_pictures_of_one_name_have_label_files_of_their_own(val, data):
    data.write_text("val: [images/val, images/test]\nnames: [a, b, c]\n", encoding="utf-8")
    folder = val(save_txt=True).save_dir / "labels"
    assert sorted(path.name for path in folder.iterdir()) == ["0.txt", "0_2.txt", "1.txt", "1_2.txt", "2.txt", "3.txt"]


def test_coco_json(val, caplog):
    pytest.importorskip("faster_coco_eval")
    metrics = val(save_json=True, conf=0.25, max_det=20)
    rows = json.loads((metrics.save_dir / "predictions.json").read_text())
    assert len(rows) == 80 and {row["image_id"] for row in rows} == {0, 1, 2, 3}
    assert "COCO, bbox, maxDets 300: AP 1.0000, AP50 1.0000, AP75 1.0000" in caplog.text


def test_every_class_of_a_box_counts(val):
    folder = val(save_json=True, conf=0, iou=1.0, max_det=10_000).save_dir
    rows = json.loads((folder / "predictions.json").read_text())
    assert len(rows) == 4 * 3 * (20 * 20 + 10 * 10 + 5 * 5)  # pictures, classes, anchor points


@pytest.mark.parametrize(
    ("options", "category", "objects"),
    [({"classes": [2]}, 3, 66), ({"single_cls": True}, 1, 80), ({"classes": [2], "single_cls": True}, 1, 66)],
)
def test_coco_counts_what_the_validation_counts(val, monkeypatch, options, category, objects):
    evaluated = []
    monkeypatch.setattr(coco, "evaluate_coco", lambda *given: evaluated.extend(given) or dict.fromkeys(COCO_KEYS, 0))
    val(save_json=True, **options)
    truth, rows, *_ = evaluated
    assert {row["category_id"] for row in (*truth["annotations"], *rows)} == {category}
    assert len(truth["annotations"]) == objects and len(truth["images"]) == 4


def test_coco_json_without_the_evaluator(val, caplog, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    folder = val(save_json=True).save_dir
    assert (folder / "predictions.json").is_file() and "is written, but not evaluated: faster_coco_eval" in caplog.text


def test_crowded_pictures_raise_max_det(val, data, caplog):
    rows = "".join(f"0 {x / 20 + 0.02:.3f} {y / 20 + 0.02:.3f} 0.03 0.03\n" for x in range(20) for y in range(16))
    labels(data)[2].write_text(rows)
    val()
    assert "an image has 320 objects: max_det is raised from 300 to 320" in caplog.text
    caplog.clear()
    val(max_det=200)
    assert "max_det" not in caplog.text


def test_callbacks(val, detector):
    said = []
    for event in ("start", "batch_start", "batch_end", "end"):
        detector.add_callback(f"on_val_{event}", lambda v, event=event: said.append((event, v.seen)))
    detector.add_callback("on_val_end", lambda v: said.append(v.metrics))
    metrics = val(batch=3)
    assert said[:-1] == [
        ("start", 0),
        ("batch_start", 0),
        ("batch_end", 3),
        ("batch_start", 3),
        ("batch_end", 4),
        ("end", 4),
    ]
    assert said[-1] is metrics


def test_pictures_without_labels(val, data, caplog):
    labels(data)[2].unlink()
    assert val().nt_per_class.sum() == 60
    assert "4 images, 0 skipped, 1 without objects" in caplog.text
    for path in labels(data)[2:]:
        path.unlink()
    metrics = val()
    assert metrics.box.map == 0 and "the images have no labels: nothing can be measured on them" in caplog.text


def test_only_the_split_has_to_be_there(val, data):
    with pytest.raises(DatasetError, match=r"data\.yaml has no `train:`"):
        val(split="train")
    data.write_text("val: nowhere\ntest: images/test\nnames: [a, b, c]\n", encoding="utf-8")
    assert val(split="test").nt_per_class.sum() == 40
    with pytest.raises(DatasetError, match="`val: nowhere` does not exist"):
        val()


def test_data_of_other_classes(val, data):
    data.write_text("val: images/val\nnames: [a, b, c, d]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"data\.yaml has 4 classes and the network 3"):
        val()


def test_what_cannot_be_had(val, detector, caplog):
    val(half=True)
    assert "half=True needs CUDA and is off on cpu" in caplog.text
    with pytest.raises(ConfigError, match=r"imgsz=\[96, 160\]: .* one number"):
        val(imgsz=[96, 160])
    with pytest.raises(ConfigError, match=r"imgsz=\[96, 160\]: .* one number"):  # before -1 is decided with it
        detector.train(data="no.yaml", imgsz=[96, 160], batch=-1)
    with pytest.raises(ConfigError, match=r"batch=-1 is for training: give model\.val"):
        val(batch=-1)
    val(imgsz=150)
    assert "imgsz=150 is no multiple of the network's stride 32: using imgsz=160" in caplog.text


def test_weights_know_their_data_and_size(detector, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, args = detector.model, {"data": str(data), "imgsz": 160}
    save_checkpoint("best.pt", Checkpoint(model.state_dict(), model.yaml, "detect", model.names, args))
    metrics = YOLO("best.pt").val(rect=False, workers=0, plots=False, conf=0.25, max_det=20)
    assert metrics.box.map50 > 0.97 and str(metrics.save_dir) == "runs/val/exp"


def test_batches_are_those_of_the_training(detector, data, tmp_path, golden):
    """So that val repeats the number that training ended with; weights from elsewhere may be of a larger machine."""
    model, args = detector.model, {"data": str(data), "imgsz": 160, "batch": 3}
    save_checkpoint(tmp_path / "best.pt", Checkpoint(model.state_dict(), model.yaml, "detect", model.names, args))
    for path, batch in ((tmp_path / "best.pt", 6), (golden / "weights" / "detect.pt", 16)):
        opened, seen = YOLO(path), []
        opened.add_callback("on_val_start", lambda v, seen=seen: seen.append(v.args.batch))
        opened.val(data=data, workers=0, plots=False, verbose=False)
        assert seen == [batch]
