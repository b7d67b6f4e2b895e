"""Trainers, validators and predictors by themselves, and runs whose numbers get lost."""

from importlib import import_module

import cv2
import numpy as np
import pytest
import torch

from tests.engine.runs import rows_of
from ultralytics import YOLO
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils.checkpoint import load_checkpoint as read_checkpoint
from ultralytics.utils.errors import CheckpointError

SHORT = {"imgsz": 32, "batch": 4, "workers": 0, "device": "cpu", "plots": False}


TASKS = [
    pytest.param("detect", marks=pytest.mark.public("engine::detect")),
    pytest.param("segment", marks=pytest.mark.public("engine::segment")),
    pytest.param("classify", marks=pytest.mark.public("engine::classify")),
    *("pose", "obb"),
]


@pytest.mark.public("engine::task", "python::workflow")
@pytest.mark.parametrize("words", TASKS, indirect=True)
def test_task(words, tmp_path):
    """Trained, measured and used on an image by the classes of a task, then by YOLO, which finds the same."""
    room = import_module(f"ultralytics.models.yolo.{words['task']}")
    train, val, predict = (
        next(n for n in room.__all__ if n.endswith(k)) for k in ("Trainer", "Validator", "Predictor")
    )
    options = {**SHORT, "data": words["data"].removeprefix("data="), "project": str(tmp_path / "runs")}
    seen = []
    trainer = getattr(room, train)(overrides={**options, "model": str(tmp_path / "tiny.yaml"), "epochs": 1, "nbs": 4})
    trainer.add_callback("on_train_start", lambda trainer: seen.append(trainer.epoch))
    trainer.train()
    assert seen == [0] and len(rows_of(trainer.save_dir)) == 1

    validator = getattr(room, val)(args={**options, "name": "val"})
    model = YOLO(trainer.best)
    assert validator(model=trainer.best) == pytest.approx(model.val(**options, verbose=False).results_dict, abs=1e-4)

    predictor = getattr(room, predict)(overrides={"imgsz": 32, "conf": 0.001})
    (found,) = predictor(source=words["image"], model=trainer.best)
    (expected,) = model.predict(words["image"], imgsz=32, conf=0.001, verbose=False)
    assert len(found) == len(expected)
    assert YOLO(model.export(format="torchscript", imgsz=32)).names == model.names
    with pytest.raises(CheckpointError, match="finished run"):
        getattr(room, train)(overrides={"model": str(trainer.last), "resume": True})


@pytest.mark.public("engine::load_checkpoint_state_dict_rejected")
@pytest.mark.parametrize("wrapped", [lambda w: w, lambda w: {"model": w}, lambda w: {"model": None, "ema": w}])
def test_weights_without_a_network_are_no_checkpoint(detector, tmp_path, wrapped):
    torch.save(wrapped(detector.model.state_dict()), tmp_path / "bare.pt")
    with pytest.raises(CheckpointError, match=r"bare\.pt holds weights only"):
        load_checkpoint(tmp_path / "bare.pt")


def is_finite(file):
    return all(t.isfinite().all() for t in read_checkpoint(file).state_dict.values() if t.is_floating_point())


@pytest.mark.public("engine::checkpoint_nonfinite_ema_resync")
def test_an_average_that_is_not_finite_is_made_of_the_weights_again(train, caplog):
    def poison(trainer):
        if trainer.epoch == 0:
            trainer.ema.ema.model[0].conv.weight.fill_(float("nan"))

    model = train(epochs=2, callbacks={"on_train_epoch_end": poison})
    assert is_finite(model.trainer.last) and is_finite(model.trainer.best)
    assert "the EMA of the weights is not finite" in caplog.text
    assert "nan" not in str(rows_of(model.trainer.save_dir))


@pytest.mark.public("engine::checkpoint_nonfinite_ema_and_model_sanitized")
def test_neither_weights_nor_average_are_left_lost(train, caplog):
    def poison(trainer):
        if trainer.epoch == 1 and not poison.done:
            poison.done = True
            for model in (trainer.ema.ema, trainer.model):
                model.model[0].conv.weight.data.fill_(float("inf"))

    poison.done = False
    model = train(epochs=3, callbacks={"on_train_epoch_end": poison})
    assert "non-finite weights, rolling back to the weights of" in caplog.text
    assert is_finite(model.trainer.last) and is_finite(model.trainer.best)


@pytest.mark.public("python::grayscale")
def test_a_gray_network(words, tmp_path):
    """Trained on `channels: 1`, resumed from weights, measured, used on every kind of image, and exported."""
    text = "train: train\nval: val\nnames: [blue, red]\n"
    if words["task"] != "classify":
        text = (tmp_path / "data" / "data.yaml").read_text(encoding="utf-8")
    gray = tmp_path / "data" / "gray.yaml"
    gray.write_text(f"{text}channels: 1\n", encoding="utf-8")
    model = YOLO(tmp_path / "tiny.yaml")
    model.train(**SHORT, data=str(gray), epochs=1, mosaic=1, project=str(tmp_path / "runs"))
    assert model.model.channels == 1 and model.model.model[0].conv.weight.shape[1] == 1

    unsaid = words["data"].removeprefix("data=")  # where the data do not say, images are as gray as the network
    again = model.val(**SHORT, data=str(gray) if words["task"] == "classify" else unsaid, verbose=False)
    assert again.results_dict == model.trainer.metrics | {"fitness": again.fitness}

    file = cv2.imread(str(words["image"]))
    square = cv2.resize(file, (32, 32))
    level = cv2.cvtColor(square, cv2.COLOR_BGR2GRAY)
    kinds = [square, level, level[..., None], torch.from_numpy(level)[None], torch.from_numpy(level)[None, None] / 255]
    results = [model.predict(one, imgsz=32, conf=0.001, verbose=False)[0] for one in kinds]
    assert len({answer(result) for result in results}) == 1
    assert answer(model.predict(file, imgsz=32, conf=0.001, verbose=False)[0]) == answer(
        model.predict(words["image"], imgsz=32, conf=0.001, verbose=False)[0]
    )
    assert results[0].plot().shape == (32, 32, 3)

    exported = YOLO(model.export(format="onnx", imgsz=32))
    assert exported.model.channels == 1 and exported.model.metadata["channels"] == 1
    again = exported.predict(level, imgsz=32, conf=0.001, verbose=False)[0]
    assert answer(again) == answer(results[0])


def answer(result):
    """What a result says, to the third digit."""
    found = result.probs if result.probs is not None else result.obb if result.obb is not None else result.boxes
    return str(np.round(found.data.numpy(), 2).tolist())
