"""A few steps of SGD on whole networks, against the reference's losses and gradient norms."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.steps import assert_reference_steps, reference_arrays, sgd_steps
from ultralytics.cfg import get_options
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss

ANALYTIC = Path(__file__).parents[1] / "nn" / "analytic.json"
NETWORKS = ("yolov8n.yaml", "yolov8n-DynamicConv.yaml", "yolov8n-C2f-DynamicConv.yaml")


def build(yaml, nc):
    """A network in training mode with the default gains."""
    model = DetectionModel(yaml, nc=nc, verbose=False).train()
    model.args = get_options()
    return model


@pytest.mark.parametrize(
    ("name", "yaml"), [("detect", "yolov8n.yaml"), ("detect-DynamicConv", "yolov8n-DynamicConv.yaml")]
)
def test_reference_steps_on_real_images(golden, name, yaml):
    safetensors = pytest.importorskip("safetensors.torch")
    model = build(yaml, nc=3)
    model.load_state_dict(safetensors.load_file(golden / "weights" / f"{name}.safetensors"))

    arrays = reference_arrays(golden / f"{name}.npz")
    assert_reference_steps(model, arrays, v8DetectionLoss.names, v8DetectionLoss(model))


def analytic_value(name, shape):
    """Weights by formula: noise seeded by the entry's name, scaled as the entry's kind asks for."""
    n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(int(np.prod(shape)))
    if name.endswith("running_var"):
        n = np.exp(0.1 * n)
    elif len(shape) == 1:
        n = 1 + 0.1 * n if name.endswith("weight") else 0.1 * n
    else:
        n = 0.05 * n if len(shape) == 2 else n * np.sqrt(2 / (n.size / shape[0]))
    return torch.from_numpy(n.reshape(shape))


@pytest.mark.parametrize("yaml", NETWORKS)
def test_reference_steps_on_weights_by_formula(yaml):
    reference = json.loads(ANALYTIC.read_text(encoding="utf-8"))
    model = build(yaml, reference["nc"])
    for name, value in model.state_dict().items():
        if "num_batches_tracked" not in name and ".dfl." not in name:
            value.copy_(analytic_value(name, value.shape))
    batch = {key: torch.tensor(value) for key, value in reference["labels"].items()}
    batch["img"] = torch.from_numpy(np.random.RandomState(0).rand(2, 3, 64, 96)).float()

    done = list(sgd_steps(model, batch, lr=2e-4, steps=3))
    steps = reference["networks"][yaml]["sgd"]
    items = [[step["items"][part] for part in v8DetectionLoss.names] for step in steps]
    np.testing.assert_allclose(done[0][1], items[0], rtol=1e-4)
    np.testing.assert_allclose([step[1] for step in done], items, rtol=1e-3)
    np.testing.assert_allclose([step[0] for step in done], [step["total"] for step in steps], rtol=1e-3)
    np.testing.assert_allclose([step[2] for step in done], [step["grad_norm"] for step in steps], rtol=1e-3)
