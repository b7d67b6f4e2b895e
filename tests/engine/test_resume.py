"""A run that was interrupted, at any moment, ends like one that was not."""

import errno
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.resume import CHILDREN, differences, kill_again_and_again, run, wait
from tests.engine.runs import assert_same_weights, rows_of, untimed
from ultralytics import YOLO
from ultralytics.engine import setup
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.metrics import DetMetrics


class PowerCutError(Exception):
    """Raised by a callback."""


def cut(epoch: int, batch: int):
    """A callback that ends the run in a batch of an epoch."""

    def function(trainer):
        function.batches += trainer.epoch == epoch
        if function.batches > batch:
            raise PowerCutError

    function.batches = 0
    return function


def interrupted(train, network, in_epoch: int, in_batch: int, **options) -> Path:
    """last.pt of a run that was cut off."""
    model = YOLO(network)
    with pytest.raises(PowerCutError):
        train(model, callbacks={"on_train_batch_end": cut(in_epoch, in_batch)}, **options)
    return model.trainer.last


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 4, "nbs": 64},  # gradients are pending at the end of an epoch
        {"workers": 2},
        {"optimizer": "AdamW", "multi_scale": 0.3, "cache": True},
        {"rect": True, "close_mosaic": 2, "cos_lr": True},
        {"mixup": 0.5, "cutmix": 0.5, "amp": "bf16"},
        {"iou_loss": "wiou3", "cls_loss": "slide", "inner_ratio": 0.7, "nwd": 0.3},
        {"channels_last": True, "optimizer": "NAdam", "dropout": True},
        {"anneal": True},
    ],
    ids=str,
)
def test_resumed_equals_uninterrupted(train, network, options):
    options = {"epochs": 4} | options
    if options.pop("dropout", False):  # draws from the generator of the process
        text = network.read_text(encoding="utf-8").replace("head:", "  - [-1, 1, nn.Dropout, [0.5]]\nhead:")
        network.write_text(text.replace("[1, 2, 3]", "[1, 2, 4]"), encoding="utf-8")
    if options.pop("anneal", False):  # a temperature that changes from epoch to epoch, and running statistics
        text = network.read_text(encoding="utf-8")
        settings = "{router: softmax, temperature: 30, anneal_epochs: 10, standardize: True}"
        network.write_text(text.replace("DynamicConv, [32, 3, 2]", f"DynamicConv, [32, 3, 2, {settings}]"), "utf-8")
    whole = train(YOLO(network), **options).trainer
    last = interrupted(train, network, 2, 1, **options)
    model = YOLO(last)
    model.train(resume=True)
    assert model.trainer.last == last.resolve()
    for name in ("last.pt", "best.pt"):
        assert_same_weights(whole.last.with_name(name), last.with_name(name))
    assert untimed(whole.save_dir) == untimed(last.parent.parent)
    assert [row["epoch"] for row in rows_of(last.parent.parent)] == ["1", "2", "3", "4"]


def test_the_state_of_a_loss_is_resumed(train, network):
    """That of wiou3 moves slowly: here it is set to what no training would make of it."""
    means = []

    def note(trainer):
        means.append(trainer.loss_function.bbox_loss.iou_loss.loss.mean.item())

    def cut_with_another_mean(trainer):
        if trainer.epoch == 1:
            raise PowerCutError
        trainer.loss_function.bbox_loss.iou_loss.loss.mean.fill_(0.25)

    model = YOLO(network)
    with pytest.raises(PowerCutError):
        train(model, iou_loss="wiou3", callbacks={"on_train_epoch_end": cut_with_another_mean})
    saved = load_checkpoint(model.trainer.last).training["criterion"]
    assert saved["bbox_loss"]["iou_loss.loss.mean"] == 0.25
    again = YOLO(model.trainer.last)
    again.add_callback("on_train_start", note)
    again.add_callback("on_train_epoch_end", note)
    again.train(resume=True)
    assert means[0] == 0.25 and means[1] != 0.25 and means[1] == pytest.approx(0.25, rel=1e-3)


def test_a_run_from_before_an_option_existed_is_resumed(train, network):
    last = interrupted(train, network, 1, 0)
    checkpoint = load_checkpoint(last)
    for name in ("iou_loss", "nwd_c", "cls_loss", "reduced_decode"):
        del checkpoint.args[name]
    del checkpoint.training["criterion"]
    save_checkpoint(last, checkpoint)
    model = YOLO(last)
    model.train(resume=True)
    assert model.trainer.args.iou_loss == "ciou" and len(rows_of(last.parent.parent)) == 2
    assert not model.trainer.args.reduced_decode  # as it was


