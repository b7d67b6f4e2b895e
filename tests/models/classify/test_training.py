"""Training a classifier: files of a run, learning, interruptions."""

import cv2
import numpy as np
import pytest

from tests.engine.runs import assert_same_weights, rows_of, untimed
from tests.models.runs import assert_killed_equals_whole
from ultralytics import YOLO
from ultralytics.utils.errors import ConfigError

NETWORK = """
nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, DynamicConv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


@pytest.fixture
def data(tmp_path):
    """Class folders: discs and squares, 12 to learn from and 6 to check, 48 x 40."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for i in range(count):
            picture = np.full((40, 48, 3), 60, np.uint8) + rng.integers(0, 40, (40, 48, 3), np.uint8)
            x, y = int(rng.integers(16, 32)), int(rng.integers(16, 24))
            color = (40, 40, 230) if i % 2 else (230, 200, 30)
            cv2.circle(picture, (x, y), 12, color, -1)
            path = tmp_path / "data" / split / ("red" if i % 2 else "blue") / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return tmp_path / "data"


@pytest.fixture
def network(tmp_path):
    """The YAML of a tiny classifier with a dynamic convolution."""
    path = tmp_path / "tiny-cls.yaml"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def test_files_of_a_run_and_learning(train, network, data):
    options = {"imgsz": 32, "epochs": 12, "optimizer": "AdamW", "lr0": 0.01, "auto_augment": None, "hsv_h": 0.0}
    model = train(plots=True, warmup_epochs=0.0, erasing=0.0, **options)
    folder = model.trainer.save_dir
    assert list(rows_of(folder)[0]) == [
        "epoch", "time", "train/loss", "metrics/accuracy_top1", "metrics/accuracy_top5", "val/loss",
        "lr/pg0", "lr/pg1", "lr/pg2",
    ]  # fmt: skip
    losses = [float(row["train/loss"]) for row in rows_of(folder)]
    assert np.mean(losses[-3:]) < 0.7 * losses[0]
    assert model.metrics.top1 == 1 and model.metrics.fitness == 1
    left = {path.name for path in folder.iterdir() if "events" not in path.name}
    assert left >= {
        "args.yaml", "results.csv", "results.png", "labels.jpg", "weights", "train_batch0.jpg", "train_batch2.jpg",
        "val_batch0_labels.jpg", "val_batch0_pred.jpg", "confusion_matrix.png", "confusion_matrix_normalized.png",
    }  # fmt: skip
    assert model.names == {0: "blue", 1: "red"}
    again = YOLO(folder / "weights" / "best.pt")
    assert again.val(plots=False, workers=0).results_dict == model.metrics.results_dict  # data and imgsz are known
    result = again(data / "val" / "red" / "1.png", save_txt=True, project=folder, name="seen")[0]
    assert result.names[result.probs.top1] == "red"
    assert len((folder / "seen" / "labels" / "1.txt").read_text().splitlines()) == 2


def test_dropout_is_that_of_the_options(train):
    model = train(epochs=1, imgsz=32, dropout=0.3)
    assert model.trainer.model.model[-1].drop.p == 0.3


class PowerCutError(Exception):
    """Raised by a callback."""


def cut(trainer):
    if trainer.epoch == 2:
        raise PowerCutError


@pytest.mark.parametrize(
    "options", [{}, {"workers": 2, "nbs": 16, "dropout": 0.2}, {"optimizer": "AdamW", "cache": True}]
)
def test_resumed_equals_uninterrupted(train, network, options):
    options = {"epochs": 4, "imgsz": 32} | options
    whole = train(YOLO(network), **options).trainer
    model = YOLO(network)
    with pytest.raises(PowerCutError):
        train(model, callbacks={"on_train_batch_end": cut}, **options)
    last = model.trainer.last
    YOLO(last).train(resume=True)
    for name in ("last.pt", "best.pt"):
        assert_same_weights(whole.last.with_name(name), last.with_name(name))
    assert untimed(whole.save_dir) == untimed(last.parent.parent)


def test_workers_change_nothing(train, network):
    runs = [train(YOLO(network), workers=workers, imgsz=32).trainer for workers in (0, 2)]
    assert_same_weights(runs[0].last, runs[1].last)


@pytest.mark.public("engine::resume_incomplete")
def test_killed_at_any_moment(network, settings):
    assert_killed_equals_whole(settings | {"model": str(network), "imgsz": 32, "nbs": 8})


def test_weights_start_a_network_of_other_classes(train, network, data, tmp_path):
    first = train(epochs=1, imgsz=32)
    (data / "train" / "green").mkdir()
    picture = data / "train" / "red" / "1.png"
    (data / "train" / "green" / "1.png").write_bytes(picture.read_bytes())
    second = train(YOLO(first.trainer.best), epochs=1, imgsz=32)
    assert second.names == {0: "blue", 1: "green", 2: "red"} and second.model.nc == 3
    with pytest.raises(ConfigError, match="has 3 classes and the network 2"):
        first.val(data=data)


def test_detection_data_are_no_class_folders(tmp_path):
    folder = tmp_path / "shapes"
    (folder / "images").mkdir(parents=True)
    file = tmp_path / "boxes.yaml"
    file.write_text("path: shapes\ntrain: images\nval: images\nnames: [a]\n", encoding="utf-8")
    with pytest.raises(Exception, match="images has no folders, which would be the classes"):
        YOLO("yolov8n-cls.yaml").train(data=file, device="cpu", project=tmp_path)
