"""Every option of training changes what it says it changes; those of the augmentations have theirs in tests/data."""

import shutil
from contextlib import nullcontext

import pytest
import torch

from tests.engine.runs import rows_of
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.engine import trainer as trainer_module
from ultralytics.engine.runtime import inference_dtype, largest_batch, resolve_runtime
from ultralytics.engine.validator import BaseValidator
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import ConfigError, DeviceError

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def weights(model: YOLO) -> dict[str, torch.Tensor]:
    """State dict of the trained weights."""
    return load_checkpoint(model.trainer.best).state_dict


def same(a: YOLO, b: YOLO) -> bool:
    """Whether two runs ended with the same weights."""
    first, second = weights(a), weights(b)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_seed_decides(train, network):
    runs = [train(YOLO(network), epochs=1, seed=seed) for seed in (0, 0, 1)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


@pytest.mark.parametrize(
    "change",
    [
        {"lr0": 0.02},
        {"batch": 2, "nbs": 2},
        {"nbs": 12},
        {"imgsz": 96},
        {"optimizer": "Adam"},
        {"multi_scale": 0.5},
        {"rect": True},
        {"fraction": 0.5},
        {"classes": [0]},
        {"single_cls": True},
        {"box": 1.0},
        {"cls": 5.0},
        {"dfl": 0.1},
        {"mosaic": 0.0},
        {"close_mosaic": 0},
        {"amp": "bf16"},
        {"cos_lr": True},
        {"weight_decay": 0.5},
    ],
    ids=str,
)
def test_a_change_is_felt_in_the_losses(train, network, change):
    base = {"epochs": 3, "close_mosaic": 1, "val": False}
    plain, changed = (train(YOLO(network), **base | c) for c in ({}, change))
    last = [rows_of(model.trainer.save_dir)[-1] for model in (plain, changed)]
    assert any(last[0][name] != last[1][name] for name in last[0] if name.startswith("train/"))


def test_without_val_only_the_last_epoch_is_validated(train):
    model = train(epochs=3, val=False)
    assert [bool(row["val/box_loss"]) for row in rows_of(model.trainer.save_dir)] == [False, False, True]


def test_patience_counts_epochs_without_a_better_one(train, network, monkeypatch):
    from ultralytics.utils.metrics import DetMetrics

    values, known = iter([0.1, 0.3, 0.2, 0.3, 0.25, 0.9, 0.9]), {}

    def fitness(metrics):
        return known[metrics] if metrics in known else known.setdefault(metrics, next(values))

    monkeypatch.setattr(DetMetrics, "fitness", property(fitness))
    model = train(YOLO(network), epochs=30, patience=3)
    assert len(rows_of(model.trainer.save_dir)) == 5 and model.trainer.best_epoch == 1


def test_save_period(train):
    folder = train(epochs=5, save_period=2).trainer.last.parent
    assert {path.name for path in folder.iterdir()} == {"best.pt", "last.pt", "epoch2.pt", "epoch4.pt"}


@pytest.mark.public("engine::setup_model_respects_pretrained_arg_for_pt_models")
def test_pretrained(train, network, caplog):
    best = train(YOLO(network), epochs=1).trainer.best
    still = {"epochs": 1, "lr0": 1e-12, "warmup_bias_lr": 0.0, "warmup_epochs": 0.0}
    loaded, named, scratch = YOLO(best), YOLO(network), YOLO(best)
    kept = [train(loaded, **still), train(named, pretrained=str(best), **still)]
    fresh = train(scratch, pretrained=False, **still)
    name = "model.0.conv.weight"
    source = load_checkpoint(best).state_dict[name]
    for model in kept:
        torch.testing.assert_close(weights(model)[name], source, atol=1e-3, rtol=1e-3)
    assert (weights(fresh)[name] - source).abs().max() > 0.01


@pytest.mark.parametrize("freeze", [2, [0, 1], "model.0.", ["model.0.conv", "model.0.bn", "model.1."]], ids=str)
def test_freeze(train, network, freeze):
    model = YOLO(network)
    still = {}

    def remember(trainer):
        still.update({n: t.clone() for n, t in trainer.model.state_dict().items() if n.startswith("model.0.")})

    train(model, callbacks={"on_train_start": remember}, freeze=freeze)
    after = model.trainer.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in still.items())  # running statistics included
    assert not torch.equal(after["model.3.conv.weight"], YOLO(network).model.state_dict()["model.3.conv.weight"])


def test_what_the_user_froze_stays_frozen(train, network):
    model = YOLO(network)
    for parameter in model.model.model[1].parameters():
        parameter.requires_grad_(False)
    train(model, epochs=1)
    frozen = {name for name, p in model.trainer.model.named_parameters() if not p.requires_grad}
    assert {"model.1.conv.weight", "model.1.bn.bias"} <= frozen and "model.2.cond_conv.weight" not in frozen


def test_auto_prints_its_choice_and_saves_it(train, caplog):
    model = train(epochs=1, optimizer="auto")
    assert "AdamW(lr=" in caplog.text
    assert model.trainer.args.optimizer == "AdamW" and model.trainer.args.lr0 == round(0.002 * 5 / 6, 6)


def test_amp_on_a_cpu_is_off_and_said(train, caplog):
    assert train(epochs=1, amp=True).trainer.runtime.amp is None
    assert "amp=True needs CUDA" in caplog.text


