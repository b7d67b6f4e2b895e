"""Effective receptive fields: those that a network must have by its construction, and no trace of the measurement."""

import copy

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ultralytics import YOLO
from ultralytics.nn.receptive_field import ReceptiveField, receptive_fields
from ultralytics.utils.errors import ConfigError, ModelError


class Convs(nn.Module):
    """Convolutions 3 x 3 whose weights are all one; the second of stride 2."""

    def __init__(self):
        super().__init__()
        convs = (nn.Conv2d(3, 1, 3, padding=1, bias=False), nn.Conv2d(1, 1, 3, 2, 1, bias=False))
        self.model = nn.Sequential(*convs, nn.Flatten())
        for conv in convs:
            nn.init.ones_(conv.weight)

    def forward(self, x):
        return self.model(x)


def test_fields_of_known_convolutions():
    """Of 3 x 3 all nine pixels alike; of two in a row their convolution, a pyramid of 5 x 5."""
    one, two = receptive_fields(Convs(), [torch.rand(2, 3, 16, 24)], [0, 1], (16, 24), None)
    assert (one.layer, one.stride, two.layer, two.stride) == ("0 Conv2d", 1, "1 Conv2d", 2)
    assert one.center == (8.5, 12.5) and one.side(0.99) == 3 and one.side(0.11) == 1
    assert one.map[7:10, 11:14] == pytest.approx(1 / 9) and one.map.sum() == pytest.approx(1)
    pyramid = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]) / 81
    assert two.map[6:11, 10:15] == pytest.approx(pyramid) and two.map.sum() == pytest.approx(1)


def test_the_side_of_a_share():
    field = np.zeros((9, 9))
    field[4, 4], field[4, 6], field[0, 4] = 0.5, 0.3, 0.2
    field = ReceptiveField("a", 1, field, (4.5, 4.5))
    assert [field.side(share) for share in (0.5, 0.6, 0.8, 0.9, 1)] == [1, 5, 5, 9, 9]


NETWORK = """
nc: 3
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, DynamicConv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[1, 2, 3], 1, Detect, [nc]]
"""


def test_a_network_is_left_as_it_was_and_the_field_is_drawn(tmp_path, caplog):
    (tmp_path / "small.yaml").write_text(NETWORK, encoding="utf-8")
    torch.manual_seed(0)
    model = YOLO(tmp_path / "small.yaml")
    before = copy.deepcopy(model.model.state_dict())
    caplog.set_level("INFO")
    image = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    fields = model.receptive_field(image, file=tmp_path / "field.png", imgsz=64)
    assert [field.layer for field in fields] == ["1 DynamicConv", "2 Conv", "3 Conv"]
    assert [field.stride for field in fields] == [8, 16, 32] and {field.map.shape for field in fields} == {(64, 64)}
    assert all(field.side(0.5) < field.side(0.99) <= 64 + 32 and field.map.min() >= 0 for field in fields)
    assert fields[0].map[0, 0] > 0  # far outside of the kernel: the router sees the whole image
    assert "receptive field of 1 DynamicConv, stride 8: 50% in " in caplog.text
    assert cv2.imread(str(tmp_path / "field.png")).shape[0] > 500
    for network in (model.model, model.network(model.resolve("predict", {}))):
        assert not any(m._forward_hooks for m in network.modules())
        assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.model.state_dict().items())
    with pytest.raises(ModelError, match="Router gives no feature map"):
        model.receptive_field(image, "1.routing", None, imgsz=64)
    with pytest.raises(ConfigError, match=r"such as field\.png"):
        model.receptive_field(image, file="field")
