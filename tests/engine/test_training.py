"""What a training run does and leaves behind."""

import gc
import math
import multiprocessing
import os
import subprocess
import sys
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import pytest
import torch

from tests.engine.runs import rows_of
from ultralytics import YOLO
from ultralytics.engine import loggers
from ultralytics.engine.loggers import LogSink
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.files import load_yaml
from ultralytics.utils.metrics import DetMetrics

ROOT = Path(__file__).resolve().parents[2]

COLUMNS = [
    "epoch",
    "time",
    "train/box_loss",
    "train/cls_loss",
    "train/dfl_loss",
    "metrics/precision(B)",
    "metrics/recall(B)",
    "metrics/mAP50(B)",
    "metrics/mAP50-95(B)",
    "val/box_loss",
    "val/cls_loss",
    "val/dfl_loss",
    "lr/pg0",
    "lr/pg1",
    "lr/pg2",
]


@pytest.mark.public("python::train_scratch")
def test_a_run_leaves_weights_table_options_and_pictures(train):
    model = train(plots=True, optimizer="AdamW", lr0=0.01)
    folder = model.trainer.save_dir
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    pictures = {"labels.jpg", "results.png", "routing.png", "confusion_matrix.png", "confusion_matrix_normalized.png"}
    pictures |= {"errors.png", "errors.csv"} | {f"Box{name}_curve.png" for name in ("PR", "F1", "P", "R")}
    pictures |= {f"train_batch{i}.jpg" for i in range(3)} | {"val_batch0_labels.jpg", "val_batch0_pred.jpg"}
    assert pictures | {"results.csv", "args.yaml", "weights/best.pt", "weights/last.pt"} <= files
    rows = rows_of(folder)
    assert list(rows[0]) == COLUMNS and [row["epoch"] for row in rows] == ["1", "2"]
    assert all(value for row in rows for value in row.values())
    options = load_yaml(folder / "args.yaml")
    assert (options["epochs"], options["optimizer"], options["lr0"]) == (2, "AdamW", 0.01)


def test_a_run_learns_and_is_measured_as_it_is_saved(train, settings):
    model = train(epochs=40, optimizer="AdamW", lr0=0.01, warmup_epochs=1.0, mosaic=0.0, scale=0.1, val=False)
    assert model.metrics.box.map50 > 0.5
    saved = torch.load(model.trainer.best, weights_only=True)
    assert saved["training"] is None and model.ckpt_path == model.trainer.best
    assert {t.dtype for t in saved["model"].values() if t.is_floating_point()} == {torch.float16}
    again = YOLO(model.trainer.best).val(device="cpu", workers=0, plots=False, project=settings["project"])
    assert again.results_dict == model.metrics.results_dict


def test_last_is_full_while_training_and_small_in_the_end(train):
    seen = []

    def look(trainer):
        saved = torch.load(trainer.last, weights_only=True)
        seen.append((saved["epoch"], saved["training"] is not None, saved["model"]["model.0.conv.weight"].dtype))

    model = train(callbacks={"on_train_start": look, "on_model_save": look})
    assert seen == [(-1, True, torch.float32), (0, True, torch.float32), (1, True, torch.float32)]
    last = torch.load(model.trainer.last, weights_only=True)
    assert last["training"] is None and last["model"]["model.0.conv.weight"].dtype is torch.float16


def test_callbacks_come_in_order_and_see_the_trainer(train):
    seen = []
    events = [
        "on_pretrain_routine_start",
        "on_pretrain_routine_end",
        "on_train_start",
        "on_train_epoch_start",
        "on_train_batch_start",
        "optimizer_step",
        "on_before_zero_grad",
        "on_train_batch_end",
        "on_train_epoch_end",
        "on_val_start",
        "on_val_batch_start",
        "on_val_batch_end",
        "on_val_end",
        "on_model_save",
        "on_fit_epoch_end",
        "on_train_end",
        "teardown",
    ]

    def note(event):
        def function(loop):
            if not event.startswith("on_val") and event not in ("on_pretrain_routine_start",):
                for name in [
                    "epoch",
                    "epochs",
                    "args",
                    "model",
                    "ema",
                    "optimizer",
                    "save_dir",
                    "data",
                    "best_fitness",
                    "fitness",
                    "metrics",
                ]:
                    assert hasattr(loop, name)
            if event == "on_train_batch_end":
                assert loop.loss.isfinite() and loop.loss_items.shape == loop.tloss.shape == (3,)
            seen.append(event)

        return function

    train(epochs=1, callbacks={event: note(event) for event in events})
    first = list(dict.fromkeys(seen))
    assert first == events
    assert seen.count("on_train_batch_end") == seen.count("optimizer_step") == 3
    assert seen.count("on_val_start") == 2  # after the epoch, and of the best weights as saved


