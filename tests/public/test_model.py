"""YOLO is a module of torch, and has the methods that people who know the public package call."""

import copy

import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.utils.errors import ConfigError, ModelError


def test_it_is_a_module_that_holds_its_network(detector):
    assert isinstance(detector, nn.Module) and [name for name, _ in detector.named_children()] == ["model"]
    assert len(list(detector.parameters())) == len(list(detector.model.parameters()))
    assert list(detector.state_dict()) == [f"model.{name}" for name in detector.model.state_dict()]
    assert detector.model.training
    assert detector.eval() is detector and not detector.model.training and not detector.training
    for mode in (True, False):  # as nn.Module.train is called, also by a module that holds this one
        assert detector.train(mode) is detector and detector.model.training is detector.training is mode
    assert nn.Sequential(detector).train(True)[0].model.training and not detector.eval().model.training
    copied = copy.deepcopy(detector)
    assert all(torch.equal(v, copied.state_dict()[k]) for k, v in detector.state_dict().items())


def test_types_and_devices(detector, picture):
    (before,) = detector.predict(picture, imgsz=160, verbose=False)
    for call, dtype in (("half", torch.float16), ("float", torch.float32), ("double", torch.float64)):
        assert getattr(detector, call)() is detector and next(detector.parameters()).dtype == dtype
    assert detector.to(torch.float32).to("cpu").cpu() is detector and detector.device.type == "cpu"
    (after,) = detector.predict(picture, imgsz=160, verbose=False)
    assert len(before) and abs(len(after) - len(before)) <= 5  # the weights went through half precision
    with pytest.raises(AttributeError, match="YOLO has no 'parameterz', the nearest are: parameters"):
        detector.parameterz  # noqa: B018


@pytest.mark.public("python::model_methods")
def test_weights_are_reset_and_learn(detector):
    before = copy.deepcopy(detector.state_dict())
    detector.model.requires_grad_(False)
    assert detector.reset_weights() is detector
    after = detector.state_dict()
    assert not torch.equal(after["model.model.0.conv.weight"], before["model.model.0.conv.weight"])
    assert after["model.model.4.cv3.0.2.bias"].unique().numel() == 1  # the prior of a new head
    assert detector.names == {0: "a", 1: "b", 2: "c"}
    assert all(p.requires_grad for p in detector.parameters())
    detector.fuse(verbose=False)
    with pytest.raises(ModelError, match="was changed after it was built"):
        detector.reset_weights()


@pytest.mark.public("python::model_methods")
def test_weights_come_from_a_network_a_dict_or_another_yolo(detector, tmp_path):
    given = detector.model
    path = detector.cfg
    whole = {f"model.{name}": value for name, value in given.state_dict().items()}  # as YOLO.state_dict() has them
    for weights in (detector, given, given.state_dict(), {"model": given}, whole):
        model = YOLO(path)
        assert model.load(weights) is model
        assert all(torch.equal(v, given.state_dict()[k]) for k, v in model.model.state_dict().items())
        assert model.names == (detector.names if not isinstance(weights, dict) else {0: "0", 1: "1", 2: "2"})
    detector.save(filename=tmp_path / "saved.pt")
    assert YOLO(tmp_path / "saved.pt").names == detector.names


@pytest.mark.public("python::model_methods")
def test_callbacks_come_and_go(detector, picture):
    seen = []

    def predict():
        seen.clear()
        detector.predict(picture, imgsz=64, verbose=False)
        return list(seen)

    detector.add_callback(event="on_predict_start", func=lambda _: seen.append("start"))
    detector.add_callback("on_predict_end", lambda _: seen.append("end"))
    assert predict() == ["start", "end"]
    detector.clear_callback("on_predict_start")
    assert predict() == ["end"]
    detector.reset_callbacks()
    assert predict() == []
    with pytest.raises(ConfigError, match="no callback event 'zzzz'; those are on_pretrain_routine_start, "):
        detector.add_callback("zzzz", print)


@pytest.mark.public("python::model_methods")
def test_the_small_things(detector):
    assert detector.info(verbose=False)[1] == sum(p.numel() for p in detector.parameters())
    assert set(detector.task_map) == {"detect", "segment", "pose", "obb", "classify"}
    assert detector.task_map["detect"]["model"] is type(detector.model)
    for name in ("track", "tune", "benchmark"):
        with pytest.raises(AttributeError, match=f"YOLO.{name} comes with .* not supported yet"):
            getattr(detector, name)
