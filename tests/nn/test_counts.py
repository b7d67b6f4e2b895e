"""Every detection YAML at every scale: parameters, GFLOPs, layers, state-dict keys."""

import json
import zlib
from pathlib import Path

import pytest
import torch

from ultralytics.nn.tasks import DetectionModel

REFERENCE = json.loads((Path(__file__).parent / "counts.json").read_text(encoding="utf-8"))
CASES = [(name, scale) for name, counts in REFERENCE["counts"].items() for scale in counts if scale != "imgsz"]


@pytest.mark.parametrize(("name", "scale"), CASES, ids=lambda value: value)
def test_parameters_and_gflops(name, scale):
    counts = REFERENCE["counts"][name]
    file = name.replace("yolov8", f"yolov8{scale}")
    with torch.device("meta"):
        model = DetectionModel(f"{file}.yaml", verbose=False)
    layers, parameters, gradients, gflops = model.info(verbose=False, imgsz=counts["imgsz"])

    assert (parameters, gradients) == (counts[scale][0], counts[scale][0] - 16)  # DFL's bins are not trained
    assert gflops == pytest.approx(counts[scale][1], rel=1e-3)
    assert layers == REFERENCE["layers"].get(file, layers)
    if file in REFERENCE["keys"]:
        keys = "\n".join(f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items())
        assert zlib.crc32(keys.encode()) == REFERENCE["keys"][file]


@pytest.mark.parametrize(
    ("name", "strides"),
    [("yolov8n", [8, 16, 32]), ("yolov8n-p2", [4, 8, 16, 32]), ("yolov8n-p6", [8, 16, 32, 64])],
)
def test_strides_are_measured(name, strides):
    model = DetectionModel(f"{name}.yaml", verbose=False)
    assert model.stride.tolist() == strides