def test_a_temperature_falls_in_the_network_and_in_its_average(train, network):
    text, settings = network.read_text(encoding="utf-8"), "{router: softmax, temperature: 30, anneal_epochs: 2}"
    network.write_text(text.replace("DynamicConv, [32, 3, 2]", f"DynamicConv, [32, 3, 2, {settings}]"), "utf-8")
    seen = []

    def look(trainer):
        seen.append([float(net.model[2].routing.temperature) for net in (trainer.model, trainer.ema.ema)])

    model = train(YOLO(network), epochs=4, callbacks={"on_train_batch_start": look, "on_fit_epoch_end": look})
    expected = [30.0] * 4 + [15.5] * 4 + [1.0] * 8  # three batches an epoch, and its end
    assert seen[:16] == [[t, t] for t in expected]
    assert load_checkpoint(model.trainer.last).state_dict["model.2.routing.temperature"] == 1


def test_a_callback_can_stop_the_run(train):
    model = train(epochs=9, callbacks={"on_train_epoch_end": lambda t: setattr(t, "stop", t.epoch == 1)})
    assert len(rows_of(model.trainer.save_dir)) == 2
    assert model.trainer.best.exists()


def test_folders_are_counted_up_and_reused_only_on_demand(train, network):
    names = [train(YOLO(network), epochs=1, **how).trainer.save_dir.name for how in ({}, {}, {"exist_ok": True})]
    assert names == ["exp", "exp2", "exp"]
    assert train(YOLO(network), epochs=1, name="mine").trainer.save_dir.name == "mine"


def test_without_save_nothing_is_saved_and_the_weights_are_there(train):
    model = train(save=False)
    assert not list(model.trainer.save_dir.rglob("*.pt"))
    assert model.predict(torch.rand(1, 3, 64, 64), verbose=False, device="cpu")


def test_another_number_of_classes_takes_over_what_fits(train, settings, tmp_path, caplog):
    best = train(epochs=1).trainer.best
    three = tmp_path / "data" / "three.yaml"
    three.write_text("train: images/train\nval: images/val\nnames: [red, blue, green]\n", encoding="utf-8")
    caplog.clear()
    model = train(YOLO(best), epochs=1, data=str(three), lr0=1e-9, warmup_bias_lr=0.0)
    assert "Transferred" in caplog.text and len(model.names) == 3
    before, after = load_checkpoint(best).state_dict, load_checkpoint(model.trainer.best).state_dict
    kept = "model.0.conv.weight"
    torch.testing.assert_close(before[kept], after[kept], atol=1e-4, rtol=1e-3)


def test_pretrained_weights_find_their_rows(train, network, tmp_path, caplog):
    best = train(epochs=1).trainer.best
    text = network.read_text(encoding="utf-8").replace("[1, 2, 3]", "[2, 3, 4]")
    longer = tmp_path / "longer.yaml"
    row = "  - [-1, 1, DynamicConv"
    longer.write_text(text.replace(row, f"  - [-1, 1, Conv, [16, 1, 1]]\n{row}"), encoding="utf-8")
    caplog.clear()
    model = train(YOLO(longer), epochs=1, pretrained=str(best), lr0=1e-9, warmup_bias_lr=0.0)
    assert "rows that keep their initialization: 2 Conv\n" in caplog.text
    before, after = load_checkpoint(best).state_dict, load_checkpoint(model.trainer.best).state_dict
    for name, new in (("2.cond_conv", "3.cond_conv"), ("3.conv", "4.conv"), ("4.cv3.0.2", "5.cv3.0.2")):
        torch.testing.assert_close(before[f"model.{name}.weight"], after[f"model.{new}.weight"], atol=1e-4, rtol=1e-3)


