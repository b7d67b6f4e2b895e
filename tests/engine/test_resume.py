"""A run that was interrupted, at any moment, ends like one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.runs import assert_same_weights, rows_of, untimed
from ultralytics import YOLO
from ultralytics.utils.errors import CheckpointError, ConfigError

CHILD = """
import json, sys, time
from ultralytics import YOLO
from ultralytics.utils import files

network, options, slow = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3])
fsync = files.os.fsync
files.os.fsync = lambda handle: (time.sleep(slow), fsync(handle))  # half-written files live longer

if __name__ == "__main__":
    YOLO(network).train(**options)
"""


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
    ],
    ids=str,
)
def test_resumed_equals_uninterrupted(train, network, options):
    options = {"epochs": 4} | options
    whole = train(YOLO(network), **options).trainer
    last = interrupted(train, network, 2, 1, **options)
    model = YOLO(last)
    model.train(resume=True)
    assert model.trainer.last == last.resolve()
    for name in ("last.pt", "best.pt"):
        assert_same_weights(whole.last.with_name(name), last.with_name(name))
    assert untimed(whole.save_dir) == untimed(last.parent.parent)
    assert [row["epoch"] for row in rows_of(last.parent.parent)] == ["1", "2", "3", "4"]


def test_workers_change_nothing(train, network):
    runs = [train(YOLO(network), workers=workers).trainer for workers in (0, 2)]
    assert_same_weights(runs[0].last, runs[1].last)


def test_cut_off_before_the_first_epoch_is_over(train, network):
    whole = train(YOLO(network)).trainer
    last = interrupted(train, network, 0, 1)
    YOLO(network).train(resume=str(last))
    assert_same_weights(whole.last, last)


def test_killed_at_any_moment(train, network, settings, tmp_path):
    import json

    options = settings | {"epochs": 6, "name": "killed"}
    whole = train(YOLO(network), **options | {"name": "whole"}).trainer
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    root = Path(__file__).parents[2]
    last = Path(settings["project"]) / "killed" / "weights" / "last.pt"
    for i, wait in enumerate((0.3, 0.7)):
        how = options if i == 0 else {"resume": str(last)}
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(script), str(network), json.dumps(how), "0.05"]
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not last.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        child.wait()
        assert last.exists()
    YOLO(network).train(resume=str(last))
    assert_same_weights(whole.last, last)
    assert untimed(whole.save_dir) == untimed(last.parent.parent)
    assert not list(last.parent.glob(".*"))  # half-written files are cleared away


def test_a_finished_run_cannot_be_resumed(train):
    last = train(epochs=1).trainer.last
    with pytest.raises(CheckpointError, match="is of a finished run"):
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
