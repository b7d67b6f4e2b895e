"""Public functions give what the public package (8.4.190) gives for the same arguments: values.json has its results."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics.data import utils as data_utils
from ultralytics.data.augment import LetterBox
from ultralytics.utils import checks, loss, metrics, nms, ops, tal, torch_utils

VALUES = json.loads(Path(__file__).with_name("values.json").read_text(encoding="utf-8"))


def namespace():
    """What the calls are about, made anew for each."""
    boxes = np.array([[10.0, 20, 110, 70], [300, 200, 420, 440]], np.float32)
    detections = torch.tensor(
        [
            [
                [50.0, 60, 40, 40, 0.9, 0.1],
                [52, 61, 40, 40, 0.8, 0.1],
                [150, 60, 40, 40, 0.3, 0.6],
                [52, 61, 38, 40, 0.1, 0.7],
                [10, 10, 4, 4, 0.05, 0.1],
            ]
        ]
    )
    return {
        "np": np,
        "torch": torch,
        "data_utils": data_utils,
        "LetterBox": LetterBox,
        "checks": checks,
        "loss": loss,
        "metrics": metrics,
        "nms": nms,
        "ops": ops,
        "tal": tal,
        "torch_utils": torch_utils,
        "boxes": boxes,
        "tensor": torch.from_numpy(boxes.copy()),
        "moved": torch.from_numpy(boxes + np.array([5, 10, -8, 3], np.float32)),
        "points": np.array([[[10.0, 20], [110, 70], [60, 33]]], np.float32),
        "rotated": torch.tensor([[100.0, 60, 80, 20, 0.3], [50, 50, 30, 60, -0.7]]),
        "pixels": np.arange(60 * 100 * 3, dtype=np.uint8).reshape(60, 100, 3),
        "keypoints": torch.tensor([[[10.0, 10, 2], [20, 30, 2], [40, 40, 0]]]),
        "anchors": torch.tensor([[5.0, 5], [1, 2]]),
        "distances": torch.tensor([[1.0, 2, 3, 4], [0.5, 0.5, 2, 2]]),
        "logits": torch.tensor([[-2.0, 0.3, 1.5]]),
        "targets": torch.tensor([[0.0, 1, 0.6]]),
        "prototypes": torch.linspace(-1, 1, 128).view(2, 8, 8),
        "coefficients": torch.tensor([[1.0, 0.5], [-1, 1]]),
        "places": torch.tensor([[4.0, 4, 28, 28], [0, 0, 20, 30]]),
        "predictions": detections.transpose(1, 2),
    }


def plain(value):
    """Tensors, arrays and tuples as lists."""
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return plain(value.tolist()) if hasattr(value, "tolist") else value


def assert_equal(found, expected):
    if isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == (pytest.approx(expected, rel=1e-4, abs=1e-4) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("call", VALUES)
def test_the_same_arguments_give_the_same_result(call):
    assert_equal(plain(eval(call, namespace())), VALUES[call])
