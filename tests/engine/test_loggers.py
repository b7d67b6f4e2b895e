"""What a training run logs: where it runs, heads and values beside the bar, the time of epochs, colors on terminals."""

import io
import logging
import os
import platform
import re
import struct
import sys
from collections import UserDict
from types import SimpleNamespace

import pytest
import torch
from tqdm import tqdm

import ultralytics
from ultralytics import YOLO
from ultralytics.engine.loggers import BAR_FORMAT, EpochTimes, ResultsTable, progress_columns
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import HEADING, LOGGER, ROOT

BATCH = {"cls": torch.zeros(237), "img": torch.zeros(1, 3, 64, 640)}
POSE = ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss")


def at(epochs: int, batches: int, names: tuple[str, ...] = ("box_loss", "cls_loss", "dfl_loss")) -> SimpleNamespace:
    """What the bar asks of a trainer in its last epoch."""
    return SimpleNamespace(
        epoch=epochs - 1,
        epochs=epochs,
        batches=batches,
        device=torch.device("cpu"),
        loss_names=names,
        shown=torch.linspace(0.91559, 2.0271, len(names)).tolist(),
    )


@pytest.fixture
def terminal(monkeypatch):
    """`terminal(columns)`: stderr is a terminal of that width from now on; `.read()` gives what was written."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))  # not on Windows
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream, os.fdopen(master, "rb", buffering=0) as screen:

        def resize(columns):
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            monkeypatch.setattr(sys, "stderr", stream)
            return SimpleNamespace(read=lambda: os.read(screen.fileno(), 1 << 16).decode())

        yield resize


def test_one_line_says_what_runs_and_where(train, caplog):
    caplog.set_level("INFO")
    train(epochs=1)
    line = caplog.messages[0]
    assert line.startswith(f"ultralytics {ultralytics.__version__} in {ROOT}, ") and "\n" not in line
    assert f"Python {platform.python_version()}, torch {torch.__version__}, cpu (" in line
    assert sum("torch" in message for message in caplog.messages) == 1


def test_heads_above_every_epoch_and_values_below_them(train, caplog, capsys):
    caplog.set_level("INFO")
    model = train()
    head = (
        f"\n{'Epoch':>11}{'GPU_mem':>11}{'box_loss':>11}{'cls_loss':>11}{'dfl_loss':>11}{'Instances':>11}{'Size':>11}"
    )
    assert caplog.messages.count(head) == 2
    last = [line for line in re.split(r"[\r\n]", capsys.readouterr().err) if "2/2 " in line][-1]
    cells = [last[i : i + 11].strip() for i in range(0, 77, 11)]
    losses = [f"{value:.4g}" for value in model.trainer.tloss.tolist()]
    assert cells[:5] == ["2/2", "0G", *losses] and cells[6] == "64"
    assert re.search(r"\| 3/3 \[00:\d\d<00:00, .*/s\]", last[77:])


@pytest.mark.parametrize("columns", [80, 100, 160, 200])
@pytest.mark.parametrize("trainer", [at(3, 10), at(300, 5000), at(100, 800, POSE)], ids=["short", "long", "pose"])
def test_count_speed_and_time_have_room_on_a_terminal(terminal, columns, trainer):
    terminal(columns)
    text = progress_columns(trainer, BATCH)
    meter = {"n": trainer.batches - 1, "total": trainer.batches, "elapsed": 4000.0, "ncols": columns}
    line = tqdm.format_meter(**meter, prefix=text, bar_format=BAR_FORMAT)
    assert len(line) <= columns and line.startswith(f"{text} |")
    assert re.search(rf"{trainer.batches - 1}/{trainer.batches} \[1:06:40<\d\d:\d\d, +[\d.]+(it/s|s/it)\]$", line)
    head = progress_columns(trainer)
    names = ["GPU_mem", "box_loss"] if columns > 150 else ["GPU", "box"]
    assert len(head) == len(text) and head.split()[:3] == ["Epoch", *names]
    assert text.split()[0] == f"{trainer.epochs}/{trainer.epochs}" and text.split()[2] in ("0.916", "0.9156")


def test_the_bar_of_a_run_on_80_columns(train, terminal):
    screen = terminal(80)
    train(epochs=1)
    lines = [line for line in re.split(r"[\r\n]+", screen.read()) if line.split()[:1] == ["1/1"]]
    assert lines and all(len(line.rstrip()) <= 80 for line in lines)
    assert re.search(r"\| 3/3 \[00:\d\d<00:00, .*/s\]", lines[-1])


def test_a_trainer_has_heads_of_its_own(network, settings, caplog):
    class Mine(DetectionTrainer):
        def progress_string(self):
            return f"epoch {self.epoch} of mine"

    caplog.set_level("INFO")
    YOLO(network).train(trainer=Mine, **settings)
    assert [message for message in caplog.messages if "of mine" in message] == ["epoch 0 of mine", "epoch 1 of mine"]
    assert "GPU_mem" not in caplog.text


@pytest.mark.parametrize(("epochs", "text"), [(1, "1 epoch in 0.00"), (2, "2 epochs in 0.00")])
def test_the_time_of_epochs_and_of_the_run(train, caplog, epochs, text):
    caplog.set_level("INFO")
    train(epochs=epochs)
    times = re.findall(r"epoch (\d) took \d+\.\d s, validation included", caplog.text)
    assert times == [str(i + 1) for i in range(epochs)]
    assert caplog.messages[-1].startswith(text)


def test_the_time_of_a_resumed_epoch_is_its_own(tmp_path, caplog):
    caplog.set_level("INFO")
    table = ResultsTable(tmp_path / "results.csv")
    for row in ({"epoch": 1, "time": 100.0}, {"epoch": 2, "time": 250.5}):
        table.add(row)
    again = ResultsTable(table.path)
    again.resume(1)
    row = UserDict({"epoch": 2, "time": 130.25})
    again.add(row)
    EpochTimes(again).add(row)
    assert caplog.messages == ["epoch 2 took 30.2 s, validation included"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "colored"),
    [(Terminal, {}, True), (io.StringIO, {}, False), (Terminal, {"NO_COLOR": "1"}, False)],
    ids=["terminal", "pipe", "NO_COLOR"],
)
def test_colors_on_a_terminal_alone(monkeypatch, stream, environment, colored):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WT_SESSION": "1", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
    monkeypatch.setattr(sys, "stdout", out := stream())
    LOGGER.info("heads", extra=HEADING)
    LOGGER.info("plain")
    LOGGER.warning("careful")
    expected = "\x1b[1mheads\x1b[0m\nplain\n\x1b[33mcareful\x1b[0m\n" if colored else "heads\nplain\ncareful\n"
    assert out.getvalue() == expected
