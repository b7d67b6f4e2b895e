"""What routers do on images, against a computation by hand, and whether dead and identical experts are found."""

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.nn import routing
from ultralytics.nn.Addmodules.DynamicConv import C2f_GhostModule_DynamicConv, ConvBnAct, DynamicConv, GhostModule
from ultralytics.nn.routing import LayerRouting, Recorder, Routing
from ultralytics.utils.errors import ConfigError, ModelError


@pytest.fixture
def model(network):
    """The tiny network with one DynamicConv, its router made sensitive to what it sees."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = YOLO(network)
    with torch.no_grad():
        model.model.model[2].routing.weight.mul_(30)
    return model


def layer(*weights):
    """A layer without kernels on as many images as there are rows."""
    return LayerRouting("1", "DynamicConv", np.array(weights, float), None)


def test_against_a_direct_computation(model, data, caplog):
    pictures = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8) for i in range(5)]
    found = model.routing(pictures, file=None, imgsz=64, device="cpu")
    images = torch.from_numpy(np.stack(pictures)[..., ::-1].transpose(0, 3, 1, 2).copy()) / 255
    with torch.no_grad():
        layers = model.model.eval().model
        seen = layers[1](layers[0](images))
        router = layers[2].routing
        weights = torch.sigmoid(seen.mean((2, 3)) @ router.weight.T + router.bias).numpy()
    [one] = found.layers
    assert (one.name, one.kind, len(one.weights)) == ("2", "DynamicConv", 5)
    np.testing.assert_allclose(one.weights, weights, atol=1e-5)
    np.testing.assert_allclose(one.mean, weights.mean(0), atol=1e-5)
    np.testing.assert_allclose(one.spread, weights.std(0), atol=1e-5)
    assert one.spread.min() > 1e-3 and "routing:" not in caplog.text
    bank = layers[2].cond_conv.weight.detach().numpy()
    apart = np.linalg.norm(bank[0] - bank[3]) / max(np.linalg.norm(bank[0]), np.linalg.norm(bank[3]))
    assert one.distances[3, 0] == pytest.approx(apart, rel=1e-5)
    for text in ("2 ", "DynamicConv", f"{weights[:, 0].mean():.3f}±{weights[:, 0].std():.3f}", "5 images"):
        assert text in str(found)


def test_entropy_against_scipy():
    from scipy.stats import entropy

    weights = np.random.default_rng(0).random((6, 4))
    assert layer(*weights).entropy == pytest.approx(entropy(weights, axis=1).mean() / np.log(4))
    assert layer((0.5, 0.5, 0.5), (0.1, 0.1, 0.1)).entropy == pytest.approx(1)
    assert layer((0.7, 0, 0)).entropy == pytest.approx(0, abs=1e-9)


def test_a_killed_expert_is_named(model, data, tmp_path, caplog):
    with torch.no_grad():
        model.model.model[2].routing.bias[1] = -50
        model.model.model[2].routing.weight[1] = 0
    found = model.routing(data.parent / "images" / "val", tmp_path / "routing.png", imgsz=64, device="cpu")
    assert "2 (DynamicConv): expert 1 is dead" in caplog.text and caplog.text.count("dead") == 1
    assert found.layers[0].mean[1] < 1e-6
    assert (tmp_path / "routing.png").read_bytes().startswith(b"\x89PNG")


def test_identical_kernels_are_named(model, data):
    with torch.no_grad():
        bank = model.model.model[2].cond_conv.weight
        bank[3] = bank[0] * 1.001
    found = model.routing(data.parent / "images" / "val", None, imgsz=64, device="cpu")
    assert found.layers[0].issues == [
        "2 (DynamicConv): experts 0 and 3 are identical, their kernels differ by less than 1%"
    ]


def test_experts_that_only_act_together_are_named():
    rows = np.random.default_rng(0).random((4, 3))
    rows[:, 2] = rows[:, 0]
    assert ["0 and 2 act as one" in trouble for trouble in layer(*rows).issues] == [True]
    assert layer((0.4, 0.6), (0.6, 0.4)).issues == []  # equal on average only
    assert layer((0.51, 0.510003)).issues == []  # and not by chance, as on one image of an untrained network


def test_an_expert_that_one_image_needs_is_alive():
    assert layer(*[(1.0, 0.0)] * 9, (0.5, 0.5)).issues == []


def test_a_softmax_is_measured_by_its_equal_share():
    eight = np.full((3, 8), 1.0) * np.linspace(0.9, 1.1, 8)
    assert layer(*eight / eight.sum(1, keepdims=True)).issues == []
    eight[:, 5] = 0.05
    assert len(layer(*eight / eight.sum(1, keepdims=True)).issues) == 1


def test_a_long_list_of_troubles_is_cut(caplog):
    routing.report(Routing(tuple(layer((1.0, 0.0, 0.001)) for _ in range(4))), None)
    assert caplog.text.count("is dead") == 5 and caplog.text.strip().endswith("and 3 more")


@pytest.mark.parametrize(
    ("block", "routers"),
    [
        (DynamicConv(8, 8, 3), 1),
        (ConvBnAct(8, 8, 3), 1),
        (GhostModule(8, 8), 2),
        (C2f_GhostModule_DynamicConv(8, 8, 2), 4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_block_is_heard_and_computes_as_before(block, routers):
    block.eval()
    images = torch.rand(3, 8, 6, 6)
    with torch.no_grad():
        before, recorder = block(images), Recorder(block)
        with recorder():
            assert torch.equal(block(images), before)
        block(images)  # no more listening
    found = recorder.routing()
    assert [len(layer.weights) for layer in found.layers] == [3] * routers
    assert not any("routing_weights" in vars(module) for module in block.modules())


def test_routers_are_seen_on_the_images_of_all_processes(monkeypatch):
    recorder = Recorder(block := DynamicConv(8, 8, 3).eval())
    with recorder():
        block(torch.rand(4, 8, 6, 6))
    others = {name: [torch.full((2, 4), 0.25)] for name in recorder.routers}
    monkeypatch.setattr(routing, "gather_items", lambda own: [own, others])
    recorder.gather()
    (layer,) = recorder.routing().layers
    assert layer.weights.shape == (6, 4) and (layer.weights[4:] == 0.25).all()


def test_a_block_of_the_users_own():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.ask = nn.Linear(4, 2)

        def routing_weights(self, x):
            return self.ask(x.mean((2, 3))).softmax(1)

        def forward(self, x):
            return x * self.routing_weights(x)[:, :1, None, None]

    recorder = Recorder(block := Mine())
    with recorder():
        block(torch.rand(2, 4, 3, 3))
    [one] = recorder.routing().layers
    assert one.kind == "Mine" and one.weights.shape == (2, 2)


def test_a_picture_needs_a_suffix(model):
    with pytest.raises(ConfigError, match=r"file=chart: .* such as chart\.png"):
        model.routing(np.zeros((64, 64, 3), np.uint8), file="chart")


def test_a_network_without_routers(detector, picture, network):
    with pytest.raises(ModelError, match="has no routers to look at"):
        detector.routing(picture, device="cpu")
    text = network.read_text(encoding="utf-8").replace("[32, 3, 2]] # 2", "[32, 3, 2, '', 1, 1, False, 1]] # 2")
    network.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="for two experts or more"):
        YOLO(network).routing(picture, device="cpu")


def test_training_warns(train, network, tmp_path, caplog):
    model = YOLO(network)
    with torch.no_grad():
        model.model.model[2].cond_conv.weight[1:] = model.model.model[2].cond_conv.weight[0]
    model.save(tmp_path / "same.pt")
    model = train(YOLO(tmp_path / "same.pt"), epochs=1, lr0=0.0, warmup_epochs=0.0)
    assert "experts 0 and 1 are identical" in caplog.text and "; and 1 more" in caplog.text
    assert not (model.trainer.save_dir / "routing.png").exists()  # plots=False


def test_training_without_routers_leaves_none(train, tmp_path):
    path = tmp_path / "static.yaml"
    path.write_text(
        "nc: 2\nbackbone: [[-1, 1, Conv, [8, 3, 4]], [-1, 1, Conv, [8, 3, 2]]]\nhead: [[[1], 1, Detect, [nc]]]\n",
        encoding="utf-8",
    )
    model = train(YOLO(path), epochs=1)
    assert not (model.trainer.save_dir / "routing.png").exists()
