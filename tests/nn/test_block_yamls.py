"""The model YAMLs of docs/blocks.md: each is trained a step, opened again, fused and exported."""

import pytest
import torch

from tests.nn.blocks import YAMLS, lively
from ultralytics.cfg import get_options
from ultralytics.engine import exporter
from ultralytics.nn.tasks import DetectionModel


@pytest.mark.parametrize("name", YAMLS)
def test_a_training_step_and_an_exported_file(name, tmp_path):
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    model = DetectionModel(f"yolov8n-{name}.yaml", nc=2, verbose=False)
    batch = {
        "img": torch.rand(2, 3, 64, 96),
        "batch_idx": torch.tensor([0, 1, 1]),
        "cls": torch.tensor([[0.0], [1.0], [0.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.6, 0.2, 0.5], [0.7, 0.4, 0.3, 0.3]]),
    }
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    loss, _ = model.loss(batch)
    loss.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    optimizer.step()

    again = DetectionModel(model.yaml, verbose=False)  # as a checkpoint is opened
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        again = lively(again, 0.02).eval().double()  # rounding of float32 would add up
        network, images = exporter.prepare_network(again, dynamic=False), torch.rand(1, 3, 64, 96, dtype=torch.float64)
        assert network.is_fused()
        torch.testing.assert_close(network(images), again(images)[0], atol=1e-5, rtol=1e-6)
        # A file that does not compute what the network does, at two sizes, is refused.
        options = get_options({"format": "onnx", "imgsz": 64, "batch": 1, "dynamic": True, "simplify": False})
        assert exporter.export(again.float(), options, tmp_path / name, {}).exists()


@pytest.mark.parametrize("name", YAMLS)
@pytest.mark.parametrize("scale", "nx")
def test_the_head_takes_strides_8_16_and_32(name, scale):
    with torch.device("meta"):
        assert DetectionModel(f"yolov8{scale}-{name}.yaml", verbose=False).stride.tolist() == [8, 16, 32]
