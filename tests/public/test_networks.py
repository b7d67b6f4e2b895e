"""Networks answer what the public package's `model.model` is asked, with its numbers (8.4.190, CPU, float32)."""

import logging

import numpy as np
import pytest
import torch

from ultralytics.nn.tasks import DetectionModel, attempt_load_weights
from ultralytics.utils.errors import ModelError

# Norms of `embed=[last layer before the head]` and of `embed=[3, 5]` for the images of golden/TASK.npz.
EMBEDDED = {
    "detect": ((7.52787, 7.61768, 7.80646, 7.52955), (8.01641, 7.77524, 7.99681, 7.95702)),
    "segment": ((4.52362, 4.50865, 4.40967, 4.61626), (4.83603, 5.18085, 5.03402, 5.74733)),
    "pose": ((4.78851, 4.87177, 4.65867, 4.7151), (6.52777, 6.6406, 9.13702, 6.47705)),
    "obb": ((5.73738, 6.22288, 6.32688, 5.8607), (4.50971, 4.07598, 4.37008, 5.95131)),
    "classify": (
        (11.26928, 11.73048, 10.4136, 9.2574, 9.35391, 10.68707, 8.98575, 9.84328),
        (7.94036, 7.98092, 7.80964, 7.94092, 7.75906, 7.52788, 7.80763, 7.83566),
    ),
}


@pytest.fixture(params=EMBEDDED)
def case(request, golden):
    """The network of a task, and the arrays of its reference."""
    model = attempt_load_weights(golden / "weights" / f"{request.param}.pt")
    return request.param, model, {k: torch.from_numpy(v) for k, v in np.load(golden / f"{request.param}.npz").items()}


def test_vectors_of_images_are_the_public_ones(case):
    task, model, arrays = case
    for layers, expected in zip(([len(model.model) - 2], [3, 5]), EMBEDDED[task], strict=True):
        with torch.no_grad():
            vectors = model.predict(arrays["batch.img"], embed=layers)
        norms = torch.stack([vector.norm() for vector in vectors])
        torch.testing.assert_close(norms, torch.tensor(expected), rtol=2e-4, atol=1e-4)


def test_a_layer_without_a_map_has_no_vector(case):
    _, model, arrays = case
    head = len(model.model) - 1
    with pytest.raises(ModelError, match=f"there is no layer {head}; those before the head are 0 to {head - 1}"):
        model.predict(arrays["batch.img"], embed=[head])


def test_the_loss_of_a_batch_is_the_public_one(case):
    _, model, arrays = case
    batch = {name.removeprefix("batch."): value for name, value in arrays.items() if name.startswith("batch.")}
    total, parts = model.train().loss(batch)
    torch.testing.assert_close(total, arrays["loss.total"].sum(), rtol=1e-4, atol=0)
    assert parts.numel() == sum(name.startswith("loss.") for name in arrays) - 1
    with torch.no_grad():  # norms in train mode depend on the batch alone
        assert torch.equal(model.loss(batch, model(batch["img"]))[1], parts)
        assert torch.equal(model(batch)[1], parts)


def test_every_layer_tells_its_row_class_and_parameters(case):
    _, model, _ = case
    for i, layer in enumerate(model.model):
        assert layer.i == i and layer.type.rpartition(".")[2] in type(layer).__name__
        assert layer.np == sum(p.numel() for p in layer.parameters())
    first, head = model.model[0], model.model[-1]
    assert (first.type, first.np, first.f) == ("ultralytics.nn.modules.conv.Conv", 464, -1)
    if model.task != "classify":
        assert head.no == head.nc + 64 and head.f == [15, 18, 21]


@pytest.mark.public("python::model_profile")
def test_profile_logs_a_row_for_every_layer_and_changes_nothing(case, caplog):
    _, model, arrays = case
    image, before = arrays["batch.img"][:1], {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad(), caplog.at_level(logging.INFO, "ultralytics"):
        profiled, plain = model.predict(image, profile=True), model.predict(image)
    assert torch.equal(profiled[0], plain[0]) if isinstance(plain[0], torch.Tensor) else len(profiled) == len(plain)
    head, *rows, total = [record.getMessage() for record in caplog.records]
    assert head.split() == ["time", "(ms)", "GFLOPs", "params", "module"]
    assert [row.split()[3] for row in rows] == [layer.type for layer in model.model]
    assert sum(int(row.split()[2]) for row in rows) == sum(p.numel() for p in model.parameters())
    gflops = sum(float(row.split()[1]) for row in rows)
    side = image.shape[-1]
    assert gflops == pytest.approx(model.info(verbose=False, imgsz=side)[3], abs=0.02)
    assert total.split()[-1] == "total"
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_network_takes_the_weights_of_another():
    torch.manual_seed(0)
    one, other = (DetectionModel("yolov8n.yaml", nc=2, verbose=False) for _ in range(2))
    for weights in (one, {"model": one}, one.state_dict()):
        model = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
        model.load(weights)
        assert all(torch.equal(v, one.state_dict()[k]) for k, v in model.state_dict().items())
    assert not torch.equal(other.model[0].conv.weight, one.model[0].conv.weight)


@pytest.mark.public("python::model_load_remaps_cls_head_by_names")
def test_classes_find_their_namesakes_in_the_weights_of_another_network():
    torch.manual_seed(0)
    one, other = (DetectionModel("yolov8n.yaml", nc=3, verbose=False) for _ in range(2))
    one.names, other.names = {0: "cat", 1: "dog", 2: "cow"}, {0: "cow", 1: "cat", 2: "dog"}
    other.load(one)
    for own, given in zip(other.model[-1].cv3, one.model[-1].cv3, strict=True):
        assert torch.equal(own[-1].weight, given[-1].weight[[2, 0, 1]])
        assert torch.equal(own[-1].bias, given[-1].bias[[2, 0, 1]])
