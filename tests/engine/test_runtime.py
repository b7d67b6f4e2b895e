"""The copy of a network that predicts: the user's own stays as it is, and whatever is done to it is seen."""

import copy

import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.engine import runtime
from ultralytics.engine.runtime import use_channels_last


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


def is_channels_last(network):
    return network.model[1].conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_cpus_predict_with_channels_last(detector, score):
    assert score(detector) != 0 and is_channels_last(detector._fused._copy)
    assert not is_channels_last(detector.model)


def test_the_network_is_copied_once(detector, score, monkeypatch):
    copied = []
    monkeypatch.setattr(runtime, "deepcopy", lambda model: copied.append(model) or copy.deepcopy(model))
    score(detector)
    assert copied == [detector.model] and is_channels_last(detector._fused._copy)


def test_channels_last_can_be_turned_off(detector, picture):
    fast = detector(picture, imgsz=160, conf=0.01, verbose=False)[0].boxes.data
    plain = detector(picture, imgsz=160, conf=0.01, verbose=False, channels_last=False)[0].boxes.data
    assert not is_channels_last(detector._fused._copy)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-3)


class Viewing(nn.Module):
    """Pasted block that views its map, which only contiguous ones allow; it counts its calls."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x.view(len(x), -1).view(x.shape)


def test_a_block_that_views_maps_keeps_the_network_contiguous(detector, score, caplog):
    before = score(detector)
    detector.model.model[1].act = nn.Sequential(detector.model.model[1].act, Viewing())
    assert score(detector) == pytest.approx(before, rel=1e-4)
    assert not is_channels_last(detector._fused._copy)
    (message,) = [line for line in caplog.messages if "channels_last" in line]
    assert message.startswith("channels_last is off, as a block does not take maps in that memory format: view size")
    score(detector)
    assert sum("channels_last" in line for line in caplog.messages) == 1


class Grouping(nn.Module):
    """Pasted block, as ShuffleAttention, that views groups of channels as images: of one image alone it could."""

    def forward(self, x):
        b, c, h, w = x.shape
        return x.view(b * 2, c // 2, h, w).view(b, c, h, w)


def test_a_block_that_can_view_a_single_image_alone_keeps_the_network_contiguous(detector, score):
    before = score(detector)
    detector.model.model[1].act = nn.Sequential(detector.model.model[1].act, Grouping())
    assert not use_channels_last(copy.deepcopy(detector.model))
    assert score(detector) == pytest.approx(before, rel=1e-4)


def test_trying_channels_last_leaves_no_trace(detector):
    network, seen = detector.model.train(), []
    network.model[1].act = nn.Sequential(network.model[1].act, nn.Dropout(0.5), Viewing())
    network.model[0].register_forward_hook(lambda *args: seen.append(args))
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    use_channels_last(network)
    assert not seen and not network.model[1].act[2].calls and network.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_what_packed_convolutions_cannot_do_is_done_by_the_plain_ones(detector, picture):
    """Gradients, hooks on single layers, images one by one, and a tracer reach what they would without packing."""
    detector.model.model[0].conv.weight.requires_grad_(True)
    image = torch.rand(1, 3, 64, 64)
    detector(picture, imgsz=64, verbose=False)
    packed = detector._fused._copy
    plain = copy.deepcopy(packed)
    assert [type(network.model[0].forward).__name__ for network in (packed, plain)] == ["PackedConv", "method"]
    slopes = []
    for network in (packed, plain):
        given = image.clone().requires_grad_(True)
        network(given)[0].sum().backward()
        slopes.append(given.grad)
    assert slopes[0].abs().sum() > 0
    torch.testing.assert_close(*slopes)
    seen = []
    hook = packed.model[0].conv.register_forward_hook(lambda *args: seen.append(args))
    with torch.no_grad():
        outputs = [network(image)[0] for network in (packed, plain)]
        hook.remove()
        packed(image)
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-3)
        one = [network.model[0](image[0]) for network in (packed, plain)]
        torch.testing.assert_close(*one)
        traced = torch.jit.trace(packed.model[0], image)(image)
        torch.testing.assert_close(traced, plain.model[0](image))
    assert len(seen) == 1