def test_workers_change_nothing(train, network):
    runs = [train(YOLO(network), workers=workers).trainer for workers in (0, 2)]
    assert_same_weights(runs[0].last, runs[1].last)


@pytest.mark.public("engine::resume_incomplete")
def test_cut_off_before_the_first_epoch_is_over(train, network):
    whole = train(YOLO(network)).trainer
    last = interrupted(train, network, 0, 1)
    YOLO(network).train(resume=str(last))
    assert_same_weights(whole.last, last)


def test_killed_at_any_moment(network, settings):
    """Twice, once in the middle of writing a file; benchmarks/resume.py does it more often."""
    options = settings | {"model": str(network), "epochs": 8, "nbs": 8}
    # In a process like those that are killed: another number of threads adds up in another order.
    run(options | {"name": "whole"})
    hits = list(kill_again_and_again(options | {"name": "killed"}, kills=2, longest=0.5, rng=random.Random(0)))
    assert any("half-written" in hit for hit in hits)
    runs = Path(settings["project"])
    assert differences(runs / "whole", runs / "killed") == []


def train_and_wait(options: dict[str, Any]) -> None:
    """Train one epoch, begin to write a file, and wait to be killed."""

    def stay(trainer):
        if trainer.epoch == 1:
            (trainer.save_dir / ".results.csv.0.tmp").touch()
            time.sleep(600)

    model = YOLO(options.pop("model"))
    model.add_callback("on_train_epoch_start", stay)
    model.train(**options)


