"""What goes wrong in a run costs one sentence, and nobody their work."""

import errno
import shutil
from pathlib import Path

import pytest
import torch

from tests.engine.runs import rows_of, spoil_losses
from ultralytics import YOLO
from ultralytics.engine.nonfinite import MAX_NONFINITE
from ultralytics.models.yolo.detect.task import DetectTask
from ultralytics.utils import files
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import ConfigError, DatasetError, TrainingError, YOLOError


class PowerCutError(Exception):
    """What a run does not expect."""


def finite(path: Path) -> bool:
    """Whether all weights of a checkpoint are numbers."""
    return all(bool(t.isfinite().all()) for t in load_checkpoint(path).state_dict.values() if t.is_floating_point())


@pytest.mark.public("engine::nan_recovery")
def test_a_loss_that_is_not_finite_is_left_out_and_counted(train, monkeypatch, caplog):
    spoil_losses(monkeypatch, DetectTask, lambda i: i == 1)
    model = train()
    assert model.trainer.skipped == 1 and "epoch 1: non-finite loss, batch skipped (1 so far)" in caplog.text
    assert finite(model.trainer.best)
    assert "nan" not in str(rows_of(model.trainer.save_dir))


@pytest.mark.public("engine::nan_recovery")
def test_many_of_them_lead_back_to_the_last_checkpoint(train, monkeypatch, caplog):
    spoil_losses(monkeypatch, DetectTask, lambda i: 3 <= i < 3 + MAX_NONFINITE)
    model = train(epochs=4)
    assert "rolling back to the weights of" in caplog.text and "lower lr0" in caplog.text
    assert finite(model.trainer.best) and len(rows_of(model.trainer.save_dir)) == 4


def test_no_end_of_them_ends_the_run(train, monkeypatch, network):
    spoil_losses(monkeypatch, DetectTask, lambda i: i >= 3)
    model = YOLO(network)
    with pytest.raises(TrainingError, match=r"non-finite loss again and again; try a lower lr0"):
        train(model, epochs=40)
    assert finite(model.trainer.last)


def test_a_run_without_checkpoints_has_none_to_go_back_to(train, monkeypatch):
    spoil_losses(monkeypatch, DetectTask, lambda i: i >= 1)
    with pytest.raises(TrainingError, match=r"non-finite loss, and with save=False no checkpoint to go back to; try"):
        train(epochs=9, save=False)


def test_a_resumed_run_goes_on_counting_them(train, network, monkeypatch):
    """As many as lead back to the last checkpoint, some before the run was cut off and some after."""

    def cut(trainer):
        if trainer.epoch == 1:
            raise PowerCutError

    spoil_losses(monkeypatch, DetectTask, lambda i: True)
    model = YOLO(network)
    with pytest.raises(PowerCutError):
        train(model, epochs=9, batch=4, callbacks={"on_train_epoch_start": cut})
    batches = model.trainer.batches
    kept = load_checkpoint(model.trainer.last).training
    assert kept["skipped"] == kept["nonfinite_since_step"] == batches < MAX_NONFINITE and kept["rollbacks"] == 0
    again, back = YOLO(model.trainer.last), []
    again.add_callback("on_train_batch_end", lambda trainer: back.append(trainer.rollbacks))
    with pytest.raises(TrainingError, match="again and again"):
        again.train(resume=True)
    assert back.index(1) == MAX_NONFINITE - batches - 1


def test_a_gradient_that_is_not_finite_takes_no_step(train, monkeypatch, caplog):
    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def infinite(parameters, limit):
        calls.append(limit)
        parameters = list(parameters)
        if len(calls) == 2:
            parameters[0].grad.fill_(float("inf"))
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", infinite)
    model = train()
    assert model.trainer.skipped == 1 and "non-finite gradient, step skipped (1 so far)" in caplog.text
    assert finite(model.trainer.best)


@pytest.mark.public("engine::checkpoint_nonfinite_ema_and_model_sanitized")
def test_a_statistic_that_is_not_finite_leads_back(train, caplog):
    def poison(trainer):
        if trainer.epoch == 1 and not poison.done:
            poison.done = True
            trainer.model.model[0].bn.running_mean.fill_(float("nan"))

    poison.done = False
    model = train(epochs=3, callbacks={"on_train_batch_end": poison})
    assert "rolling back" in caplog.text and finite(model.trainer.last) and finite(model.trainer.best)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_deleted_half_way(train, network, data, workers):
    def delete(trainer):
        if trainer.epoch == 0:
            shutil.rmtree(data.parent / "images")

    model = YOLO(network)
    with pytest.raises(DatasetError, match="check that the dataset is still where it was") as error:
        train(model, epochs=3, workers=workers, callbacks={"on_fit_epoch_end": delete})
    assert "\n" not in str(error.value)
    assert load_checkpoint(model.trainer.last).epoch == 0


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk(train, network, monkeypatch, failure):
    replace = files.os.replace

    def failing(source, target):
        if Path(target).name == "last.pt" and Path(target).exists():
            raise OSError(failure, "No space left on device" if failure == errno.ENOSPC else "Read-only file system")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", failing)
    model = YOLO(network)
    with pytest.raises(YOLOError, match=r"last\.pt cannot be written: (No space|Read-only)"):
        train(model)
    assert load_checkpoint(model.trainer.last).epoch == -1
    assert not list(model.trainer.last.parent.glob(".*.tmp"))


def test_a_run_folder_that_cannot_be_made(train, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot be made: .*; give another project="):
        train(project=str(tmp_path / "file" / "runs"))


def test_no_images_no_val_and_a_class_unknown(train, network, data, caplog):
    text = data.read_text(encoding="utf-8")
    data.write_text(text.replace("images/val", "images/nothing"), encoding="utf-8")
    with pytest.raises(DatasetError, match="nothing"):
        train(YOLO(network))
    (data.parent / "images" / "nothing").mkdir()
    with pytest.raises(DatasetError, match="nothing"):
        train(YOLO(network))
    data.write_text(text.replace("[red, blue]", "[red]"), encoding="utf-8")
    train(YOLO(network), epochs=1)
    assert "skipped: " in caplog.text


def test_interrupted_by_hand(train, network, caplog):
    def interrupt(trainer):
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model = YOLO(network)
    with pytest.raises(KeyboardInterrupt):
        train(model, callbacks={"on_train_epoch_start": interrupt})
    assert f"resume={model.trainer.last}" in caplog.text
    YOLO(model.trainer.last).train(resume=True)
    assert len(rows_of(model.trainer.save_dir)) == 2
