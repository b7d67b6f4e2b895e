"""Trainers, validators and predictors by themselves, and runs whose numbers get lost."""

from importlib import import_module

import pytest
import torch

from tests.engine.runs import rows_of
from ultralytics import YOLO
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils.checkpoint import load_checkpoint as read_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError

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
    assert "non-finite average of the weights" in caplog.text
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
def test_networks_of_one_channel_are_refused(words, tmp_path, record_property):
    """Gray images are read as three equal channels, so that weights of colored images fit."""
    text = "train: train\nval: val\nnames: [blue, red]\n"
    if words["task"] != "classify":
        text = (tmp_path / "data" / "data.yaml").read_text(encoding="utf-8")
    (tmp_path / "data" / "gray.yaml").write_text(f"{text}channels: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="channels must be 3; gray images") as caught:
        YOLO(tmp_path / "tiny.yaml").train(**SHORT, data=str(tmp_path / "data" / "gray.yaml"), epochs=1)
    record_property("refusal", str(caught.value).rpartition("gray.yaml: ")[2])
