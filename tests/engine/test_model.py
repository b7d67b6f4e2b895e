"""The YOLO class: opening, loading, saving, fusing, and what it refuses."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ultralytics import YOLO, cfg
from ultralytics.engine import model as engine_model
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError, ModelError


@pytest.fixture
def boxes(picture):
    """`boxes(model)`: what a network finds in `picture`, (10, 6)."""
    return lambda model: model(picture, imgsz=160, max_det=10, verbose=False)[0].boxes.data


@pytest.fixture
def saved(detector, tmp_path):
    """A checkpoint of `detector`, as a run with options of its own would have left it."""
    path = tmp_path / "best.pt"
    args = {"data": "cells.yaml", "imgsz": 96, "single_cls": False, "epochs": 7, "lr0": 0.5}
    model = detector.model
    save_checkpoint(path, Checkpoint(model.state_dict(), model.yaml, "detect", model.names, args, 6, {"fitness": 0.5}))
    return path


def test_from_a_yaml(detector, tmp_path):
    assert detector.task == "detect" and detector.names == {0: "a", 1: "b", 2: "c"}
    assert detector.device == torch.device("cpu") and detector.ckpt_path is None
    assert detector.predictor is detector.metrics is detector.trainer is None
    assert detector.overrides == {"model": str(tmp_path / "tiny.yaml")}
    assert YOLO(tmp_path / "tiny.yaml").names == {0: "0", 1: "1", 2: "2"}


def test_number_of_classes(tmp_path, detector, saved):
    model = YOLO("yolov8n.yaml", nc=5)
    assert model.model.model[-1].nc == len(model.names) == 5
    assert YOLO("yolov8n.yaml").model.nc == 80
    assert YOLO(saved, nc=3).model.nc == 3
    with pytest.raises(ConfigError, match=r"nc=4: .*best\.pt has 3 classes"):
        YOLO(saved, nc=4)


def test_a_checkpoint_tells_later_calls_of_its_training(saved):
    model = YOLO(saved)
    assert model.ckpt_path == saved and model.names == {0: "a", 1: "b", 2: "c"}
    assert model.overrides == {"data": "cells.yaml", "imgsz": 96, "single_cls": False, "model": str(saved)}
    model.predict(np.zeros((96, 96, 3), np.uint8), verbose=False)
    assert model.predictor.args.imgsz == 96 and model.predictor.args.lr0 == 0.01
    model.overrides["conf"] = 0.9
    model.predict(np.zeros((96, 96, 3), np.uint8), verbose=False)
    assert model.predictor.args.conf == 0.9
    model.predict(np.zeros((96, 96, 3), np.uint8), conf=0.5, verbose=False)
    assert model.predictor.args.conf == 0.5


def test_save_and_reopen(detector, tmp_path, boxes):
    path = tmp_path / "权重" / "saved.pt"
    detector.save(path)
    again = YOLO(path)
    assert again.names == detector.names
    torch.testing.assert_close(boxes(again), boxes(detector), atol=0.5, rtol=0)  # float16
    assert load_checkpoint(path).training is None


def test_what_a_checkpoint_knows_is_saved_again(saved, tmp_path):
    YOLO(saved).save(tmp_path / "copy.pt")
    copy, original = load_checkpoint(tmp_path / "copy.pt"), load_checkpoint(saved)
    assert (copy.args, copy.epoch, copy.metrics) == (original.args, 6, {"fitness": 0.5})


def test_fused_networks_predict_the_same_and_can_be_saved(detector, tmp_path, boxes):
    before = boxes(detector)
    assert detector.fuse() is detector and detector.model.is_fused()
    assert torch.equal(boxes(detector), before)  # they are fused to predict anyway
    detector.save(tmp_path / "fused.pt")
    again = YOLO(tmp_path / "fused.pt")
    assert again.model.is_fused()
    torch.testing.assert_close(boxes(again), before, atol=0.5, rtol=0)


def test_weights_beyond_half_precision_are_kept(detector, tmp_path):
    variance = detector.model.model[0].bn.running_var
    variance[0] = 1e6
    detector.save(tmp_path / "large.pt")
    assert YOLO(tmp_path / "large.pt").model.model[0].bn.running_var[0] == 1e6


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pth"])
def test_loaded_weights_predict_the_same(detector, tmp_path, boxes, suffix, caplog):
    path = tmp_path / f"weights{suffix}"
    save = {".pt": detector.save, ".safetensors": lambda p: save_file(detector.model.state_dict(), p)}
    save.get(suffix, lambda p: torch.save(detector.model.state_dict(), p))(path)
    other = YOLO(tmp_path / "tiny.yaml")
    assert not len(boxes(other))
    assert other.load(path) is other
    total = len(detector.model.state_dict())
    assert f"Transferred {total}/{total} items from pretrained weights" in caplog.text
    torch.testing.assert_close(boxes(other), boxes(detector), atol=0.5, rtol=0)
    assert other.names == (detector.names if suffix == ".pt" else {0: "0", 1: "1", 2: "2"})


def test_what_does_not_fit_is_named_on_request(detector, tmp_path, caplog):
    detector.save(tmp_path / "three.pt")
    other = YOLO(tmp_path / "tiny.yaml", nc=4)
    total = len(other.model.state_dict())
    other.load(tmp_path / "three.pt")
    assert f"Transferred {total - 6}/{total} items" in caplog.text and "cv3" not in caplog.text
    assert other.names == {i: str(i) for i in range(4)}
    other.load(tmp_path / "three.pt", verbose=True)
    assert "model.4.cv3.0.2.bias: (3,) in the weights, (4,) in the network" in caplog.text


def test_weights_without_a_network(detector, tmp_path):
    save_file(detector.model.state_dict(), tmp_path / "w.safetensors")
    torch.save(detector.model.state_dict(), tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        with pytest.raises(CheckpointError, match=rf"{name} holds weights only.*YOLO\('yolov8n\.yaml'\)\.load"):
            YOLO(tmp_path / name)


def test_no_such_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"no yolov8n\.pt.*nothing is ever downloaded.*release page.*train your"):
        YOLO("yolov8n.pt")
    with pytest.raises(ModelError, match=r"no model YAML yolov8n-nowhere\.yaml"):
        YOLO("yolov8n-nowhere.yaml")


def test_methods_that_are_not_there(detector):
    for name, reason in (("benchmark", "comes with a comparison"), ("track", "comes with tracking")):
        with pytest.raises(AttributeError, match=rf"YOLO\.{name} {reason}"):
            getattr(detector, name)
    with pytest.raises(AttributeError, match="no 'predikt', the nearest are: predict"):
        detector.predikt  # noqa: B018


def test_other_tasks(detector):
    with pytest.raises(ConfigError, match=r"task=segment was asked for, but .*tiny\.yaml has a head for detect"):
        YOLO(detector.cfg, task="segment")
    assert YOLO(detector.cfg, task="detect").task == "detect"
    detector.predict(np.zeros((96, 96, 3), np.uint8), imgsz=96, task="detect", verbose=False)
    assert detector.predictor.args.task == "detect" and "task" in detector.predictor.args.given
    with pytest.raises(ConfigError, match=r"task=segment, but .*tiny\.yaml has a head for detect: .* -?.*-seg\.yaml"):
        detector.predict(np.zeros((96, 96, 3), np.uint8), task="segment")


def test_a_task_in_default_yaml_is_said_to_stand_there(detector, tmp_path, monkeypatch):
    edited = tmp_path / "default.yaml"
    text = cfg.DEFAULT_YAML.read_text(encoding="utf-8").replace("\ntask:", "\ntask: segment", 1)
    edited.write_text(text, encoding="utf-8")
    for module in (cfg, engine_model):
        monkeypatch.setattr(module, "DEFAULT_YAML", edited)
    with pytest.raises(ConfigError, match=r"task=segment in .*default\.yaml, but .*tiny\.yaml has a head for detect"):
        detector.predict(np.zeros((96, 96, 3), np.uint8))


def test_a_checkpoint_of_a_block_that_has_changed(detector, tmp_path):
    weights = detector.model.state_dict()
    for change in ({"model.0.conv.weight": torch.zeros(1, 2)}, {"model.0.extra": torch.zeros(1)}):
        save_checkpoint(tmp_path / "old.pt", Checkpoint(weights | change, detector.model.yaml, names=detector.names))
        with pytest.raises(CheckpointError, match=r"old\.pt does not fit the network .* as model\.0\..*nn/Addmodules"):
            YOLO(tmp_path / "old.pt")


def test_weights_of_a_block_that_is_gone_are_named(detector, tmp_path):
    architecture = detector.model.yaml
    first, *others = architecture["backbone"]
    gone = architecture | {"backbone": [[*first[:2], "Gone", first[3]], *others]}
    save_checkpoint(tmp_path / "old.pt", Checkpoint(detector.model.state_dict(), gone, names=detector.names))
    with pytest.raises(CheckpointError, match=r"network of .*old\.pt cannot be built here: .*no module 'Gone'"):
        YOLO(tmp_path / "old.pt")


def test_info(detector, caplog):
    layers, parameters, gradients, gflops = detector.info(imgsz=64)
    assert layers == len(list(detector.model.modules())) and gflops > 0
    assert parameters == sum(p.numel() for p in detector.model.parameters()) == gradients + 16
    assert f"{parameters:,} parameters" in caplog.text and "Detect" not in caplog.text
    detector.info(detailed=True)
    assert all(type(layer).__name__ in caplog.text for layer in detector.model.model)
    caplog.clear()
    detector.info(verbose=False)
    assert not caplog.records


def test_refused_calls(detector, picture):
    with pytest.raises(ConfigError, match="there is no option 'confidence'"):
        detector(picture, confidence=0.3)
    with pytest.raises(ConfigError, match=r"batch=0\.5 of the GPU's memory is for training"):
        detector(picture, batch=0.5)
    with pytest.raises(ConfigError, match="batch=-1 is for training"):
        detector(picture, batch=-1)
    with pytest.raises(ConfigError, match=r"model=other\.pt: this network is .*tiny\.yaml"):
        detector(picture, model="other.pt")
    with pytest.raises(CheckpointError, match=r"there is no gone\.pt"):  # to resume, the network is not asked
        detector.train(resume="gone.pt", model="other.yaml")
    with pytest.raises(ConfigError, match="no callback event 'on_predict_begin'; the nearest are: on_predict"):
        detector.add_callback("on_predict_begin", print)
    with pytest.raises(ConfigError, match="no callback event 'xyz'; those are on_pretrain_routine_start, on_pretrain"):
        detector.add_callback("xyz", print)
    with pytest.raises(ConfigError, match="no dataset: give data="):
        detector.val()


def test_sizes_are_raised_to_the_stride(detector, picture, caplog):
    detector(picture, imgsz=100)
    assert detector.predictor.args.imgsz == 128
    assert "imgsz=100 is no multiple of the network's stride 32: using imgsz=128" in caplog.text
    detector(picture, imgsz=[90, 160])
    assert detector.predictor.args.imgsz == [96, 160]
    caplog.clear()
    detector(picture, imgsz=160)
    assert "stride" not in caplog.text


def test_a_yaml_of_a_stride_of_64(picture, caplog):
    model = YOLO("yolov8n-p6.yaml")
    model(picture, imgsz=160)
    assert model.predictor.args.imgsz == 192 and "stride 64" in caplog.text


def test_half_on_a_cpu_is_off_and_said_once(detector, picture, caplog):
    whole = detector(picture, conf=0.1)[0].boxes.data
    assert not [record for record in caplog.records if record.levelname == "WARNING"]  # the fixture wrote its weights
    assert torch.equal(detector(picture, conf=0.1, half=True)[0].boxes.data, whole)
    detector(picture, half=True)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == ["half=True needs CUDA and is off on cpu"]


def test_untrained_weights_are_said_once(detector, picture, tmp_path, caplog):
    model = YOLO(tmp_path / "tiny.yaml")
    for _ in range(2):
        model(picture)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1 and "tiny.yaml has untrained weights, so its predictions mean nothing" in said[0]
    caplog.clear()
    for change in (
        lambda m: m.load(detector.model.state_dict()),
        lambda m: m.model.load_state_dict(m.model.state_dict()),
    ):
        model = YOLO(tmp_path / "tiny.yaml")
        change(model)
        model(picture)
    assert "untrained" not in caplog.text
    model.reset_weights()
    model(picture)
    assert "untrained" in caplog.text