def test_verbose(train, network, caplog, capsys):
    train(YOLO(network), epochs=1, verbose=False)
    assert not [r for r in caplog.records if r.levelname == "INFO"] and "box_loss" not in capsys.readouterr().err
    train(YOLO(network), epochs=1, verbose=True)
    assert "1/1" in capsys.readouterr().err and any("box_loss" in r.message for r in caplog.records)


def test_compile_and_channels_last(train, network, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    train(YOLO(network), epochs=1, compile=False)
    assert not compiled
    model = train(YOLO(network), epochs=1, compile=True, channels_last=True)
    assert compiled == [model.trainer.model]
    assert model.trainer.model.model[3].conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("cl") is None, reason="no compiler")
def test_a_compiled_network_learns_what_the_plain_one_does(train, network):
    """With the compiler itself, for a minute."""
    plain, compiled = (train(YOLO(network), epochs=1, compile=wanted).trainer for wanted in (False, True))
    assert hasattr(compiled.network, "_orig_mod")
    torch.testing.assert_close(compiled.tloss, plain.tloss, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("device", "given", "wanted"), [(CPU, None, True), (CPU, False, False), (CUDA, None, False)])
def test_channels_last_is_chosen_by_device(device, given, wanted):
    assert plan(device, channels_last=given).channels_last is wanted


def test_cpus_train_with_channels_last_unless_told(train, network):
    for given, wanted in ((None, True), (False, False)):
        trained = train(YOLO(network), epochs=1, channels_last=given).trainer
        for weights in (trained.model, trained.ema.ema):
            assert weights.model[3].conv.weight.is_contiguous(memory_format=torch.channels_last) is wanted


def test_deterministic_holds_for_the_run_alone(train, network):
    seen = []
    for wanted in (True, False):
        look = {"on_train_start": lambda _: seen.append(torch.are_deterministic_algorithms_enabled())}
        train(YOLO(network), epochs=1, deterministic=wanted, callbacks=look)
    assert seen == [True, False] and not torch.are_deterministic_algorithms_enabled()


def test_a_device_that_is_not_there(train):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="device=0"):
        train(device=0)


def test_options_of_a_file(train, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("lr0: 0.002\nepochs: 1\n", encoding="utf-8")
    model = train(cfg=str(file))
    assert model.trainer.args.lr0 == 0.002 and model.trainer.args.epochs == 2  # what the call says wins


def test_no_data(train):
    with pytest.raises(ConfigError, match="no dataset"):
        train(data=None)


def test_the_users_own_augmentation(train, network, settings):
    seen = []

    def blacken(image, bboxes, cls):
        seen.append(image.shape)
        return {"image": image * 0, "bboxes": bboxes, "cls": cls}

    YOLO(network).train(augmentations=[blacken], **settings | {"epochs": 1})
    assert len(seen) == 12 and set(seen) == {(64, 64, 3)}


def plan(device: torch.device, **options):
    """What a run would do on a device that need not be there."""
    return resolve_runtime(get_options(options).resolve("train"), device)


def test_plans_for_cuda(monkeypatch):
    monkeypatch.setattr("ultralytics.engine.runtime.current_device", lambda device: nullcontext())  # it is not there
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    fast = plan(CUDA, amp=True)
    assert (fast.amp, fast.scale_gradients) == (torch.float16, True)
    assert (plan(CUDA, amp="bf16").amp, plan(CUDA, amp="bf16").scale_gradients) == (torch.bfloat16, False)
    assert plan(CUDA, amp=False).amp is None
    assert plan(CPU, amp="bf16").amp is torch.bfloat16 and plan(CPU, amp=True).amp is None
    assert any("untested" in note for note in plan(torch.device("mps")).notes)
    assert plan(CPU, compile=True, channels_last=True).compile


def test_half_is_for_cuda():
    options = get_options({"half": True})
    assert inference_dtype(options, CUDA) is torch.float16
    assert inference_dtype(options, CPU) is torch.float32  # which predict and val say
    assert "half=True needs CUDA and is off on cpu" in plan(CPU, half=True).notes


def test_half_is_how_the_best_weights_are_measured(train, monkeypatch):
    types, call = [], BaseValidator.run

    def spy(self, model, *args, **kwargs):
        types.append(next(model.parameters()).dtype)
        return call(self, model, *args, **kwargs)

    monkeypatch.setattr(BaseValidator, "run", spy)
    monkeypatch.setattr(trainer_module, "inference_dtype", lambda options, device: torch.float64)
    train(epochs=1)
    assert types == [torch.float32, torch.float64]  # after the epoch, and of the file


def test_the_largest_batch(monkeypatch):
    assert largest_batch(CPU, None) == 16
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (9000, 20_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 1000)
    assert largest_batch(CUDA, lambda batch: 1000 + 100 * batch) == 50
    assert largest_batch(CUDA, lambda batch: 9000 + 100 * batch) == 1


def test_batch_minus_one_on_a_cpu(train, caplog):
    assert train(epochs=1, batch=-1).trainer.batch_size == 16
    assert "batch=-1: using 16" in caplog.text


def test_an_older_name_is_told_once(train, network, caplog):
    train(YOLO(network), epochs=1, label_smoothing=0.1, line_thickness=3)
    told = [line for line in caplog.messages if "label_smoothing" in line or "line_thickness" in line]
    assert len(told) == 2