def test_a_folder_has_one_process_that_trains_in_it(network, settings, train, monkeypatch):
    """Whoever comes second is told and changes nothing there; one that was killed is in nobody's way."""
    monkeypatch.setattr(setup, "PATIENCE", 0.01)
    folder = Path(settings["project"]) / "exp"
    last, named = folder / "weights" / "last.pt", {"name": "exp", "exist_ok": True}
    child = CHILDREN.Process(target=train_and_wait, args=(settings | named | {"model": str(network)},))
    child.start()

    def contents():
        return {path.name: hash(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}

    try:
        wait(child, (folder / ".results.csv.0.tmp").exists)
        before = contents()
        sentence = rf"exp: process {child.pid} on .* is training in this folder: wait for its end, end it, or give a n"
        for start in (lambda: train(**named), lambda: YOLO(last).train(resume=True)):
            with pytest.raises(ConfigError, match=sentence):
                start()
        assert contents() == before
        assert train(name="exp", epochs=1).trainer.save_dir.name == "exp2"
    finally:
        child.kill()
        child.join()
    resumed = YOLO(last).train(resume=True)
    assert len(rows_of(folder)) == 2 and resumed.results_dict
    assert not [path for path in folder.rglob(".*") if path.is_file()]
    assert train(**named, epochs=1).trainer.save_dir == folder  # and in one process after another


def test_what_another_process_has_trained_meanwhile_is_not_trained_again(train, network):
    """The first of two that resume has ended when the second one gets the folder."""
    last = interrupted(train, network, 1, 0)
    trainer = BaseTrainer(overrides={"resume": str(last)})
    YOLO(last).train(resume=True)
    with pytest.raises(ConfigError, match=r"last\.pt was written by another process meanwhile: start this one again"):
        trainer.train()
    assert load_checkpoint(last).training is None


def test_a_file_system_without_locks(train, monkeypatch):
    def acquire(lock, timeout):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(setup.FileLock, "acquire", acquire)
    assert rows_of(train(epochs=1).trainer.save_dir)


def test_a_finished_run_cannot_be_resumed(train):
    last = train(epochs=1).trainer.last
    with pytest.raises(CheckpointError, match="the last\\.pt of a finished run"):
        YOLO(last).train(resume=True)


def test_resuming_takes_no_other_options_but_those_that_change_nothing(train, network, settings):
    last = interrupted(train, network, 1, 0, epochs=3)
    with pytest.raises(ConfigError, match=r"lr0=0\.5 cannot be changed when a run is resumed, it has lr0=0\.01"):
        YOLO(last).train(resume=True, lr0=0.5)
    model = YOLO(last)
    model.train(resume=True, workers=1, epochs=3)
    assert len(rows_of(last.parent.parent)) == 3


def test_what_was_given_is_known_after_a_resume(train, network):
    last = interrupted(train, network, 1, 0, epochs=2)
    model = YOLO(last)
    model.train(resume=True)
    assert "epochs" in model.trainer.args.given and "max_det" not in model.trainer.args.given


def test_cut_off_after_the_last_epoch(train, network, monkeypatch):
    """What is left then is to measure the best weights, and to say what the last ones scored."""
    whole = train(YOLO(network)).trainer
    model = YOLO(network)
    with pytest.raises(PowerCutError):
        train(model, callbacks={"on_fit_epoch_end": cut(1, 0)})
    model = YOLO(model.trainer.last)
    metrics = model.train(resume=True)
    assert_same_weights(whole.last, model.trainer.last)
    before, after = load_checkpoint(whole.last), load_checkpoint(model.trainer.last)
    assert (after.epoch, after.metrics) == (1, before.metrics) and after.training is None
    assert metrics.results_dict == whole.metrics and untimed(whole.save_dir) == untimed(model.trainer.save_dir)


def test_a_run_that_patience_ended_goes_no_further(train, network, monkeypatch):
    monkeypatch.setattr(DetMetrics, "fitness", property(lambda _: 0.5))
    model = YOLO(network)
    with pytest.raises(PowerCutError):
        train(model, epochs=9, patience=2, callbacks={"on_fit_epoch_end": cut(2, 0)})
    YOLO(model.trainer.last).train(resume=True)
    assert len(rows_of(model.trainer.save_dir)) == 3


def test_what_was_frozen_in_python_is_frozen_still(train, network):
    def freeze_more(trainer):
        trainer.model.model[1].requires_grad_(False)

    model = YOLO(network)
    model.model.model[0].requires_grad_(False)
    with pytest.raises(PowerCutError):
        train(model, callbacks={"on_train_start": freeze_more, "on_train_batch_end": cut(1, 1)})
    first = load_checkpoint(model.trainer.last).training["model"]
    again = YOLO(model.trainer.last)
    again.train(resume=True)
    after = again.trainer.model.state_dict()
    for layer, still in (("model.0.", True), ("model.1.", True), ("model.3.", False)):
        for name in (n for n in first if n.startswith(layer) and "num_batches" not in n):
            assert torch.equal(after[name], first[name]) is still


def test_images_may_be_added_or_removed(train, network, data, caplog):
    """Gradients that wait for a step are counted in batches, whatever the number of batches of an epoch."""
    last = interrupted(train, network, 2, 0, epochs=4, nbs=16, warmup_epochs=0.0)
    for image in sorted((data.parent / "images" / "train").iterdir())[4:]:
        image.unlink()
    steps = []
    model = YOLO(last)
    model.add_callback("optimizer_step", lambda trainer: steps.append(trainer.epoch))
    before = load_checkpoint(last).training
    assert before["gathered"] == 2  # of 6 batches, 4 for a step
    model.train(resume=True)
    assert steps == [3] and "has other training images or labels than when the run was stopped" in caplog.text


def test_options_that_are_left_to_the_run_may_be_said_again(train, network):
    last = interrupted(train, network, 0, 0, optimizer="auto", batch=-1)
    YOLO(last).train(resume=True, optimizer="auto", batch=-1, name=None, save=None, rect=None, data=None)
    assert rows_of(last.parent.parent)


def test_other_classes_make_another_run(train, network, data):
    last = interrupted(train, network, 1, 0)
    data.write_text(data.read_text(encoding="utf-8").replace("[red, blue]", "[red, blue, green]"), encoding="utf-8")
    with pytest.raises(ConfigError, match="has 3 classes and the run 2: resume"):
        YOLO(last).train(resume=True)


def test_a_checkpoint_outside_its_run_folder(train, network, tmp_path):
    last = interrupted(train, network, 1, 0)
    moved = last.replace(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="is not in the folder weights of a run"):
        YOLO(moved).train(resume=True)
    assert not (tmp_path.parent / "weights").exists()


def test_resume_of_a_network_that_never_ran(train, network):
    with pytest.raises(ConfigError, match=r"resume=True resumes the run of the last\.pt that YOLO\(\) was given"):
        train(YOLO(network), resume=True)


def test_the_best_weights_are_no_run(train, network):
    last = interrupted(train, network, 1, 0)
    with pytest.raises(CheckpointError, match=r"best\.pt holds weights only.*last\.pt"):
        YOLO(last.with_name("best.pt")).train(resume=True)