def test_memory_does_not_grow(train):
    sizes = []

    def measure(trainer):
        if trainer.epoch in (5, 24):
            pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
            sizes.append(int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc, which is Linux's")
    train(epochs=25, callbacks={"on_train_epoch_end": measure})
    assert sizes[1] - sizes[0] < 30  # MB


@pytest.mark.parametrize("val", [True, False])
def test_time_counts_instead_of_epochs(train, monkeypatch, val):
    clock = count(0, 0.1)  # seconds, a tenth at every look at it, however fast the machine
    monkeypatch.setattr("ultralytics.engine.trainer.perf_counter", lambda: next(clock))
    model = train(epochs=1000, time=2 / 3600, val=val)
    rows = rows_of(model.trainer.save_dir)
    times = [float(row["time"]) for row in rows]
    assert rows[-1]["metrics/mAP50(B)"]  # of the last epoch in any case
    assert 1 < len(times) < 20 and times[-2] <= 2 <= times[-1] + 0.5
    assert model.trainer.epochs == len(times)


def test_time_counts_what_validation_takes(train, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ultralytics.engine.trainer.perf_counter", lambda: now[0])
    spent = {"on_train_epoch_start": 1, "on_val_start": 5}  # seconds
    callbacks = {event: lambda _, more=more: now.__setitem__(0, now[0] + more) for event, more in spent.items()}
    model = train(epochs=1000, time=4 / 3600, callbacks=callbacks)
    assert len(rows_of(model.trainer.save_dir)) == model.trainer.epochs == 1  # 4 epochs without validation


def test_a_callback_changes_how_many_epochs_there_are(train):
    def fewer(trainer):
        if trainer.epoch == 1:
            trainer.epochs = 4

    model = train(
        epochs=50, cos_lr=True, lrf=0.1, warmup_epochs=0, close_mosaic=1, callbacks={"on_train_epoch_end": fewer}
    )
    rates = [float(row["lr/pg1"]) for row in rows_of(model.trainer.save_dir)]
    lr0 = model.trainer.args.lr0
    assert len(rates) == 4
    assert rates[2:] == pytest.approx([lr0 * (0.1 + 0.9 * (1 + math.cos(math.pi * i / 4)) / 2) for i in (2, 3)])


def test_a_callback_replaces_options_that_the_run_has_not_begun_with(train):
    def replacing(**values):
        return {"on_pretrain_routine_start": lambda trainer: setattr(trainer, "args", trainer.args.replace(**values))}

    assert train(epochs=1, callbacks=replacing(box=0.0)).trainer.loss_items[0] == 0
    with pytest.raises(ConfigError, match=r"has changed epochs=2 to 9 in trainer.args, .*: set trainer.epochs"):
        train(callbacks=replacing(epochs=9))


def test_tensorboard_gets_the_numbers_of_every_epoch(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train().trainer.save_dir
    events = EventAccumulator(str(folder)).Reload()
    points = events.Scalars("train/box_loss")
    assert [p.step for p in points] == [1, 2]
    assert [p.value for p in points] == pytest.approx([float(r["train/box_loss"]) for r in rows_of(folder)], rel=1e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_a_log_sink_of_ones_own_gets_the_rows_and_is_closed(train, fails):
    class Mine(LogSink):
        def __init__(self):
            self.rows, self.closed = [], 0

        def add(self, row):
            self.rows.append(dict(row))
            if fails:
                raise ZeroDivisionError

        def close(self):
            self.closed += 1

    mine = Mine()
    with pytest.raises(ZeroDivisionError) if fails else nullcontext():
        model = train(callbacks={"on_pretrain_routine_start": lambda trainer: trainer.sinks.append(mine)})
        assert [row["epoch"] for row in mine.rows] == [1, 2]
        assert [list(row) for row in mine.rows] == [list(row) for row in rows_of(model.trainer.save_dir)]
    assert mine.closed == 1


@pytest.mark.parametrize("given", [str, YOLO, lambda path: YOLO(path).model.state_dict()], ids=["file", "YOLO", "dict"])
def test_loaded_classes_survive_a_network_for_others(network, train, tmp_path, caplog, given):
    """As in the public package: the head in between has 80 classes and so wider layers, which cannot take them."""
    caplog.set_level("INFO")
    source = YOLO(network)
    source.save(tmp_path / "two.pt")
    expected = {name: tensor.half().float() for name, tensor in source.model.state_dict().items()}
    found = {}

    def begin(trainer):
        found.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})

    model = YOLO(network, nc=80)
    model.load(given(tmp_path / "two.pt"))
    with torch.no_grad():
        model.model.model[0].conv.weight.mul_(3)  # by the user, after it was loaded
    train(model, callbacks={"on_train_start": begin}, epochs=1)
    changed = [name for name, tensor in found.items() if not torch.equal(tensor.float(), expected[name].float())]
    assert changed == ["model.0.conv.weight"]
    torch.testing.assert_close(found["model.0.conv.weight"], 3 * expected["model.0.conv.weight"])
    assert model.loaded is None and f"Transferred {len(found)}/{len(found)} items" in caplog.text


def test_what_auto_decided_is_known_to_all(train):
    trainer = train(epochs=1, optimizer="auto").trainer
    assert trainer.args.optimizer != "auto"
    assert trainer.task.options is trainer.model.args is trainer.args


def test_the_gpu_that_is_too_small_gets_half_the_batch(train, monkeypatch, caplog):
    original, calls = BaseTrainer.preprocess_batch, []

    def small(self, batch):
        calls.append(len(batch["img"]))
        if len(batch["img"]) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, batch)

    monkeypatch.setattr(BaseTrainer, "preprocess_batch", small)
    model = train(epochs=1)
    assert model.trainer.batch_size == 2 and calls[0] == 4 and set(calls[1:]) == {2}
    assert "half" in caplog.text


@pytest.mark.parametrize("change", ["fused", "activation", "width"])
def test_a_network_changed_in_python_is_refused(train, network, change):
    model = YOLO(network)
    layers = model.model.model
    if change == "fused":
        model.fuse()
    elif change == "activation":
        layers[1].act = torch.nn.ReLU()
    else:
        layers[0].conv = torch.nn.Conv2d(3, 16, 5, 4, 2, bias=False)
    with pytest.raises(ModelError, match=r"changed after it was built .*write the change into the YAML"):
        train(model)


def test_training_twice_without_save(train, network):
    model = train(YOLO(network), save=False, epochs=1, freeze=1)
    train(model, save=False, epochs=1)
    frozen = [name for name, p in model.trainer.model.named_parameters() if not p.requires_grad]
    assert frozen == ["model.4.dfl.conv.weight"]


def test_a_callback_can_stop_within_an_epoch(train):
    seen = []

    def stop(trainer):
        seen.append(trainer.epoch)
        trainer.stop = True

    model = train(epochs=9, callbacks={"on_train_batch_end": stop})
    assert seen == [0] and len(rows_of(model.trainer.save_dir)) == 1


def test_patience_waits_until_something_is_found(train, monkeypatch):
    monkeypatch.setattr(DetMetrics, "fitness", property(lambda _: 0.0))
    model = train(epochs=4, patience=1)
    assert len(rows_of(model.trainer.save_dir)) == 4 and model.trainer.best_epoch == 3


def test_tensorboard_need_not_be_there(train, monkeypatch, caplog):
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    folder = train(epochs=1).trainer.save_dir
    assert not list(folder.glob("events*")) and "TensorBoard" not in caplog.text


def test_tensorboard_that_cannot_write_costs_a_line(train, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", full)
    model = train(epochs=2)
    assert caplog.text.count("nothing more is written for TensorBoard") == 1 and model.trainer.best.exists()


def test_training_is_imported_without_tensorboard():
    code = "import sys, ultralytics.engine.trainer; sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_end_with_the_run(train, workers):
    model = train(epochs=1, workers=workers)
    gc.collect()
    assert not multiprocessing.active_children() and model.trainer.epoch == 0
