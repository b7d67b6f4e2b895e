"""The copy of a network that predicts: the user's own stays as it is, and whatever is done to it is seen."""

import copy

import pytest
import torch
from torch import nn

from ultralytics import YOLO


@pytest.fixture
def score(picture):
    """`score(model)`: sum over everything a network finds."""
    return lambda model: model(picture, imgsz=160, conf=0.01, verbose=False)[0].boxes.data.sum().item()


def test_the_network_stays_as_it_was(detector, score):
    detector.model.train()
    detector.model.model[0].requires_grad_(False)
    weights = copy.deepcopy(detector.model.state_dict())
    score(detector)
    assert detector.model.training and not detector.model.is_fused()
    assert all(torch.equal(value, weights[name]) for name, value in detector.model.state_dict().items())
    assert not detector.model.model[0].conv.weight.requires_grad and detector.model.model[1].conv.weight.requires_grad
    loss = sum(out.sum() for out in detector.model(torch.rand(2, 3, 64, 64)).values() if isinstance(out, torch.Tensor))
    loss.backward()
    assert detector.model.model[1].conv.weight.grad is not None


def test_it_is_fused_once(detector, score):
    score(detector)
    first = detector._fused._copy
    score(detector)
    assert detector._fused._copy is first and first.is_fused() and not first.training


CHANGES = {
    "in place": lambda m: m[0].conv.weight.mul_(2),
    "through data": lambda m: m[0].conv.weight.data.mul_(2),
    "through data, one entry": lambda m: m[0].conv.weight.data[0, 0, 0].add_(0.5),
    "in place, the sum as before": lambda m: m[0].bn.bias[:2].copy_(torch.tensor([1.0, -1.0])),
    "new data": lambda m: setattr(m[0].conv.weight, "data", m[0].conv.weight.data * 2),
    "new parameter": lambda m: setattr(m[0].conv, "weight", nn.Parameter(m[0].conv.weight * 2)),
    "running statistic": lambda m: m[0].bn.running_mean.data.add_(0.5),
    "statistic's epsilon": lambda m: setattr(m[0].bn, "eps", 0.5),
    "another activation": lambda m: setattr(m[0], "act", nn.ReLU()),
    "another layer": lambda m: m.__setitem__(0, nn.Sequential(m[0], nn.ReLU())) or vars(m[0]).update(f=-1, i=0),
    "another forward": lambda m: setattr(m[0], "forward_fuse", m[0].conv.forward),
    "a stride": lambda m: setattr(m[0].conv, "padding", (2, 2)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_are_seen(detector, score, change):
    before = score(detector)
    with torch.no_grad():
        change(detector.model.model)
    assert score(detector) != before


def test_new_names_are_seen(detector, picture):
    assert detector(picture, verbose=False)[0].names[0] == "a"
    detector.model.names[0] = "cell"
    assert detector(picture, verbose=False)[0].names[0] == "cell"
    detector.model.names = {0: "x", 1: "y", 2: "z"}
    assert detector(picture, verbose=False)[0].names[0] == "x"


def test_hooks_on_every_layer_fire(detector, score):
    before, called = score(detector), []
    norm = detector.model.model[0].bn
    handle = norm.register_forward_hook(lambda module, args, out: called.append(module))
    assert score(detector) == pytest.approx(before, rel=1e-4)
    assert called == [norm]
    handle.remove()
    handle = norm.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    assert score(detector) != pytest.approx(before, rel=1e-4)
    handle.remove()
    assert score(detector) == before and len(called) == 1


def test_networks_made_in_inference_mode(detector, score):
    with torch.inference_mode():
        model = YOLO(detector.cfg)
        assert score(model) == score(model)
    assert score(model) == score(model)


def test_weights_that_are_not_finite(detector, score):
    with torch.no_grad():
        detector.model.model[0].conv.weight[0] = torch.nan
    score(detector)
    first = detector._fused._copy
    score(detector)
    assert detector._fused._copy is first
