"""Outputs of whole networks against the reference's."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics.nn.tasks import DetectionModel

FILES = {
    (2, 3, 64, 96): "analytic.json",  # yolov8n and the two with dynamic convolutions
    (2, 3, 64, 128): "variants.json",  # P2, P6 and ghost
}
CASES = [
    (shape, reference["nc"], name, outputs)
    for shape, file in FILES.items()
    for reference in [json.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))]
    for name, outputs in reference["networks"].items()
]


def by_formula(name, shape):
    """Weights that need no file: noise seeded by the entry's name, scaled as the entry's kind asks for."""
    n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        return np.exp(0.1 * n)
    if len(shape) > 2:
        return n * np.sqrt(2 / np.prod(shape[1:]))
    if len(shape) == 2:
        return 0.05 * n
    return 0.1 * n + name.endswith(".weight")


@pytest.mark.parametrize(("shape", "nc", "name", "reference"), CASES, ids=[case[2] for case in CASES])
def test_weights_by_formula(shape, nc, name, reference):
    model = DetectionModel(name, nc=nc, verbose=False).eval()
    for key, value in model.state_dict().items():
        if "num_batches_tracked" not in key and ".dfl." not in key:
            value.copy_(torch.from_numpy(by_formula(key, value.shape)))
    image = torch.from_numpy(np.random.RandomState(0).rand(*shape)).float()
    with torch.no_grad():
        decoded, raw = model(image)

    outputs = {"eval": decoded, "raw_boxes": raw["boxes"], "raw_scores": raw["scores"]}
    for part, out in outputs.items():
        expected = reference[part]
        assert list(out.shape) == expected["shape"]
        relative = 1e-5 if part == "eval" else 0  # boxes of up to 900 pixels
        torch.testing.assert_close(
            out.flatten()[expected["index"]], torch.tensor(expected["values"]), atol=1e-3, rtol=relative
        )
        assert out.mean().item() == pytest.approx(expected["mean"], rel=relative, abs=1e-4)
        assert out.std(correction=0).item() == pytest.approx(expected["std"], rel=relative, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "yaml"), [("detect", "yolov8n.yaml"), ("detect-DynamicConv", "yolov8n-DynamicConv.yaml")]
)
def test_trained_weights_on_real_images(golden, name, yaml):
    safetensors = pytest.importorskip("safetensors.torch")
    data = {key: torch.from_numpy(value) for key, value in np.load(golden / f"{name}.npz").items()}
    model = DetectionModel(yaml, nc=3, verbose=False)
    model.load_state_dict(safetensors.load_file(golden / "weights" / f"{name}.safetensors"))  # strict: the same keys
    with torch.no_grad():
        decoded, raw = model.eval()(data["batch.img"])
        trained = model.train()(data["batch.img"])

    torch.testing.assert_close(decoded[:, :4], data["eval.0"][:, :4], atol=0.05, rtol=0)
    torch.testing.assert_close(decoded[:, 4:], data["eval.0"][:, 4:], atol=1e-3, rtol=0)
    for part in ("boxes", "scores"):
        torch.testing.assert_close(raw[part], data[f"eval.1.{part}"], atol=1e-3, rtol=0)
        torch.testing.assert_close(trained[part], data[f"train.{part}"], atol=1e-3, rtol=0)
